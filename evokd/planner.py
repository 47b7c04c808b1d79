"""What a run will take, before a cent is spent: calls, tokens and cost a role.

The rounds are planned as the loop plans them, with equal shares and without refills; a token
budget cuts the estimate as it cuts the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat

from evokd.agents.answers import CHARS_PER_TOKEN
from evokd.agents.attributes import STYLES, TOPICS
from evokd.agents.critic import SHOWN_GOOD, read_bad_examples
from evokd.agents.generator import Assignment, written_order
from evokd.agents.labeler import shown_gold
from evokd.agents.prompting import Prompt
from evokd.config import Config, role_settings
from evokd.graph.budget import TOKENS_PER_VERDICT
from evokd.graph.calibrating import MEANINGLESS, unseen_gold
from evokd.graph.filling import answers_of
from evokd.graph.naming import listed_parts
from evokd.graph.planning import (
    PlannedCall,
    label_quotas,
    orders_of,
    plan_round,
    probe_quotas,
    with_examples,
    with_names,
    with_topics,
)
from evokd.graph.prompts import load_prompts, task_card
from evokd.graph.serving import is_local
from evokd.graph.strategies import (
    LABELLED_TOGETHER,
    first_round,
    reads_again,
    selects_in_steps,
    strategy_of,
    used_roles,
)
from evokd.graph.topics import topics_of
from evokd.graph.vocabulary import MOST_OF_BUDGET, affordable_words
from evokd.tasks import TaskData, kind_of, load_task_data
from evokd.tasks.pool import PoolRow, read_pool
from evokd.tools.calibration import FEWEST_GOLD

TOKENS_PER_TEXT = 15  # of one that is written
SAMPLED = 1000  # texts of a pool, whose mean length counts
TOKENS_PER_LIST = 8  # its name in the reply
TOKENS_PER_NAME = 6  # of one on a list
TOKENS_PER_WEAKNESS = 70
TOKENS_PER_ATTRIBUTE = 6
TOKENS_PER_LABEL = 5
TOKENS_PER_ENTITIES = 30  # of a text
DOUBTFUL_SHARE = 0.3  # of the texts that are not held out
CONTESTED_SHARE = 0.05  # of the texts of a pool
TOKENS_PER_QUESTION = 150  # with what the student wrote
TOKENS_PER_CORRECTION = 45
TOKENS_PER_CALCULATION = 12
STEPS_WALKED = 3
UNPROVEN_SHARE = 0.5  # of the revisions with numbers: code cannot recompute them
A_NAME = "Ann Other"
LIST_ORDER = 60  # tokens of what asks for a list of names
TURN = 8  # tokens around every message of a conversation


@dataclass(frozen=True)
class RoleEstimate:
    """Calls and tokens of one role."""

    role: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None


@dataclass(frozen=True)
class Estimate:
    """The estimate of a whole run."""

    roles: list[RoleEstimate]
    samples: int

    @property
    def usd(self) -> float | None:
        """The total cost, where every role has a price."""
        prices = [one.usd for one in self.roles if one.usd is not None]
        return sum(prices) if len(prices) == len(self.roles) else None


@dataclass(frozen=True)
class _Calls:
    """So many calls of so many tokens each."""

    number: int
    tokens_in: int
    tokens_out: int

    @property
    def input_tokens(self) -> int:
        """Of all of them."""
        return self.number * self.tokens_in

    @property
    def output_tokens(self) -> int:
        """Of all of them."""
        return self.number * self.tokens_out


NO_CALLS = _Calls(0, 0, 0)


def estimate(config: Config) -> Estimate:
    """Return about what a run takes where nothing has to be refilled.

    Token counts assume four characters a token and an endpoint with log-probabilities; without
    them labeler and critic are asked `samples` times.

    Raises:
        RefusedError: config or data cannot be used.
    """
    data = load_task_data(config)
    prompts = load_prompts(config)
    roles = used_roles(config)
    if not roles:
        return Estimate([], 0)
    if strategy_of(config).revises:
        sizes = _revision_calls(config, data, prompts)
    else:
        sizes = _role_calls(config, data, prompts, _planned_calls(config, data))
    words = _word_calls(config, data, sizes["labeler"]) if "labeler" in roles else NO_CALLS
    share = _affordable_share(config, [sizes[role] for role in roles], words)
    samples = round(_samples(config, data) * share)
    estimates = [
        _role(config, role, sizes[role], share, words.number if role == "labeler" else 0)
        for role in roles
    ]
    return Estimate(estimates, samples)


def _samples(config: Config, data: TaskData) -> int:
    return sum(_batches(config, data))


def _batches(config: Config, data: TaskData) -> list[int]:
    """Return how many samples each round has; where none is written, no more than the pool has."""
    strategy = config.strategy
    if selects_in_steps(config):  # the whole pool is labelled
        return _up_to(sum(1 for _ in _pool_texts(config, data)), repeat(LABELLED_TOGETHER))
    first = [strategy.init_samples] if first_round(config) == 0 else []
    batches = [*first, *[strategy.samples_per_round] * strategy.rounds]
    if not config.uses_pool or strategy_of(config).writes:
        return batches
    texts = islice(_pool_texts(config, data), sum(batches))
    return _up_to(sum(1 for _ in texts), batches)


def _up_to(texts: int, batches: Iterable[int]) -> list[int]:
    """Return the batches that so many texts fill, the last one perhaps in part."""
    filled: list[int] = []
    for size in batches:
        if texts <= 0:
            break
        filled.append(min(size, texts))
        texts -= size
    return filled


def _pool_texts(config: Config, data: TaskData) -> Iterator[str]:
    """Yield the texts of the pool that are short enough to be asked about."""
    rows = read_pool(data.pool, kind_of(config).pool_columns)
    texts = (row.text for row in rows if isinstance(row, PoolRow))
    return (text for text in texts if len(text) <= config.data.pool_max_chars)


def _tokens_per_text(config: Config, data: TaskData) -> int:
    """Return the tokens of a text that the labeler reads: of the pool's first ones the mean."""
    texts = islice(_pool_texts(config, data), SAMPLED) if config.uses_pool else ()
    tokens = [_tokens(text) for text in texts]
    return round(sum(tokens) / len(tokens)) if tokens else TOKENS_PER_TEXT


