"""From cell results to rows: means, bootstrap intervals, paired differences, learning curves.

Everything is pure and deterministic: the bootstrap draws with a fixed random seed. Intervals are
95% percentile intervals (Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13)
of 2,000 resamples. Scores are shares in [0, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evokd.bench.records import (
    Cell,
    CellResult,
    CurvePoint,
    Difference,
    EqualTotalRow,
    Row,
    TokensSaved,
)
from evokd.bench.sets import teacher_places
from evokd.bench.suites import (
    BUDGETED,
    ELAD,
    ELAD_VARIANTS,
    POOL,
    TEACHER_ONE,
    TEACHER_ZERO,
    WHOLE_POOL,
)

RESAMPLES = 2000
RANDOM_SEED = 0
PERCENTILES = (2.5, 97.5)
CURVE_POINTS = 60
# What is compared at equal total tokens, as (strategy, variant).
SPENDING = (*((one, "") for one in BUDGETED), *((ELAD, one) for one in ELAD_VARIANTS))
TEACHERS = (TEACHER_ZERO, TEACHER_ONE)
GOLD = ("fewshot", "fullshot")  # they ask no teacher
ROUNDING = 1e-9  # means of equal scores may differ by as much

Key = tuple[str, int, str, str]  # set, shots, strategy, variant

# ------------------------------------------------------------------------------------- intervals


def row_interval(marks: Sequence[str]) -> tuple[float, float]:
    """Return the interval of the mean score over seeds and rows; rows are resampled.

    Args:
        marks: one string a random seed, see `CellResult.marks`, all over the same rows. A resample
            has the same rows for all seeds.

    Raises:
        ValueError: no string, no rows, or strings over different numbers of rows.
    """
    return _interval([_tallies(marks)], resample_seeds=False)


def paired_difference(first: Mapping[int, str], second: Mapping[int, str]) -> Difference | None:
    """Return the mean score of `first` minus that of `second`, with its interval.

    A hierarchical bootstrap over both sources of chance: a resample draws random seeds and, the
    same for all of them, rows (Efron & Tibshirani, 1993, chapter 8: resample the units that were
    sampled). It is paired: a drawn row and seed count for both strategies.

    Args:
        first: random seed → marks, see `CellResult.marks`.
        second: the same for the other strategy, over the same rows in the same order.

    Returns:
        None if they share no seed, or if their numbers of rows differ.
    """
    seeds = sorted(first.keys() & second.keys())
    strings = [first[seed] for seed in seeds] + [second[seed] for seed in seeds]
    if not _share_rows(strings):
        return None
    tallies = _tallies(strings)
    parts = [tallies[: len(seeds)], tallies[len(seeds) :]]
    means = [float(_scores_of(part.sum(axis=1)).mean()) for part in parts]
    low, high = _interval(parts, resample_seeds=True)
    return Difference(mean=means[0] - means[1], low=low, high=high)


def score_of(marks: str) -> float:
    """Return the score behind a cell's marks, in [0, 1]: accuracy, or F1 over all entities."""
    return float(_scores_of(np.array(_read_marks(marks)).sum(axis=0)))


def _read_marks(marks: str) -> list[tuple[int, int]]:
    """Return (twice what is right, found + gold) a row; the ratio of their sums is the score."""
    if "/" not in marks:
        return [(2 * int(mark), 2) for mark in marks]
    rows = (map(int, mark.split("/")) for mark in marks.split())
    return [(2 * right, found + gold) for right, found, gold in rows]


def _share_rows(marks: Sequence[str]) -> bool:
    return bool(marks) and all(marks) and len({len(_read_marks(one)) for one in marks}) == 1


def _tallies(marks: Sequence[str]) -> NDArray[np.int64]:
    """Return what `_read_marks` says, seeds × rows × 2."""
    if not _share_rows(marks):
        rows = [len(_read_marks(one)) for one in marks]
        raise ValueError(f"expected marks over the same rows, found numbers of rows {rows}")
    return np.array([_read_marks(one) for one in marks], dtype=np.int64)


