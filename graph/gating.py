"""The nodes that decide on drafts: gate, and whether the round needs more of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from langgraph.runtime import Runtime

from evokd.agents.critic import ACCEPT
from evokd.graph.planning import Aim
from evokd.graph.pooling import with_weakness
from evokd.graph.quotas import bare_aims, lacking_quotas, most_of, quotas_of
from evokd.graph.reading import known_rows, screen_drafts
from evokd.graph.session import RunContext, session_of
from evokd.graph.state import RunState, accept_pending, by_id, count_decisions, read_drafts
from evokd.records import POOL, Sample
from evokd.tools.gates import EntityUses, balance, is_outvoted, settle_label


def gate(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Take the final decision on every draft: label, balance, then accept."""
    session = session_of(state, runtime)
    strategy = session.config.strategy
    with session.phase("gate", state["round"]):
        drafts = read_drafts(state)
        repaired = [one for one in drafts if one.accepted is None and one.repaired_from]
        known = known_rows(session, state["round"], repaired, drafts)
        screened = {one.id: one for one in screen_drafts(session, repaired, known)}
        settled = [
            settle_label(
                one,
                strategy.labeler_min_confidence,
                strategy.separation,
                one.critic_verdict == ACCEPT or is_outvoted(one),
            )
            if one.checked and one.accepted is None and one.role != POOL
            else one
            for one in (screened.get(one.id, one) for one in drafts)
        ]
        wanted, probes = quotas_of(session, state)
        weaknesses = [Aim(**one).weakness for one in state["weaknesses"]]
        # What the teacher was asked about a pool is paid for; what was written makes up for it.
        real = accept_pending(one for one in settled if one.role == POOL)
        about = {one.id: with_weakness(one, weaknesses) for one in real}
        fresh = [about.get(one.id, one) for one in settled]
        uses = EntityUses(
            [
                *known_rows(session, state["round"], [], []),
                *(one for one in fresh if one.accepted),
            ],
            session.config.gates.max_entity_uses,
        )
        final = accept_pending(balance(fresh, _caps(fresh, wanted, probes), uses))
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(final)})
    return {"drafts": by_id(final)}


def route_after_gate(state: RunState, runtime: Runtime[RunContext]) -> Literal["refill", "train"]:
    """Refill while a label lacks half of its share, the held-out rows half, or all a third.

    So, too, while a pool has no texts for a weakness.
    """
    session = session_of(state, runtime)
    if state["refill"] >= session.config.strategy.max_refills or session.budget.writing_ends():
        return "train"
    wanted, probes = quotas_of(session, state)
    lacking, lacking_probes = lacking_quotas(session, state)
    starved = any(2 * short > wanted[name] for name, short in lacking.items())
    blind = 2 * sum(lacking_probes.values()) > sum(probes.values())
    accepted = sum(one.accepted is True for one in read_drafts(state))
    few = 3 * accepted < 2 * (sum(wanted.values()) + sum(probes.values()))
    return "refill" if starved or blind or few or bare_aims(session, state) else "train"


def _caps(
    samples: Iterable[Sample], wanted: Mapping[str, int], probes: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """Return how many more samples of a split and label may stay."""
    taken: Counter[tuple[str, str | None]] = Counter(
        (one.split, one.label) for one in samples if one.accepted
    )
    return {
        (split, label): most_of(count) - taken[split, label]
        for split, shares in (("train", wanted), ("probe", probes))
        for label, count in shares.items()
    }