def _planned_calls(config: Config, data: TaskData) -> list[list[PlannedCall]]:
    """Return the generator calls, a list a round, every label with an equal share."""
    strategy = config.strategy
    teaches = strategy_of(config).teaches
    targets = list(kind_of(config).targets(config.task.labels))
    calls: list[list[PlannedCall]] = []
    held_out: dict[str, int] = {}
    for round in range(first_round(config), strategy.rounds + 1):
        total = strategy.init_samples if round == 0 else strategy.samples_per_round
        probes: dict[str, int] = {}
        if teaches and not data.validation:
            probes = probe_quotas(targets, total, strategy, (), held_out)
        for label, count in probes.items():
            held_out[label] = held_out.get(label, 0) + count
        rest = max(0, total - sum(probes.values()))
        quotas = label_quotas(rest, dict.fromkeys(targets, 1.0), strategy.empty_share)
        calls.append(plan_round(round, 0, strategy, quotas, probes, (), {}, plain=not teaches))
    return calls


def _role_calls(
    config: Config, data: TaskData, prompts: Mapping[str, Prompt], rounds: list[list[PlannedCall]]
) -> dict[str, _Calls]:
    """Return every role's calls. A role asked about a text is asked once."""
    strategy = config.strategy
    card = _tokens(task_card(config, prompts["card"], data.seed))
    planned = [call for calls in rounds for call in calls]
    # What is in a text, if anything, only the labeler knows.
    everything = strategy.check == "all" or not kind_of(config).exclusive
    read = _read(planned, everything)
    labelled = [_read(calls, everything) for calls in rounds]
    if config.uses_pool:  # the generator's calls are then the most there may be
        labelled = _batches(config, data)
        read = round(CONTESTED_SHARE * sum(labelled))
        gold = unseen_gold(config, data)
        if strategy_of(config).labels_only and len(gold) >= FEWEST_GOLD:
            labelled.append(len(gold))
        if reads_again(config):
            labelled.append(MEANINGLESS)
    elif strategy.calibrate:  # the first batch is read in full
        labelled[0] = _texts(rounds[0])
    shown = [*(row.text for row in data.seed[:SHOWN_GOOD])]
    shown += [text for text, _ in read_bad_examples(prompts["critic"])[: len(shown)]]
    examples = sum(_tokens(text) + 2 * TURN for text in shown)
    analyst = _Calls(strategy.rounds, card + 500, TOKENS_PER_WEAKNESS * strategy.max_weaknesses)
    if config.strategy.name == "attr":
        named = TOKENS_PER_ATTRIBUTE * (TOPICS + STYLES)
        analyst = _Calls(len(data.labels), card + 70, named)
    return {
        "analyst": analyst,
        "generator": _generator(config, data, prompts["generator"], card, planned),
        "labeler": _labeler(config, data, card, labelled),
        "critic": _Calls(read, card + 100 + examples, TOKENS_PER_VERDICT),
    }


