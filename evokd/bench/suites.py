"""Which cells a suite has. The grids of the README stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any, Literal

from evokd.bench.records import Cell, file_name
from evokd.bench.sets import check_set, kind_of_set
from evokd.config import DEFAULT_TEACHER, nearest
from evokd.errors import ConfigError

BUDGET = 6000  # generated teacher tokens a cell
REVISION_BUDGET = 4000  # the same where explanations are revised: about a hundred of them
CALCULATION_BUDGET = 2000  # where calculations alone are written: about two hundred of them
SOLVED = 4  # gold questions with their explanations
QUICK_BUDGET = 2500
FEWEST_TOKENS = 600  # below it no strategy gets through one round

TEACHER_ZERO, TEACHER_ONE, SETFIT = "teacher_zero_shot", "teacher_one_shot", "setfit"
BUDGETED = ("static", "attr", "evokd")  # strategies with a budget
POOL = "llkd"  # it asks about a pool of texts, some rounds of them or all
ELAD = "elad"  # it has explanations of a pool's questions revised
ASKING = (*BUDGETED, POOL, ELAD)
BUDGETS = {**dict.fromkeys(BUDGETED, BUDGET), ELAD: REVISION_BUDGET}
# Sets whose budget for `elad` is another one.
SET_BUDGETS = {"svamp": CALCULATION_BUDGET}
PEERS = (SETFIT, TEACHER_ZERO, TEACHER_ONE)
STRATEGIES = ("fewshot", *ASKING, "fullshot", *PEERS)
WRITING = tuple(one for one in STRATEGIES if one not in (POOL, ELAD))
# What `evokd` has to beat, and itself: three random seeds on every set, where others may have two.
RIVALS = ("fewshot", "static", "evokd", SETFIT)
FEWER_SEEDS = 2  # of what stands beside the main comparison in the suite wide
# What an ablation switches off: name in the table → settings of the strategy.
ABLATIONS: dict[str, dict[str, Any]] = {
    **{
        f"no {name}": {name: False}
        for name in ("analyst", "critic", "memory", "easy", "review", "separation", "topics")
    },
    "no words": {"words": 0},
}
# What of `evokd` is tried on named entities: name in the table → settings of the strategy.
NER_VARIANTS: dict[str, dict[str, Any]] = {"names first": {"names": 8}}
# What `llkd` is compared with: name in the table → settings of the strategy.
WHOLE_POOL = "paper, whole pool"
PLAIN = {"consensus": False, "self_training": False}  # what the labeler says is learnt
POOL_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "random": {"selection": "random", **PLAIN},
    "random, all else": {"selection": "random"},
    "no consensus": {"consensus": False},
    "no self-training": {"self_training": False},
    "uncertainty": {"selection": "uncertainty", **PLAIN},
    "confidence": {"selection": "confidence", **PLAIN},
    "m-raru": {"selection": "m-raru", **PLAIN},
    "k-centre": {"selection": "k-centre", **PLAIN},
    "mixture": {"noise": "mixture"},
    "paper": {"mode": "paper"},
    WHOLE_POOL: {"mode": "paper", "selection": "random", **PLAIN},
    f"{WHOLE_POOL}, consensus": {"mode": "paper", "selection": "random"},
    "paper, no consensus": {"mode": "paper", **PLAIN},
    "paper, confidence": {"mode": "paper", "selection": "confidence", **PLAIN},
    "paper, uncertainty": {"mode": "paper", "selection": "uncertainty", **PLAIN},
    "paper, m-raru": {"mode": "paper", "selection": "m-raru", **PLAIN},
    "paper, mixture": {"mode": "paper", "noise": "mixture"},
    "paper, thresholds alone": {"mode": "paper", "surest_share": 1.0, **PLAIN},
    "paper, surest 5%": {"mode": "paper", "surest_share": 0.05},
}
NO_CALCULATOR = {"calculator": False}
# What `elad` is compared with: other questions, other ways to explain them. `random` and `no
# memory` draw their candidates alike, by chance, and so do the other ways to choose among them.
# `student` holds settings of the student, all else those of the strategy. With a calculator no sum
# of the student's is wrong that the reviser could find.
ELAD_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "no memory": {"memory": False},  # no question is drawn for being like a failure
    "random": {"selection": "random"},
    "least confidence": {"selection": "least-confidence", "memory": False},
    "answer entropy": {"selection": "answer-entropy", "memory": False},
    "clear": {"annotation": "clear"},
    "clear, no calculator": {"annotation": "clear", "student": NO_CALCULATOR},
    "solved": {"annotation": "solved"},
    "whole": {"annotation": "whole"},
    "no calculator": {"student": NO_CALCULATOR},
}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "evokd": {"": {}, **ABLATIONS, **NER_VARIANTS},
    POOL: POOL_VARIANTS,
    ELAD: ELAD_VARIANTS,
}
# The variants with all random seeds; the others have one.
MAIN = {
    ELAD: ("", "no memory", "random", "whole"),
    POOL: ("", "random", "paper", WHOLE_POOL, "paper, surest 5%"),
}
# The others on banking8, whose texts have no topics, and which has too many labels for words.
ABLATED_SETS = {"no topics": "trec", "no words": "sst2"}
CORE_SETS = ("banking8", "trec", "clinc10")
MORE_SETS = ("sst2", "csabstruct")
FIVE_SHOT_SETS = ("banking8", "trec")
QUESTION_SETS = ("svamp", "strategyqa")
LONG_QUESTION_SET = "gsm8k"  # hours a cell on two cores: what the main comparison wants, once
EXPLAINED_SET = "strategyqa"  # all questions of train have explanations in words
ENTITY_SETS = ("wikigold", "conll2004", "wnut17")


@dataclass(frozen=True)
class Choice:
    """What of a suite is wanted; empty means all."""

    sets: Sequence[str] = ()
    strategies: Sequence[str] = ()
    variants: Sequence[str] = ()
    seeds: Sequence[int] = ()
    budget: int | None = None
    split: Literal["test", "dev"] = "test"
    quick: bool = False
    teacher: str = DEFAULT_TEACHER
    student: str = ""


def cells_of(suite: str, choice: Choice) -> list[Cell]:
    """Return the cells of a suite, those of the first random seed first.

    Raises:
        ConfigError: unknown suite, set or strategy, a budget that is too small, or nothing left.
    """
    if suite not in SUITES:
        raise ConfigError(
            f"unknown suite {suite!r}{nearest(suite, SUITES)}; known: {', '.join(SUITES)}"
        )
    _check(choice)
    if choice.quick and suite not in QUICK_GRIDS:
        raise ConfigError(
            f"--quick: the suite {suite} has no quick grid; suites with one: "
            f"{', '.join(QUICK_GRIDS)}"
        )
    cells = (QUICK_GRIDS if choice.quick else GRIDS)[suite]()
    wanted = [_changed(cell, choice) for cell in cells if _is_wanted(cell, choice)]
    if not wanted:
        sets = ", ".join(dict.fromkeys(cell.set for cell in cells))
        others = ", ".join(one for one in SUITES if one != suite)
        raise ConfigError(
            f"the suite {suite} has no cell with these sets, strategies, variants and seeds; its "
            f"sets: {sets}; other suites: {others}"
        )
    if choice.budget and not any(cell.budget for cell in cells):
        raise ConfigError(f"--budget: no cell of the suite {suite} has a budget")
    if choice.student and not any(cell.strategy == ELAD for cell in cells):
        raise ConfigError(
            f"--student: the suite {suite} trains no causal language model; expected a suite with "
            f"the strategy {ELAD}, such as reasoning"
        )
    # Stable: within a random seed the order of the grid stays.
    return sorted(wanted, key=lambda cell: (bool(cell.variant), cell.seed))


def suite_name(suite: str, choice: Choice) -> str:
    """Return the name of the suite's files."""
    parts = [suite]
    if choice.quick:
        parts.append("quick")
    if choice.split == "dev":
        parts.append("dev")
    if choice.budget:
        parts.append(f"{choice.budget}tokens")
    if choice.teacher != DEFAULT_TEACHER:
        parts.append(file_name(choice.teacher))
    if choice.student:
        parts.append(file_name(f"student-{choice.student}"))
    return "-".join(parts)


