"""What texts a run may ask about: which of a pool's are taken in, which gold questions fit."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evokd.agents.card import solved_first
from evokd.agents.critic import shown_pairs
from evokd.agents.labeler import shown_gold
from evokd.agents.prompting import Prompt
from evokd.config import Config
from evokd.errors import DataError
from evokd.graph.serving import is_local
from evokd.graph.strategies import used_roles
from evokd.records import Emit, Example
from evokd.store.pool import Pool
from evokd.tasks import TaskData, content_key, kind_of, word_set
from evokd.tasks.choices import are_needed, choices_key
from evokd.tasks.explanations import AnswerForm, split_steps
from evokd.tasks.grounding import NO_CAPITALS, Capitals
from evokd.tasks.ner import capitals_of, reply_of
from evokd.tasks.pool import PoolRow, read_pool
from evokd.tasks.reasoning import (
    Question,
    asked_question,
    question_of,
    read_answer,
    usual_form,
)
from evokd.tools.reasoner_training import explanation_tokens, question_check
from evokd.tools.student import cut_share, word_pieces
from evokd.tools.tagger import is_blind_to_case

SAMPLED = 300  # texts of a pool that are looked at for a warning
FOREIGN_CHARS = 500  # of each
FOREIGN = 1.6  # times the seeds' word pieces a word
UNKNOWN = 0.2  # of the word pieces, more than of the seeds'
CUT = 0.1  # of the texts
CALL_TOKENS = 600  # what a call asks for after card and examples, and its reply
LABEL_TOKENS = 100  # the order of a call about one text, and its reply
CHARS_PER_TOKEN = 3  # low on purpose: a prompt must never outgrow its slot


def answers_of(config: Config, data: TaskData) -> AnswerForm:
    """Return what an answer is to a question without choices."""
    return config.task.answers or usual_form(data.seed)


def check_of_questions(config: Config, student: str) -> Callable[[Question], bool]:
    """Return what tells whether the student can read a question; of other tasks it cuts texts."""
    if config.task.kind != "reasoning":
        return lambda question: True
    return question_check(student, config.task.instructions, config.student.max_new_tokens)


def check_lengths(data: TaskData, can_read: Callable[[Question], bool]) -> None:
    """Check that the student can read every gold question and an explanation of it.

    Raises:
        DataError: naming the split and the question.
    """
    for split, rows in data.gold.items():
        for row in rows:
            if not can_read(question_of(row)):
                raise DataError(
                    f"{split}: the question {row.text[:60]!r} and an explanation of it are longer "
                    "than the student reads; shorten or remove it, or make student.max_new_tokens "
                    "smaller"
                )


def long_explanations(config: Config, data: TaskData, student: str) -> list[str]:
    """Return a warning where the student could not write gold explanations to their end.

    It would learn to write what is cut before its answer.
    """
    if config.task.kind != "reasoning":
        return []
    told = [
        (split_steps(row.rationale), row.label or "")
        for row in (*data.seed, *data.train)
        if row.rationale
    ]
    lengths = explanation_tokens(student, told)
    most = config.student.max_new_tokens
    long = sum(length > most for length in lengths)
    if not long:
        return []
    return [
        f"student.max_new_tokens: {long} of {len(told)} gold explanations are longer than {most} "
        "tokens, so that the student learns some that are cut before their answer; give "
        f"{max(lengths)}, or shorter ones"
    ]


def fill(
    pool: Pool,
    config: Config,
    data: TaskData,
    can_read: Callable[[Question], bool],
    emit: Emit,
    *,
    longest: float = math.inf,
) -> None:
    """Take in the texts of `data.pool` that may be asked about; the others are counted.

    A gold text is known by `content_key` and its choices: a copy in brackets or with a smiley is
    one, too. A question that says with the same words and numbers what a test question says, in
    another order, gives it away as well.

    Args:
        longest: what the labeler can read, in bytes.
    """
    sums = config.task.kind == "reasoning"

    def key(text: str, choices: Sequence[str]) -> tuple[str, Any]:
        return content_key(text, sums=sums), choices_key(choices)

    known = {key(row.text, row.choices): split for split, rows in data.gold.items() for row in rows}
    nearly = {(word_set(row.text), choices_key(row.choices)) for row in data.test if sums}
    needs_choices = are_needed(config.task.answers, data.seed)
    form = answers_of(config, data)

    def drop(row: PoolRow) -> str:
        if len(row.text) > config.data.pool_max_chars:
            return "too_long"
        if size_of(row.text) > longest:
            return "too_long_for_labeler"
        choices = row.columns.get("choices", [])
        if needs_choices and not choices:
            return "choices_missing"
        if "answer" in row.columns and not read_answer(row.columns["answer"], form, choices):
            return "answer_outside_choices" if choices else "answer_unreadable"
        if not can_read(Question(row.text, tuple(choices))):
            return "too_long"
        if split := known.get(key(row.text, choices)):
            return split
        is_nearly = bool(nearly) and (word_set(row.text), choices_key(choices)) in nearly
        return "nearly_test" if is_nearly else ""

    counts = pool.fill(read_pool(data.pool, kind_of(config).pool_columns), drop)
    emit({"kind": "note", "text": f"pool: {counts.in_words}"})
    if not counts.kept:
        raise DataError(f"data.pool: {counts.in_words}; there is nothing to ask about")


def size_of(text: str) -> int:
    """Return a text's length as room is counted, in bytes.

    A token is three letters of English, and one character of many other scripts.
    """
    return len(text.encode())


def longest_text(config: Config, card: str) -> float:
    """Return how many bytes a text may have that a local labeler is asked about alone."""
    if not is_local(config, "labeler") or "labeler" not in used_roles(config):
        return math.inf
    room = (config.local.slot_context - LABEL_TOKENS) * CHARS_PER_TOKEN - size_of(card)
    return room if room > 0 else math.inf  # then the card is too long, whatever the text


def warn_of_slots(
    config: Config, card: str, prompts: Mapping[str, Prompt], seed: Sequence[Example]
) -> list[str]:
    """Return a warning where what a local role is told is about longer than its slot."""
    shown: dict[str, list[str]] = {}
    if config.task.kind == "ner":
        shown["labeler"] = [row.text + reply_of(row, as_pairs=True) for row in shown_gold(seed)]
    if config.task.kind == "reasoning":
        shown["reviser"] = [
            f"{asked_question(row.text, row.choices)}\n{row.rationale}"
            for row in solved_first(seed)
        ]
    if prompts["critic"].has("bad"):
        pairs = shown_pairs(prompts["critic"], [row.text for row in seed])
        shown["critic"] = [good + bad for (good, _), (bad, _) in pairs]
    told = {
        role: CALL_TOKENS + sum(map(_about_tokens, [card, *shown.get(role, ())]))
        for role in used_roles(config)
        if is_local(config, role)
    }
    longest, slot = max(told, key=lambda role: told[role], default=""), config.local.slot_context
    if not told or told[longest] <= slot:
        return []
    return [
        f"local.slot_context: with its reply a call of the {longest} is about {told[longest]} "
        f"tokens, a slot has {slot}, so that calls may be refused (HTTP 400); set it to "
        f"{1 << told[longest].bit_length()}, or give fewer or shorter seeds and meanings"
    ]


def _about_tokens(text: str) -> int:
    """Return about the tokens of a text: four letters of English, three bytes of other scripts."""
    plain = sum(map(str.isascii, text))
    return plain // 4 + (size_of(text) - plain) // CHARS_PER_TOKEN


def some_texts(pool: Pool) -> list[str]:
    """Return texts of a pool by chance, the same every time, to look at for warnings."""
    return pool.texts(pool.draw(SAMPLED, (), random.Random(0)))  # noqa: S311


def foreign_texts(drawn: Sequence[str], data: TaskData, student: str) -> list[str]:
    """Return a warning where the student's tokenizer knows the pool's words less than the seeds'.

    It cuts them finer, or, in a script that it does not know, makes one unknown piece of each.
    """
    ours, unknown_here = word_pieces(student, [row.text for row in data.seed])
    texts = [text[:FOREIGN_CHARS] for text in drawn]
    theirs, unknown = word_pieces(student, texts)
    if theirs >= FOREIGN * ours:
        told = f"a word has {theirs:.1f} word pieces, one of the seeds {ours:.1f}"
    elif unknown >= UNKNOWN + unknown_here:
        told = f"the student does not know {unknown:.0%} of its word pieces"
    else:
        return []
    return [
        f"data.pool: {told}: its texts may be in another language, or of another kind, than the "
        "task's"
    ]


def capitals_told(config: Config, data: TaskData) -> Capitals:
    """Return what the capital letters of the seeds' entities tell, if they are asked."""
    return capitals_of(data.seed) if config.task.capitals == "auto" else NO_CAPITALS