def _revision_calls(
    config: Config, data: TaskData, prompts: Mapping[str, Prompt]
) -> dict[str, _Calls]:
    """Return the calls of a run that has explanations revised: the walk, then a correction."""
    samples = _samples(config, data)
    told = _tokens(task_card(config, prompts["card"], data.seed)) + TOKENS_PER_QUESTION
    are_numbers = answers_of(config, data) == "number"
    # Beside a solution of the reviser's code compares the results of sums.
    annotation = config.strategy.annotation
    is_asked = {"clear": True, "solved": not are_numbers}
    walked = STEPS_WALKED if is_asked.get(annotation) else 0
    own = TOKENS_PER_CALCULATION if annotation == "calculation" else TOKENS_PER_CORRECTION
    unproven = UNPROVEN_SHARE if are_numbers else 1.0
    written = (walked * TOKENS_PER_VERDICT + own) / (walked + 1)
    return {
        "reviser": _Calls(samples * (walked + 1), told, round(written)),
        "critic": _Calls(round(unproven * samples), told, TOKENS_PER_VERDICT),
    }


def _texts(calls: list[PlannedCall]) -> int:
    return sum(call.texts for call in calls)


def _generator(
    config: Config, data: TaskData, prompt: Prompt, card: int, planned: list[PlannedCall]
) -> _Calls:
    """Return the generator's calls, those for lists of names among them.

    Gold texts stand for what hard texts are modelled on, and one name for all.
    """
    teaches = strategy_of(config).teaches
    listed = listed_parts(config) if teaches else []
    targets = kind_of(config).targets(config.task.labels)
    gold: dict[str, list[str]] = {}
    for row in data.seed:
        gold.setdefault(row.label or "", []).append(row.text)
    calls = planned
    if teaches:
        calls = with_topics(with_examples(calls, gold), topics_of(config), config.random_seed)
        calls = with_names(calls, {label: [A_NAME] for label, _ in listed}, config.random_seed)
    tokens_in = len(listed) * (card + TURN + LIST_ORDER)
    tokens_out = len(listed) * config.strategy.names * TOKENS_PER_NAME
    for call in calls:
        orders = orders_of(call, targets[call.label])
        told = Assignment(call.label, orders, call.length, call.rival, call.vary)
        tokens_in += card + TURN + _tokens(written_order(prompt, targets, told, config.task.texts))
        tokens_out += TOKENS_PER_LIST * len(orders) + TOKENS_PER_TEXT * call.texts
    number = len(calls) + len(listed)
    return _Calls(number, round(tokens_in / max(1, number)), round(tokens_out / max(1, number)))


