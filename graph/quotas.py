"""How many texts of each label a round wants, and how many of them it still lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from evokd.graph.planning import (
    PROBES_PER_TARGET,
    Aim,
    label_quotas,
    label_weights,
    probe_quotas,
)
from evokd.graph.session import Session
from evokd.graph.state import RunState, read_drafts

TEXTS_PER_WEAKNESS = 2  # of a pool's in a round; with fewer, some are written


def round_size(session: Session, round: int) -> int:
    """Return how many accepted samples a round aims for, where the budget allows it."""
    strategy = session.config.strategy
    return strategy.init_samples if round == 0 else strategy.samples_per_round


def round_quotas(
    session: Session, state: RunState, aims: list[Aim], total: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many of `total` accepted samples are wanted per label, (training, held out)."""
    held_out = Counter(
        one.label or "" for one in session.accepted(before=state["round"]) if one.split == "probe"
    )
    probes = _probe_quotas(session, total, aims, held_out)
    weights = label_weights(list(session.targets), state.get("scores", {}), aims)
    rest = max(0, total - sum(probes.values()))
    return label_quotas(rest, weights, session.config.strategy.empty_share), probes


def _probe_quotas(
    session: Session, total: int, aims: list[Aim], held_out: Mapping[str, int]
) -> dict[str, int]:
    if session.data.validation:  # validation rows judge the rounds; weaknesses need their own
        firsts = Counter(aim.weakness.labels[0] for aim in aims)
        return {name: PROBES_PER_TARGET * count for name, count in firsts.items()}
    return probe_quotas(list(session.targets), total, session.config.strategy, aims, held_out)


def quotas_of(session: Session, state: RunState) -> tuple[dict[str, int], dict[str, int]]:
    """Return the quotas of the round that is under way, as `round_quotas` does."""
    aims = [Aim(**one) for one in state["weaknesses"]]
    return round_quotas(session, state, aims, state["wanted"])


def still_wanted(
    wanted: Mapping[str, int], probes: Mapping[str, int], in_pool: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return what of a round's quotas is to be written at once: (training, held out).

    Args:
        in_pool: label → how many texts of a pool there are that the student gives it; of the
            held-out ones as many as are wanted come first.
    """
    left = {name: in_pool.get(name, 0) for name in {*wanted, *probes}}
    unheld = {name: count - left[name] for name, count in probes.items() if count > left[name]}
    left = {name: max(0, have - probes.get(name, 0)) for name, have in left.items()}
    missing = {name: count - left[name] for name, count in wanted.items() if count > left[name]}
    return missing, unheld


def lacking_quotas(session: Session, state: RunState) -> tuple[dict[str, int], dict[str, int]]:
    """Return what the round still lacks of its quotas: (training, held out)."""
    wanted, probes = quotas_of(session, state)
    accepted = [one for one in read_drafts(state) if one.accepted]
    have = Counter(one.label for one in accepted if one.split == "train")
    have_probes = Counter(one.label for one in accepted if one.split == "probe")
    return (
        {name: count - have[name] for name, count in wanted.items() if count > have[name]},
        {
            name: count - have_probes[name]
            for name, count in probes.items()
            if count > have_probes[name]
        },
    )


def most_of(count: int) -> int:
    """Return how many texts of a label may stay where `count` are wanted: half more, or two."""
    return count + max(2, count // 2)


def bare_aims(session: Session, state: RunState) -> list[Aim]:
    """Return the weaknesses that too few of a pool's texts show, and whose label has room for more.

    None without a pool: texts are written for every weakness then.
    """
    if session.pool is None:
        return []
    accepted = [one for one in read_drafts(state) if one.accepted]
    shown = Counter(one.weakness for one in accepted)
    have = Counter(one.label for one in accepted if one.split == "train")
    wanted, _ = quotas_of(session, state)
    return [
        aim
        for aim in (Aim(**one) for one in state["weaknesses"])
        for label in aim.weakness.labels[:1]
        if shown[aim.weakness.id] < TEXTS_PER_WEAKNESS and have[label] < most_of(wanted[label])
    ]
