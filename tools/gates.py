"""Gates: checks on new samples that need no LLM. Each rejection has a named reason.

format_*          empty, too short, too long, a placeholder, the label's raw name, no question, a
                  phrase of the generator's prompt, cut off
duplicate         the same text, up to case and spaces
near_duplicate    almost the same letters (Jaccard of character 4-grams)
semantic_duplicate  almost the same meaning (cosine of the embeddings)
leak              the same as, or very near to, a validation or test text
label_*           labeler and intention differ, or the labeler is not sure
balance           the label already has its share of this round
entity_*          a named entity is not in the text, or all of a text's entities are used up
template_worn     but for names and numbers almost the same as several texts before
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from evokd.config import GatesSection
from evokd.records import Embedder, Example, Sample
from evokd.tasks import normalize
from evokd.tasks.texts import first_sentence
from evokd.tasks.words import count_words, folded, template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PLACEHOLDER = re.compile(
    r"\[[^\]]{2,30}\]|<[^>]{2,30}>|\{[^}]{1,30}\}|\b(?:sincerely|best|kind) regards\b|"
    r"^\s*(?:dear\b|sincerely\b)|"
    # what the generator's lists are called
    r"^\W*(?:plain|hard|easy|question)_\d+\b|^\W*(?:text|question)s?(?: \d+)?:",
    re.IGNORECASE,
)
_NGRAM = 4
_TEMPLATE_NGRAM = 3  # words
FEWEST_TEMPLATE_WORDS = 3
SAME_TEMPLATE = 0.5  # Jaccard of the n-grams of words
FEWEST_EXAMPLES = 5  # fewer say little of a task's form
FEWEST_SENTENCES = 4
NEARLY_ALL = 0.95  # of the gold examples
QUESTION_MARKS = "?？؟"
SENTENCE_MARKS = (*".!…。！।۔", *QUESTION_MARKS)
CLOSING = "\"'”’»)] "
_QUESTION = re.compile(f".*?[{QUESTION_MARKS}]")


@dataclass(frozen=True)
class TextForm:
    """What every text of a task looks like, beyond what all tasks have in common.

    Args:
        questions: all are questions, see `asks_questions`.
        one_question: nothing stands behind a question, see `end_with_their_question`.
        sentences: all end with a mark, see `are_sentences`.
        one_sentence: most are no more than a sentence, see `are_single_sentences`.
        instructions: phrases of the generator's prompt, normalized, that no text may hold.
        fewest_words: where the settings name none, see `fewest_words`.
        entities: the task is about what texts name, so that little is learnt from one text with
            many names in turn.
    """

    questions: bool = False
    one_question: bool = False
    sentences: bool = False
    one_sentence: bool = False
    instructions: Sequence[str] = ()
    fewest_words: int = 1
    entities: bool = False


ANY_FORM = TextForm()


class TextIndex:
    """Texts that new ones are compared with, by letters and by meaning.

    Args:
        key: what two texts share that count as the same.
    """

    def __init__(
        self,
        embedder: Embedder,
        texts: Iterable[str] = (),
        key: Callable[[str], str] = normalize,
    ) -> None:
        self._embedder = embedder
        self._key = key
        self._exact: set[str] = set()
        self._texts: list[str] = []
        self._grams: list[frozenset[str]] = []
        self._templates: list[frozenset[str]] = []
        self._vectors: list[list[float]] = []
        self._matrix: NDArray[np.float32] | None = None
        self.extend(texts)

    def __len__(self) -> int:
        return len(self._texts)

    def extend(self, texts: Iterable[str]) -> None:
        """Add texts."""
        batch = list(texts)
        for text, vector in zip(batch, self._embedder.embed(batch) if batch else [], strict=True):
            self._exact.add(self._key(text))
            self._texts.append(text)
            self._vectors.append(vector)
        self._matrix = None

    def holds(self, text: str) -> bool:
        """Whether the same text is in it, up to what the key leaves out: case and spaces."""
        return self._key(text) in self._exact

    def lexical(self, text: str) -> float:
        """Return the highest Jaccard similarity of character 4-grams, in [0, 1]."""
        self._grams.extend(map(_ngrams, self._texts[len(self._grams) :]))
        grams = _ngrams(text)
        return max((jaccard(grams, other) for other in self._grams), default=0.0)

    def template_uses(self, text: str) -> int:
        """Return how many texts are almost the same but for names and numbers.

        0 where too few words are left: headlines are names, as far as capitals tell.
        """
        words = template(text)
        if sum(word[:1].isalpha() for word in words) < FEWEST_TEMPLATE_WORDS:
            return 0
        new = map(template, self._texts[len(self._templates) :])
        self._templates.extend(map(_template_grams, new))
        grams = _template_grams(words)
        return sum(jaccard(grams, other) > SAME_TEMPLATE for other in self._templates)

    def cosine(self, vector: Sequence[float]) -> float:
        """Return the highest cosine similarity to a unit vector, in [-1, 1]; -1 when empty."""
        import numpy as np

        if not self._vectors:
            return -1.0
        if self._matrix is None:
            self._matrix = np.asarray(self._vectors, dtype=np.float32)
        return float((self._matrix @ np.asarray(vector, dtype=np.float32)).max())


def screen_texts(
    samples: Sequence[Sample],
    gates: GatesSection,
    embedder: Embedder,
    known: TextIndex,
    guarded: TextIndex,
    labels: Sequence[str],
    form: TextForm = ANY_FORM,
) -> list[Sample]:
    """Return the samples, those that fail format, duplicate or leak gates marked as rejected.

    Args:
        known: seeds and accepted samples of all rounds; passed samples are added to it, so that
            of two equal drafts the first one stays.
        guarded: validation and test texts.
    """
    vectors = embedder.embed([sample.text for sample in samples]) if samples else []
    screened = []
    for sample, vector in zip(samples, vectors, strict=True):
        reason = (
            format_problem(sample.text, gates, labels, form)
            or _leak(sample.text, vector, gates, guarded)
            or _duplicate(sample.text, vector, gates, known)
            or _worn_template(sample.text, gates, known, form)
        )
        screened.append(sample.rejected(reason) if reason else sample)
        if not reason:
            known.extend([sample.text])
    return screened


def asks_questions(examples: Iterable[tuple[str, str]]) -> bool:
    """Whether the task's texts are questions: nearly all gold examples are, five or more.

    A small generator then still hands in answers now and then, and a small critic lets them pass.
    Where half of a label's examples ask nothing, its texts are others.

    Args:
        examples: text and label of each.
    """
    by_label: dict[str, list[bool]] = {}
    for text, label in examples:
        by_label.setdefault(label, []).append(_asks(text))
    asking = list(chain.from_iterable(by_label.values()))
    mostly = all(2 * sum(one) > len(one) for one in by_label.values())
    return len(asking) >= FEWEST_EXAMPLES and mostly and _are_nearly_all(asking)


def end_with_their_question(examples: Iterable[str]) -> bool:
    """Whether most gold examples end with their first question mark; a mail goes on behind it."""
    rows = [text.rstrip(CLOSING) for text in examples]
    return 2 * sum(first_question(text) == text for text in rows) > len(rows)


def are_sentences(examples: Iterable[str]) -> bool:
    """Whether nearly all gold examples, four or more, end with the mark of a sentence.

    A small generator breaks off now and then ("… is often remembered as the").
    """
    ending = [_ends(text) for text in examples]
    return len(ending) >= FEWEST_SENTENCES and _are_nearly_all(ending)


def are_single_sentences(examples: Iterable[str]) -> bool:
    """Whether most gold examples are a sentence each, and nothing stands behind it.

    A small generator runs on, and from a long text less is learnt for what it costs to read.
    """
    rows = list(examples)
    return 2 * sum(first_sentence(one) == one for one in rows) > len(rows)


def _are_nearly_all(rows: Sequence[bool]) -> bool:
    """Whether all rows are, or all but fewer than one in twenty: one odd example sets no form."""
    return sum(rows) > NEARLY_ALL * len(rows)


def fewest_words(examples: Iterable[str]) -> int:
    """Return half of the words of the shortest gold example, where there are five or more; else 1.

    A small generator hands in single words now and then ("when", "Hi").
    """
    counts = [len(text.split()) for text in examples]
    return max(1, min(counts) // 2) if len(counts) >= FEWEST_EXAMPLES else 1


def first_question(text: str) -> str:
    """Return a text up to its first question mark; what asks nothing stays as it is.

    A small generator runs on: it answers its own question, or asks a second one of another label.
    """
    asked = _QUESTION.match(text)
    return asked.group() if asked else text


def format_problem(
    text: str, gates: GatesSection, labels: Sequence[str], form: TextForm = ANY_FORM
) -> str | None:
    """Return why a text is no usable text at all, or None."""
    # Where examples are longer than a text may be, none could be long enough.
    fewest = gates.min_words or min(form.fewest_words, max(1, gates.max_words // 2))
    if count_words(text) < fewest:
        return "format_too_short"
    if len(text.split()) > gates.max_words:
        return "format_too_long"
    if _PLACEHOLDER.search(text):
        return "format_placeholder"
    lowered = text.lower()
    if any("_" in label and label.lower() in lowered for label in labels):
        return "format_label_name"
    flat = normalize(text)
    if any(phrase in flat for phrase in form.instructions):
        return "format_instruction"
    if form.questions and not _asks(text):
        return "format_no_question"
    if form.sentences and not _ends(text):
        return "format_cut_off"
    return None


def settle_label(
    sample: Sample, min_confidence: float, separation: bool, agreed: bool | None = None
) -> Sample:
    """Return the sample with its label settled, or rejected.

    Without separation the intended label stands. Where the labeler, unseen, comes to the intended
    label, half of `min_confidence` is enough, for two agree; where it differs, its label stands
    only at the full confidence and once somebody else has agreed (`agreed`; None: not asked yet).
    Where nothing else speaks against the intended label, an unsure labeler does not either.
    """
    if not separation:
        return sample.model_copy(update={"label": sample.intended_label})
    sure = sample.labeler_confidence or 0.0
    agrees = sample.labeler_label == sample.intended_label
    if not sample.checked:
        if agrees or sample.labeler_label is None or sure < min_confidence:
            return sample.model_copy(update={"label": sample.intended_label})
        sample = sample.model_copy(update={"checked": True})
    if sample.labeler_label is None:
        return sample.rejected("label_unusable_reply")
    if sure < (min_confidence / 2 if agrees else min_confidence):
        return sample.rejected("label_unsure")
    if not agrees and agreed is False:
        return sample.rejected("label_differs")
    return sample.model_copy(update={"label": sample.labeler_label})


class EntityUses:
    """How often each entity is named, in texts that stay.

    A small generator writes about the same few names, and a student learns them by heart.

    Args:
        rows: seeds and accepted samples.
        most: how many uses wear an entity out.
    """

    def __init__(self, rows: Iterable[Example | Sample], most: int) -> None:
        self._most = most
        self._uses: Counter[str] = Counter()
        for row in rows:
            self.add(row)

    def add(self, row: Example | Sample) -> None:
        """Count a text that stays."""
        self._uses.update(entity_names(row))

    def are_worn(self, row: Example | Sample) -> bool:
        """Whether a text names something, and nothing but entities that are worn out."""
        names = entity_names(row)
        return bool(names) and all(self._uses[name] >= self._most for name in names)


def entity_names(row: Example | Sample) -> set[str]:
    """Return the strings of a row's entities, folded and without spaces: "Yahoo !" is "Yahoo!"."""
    return {folded(row.text[one.start : one.end]).replace(" ", "") for one in row.entities}


