"""The nodes that ask about single words: the student's vocabulary, once, after its first batch.

choose_words ⇉ label_words → keep_words

A text of twenty words costs as many tokens; labels for two words cost four. Of the words that the
student knows the labeler reads those it would give each label most surely; the half that the
labeler ranks highest within the label is learnt beside the texts. By rank, because of a lone word
the labeler's label says little: it may call nearly all of them by one. Only where there are enough
words of each label to be ranked, so for tasks of two or three labels (docs/methods.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.graph.budget import WORDS
from evokd.graph.fitting import last_round, student_of
from evokd.graph.reading import label_branch, label_groups, send_in_batches
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import ReadTask, RunState, by_id, read_drafts
from evokd.graph.strategies import first_round
from evokd.records import Sample, Word
from evokd.tools.student import Student

MOST_OF_BUDGET = 0.1  # that may go into words
MOST_OF_REST = 0.25  # of the budget: the round that learns the words wants texts, too
FEWEST_A_LABEL = 100  # asked about: of fewer the highest ranked are not sure enough
LEARNT_SHARE = 0.5  # of the words read


def choose_words(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Choose words of the student's vocabulary, in the round after the first batch only.

    As many of each label as the budget has room for; none where the vocabulary has too few. A word
    that is a whole text of validation or test is left out.
    """
    session = session_of(state, runtime)
    round = state["round"]
    each = words_a_label(session) if round == first_round(session.config) + 1 else 0
    if not each:
        return {"drafts": None}
    with session.phase(WORDS, round):
        student = student_of(session, last_round(session, round))
        assert isinstance(student, Student)
        words = [one for one in student.words() if not session.guarded.holds(one)]
        enough = len(words) >= FEWEST_A_LABEL * len(session.labels)
        chosen = surest_words(student, words, each) if enough else {}
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


def send_words(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | Literal["analyze"]:
    """A few calls a branch, as for texts; in most rounds nothing is asked."""
    session = session_of(state, runtime)
    drafts = read_drafts(state)
    if not drafts:
        return "analyze"
    groups = label_groups(session, drafts)
    return send_in_batches("label_words", state, groups, session, "labeler")


def label_words(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have words labelled like texts; those that the budget has no room for stay unread."""
    return label_branch(state, runtime, WORDS)


def keep_words(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write the words that were read, and which of them are learnt from now on."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase(WORDS, round):
        drafts = read_drafts(state)
        read = [one for one in drafts if one.labeler_probabilities]
        # The budget may have ended among them: the best of a few are not good enough.
        enough = 2 * len(read) >= len(drafts)
        learnt = highest_ranked(read, session.labels) if enough else {}
        session.run.write_words(
            Word(
                text=one.text,
                label=learnt.get(one.text),
                student=one.intended_label,
                probabilities=one.labeler_probabilities or {},
                round=round,
            )
            for one in read
        )
    told = f"{len(learnt)} of {len(read)} words of the student's vocabulary are learnt"
    session.emit({"kind": "note", "text": told})
    return {"drafts": None}


def words_a_label(session: Session) -> int:
    """Return how many words of each label the labeler is asked about; 0: none at all.

    None where it is not asked about texts either, gives no probabilities by itself, or where the
    words would be too few to be ranked, or too dear.
    """
    config = session.config
    labeler = session.teachers.get("labeler")
    if not (config.strategy.words and config.strategy.separation and session.kind.exclusive):
        return 0
    limits = config.budget.limits
    price, spent = session.budget.price_of_a_label(), session.budget.spent()
    if labeler is None or not labeler.capabilities.logprobs or (limits and not price):
        return 0
    room = {
        name: min(MOST_OF_BUDGET * limit, MOST_OF_REST * (limit - spent[name]))
        for name, limit in limits.items()
    }
    return affordable_words(config.strategy.words, len(session.labels), room, price)


def affordable_words(
    most: int, labels: int, room: Mapping[str, float], price: Mapping[str, float]
) -> int:
    """Return how many words of each label there is room for; 0 where they are too few.

    Args:
        most: of all labels together.
        labels: how many there are.
        room: what they may cost together, by the budget's keys.
        price: of one label by the same keys; what has none there is not looked at.
    """
    words = float(most)
    for name, limit in room.items():
        if price.get(name):
            words = min(words, limit / price[name])
    each = max(0, int(words)) // labels
    return each if each >= FEWEST_A_LABEL else 0


def surest_words(student: Student, words: Sequence[str], each: int) -> dict[str, str]:
    """Return word → label for the words that a student would give each label most surely.

    The surest of all labels come first, so that what is cut off is as much of every label.

    Args:
        each: words a label. A word is had once, for the label that comes first.
    """
    rows = student.probabilities(words)
    taken: set[str] = set()
    by_label: list[list[tuple[str, str]]] = []
    for place, label in enumerate(student.labels):
        order = sorted(range(len(words)), key=lambda index: -rows[index][place])
        surest = [words[index] for index in order if words[index] not in taken][:each]
        taken.update(surest)
        by_label.append([(word, label) for word in surest])
    return dict(pair for turn in zip_longest(*by_label) for pair in turn if pair)


def highest_ranked(read: Sequence[Sample], labels: Sequence[str]) -> dict[str, str]:
    """Return word → label for what is learnt: of each label what the labeler gives it most surely.

    A word that ranks high for two labels says nothing of either, and is left out.

    Args:
        read: words with the labeler's probabilities; a label it did not tell has none.
    """
    each = int(LEARNT_SHARE * len(read) / len(labels))
    found: dict[str, list[str]] = {}
    for label in labels:
        shares = [((one.labeler_probabilities or {}).get(label, 0.0), one.text) for one in read]
        for share, word in sorted(shares, key=lambda pair: -pair[0])[:each]:
            if share > 0:
                found.setdefault(word, []).append(label)
    return {word: ranks[0] for word, ranks in found.items() if len(ranks) == 1}
