"""What a round leaves in memory: failures, weaknesses, and how the known ones fare now."""

from __future__ import annotations

from collections.abc import Sequence

from evokd.graph.failures import failures_of
from evokd.graph.fitting import last_round, predict, student_of
from evokd.graph.planning import Aim
from evokd.graph.session import Session
from evokd.graph.state import RunState
from evokd.memory.weakness import WeaknessMemory, count_statuses, retest
from evokd.records import POOL, Failure, Sample, Weakness
from evokd.tasks import Mistake
from evokd.tasks.ner import NOTHING


def remember_round(session: Session, state: RunState, samples: Sequence[Sample]) -> dict[str, int]:
    """Write failures and weaknesses of the round to memory; return weaknesses by status."""
    memory, run_id, round = session.memory, session.run.run_id, state["round"]
    assert memory is not None
    accepted = [one for one in samples if one.accepted]
    failures = [failure for one in accepted for failure in failures_of(session.kind, one, run_id)]
    remember_samples(memory, run_id, round, accepted, failures)
    earlier = session.accepted(before=round) if session.config.uses_pool else []
    tests = [*earlier, *accepted]
    new = [_with_probes(Aim(**one).weakness, tests) for one in state["weaknesses"]]
    known = [*memory.weaknesses(run_id), *new]
    memory.put_weaknesses(_retest_all(session, state, known))
    return count_statuses(memory.weaknesses(run_id))


def remember_samples(
    memory: WeaknessMemory,
    run: str,
    round: int,
    accepted: Sequence[Sample],
    failures: Sequence[Failure],
) -> None:
    """Write a round's samples and failures, in place of what a first try of it wrote."""
    memory.drop_round(run, round)
    memory.add_failures(failures)
    memory.index_samples([(one.id, one.content, one.label or "", one.round) for one in accepted])


def _with_probes(weakness: Weakness, accepted: Sequence[Sample]) -> Weakness:
    """Return a weakness with its held-out texts: written for it, or of a pool and its label."""
    probes = [
        one.id
        for one in accepted
        if one.split == "probe"
        and (one.weakness == weakness.id or (one.role == POOL and one.label == weakness.labels[0]))
    ]
    return weakness.model_copy(update={"probes": probes})


def _retest_all(
    session: Session, state: RunState, weaknesses: Sequence[Weakness]
) -> list[Weakness]:
    """Ask the new student every weakness's held-out texts."""
    round = state["round"]
    trained = round if state["trained"]["trained"] else last_round(session, round)
    probes = {one.id: one for one in session.accepted() if one.split == "probe"}
    ids = sorted({name for one in weaknesses for name in one.probes if name in probes})
    if not ids:
        return list(weaknesses)
    said = predict(session, student_of(session, trained), [probes[name] for name in ids])
    wrong = {
        name: session.kind.mistakes(probes[name], answer)
        for name, answer in zip(ids, said, strict=True)
    }
    return [
        retest(one, [not shows(one, wrong[name]) for name in one.probes if name in wrong], round)
        for one in weaknesses
    ]


def shows(weakness: Weakness, mistakes: Sequence[Mistake]) -> bool:
    """Whether mistakes are of this weakness: about a whole text, or one of its kind and labels."""
    concerned = set(weakness.labels) - {NOTHING}
    return any(
        not one.part or (one.error == weakness.error and {one.label, one.predicted} & concerned)
        for one in mistakes
    )