def is_outvoted(sample: Sample) -> bool:
    """Whether more of labeler, neighbours and student agree on another label than on the intended.

    That settles the label; a small critic, asked with the intended label in mind, knows no better.
    Held-out texts are to judge the student, so it has no vote on them.
    """
    other = sample.labeler_label
    if sample.split == "probe" or other is None or other == sample.intended_label:
        return False
    return sample.guesses.count(other) > sample.guesses.count(sample.intended_label)


def balance(
    samples: Sequence[Sample], caps: Mapping[tuple[str, str], int], uses: EntityUses
) -> list[Sample]:
    """Return the samples, those with worn entities or beyond a label's cap rejected.

    The surest stay; ties keep their order. Only samples that are still pending count.

    Args:
        caps: (split, label) → how many may stay.
        uses: of the entities before; those of samples that stay are counted.
    """
    order = sorted(range(len(samples)), key=lambda index: -_sureness(samples[index]))
    taken: Counter[tuple[str, str]] = Counter()
    result = list(samples)
    for index in order:
        sample = samples[index]
        if sample.accepted is not None or sample.label is None:
            continue
        part = sample.split, sample.label
        if taken[part] >= caps.get(part, 0):
            result[index] = sample.rejected("balance")
        elif uses.are_worn(sample):
            result[index] = sample.rejected("entity_worn")
        else:
            taken[part] += 1
            uses.add(sample)
    return result