def _core() -> list[Cell]:
    return _grid(CORE_SETS, 1, WRITING, range(3))


def _wide() -> list[Cell]:
    learned = tuple(one for one in WRITING if one not in (TEACHER_ZERO, TEACHER_ONE, "fullshot"))
    return [
        *_core(),
        *(
            cell
            for cell in _grid(MORE_SETS, 1, WRITING, range(3))
            if cell.strategy in RIVALS or cell.seed < FEWER_SEEDS
        ),
        *_grid(FIVE_SHOT_SETS, 5, learned, range(FEWER_SEEDS)),
        *(
            _cell(ABLATED_SETS.get(variant, "banking8"), 1, "evokd", seed, variant)
            for seed, variant in product(range(FEWER_SEEDS), ABLATIONS)
        ),
    ]


def _ner() -> list[Cell]:
    learned = ("fewshot", "static", "evokd", "fullshot", TEACHER_ONE)
    return [
        *_grid(ENTITY_SETS, 1, learned, range(2)),
        *(
            _cell("wikigold", 1, "evokd", seed, variant)
            for seed, variant in product(range(2), NER_VARIANTS)
        ),
    ]


def _pool() -> list[Cell]:
    sets = (*CORE_SETS, *MORE_SETS)
    ceiling = _grid(sets, 1, ("fullshot",), range(3))
    return [
        *_grid(sets, 1, ("fewshot", TEACHER_ZERO), range(3)),
        *(cell for cell in ceiling if cell.set in CORE_SETS or cell.seed < FEWER_SEEDS),
        *_varied(sets, 1, POOL, range(3)),
    ]


