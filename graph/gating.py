"""The nodes that decide on drafts: gate, and whether the round needs more of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from langgraph.runtime import Runtime

from evokd.agents.critic import ACCEPT
from evokd.graph.planning import Aim
from evokd.graph.pooling import with_weakness
from evokd.graph.quotas import lacking_quotas, quotas_of
from evokd.graph.reading import known_rows, screen_drafts
from evokd.graph.session import RunContext, session_of
from evokd.graph.state import RunState, accept_pending, by_id, count_decisions, read_drafts
from evokd.records import POOL, Sample
from evokd.tools.gates import balance, is_outvoted, reject_worn_entities, settle_label


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
        earlier = known_rows(session, state["round"], [], [])
        fresh = reject_worn_entities(settled, earlier, session.config.gates.max_entity_uses)
        wanted, probes = quotas_of(session, state)
        weaknesses = [Aim(**one).weakness for one in state["weaknesses"]]
        # What the teacher was asked about a pool is paid for; what was written makes up for it.
        real = accept_pending(one for one in fresh if one.role == POOL)
        about = {one.id: with_weakness(one, weaknesses) for one in real}
        capped = _balance_parts([about.get(one.id, one) for one in fresh], wanted, probes)
        final = accept_pending(capped)
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(final)})
    return {"drafts": by_id(final)}


def route_after_gate(state: RunState, runtime: Runtime[RunContext]) -> Literal["refill", "train"]:
    """Refill while a label lacks half of its share, the held-out rows half, or all a third."""
    session = session_of(state, runtime)
    if state["refill"] >= session.config.strategy.max_refills or session.writing_ends():
        return "train"
    wanted, probes = quotas_of(session, state)
    lacking, lacking_probes = lacking_quotas(session, state)
    starved = any(2 * short > wanted[name] for name, short in lacking.items())
    blind = 2 * sum(lacking_probes.values()) > sum(probes.values())
    accepted = sum(one.accepted is True for one in read_drafts(state))
    few = 3 * accepted < 2 * (sum(wanted.values()) + sum(probes.values()))
    return "refill" if starved or blind or few else "train"


def _balance_parts(
    samples: list[Sample], wanted: Mapping[str, int], probes: Mapping[str, int]
) -> list[Sample]:
    """Cap training and held-out samples apart; half beyond the share, or two, is welcome."""
    capped: dict[str, Sample] = {}
    for split, caps in (("train", wanted), ("probe", probes)):
        part = [one for one in samples if one.split == split]
        taken = Counter(one.label for one in part if one.accepted)
        left = {name: _cap(count) - taken[name] for name, count in caps.items()}
        capped.update({one.id: one for one in balance(part, left)})
    return [capped.get(one.id, one) for one in samples]


def _cap(count: int) -> int:
    return count + max(2, count // 2)