def _sureness(sample: Sample) -> float:
    """Return how sure the labeler is of a sample's label; what nobody read is sure as can be."""
    if sample.labeler_confidence is None:
        return 1.0
    agrees = sample.labeler_label in (None, sample.label)
    return sample.labeler_confidence if agrees else 1.0 - sample.labeler_confidence


def _ends(text: str) -> bool:
    return text.rstrip(CLOSING)[-1:] in SENTENCE_MARKS


def _asks(text: str) -> bool:
    return any(mark in text for mark in QUESTION_MARKS)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return |one ∩ other| / |one ∪ other|; 1.0 for two empty sets."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def _ngrams(text: str) -> frozenset[str]:
    flat = normalize(text)
    if len(flat) <= _NGRAM:
        return frozenset([flat])
    return frozenset(flat[i : i + _NGRAM] for i in range(len(flat) - _NGRAM + 1))


def _template_grams(words: Sequence[str]) -> frozenset[str]:
    starts = range(max(1, len(words) - _TEMPLATE_NGRAM + 1))
    return frozenset(" ".join(words[start : start + _TEMPLATE_NGRAM]) for start in starts)


def _leak(
    text: str, vector: Sequence[float], gates: GatesSection, guarded: TextIndex
) -> str | None:
    if guarded.holds(text) or guarded.cosine(vector) > gates.max_leak_cosine:
        return "leak"
    return None


def _duplicate(
    text: str, vector: Sequence[float], gates: GatesSection, known: TextIndex
) -> str | None:
    if known.holds(text):
        return "duplicate"
    if known.lexical(text) > gates.max_lexical:
        return "near_duplicate"
    if known.cosine(vector) > gates.max_cosine:
        return "semantic_duplicate"
    return None


def _worn_template(text: str, gates: GatesSection, known: TextIndex, form: TextForm) -> str | None:
    if form.entities and known.template_uses(text) >= gates.max_template_uses:
        return "template_worn"
    return None