def _reasoning() -> list[Cell]:
    return [
        *_varied(QUESTION_SETS, SOLVED, ELAD, range(2)),
        *_grid(QUESTION_SETS, SOLVED, ("fewshot", TEACHER_ONE), range(2)),
        *_grid((EXPLAINED_SET,), SOLVED, ("fullshot",), range(1)),
        *(
            _cell(LONG_QUESTION_SET, SOLVED, ELAD, 0, variant)
            for variant in ("", "random", "whole")
        ),
        *_grid((LONG_QUESTION_SET,), SOLVED, ("fewshot", TEACHER_ONE), range(1)),
    ]


def _quick() -> list[Cell]:
    cells = _grid(("banking8",), 1, ("fewshot", "static", "attr", "evokd", "fullshot"), range(1))
    return [
        cell.model_copy(update={"budget": QUICK_BUDGET}) if cell.budget else cell for cell in cells
    ]


def _grid(
    sets: Iterable[str], shots: int, strategies: Iterable[str], seeds: Iterable[int]
) -> list[Cell]:
    return [
        _cell(name, shots, strategy, seed)
        for name, strategy, seed in product(sets, strategies, seeds)
        if strategy != TEACHER_ZERO or seed == 0  # it sees no gold example: one answer for all
    ]


def _varied(sets: Iterable[str], shots: int, strategy: str, seeds: Iterable[int]) -> list[Cell]:
    return [
        _cell(name, shots, strategy, seed, variant)
        for name, variant, seed in product(sets, VARIANTS[strategy], seeds)
        if variant in MAIN[strategy] or seed == 0
    ]


def _cell(name: str, shots: int, strategy: str, seed: int, variant: str = "") -> Cell:
    budget = BUDGETS.get(strategy, 0)
    if strategy == ELAD:
        budget = SET_BUDGETS.get(name, budget)
    return Cell(set=name, shots=shots, strategy=strategy, variant=variant, seed=seed, budget=budget)


def _changed(cell: Cell, choice: Choice) -> Cell:
    budget = choice.budget if choice.budget and cell.budget else cell.budget
    teacher = choice.teacher if asks_teacher(cell.strategy) else DEFAULT_TEACHER
    student = choice.student if choice.student and _explains(cell) else ""
    changes = {"budget": budget, "split": choice.split, "teacher": teacher, "student": student}
    return cell.model_copy(update=changes)


def _explains(cell: Cell) -> bool:
    """Whether a cell trains a causal language model."""
    return cell.strategy not in PEERS and kind_of_set(cell.set).name == "reasoning"


def asks_teacher(strategy: str) -> bool:
    """Whether a strategy asks the teacher anything."""
    return strategy in (*ASKING, TEACHER_ZERO, TEACHER_ONE)


def _is_wanted(cell: Cell, choice: Choice) -> bool:
    return (
        (not choice.sets or cell.set in choice.sets)
        and (not choice.strategies or cell.strategy in choice.strategies)
        and (not choice.variants or cell.variant in choice.variants)
        and (not choice.seeds or cell.seed in choice.seeds)
    )


def _check(choice: Choice) -> None:
    for name in choice.sets:
        check_set(name)
    _check_names("strategy", choice.strategies, STRATEGIES)
    known = dict.fromkeys(chain.from_iterable(VARIANTS.values()))
    _check_names("variant", choice.variants, tuple(known))
    if choice.budget is not None and choice.budget < FEWEST_TOKENS:
        raise ConfigError(
            f"a budget of {choice.budget} tokens is too small for one round; "
            f"give at least {FEWEST_TOKENS}"
        )


def _check_names(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            shown = "; ".join(filter(None, known))
            raise ConfigError(f"unknown {what} {name!r}{nearest(name, known)}; known: {shown}")


GRIDS = {"core": _core, "wide": _wide, "ner": _ner, "pool": _pool, "reasoning": _reasoning}
QUICK_GRIDS = {"core": _quick, "wide": _quick}
SUITES = tuple(GRIDS)