def _scores_of(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the ratio of the two sums in the last axis; 0 where there is nothing."""
    scores: NDArray[np.float64] = sums[..., 0] / np.maximum(sums[..., 1], 1)
    return scores


def _interval(parts: Sequence[NDArray[np.int64]], *, resample_seeds: bool) -> tuple[float, float]:
    """Return the interval of the first part's mean score over seeds, less the second's if given."""
    seeds, rows, _ = parts[0].shape
    rng = np.random.default_rng(RANDOM_SEED)
    # Rows of equal values are alike: drawing how often each pattern comes is drawing rows.
    values = np.stack(parts).transpose(0, 1, 3, 2).reshape(-1, rows)
    patterns, counts = np.unique(values, axis=1, return_counts=True)
    drawn = rng.multinomial(rows, counts / rows, size=RESAMPLES)
    sums = (drawn @ patterns.T).reshape(RESAMPLES, len(parts), seeds, 2)
    scores = _scores_of(sums)  # resamples × parts × seeds
    differences = scores[:, 0] - (scores[:, 1] if len(parts) > 1 else 0.0)
    if resample_seeds:
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
        means = (differences * weights).sum(axis=1) / seeds
    else:
        means = differences.mean(axis=1)
    low, high = np.percentile(means, PERCENTILES)
    return float(low), float(high)


# ---------------------------------------------------------------------------------------- curves


def mean_curve(curves: Sequence[Sequence[CurvePoint]]) -> list[tuple[float, float]]:
    """Return (output tokens, mean score) over the seeds, at most 60 points.

    A seed's score at a number of tokens is that of the last point it had reached. The mean is
    taken at the token counts of all seeds, within the range that every seed has reached; a seed
    without a curve is left out.
    """
    known = [curve for curve in curves if curve]
    if not known:
        return []
    start = max(curve[0].output_tokens for curve in known)
    end = min(curve[-1].output_tokens for curve in known)
    counts = {point.output_tokens for curve in known for point in curve}
    places = _thinned(sorted(count for count in counts if start <= count <= end))
    return [(float(count), _mean(_score_at(curve, count) for curve in known)) for count in places]


def score_at_total(curve: Sequence[CurvePoint], total_tokens: int) -> tuple[float, int] | None:
    """Return score and input + output tokens of the last taught student within a limit.

    None if its first batch alone costs more: the student on the seeds alone says nothing of a
    strategy.
    """
    within = [point for point in _taught(curve) if _total(point) <= total_tokens]
    return (within[-1].score, _total(within[-1])) if within else None


def equal_total_rows(results: Sequence[CellResult]) -> list[EqualTotalRow]:
    """Compare the strategies that ask a teacher where they had spent as many tokens in total.

    The limit of a set is what the cheapest strategy's dearest seed had spent at the end, input +
    output tokens, so that this strategy counts with all it learned. A strategy some seed of which
    has no taught student within the limit has no score. A variant of `elad` is a strategy, others
    are left out, and so is a set with one strategy.
    """
    groups: dict[tuple[str, int], dict[tuple[str, str], list[CellResult]]] = {}
    for one in results:
        cell = one.cell
        name = (cell.strategy, cell.variant)
        if _taught(one.curve) and _is_scored(one) and name in SPENDING:
            strategies = groups.setdefault((cell.set, cell.shots), {})
            strategies.setdefault(name, []).append(one)
    rows = []
    for strategies in groups.values():
        if len(strategies) < 2:
            continue
        spent = [[_total(one.curve[-1]) for one in s] for s in strategies.values()]
        limit = max(min(spent, key=_mean))
        rows += [_equal_total(strategies[s], limit) for s in SPENDING if s in strategies]
    return rows


def _equal_total(results: Sequence[CellResult], limit: int) -> EqualTotalRow:
    cell = results[0].cell
    reached = [found for one in results if (found := score_at_total(one.curve, limit))]
    complete = len(reached) == len(results)
    return EqualTotalRow(
        set=cell.set,
        shots=cell.shots,
        strategy=cell.strategy,
        variant=cell.variant,
        total_tokens=limit,
        mean=_mean(score for score, _ in reached) if complete else None,
        spent=_mean(spent for _, spent in reached) if complete else None,
        first_batch=max(_total(_taught(one.curve)[0]) for one in results),
        seeds=sorted(one.cell.seed for one in results),
    )


def tokens_saved(
    chosen: Sequence[CellResult], by_chance: Sequence[CellResult]
) -> TokensSaved | None:
    """Return where the mean curve of a way to choose reaches what choosing by chance ends with.

    Over the random seeds of both. Reached is what no later point falls below: a curve that has
    noise in it touches any goal early. For the same reason choosing by chance is read likewise.
    The last point of every curve is left out: its student has learnt the held-out texts, too,
    those of the points before it have not.

    Returns:
        None if they share no seed, or if there is no curve by chance that cost anything.
    """
    curves = [{one.cell.seed: one.curve[:-1] for one in part} for part in (chosen, by_chance)]
    seeds = sorted(curves[0].keys() & curves[1].keys())
    ours, theirs = (mean_curve([part[seed] for seed in seeds]) for part in curves)
    if not ours or not theirs or not theirs[-1][0]:
        return None
    tokens, goal = theirs[-1]
    return TokensSaved(
        goal=goal,
        tokens=tokens,
        share=_share_spent(ours, goal, tokens),
        share_by_chance=_share_spent(theirs, goal, tokens),
        seeds=seeds,
    )


def _share_spent(curve: Sequence[tuple[float, float]], goal: float, tokens: float) -> float | None:
    """Return at which share of `tokens` a curve comes to a score for good; None: its end is below.

    Args:
        curve: (output tokens, score), in order.
    """
    reached = None
    for at, score in curve:
        if score < goal - ROUNDING:
            reached = None
        elif reached is None:
            reached = at / tokens
    return reached


def _taught(curve: Sequence[CurvePoint]) -> Sequence[CurvePoint]:
    """Return the points of a curve without the students on the seeds alone."""
    return [point for point in curve if point.round >= 0 and _total(point)]


def _total(point: CurvePoint) -> int:
    return point.input_tokens + point.output_tokens


def _score_at(curve: Sequence[CurvePoint], output_tokens: int) -> float:
    return [point.score for point in curve if point.output_tokens <= output_tokens][-1]


def _thinned(places: Sequence[int]) -> Sequence[int]:
    """Return at most 60 of the places, evenly spread, with the first and the last."""
    if len(places) <= CURVE_POINTS:
        return places
    spread = np.linspace(0, len(places) - 1, CURVE_POINTS).round().astype(int)
    return [places[index] for index in spread]


# ------------------------------------------------------------------------------------------ rows


def build_rows(results: Sequence[CellResult], wanted: Sequence[Cell]) -> list[Row]:
    """Return a row for every group of wanted cells that has a result, in the order of `wanted`.

    A group shares set, shots, strategy and variant. A row is over the seeds that have a score. If
    its cells come from different commits, all of these are named, the oldest first.
    """
    found = {one.cell.id: one for one in results}
    groups: dict[Key, list[Cell]] = {}
    for cell in wanted:
        groups.setdefault((cell.set, cell.shots, cell.strategy, cell.variant), []).append(cell)
    done = {
        key: [found[cell.id] for cell in cells if cell.id in found] for key, cells in groups.items()
    }
    return [_row(key, groups[key], done) for key in groups if done[key]]


def _row(key: Key, wanted: Sequence[Cell], done: Mapping[Key, Sequence[CellResult]]) -> Row:
    name, shots, strategy, variant = key
    results = sorted(done[key], key=lambda one: one.cell.seed)
    scored = _scored(results)
    seeds = [one.cell.seed for one in scored]
    return Row(
        set=name,
        kind=(scored or results)[0].kind,
        metric=(scored or results)[0].metric,
        shots=shots,
        strategy=strategy,
        variant=variant,
        complete=set(seeds) >= {cell.seed for cell in wanted},
        diff_static=_difference(key, (name, shots, "static", ""), done),
        diff_evokd=_difference((name, shots, "evokd", ""), key, done),
        diff_chance=_difference(key, (name, shots, *_compared_with(strategy, variant)), done),
        diff_untrained=paired_difference(
            _marks_by_seed(results), {one.cell.seed: one.before for one in scored if one.before}
        ),
        diff_fewshot=_difference(key, (name, shots, "fewshot", ""), done)
        if strategy == ELAD
        else None,
        diff_teacher=_difference(key, (name, shots, TEACHER_ZERO, ""), done)
        if strategy == POOL
        else None,
        tokens_saved=tokens_saved(scored, _scored(done.get((name, shots, POOL, "random"))))
        if (strategy, variant) == (POOL, "")
        else None,
        seeds=seeds,
        errors=[f"seed {one.cell.seed}: {one.error}" for one in results if one.error],
        **_scores(scored),
        **_costs(scored),
        **_origin(scored or results),
    )


def _compared_with(strategy: str, variant: str) -> tuple[str, str]:
    """Return strategy and variant that one is compared with: its mode without any choice.

    A way of `elad` to annotate, or another student, is compared with `elad` itself, which chooses
    as it does, and so is what stands beside it. Itself: it is compared with nothing.
    """
    if strategy in GOLD or ELAD_VARIANTS.get(variant, {}).keys() & {"annotation", "student"}:
        return ELAD, ""
    if strategy not in (POOL, ELAD):
        return strategy, variant
    return strategy, WHOLE_POOL if variant.startswith("paper") else "random"


def _scored(results: Sequence[CellResult] | None) -> list[CellResult]:
    return [one for one in results or () if _is_scored(one)]


def _is_scored(result: CellResult) -> bool:
    return result.error is None and result.score is not None


def _difference(
    first: Key, second: Key, done: Mapping[Key, Sequence[CellResult]]
) -> Difference | None:
    """Return the difference of two rows; None for a row and itself.

    A student and the teacher are compared on the rows that the teacher was asked.
    """
    if first == second:
        return None
    sides = [_marks_by_seed(done.get(key)) for key in (first, second)]
    asked = [key[2] in TEACHERS for key in (first, second)]
    if any(asked) and not all(asked):
        student, teacher = (sides[asked.index(one)] for one in (False, True))
        name, _, prompt, _ = (first, second)[asked.index(True)]
        if prompt == TEACHER_ZERO:  # it sees no gold example: one answer for all random seeds
            teacher = {seed: marks for seed in student for marks in teacher.values()}
        student = {seed: _asked_marks(name, marks) for seed, marks in student.items()}
        sides = [teacher if one else student for one in asked]
    return paired_difference(*sides)


def _asked_marks(name: str, marks: str) -> str:
    """Return the marks of the rows that the teacher was asked, in its order."""
    by_row, between = (marks.split(), " ") if "/" in marks else (list(marks), "")
    return between.join(by_row[place] for place in teacher_places(name, len(by_row)))


def _marks_by_seed(results: Sequence[CellResult] | None) -> dict[int, str]:
    return {one.cell.seed: one.marks for one in _scored(results) if one.marks}


def _scores(scored: Sequence[CellResult]) -> dict[str, Any]:
    """Return the fields on the scores; no interval where the seeds do not share their rows."""
    scores = [one.score for one in scored if one.score is not None]
    marks = [one.marks for one in scored]
    low, high = row_interval(marks) if _share_rows(marks) else (None, None)
    return {
        "mean": _mean(scores) if scores else None,
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "ci_low": low,
        "ci_high": high,
    }


def _costs(scored: Sequence[CellResult]) -> dict[str, Any]:
    """Return the fields on tokens, samples and time: means over the seeds."""
    values: dict[str, list[float]] = {
        "input_tokens": [one.input_tokens for one in scored],
        "output_tokens": [one.output_tokens for one in scored],
        "accepted": [one.accepted for one in scored],
        "kept_rows": [one.kept_rows for one in scored if one.kept_rows is not None],
        "seconds": [sum(one.seconds.values()) for one in scored],
    }
    means = {name: _mean(known) if known else None for name, known in values.items()}
    revisions: Counter[str] = Counter()
    for one in scored:
        revisions.update(one.revisions)
    return {
        **means,
        "overhead": _overhead(scored),
        "tokens_by_role": _tokens_by_role(scored),
        "revisions": dict(revisions),
    }


def _overhead(scored: Sequence[CellResult]) -> float | None:
    """Return the share of time that is neither teacher nor training; None: no teacher was asked.

    A cell whose replies all came from the cache tells nothing of it.
    """
    timed = [one.seconds for one in scored if one.seconds.get("teacher")]
    whole = sum(sum(one.values()) for one in timed)
    return sum(one.get("other", 0.0) for one in timed) / whole if whole else None


def _tokens_by_role(scored: Sequence[CellResult]) -> dict[str, dict[str, float]]:
    """Return role → calls, input and output tokens; a seed without the role counts as 0."""
    costs = {
        role: [one.roles[role].model_dump() if role in one.roles else {} for one in scored]
        for role in sorted({role for one in scored for role in one.roles})
    }
    return {
        role: {
            name: _mean(cost.get(name, 0) for cost in seeds)
            for name in ("calls", "input_tokens", "output_tokens")
        }
        for role, seeds in costs.items()
    }


def _origin(results: Sequence[CellResult]) -> dict[str, Any]:
    """Return the fields on where the numbers come from, the oldest cell first."""
    by_date = sorted(results, key=lambda one: one.date)
    commits = dict.fromkeys(one.commit for one in by_date if one.commit)
    return {
        "commit": ", ".join(commits),
        "since": by_date[0].date,
        "date": by_date[-1].date,
        "command": "; ".join(dict.fromkeys(one.command for one in by_date if one.command)),
        "packs": {name: digest for one in by_date for name, digest in one.packs.items()},
        "machines": list(dict.fromkeys(one.machine for one in by_date if one.machine)),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