def _labeler(config: Config, data: TaskData, card: int, batches: list[int]) -> _Calls:
    """Return the labeler's calls: a label a text, or all entities of it, after gold examples.

    Args:
        batches: how many texts it is asked about at a time; no call is about two of them.
    """
    if kind_of(config).exclusive:
        together = config.strategy.texts_per_label
        calls = sum(math.ceil(texts / together) for texts in batches)
        together = min(together, max(batches, default=1))
        one = TOKENS_PER_LABEL + TOKENS_PER_LIST
        if together == 1:
            one = _bare_label(data.labels) if is_local(config, "labeler") else TOKENS_PER_LABEL
        read = _tokens_per_text(config, data) * together
        return _Calls(calls, card + 20 + read, one * together)
    shown = sum(_tokens(row.text) + 2 * TURN + TOKENS_PER_ENTITIES for row in shown_gold(data.seed))
    return _Calls(sum(batches), card + 60 + shown, TOKENS_PER_ENTITIES)


def _bare_label(labels: Sequence[str]) -> int:
    """Return the tokens of a label's words and its end: the embedded server writes no more."""
    return 1 + round(sum(len(re.split(r"[\W_]+", name)) for name in labels) / len(labels))


def _word_calls(config: Config, data: TaskData, texts: _Calls) -> _Calls:
    """Return the labeler's calls about words of the student's vocabulary, made once.

    Args:
        texts: its calls about texts.
    """
    strategy = config.strategy
    loops = strategy_of(config).teaches and strategy.rounds > first_round(config)
    if not (loops and kind_of(config).exclusive and texts.number):
        return NO_CALLS
    together = strategy.texts_per_label
    price = {
        "output_tokens": texts.tokens_out / together,
        "total_tokens": (texts.tokens_in + texts.tokens_out) / together,
    }
    room = {name: MOST_OF_BUDGET * limit for name, limit in config.budget.limits.items()}
    labels = len(data.labels)
    words = labels * affordable_words(strategy.words, labels, room, price)
    return replace(texts, number=math.ceil(words / together))


def _read(calls: list[PlannedCall], everything: bool) -> int:
    """Return how many texts are held out or doubtful."""
    texts, held_out = _texts(calls), _texts([call for call in calls if call.probe])
    if everything:
        return texts
    return held_out + round(DOUBTFUL_SHARE * (texts - held_out))


def _affordable_share(config: Config, sizes: list[_Calls], once: _Calls) -> float:
    """Return which share of the calls the token budget pays for, beside those made once."""
    out = sum(one.output_tokens for one in sizes)
    total = out + sum(one.input_tokens for one in sizes)
    limits = config.budget.limits
    paid = {
        "output_tokens": once.output_tokens,
        "total_tokens": once.input_tokens + once.output_tokens,
    }
    shares = [
        max(0.0, limits[name] - paid[name]) / spent
        for name, spent in (("output_tokens", out), ("total_tokens", total))
        if name in limits and spent
    ]
    return min([1.0, *shares])


def _role(config: Config, role: str, size: _Calls, share: float, once: int) -> RoleEstimate:
    settings = role_settings(config.agents, role)
    calls = round(size.number * share) + once
    tokens_in, tokens_out = calls * size.tokens_in, calls * size.tokens_out
    usd = None
    if settings.usd_per_million_input is not None and settings.usd_per_million_output is not None:
        usd = (
            tokens_in * settings.usd_per_million_input
            + tokens_out * settings.usd_per_million_output
        ) / 1e6
    return RoleEstimate(role, settings.model or "", calls, tokens_in, tokens_out, usd)


def _tokens(text: str) -> int:
    return len(text) // CHARS_PER_TOKEN
