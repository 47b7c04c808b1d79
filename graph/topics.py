"""Topics: things a text may have to do with, whatever its label.

A small teacher that is asked for many texts writes about the same few things, and about other ones
in each label, so that the student learns a topic in place of the label. Here every label's texts
are given topics of one and the same list, drawn at random: the way TinyStories (Eldan & Li, 2023)
gets varied stories by asking for random words, and a class-independent attribute in the terms of
AttrPrompt (Yu et al., 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from evokd.config import Config

# Everyday things of all kinds, chosen with no task in mind.
GENERAL = tuple(
    " ".join(word.split())
    for word in """
    an elephant, a penguin, a wolf, a snake, a mosquito, a zebra, a kangaroo, a whale, an owl, a
    cow, a horse, a cat, a spider, a dinosaur, a salmon, a bee, a rabbit, a parrot, roses, a
    forest, a potato, an apple, mushrooms, rice, a cactus, an oak, tomatoes, grapes, cheese,
    chocolate, coffee, tea, whisky, honey, salt, bread, a sandwich, soup, beer, sugar, pizza, a
    violin, a piano, jazz, opera, an orchestra, a rock band, a song, ballet, a guitar, a choir,
    a painting, a statue, a museum, a novel, a poem, a cartoon, a comic, a theatre, photographs,
    a film star, a television series, the radio, a newspaper, a magazine, a dictionary, a
    library, football, baseball, chess, tennis, golf, boxing, skiing, swimming, the Olympics, a
    marathon, cycling, a card game, a toy, a video game, a puzzle, a circus, a festival,
    fireworks, dancing, a wedding, a birthday, a funeral, Christmas, a holiday, a picnic, a
    neighbour, a baby, a family, a grandmother, a twin, a friend, a teenager, a school, a
    university, an exam, a teacher, a book, a hospital, a doctor, a nurse, a dentist, the heart,
    the eyes, a bone, a vaccine, malaria, sleep, a headache, an allergy, a diet, perfume, soap,
    hair, a tattoo, teeth, glasses, a kitchen, a garden, a roof, a bathroom, furniture, a
    carpet, a candle, a mirror, a clock, a lamp, an umbrella, a ladder, a hammer, a knife, a
    needle, a button, shoes, a hat, a coat, silk, cotton, a bicycle, a car, a bus, a train, a
    submarine, an aeroplane, a helicopter, a rocket, a ship, a ferry, a taxi, a motorway, a
    bridge, a tunnel, an airport, a harbour, a railway, a suitcase, the moon, Mars, a star, a
    telescope, a satellite, gravity, lightning, a tornado, a volcano, an earthquake, a desert,
    an island, a river, a glacier, a waterfall, a beach, the ocean, a cave, a mountain, the
    weather, snow, a rainbow, the sun, winter, electricity, a magnet, steel, rubber, gold,
    diamonds, plastic, glass, paper, oil, coal, water, fire, a computer, the internet, a robot,
    a telephone, a camera, a battery, a microscope, an engine, a password, e-mail, a website,
    mathematics, an atom, a chemical, a disease, an experiment, an invention, a language, a
    word, a letter, a name, a number, a colour, a flag, a map, a stamp, a coin, money, a bank, a
    shop, a restaurant, a hotel, a factory, an office, a market, insurance, a tax, a salary, a
    contract, an election, a president, a queen, a law, a judge, a lawyer, a prison, the police,
    a thief, a spy, an army, a war, a battle, a castle, a pyramid, a church, a monk, a god, a
    legend, a ghost, a witch, a pirate, a knight, an explorer, a scientist, a farmer, a soldier,
    an astronaut, a fisherman, Egypt, Brazil, Japan, India, Sweden, Canada, Russia, Australia,
    Italy, Kenya, Mexico, China, London, Paris, New York, Tokyo, Rome, California, Texas,
    Berlin, Hawaii, the Alps, the Nile, Shakespeare, Napoleon, Beethoven, Einstein, Cleopatra,
    Columbus, Picasso, Lincoln, Elvis
    """.split(",")
)


def topics_of(config: Config) -> Sequence[str]:
    """Return the topics of a task's texts: its own, ours, or none."""
    if not config.strategy.topics:
        return ()
    return GENERAL if config.task.topics == "any" else config.task.topics