def warn_of_case(config: Config, student: str) -> list[str]:
    """Return a warning where a student for entities cannot see which words are capitalized."""
    if config.task.kind != "ner" or not is_blind_to_case(student):
        return []
    return [
        f"student.model: {config.student.model} takes capital and small letters for the same and "
        "has no token types that would tell it of them, so names look like other words; give a "
        "cased model, or an uncased one with token types, such as a BERT"
    ]


def cut_gold(config: Config, data: TaskData, student: str) -> list[str]:
    """Return a warning where the student reads only the beginning of many gold texts.

    Texts with entities are read in windows, questions are refused where they are too long.
    """
    if config.task.kind != "classification":
        return []
    rows = [row for part in (*data.gold.values(), data.train) for row in part]
    some = random.Random(0).sample(rows, min(SAMPLED, len(rows)))  # noqa: S311
    cut = _of_cut("the gold", [row.text for row in some], student, config.student.max_length)
    return [f"{cut}; give more, as far as the student goes"] if cut else []


def cut_pool(config: Config, drawn: Sequence[str], student: str) -> list[str]:
    """Return a warning where the student reads only the beginning of many of the pool's texts.

    The labeler reads them in full, and labels may be learnt whose reason the student never sees.
    """
    cut = _of_cut("the pool's", drawn, student, config.student.max_length)
    more = (
        "while the labeler reads all; give more, as far as the student goes, or shorten the texts"
    )
    return [f"{cut}, {more}"] if cut else []


def _of_cut(whose: str, texts: Sequence[str], student: str, max_length: int) -> str:
    """Say how many texts are cut; empty: only a few."""
    share = cut_share(student, texts, max_length)
    if share < CUT:
        return ""
    return (
        f"student.max_length: of {share:.0%} of {whose} texts the student reads the first "
        f"{max_length} tokens only"
    )
