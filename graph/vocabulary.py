"""The nodes that ask about single words: the student's vocabulary, once, after its first batch.

choose_words ⇉ read_words → keep_words

A text of twenty words costs as many tokens and a label for two words costs four. Of the words that
the student knows the labeler reads those it would give each label most surely; the half that the
labeler ranks highest within the label is learnt beside the texts. By rank, because of a lone word
the labeler's label says little: it may call nearly all of them by one. Worth it where there are
enough words for each label to be ranked, so for tasks of two or three labels (docs/methods.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.graph.learning import last_round, route_after_decide, student_of
from evokd.graph.reading import label_group, label_groups, send_in_batches
from evokd.graph.session import WORDS, RunContext, Session, session_of
from evokd.graph.state import ReadTask, RunState, by_id, read_drafts
from evokd.graph.strategies import first_round
from evokd.records import Sample, Word
from evokd.tasks import normalize
from evokd.tools.student import Student

MOST_OF_BUDGET = 0.1  # that may go into words
FEWEST_A_LABEL = 100  # asked about: of fewer the highest ranked are not sure enough
LEARNT_SHARE = 0.5  # of the words read


def route_to_words(
    state: RunState, runtime: Runtime[RunContext]
) -> Literal["choose_words", "analyze", "finish"]:
    """Ask about words before the round after the first batch; else go on as without them."""
    ahead = route_after_decide(state)
    if ahead == "analyze":
        session = session_of(state, runtime)
        due = state["round"] == first_round(session.config) + 1
        if due and words_a_label(session):
            return "choose_words"
    return ahead


def choose_words(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Choose words of the student's vocabulary, as many of each label as the budget has room for.

    None where the vocabulary has too few. A word that is a whole text of validation or test is
    left out.
    """
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase(WORDS, round):
        student = student_of(session, last_round(session, round))
        assert isinstance(student, Student)
        guarded = {normalize(row.text) for row in (*session.data.validation, *session.data.test)}
        words = [one for one in student.words() if normalize(one) not in guarded]
        enough = len(words) >= FEWEST_A_LABEL * len(session.labels)
        chosen = surest_words(student, words, words_a_label(session)) if enough else {}
        drafts = [
            Sample(
                id=f"word-{place:04d}",
                text=word,
                round=round,
                call=WORDS,
                role=WORDS,
                intended_label=label,
            )
            for place, (word, label) in enumerate(chosen.items())
        ]
    return {"drafts": by_id(drafts)}


def send_words(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | Literal["keep_words"]:
    """A few calls a branch, as for texts."""
    session = session_of(state, runtime)
    groups = label_groups(session, read_drafts(state))
    return send_in_batches("read_words", state, groups, session, "labeler") or "keep_words"


def read_words(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have words labelled like texts; those that the budget has no room for stay unread."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase(WORDS, round):
        groups = label_groups(session, [Sample(**row) for row in state["samples"]])
        read = [one for group in groups for one in label_group(session, group, round, WORDS)]
    return {"drafts": by_id(read)}


def keep_words(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write the words that are learnt from now on, and tell how many were read."""
    session = session_of(state, runtime)
    with session.phase(WORDS, state["round"]):
        read = [one for one in read_drafts(state) if one.labeler_probabilities]
        words = highest_ranked(read, session.labels, state["round"])
        session.run.write_words(words)
    if not read:
        return {"drafts": None}
    told = f"{len(words)} of {len(read)} words of the student's vocabulary are learnt"
    session.emit({"kind": "note", "text": told})
    return {"drafts": None}


def words_a_label(session: Session) -> int:
    """Return how many words of each label the labeler is asked about; 0: none at all.

    None where it is not asked about texts either, gives no probabilities by itself, or where the
    words would be too few to be ranked, or too dear.
    """
    strategy = session.config.strategy
    labeler = session.teachers.get("labeler")
    if not (strategy.words and strategy.separation and session.kind.exclusive and labeler):
        return 0
    if not labeler.capabilities.logprobs:
        return 0
    price = session.price_of_labels()
    limits = session.config.budget.limits
    if limits and not price:
        return 0
    return affordable_words(strategy.words, len(session.labels), limits, price)


def affordable_words(
    most: int, labels: int, limits: Mapping[str, float], price: Mapping[str, float]
) -> int:
    """Return how many words of each label a budget has room for; 0 where they are too few.

    Args:
        most: of all labels together.
        labels: how many there are.
        limits: of the budget, by its keys.
        price: of one label by the same keys; what has none there is not looked at.
    """
    words = float(most)
    for name, limit in limits.items():
        if price.get(name):
            words = min(words, MOST_OF_BUDGET * limit / price[name])
    each = int(words) // labels
    return each if each >= FEWEST_A_LABEL else 0


def surest_words(student: Student, words: Sequence[str], each: int) -> dict[str, str]:
    """Return word → label for the words that a student would give each label most surely.

    Args:
        each: words a label. A word is had once, for the label that comes first.
    """
    rows = student.probabilities(words)
    chosen: dict[str, str] = {}
    for place, label in enumerate(student.labels):
        order = sorted(range(len(words)), key=lambda index: -rows[index][place])
        free = [words[index] for index in order if words[index] not in chosen]
        chosen |= dict.fromkeys(free[:each], label)
    return chosen


def highest_ranked(read: Sequence[Sample], labels: Sequence[str], round: int) -> list[Word]:
    """Return the words that are learnt: of each label those the labeler gives it most surely.

    A word that ranks high for two labels says nothing of either, and is left out.

    Args:
        read: words with the labeler's probabilities.
        round: from which they are learnt.
    """
    each = int(LEARNT_SHARE * len(read) / len(labels))
    found: dict[str, list[Word]] = {}
    for label in labels:
        shares = [((one.labeler_probabilities or {}).get(label, 0.0), one) for one in read]
        for share, one in sorted(shares, key=lambda pair: -pair[0])[:each]:
            word = Word(
                text=one.text,
                label=label,
                probability=min(1.0, share),
                student=one.intended_label,
                round=round,
            )
            found.setdefault(one.text, []).append(word)
    return [words[0] for words in found.values() if len(words) == 1]
