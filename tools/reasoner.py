"""The student that reasons: a small causal language model, asked and kept whole.

It writes an explanation, a step a line, and then a line `Answer: …`. A question's prompt and the
explanation found first are computed once; whatever is asked after some of its steps goes on from
there, many continuations in one batch.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from evokd.errors import DataError
from evokd.records import Prediction
from evokd.tasks.explanations import (
    ANSWER,
    AnswerForm,
    extract_answer,
    form_with,
    said_answer,
    split_steps,
)
from evokd.tasks.reasoning import Question, lettered
from evokd.tools.calculator import Calculator, Sums
from evokd.tools.causal import (
    as_prompt,
    load_causal,
    with_adapter,
    with_bf16_products,
)
from evokd.tools.student import load_libraries, uses_bf16
from evokd.tools.training import tokens_read

ANSWER_TOKENS = 12  # of an answer alone; an option may have more
TEXT_TOKENS = 40  # of an answer in words of its own
NEW_LINE = "\n"
BATCH = 48  # questions, or continuations, decoded together
MOST_APART = 64  # tokens between rows whose logits are computed together
ABOUT = "reasoner.json"
FORM = f"Explain in short steps, a line each. End with a line: {ANSWER} and the answer."


@dataclass(frozen=True)
class Explained:
    """What a student wrote about a question.

    Args:
        steps: the explanation, a step each.
        answer: in its canonical form; '' where none can be read.
        said: the answer as the line with it has it; '' where there is no such line.
        ended: off: it was cut at the longest an explanation may be; the step it was at is left out.
    """

    steps: tuple[str, ...]
    answer: str
    ended: bool
    said: str = ""


@dataclass(frozen=True)
class Prefix:
    """A question and the first steps of an explanation of it."""

    question: Question
    steps: tuple[str, ...] = ()


class Reasoner:
    """A student that explains before it answers.

    Args:
        folder: a whole model with its `reasoner.json`, or LoRA matrices that name theirs.
        max_length: not used; questions are as long as the model can read.
    """

    def __init__(self, folder: Path, *, max_length: int = 0, precision: str = "auto") -> None:
        torch, _ = load_libraries()
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self._torch = torch
        self.folder = folder
        self.instructions: str = about["instructions"]
        self.answer_form: AnswerForm = about["answers"]
        self.max_new_tokens: int = about["max_new_tokens"]
        self._model, self._tokenizer = load_whole(folder)
        self._model.eval()
        self._bf16 = uses_bf16(precision)
        if self._bf16:
            with_bf16_products(self._model)
        self._calculator = Calculator(self._tokenizer) if about.get("calculator") else None

    def predict(self, questions: Sequence[Question]) -> list[Prediction]:
        """Return the likeliest explanation and answer to every question.

        The confidence is the mean probability (geometric) of the answer's tokens.
        """
        return self.predictions(questions, self.explain(questions))

    def predictions(
        self, questions: Sequence[Question], said: Sequence[Explained]
    ) -> list[Prediction]:
        """Return explanations as predictions, with the confidence in each answer."""
        sure = self.confidences(questions, said)
        return [
            Prediction(
                label=one.answer, confidence=confidence, steps=list(one.steps), cut=not one.ended
            )
            for one, confidence in zip(said, sure, strict=True)
        ]

    def explain(
        self,
        questions: Sequence[Question],
        *,
        samples: int = 1,
        temperature: float = 0.0,
        random_seed: int = 0,
    ) -> list[Explained]:
        """Return explanations with their answers, `samples` of every question, one after the other.

        Args:
            temperature: 0: the likeliest token each time.
        """
        prefixes = [Prefix(one) for one in questions]
        return self.go_on(
            prefixes, samples=samples, temperature=temperature, random_seed=random_seed
        )

    def go_on(
        self,
        prefixes: Sequence[Prefix],
        *,
        samples: int = 1,
        temperature: float = 0.0,
        random_seed: int = 0,
    ) -> list[Explained]:
        """Return whole explanations that begin with the given steps, `samples` of every prefix."""
        texts = self._decode(
            prefixes,
            self.max_new_tokens,
            samples=samples,
            temperature=temperature,
            seed=random_seed,
        )
        found = []
        for at, (text, ended) in enumerate(texts):
            prefix = prefixes[at // samples]
            whole = "".join(f"{step}\n" for step in prefix.steps) + text
            choices = prefix.question.choices
            form = form_with(choices, self.answer_form)
            answer = extract_answer(whole, form, choices, is_cut=not ended)
            steps = split_steps(whole, is_cut=not ended)
            found.append(Explained(tuple(steps), answer, ended, said_answer(whole)))
        return found

    def answers(self, prefixes: Sequence[Prefix]) -> list[str]:
        """Return what the student answers right after the given steps; '' where nothing is."""
        options = {option for one in prefixes for option in lettered(one.question.choices)}
        free = any(form_with(one.question.choices, self.answer_form) == "text" for one in prefixes)
        usual = TEXT_TOKENS if free else ANSWER_TOKENS
        most = max([usual, *(len(self._ids(f" {one}\n")) for one in options)])
        texts = self._decode(prefixes, most, lead=ANSWER)
        return [
            extract_answer(
                f"{ANSWER} {text.strip().partition(NEW_LINE)[0]}",
                form_with(one.question.choices, self.answer_form),
                one.question.choices,
            )
            for one, (text, _) in zip(prefixes, texts, strict=True)
        ]

    def confidences(self, questions: Sequence[Question], said: Sequence[Explained]) -> list[float]:
        """Return the mean probability of the tokens of each answer; 0 where there is none.

        They are those of what was said, where a line says it.
        """
        torch = self._torch
        sure = [0.0] * len(questions)
        told: dict[int, tuple[list[int], list[int]]] = {}
        for place, (question, one) in enumerate(zip(questions, said, strict=True)):
            if one.answer:
                asked, steps = self._tokens_of(Prefix(question, one.steps))
                head = [*asked, *chain(*steps), *self._ids(ANSWER)]
                told[place] = head, self._ids(f" {one.said or one.answer}")
        order = sorted(told, key=lambda place: len(told[place][0]))
        for part in _alike([len(told[place][0]) for place in order], order):
            ids, mask = padded([[*head, *tail] for head, tail in map(told.__getitem__, part)])
            first = len(told[part[0]][0])  # logits of what goes before would take gigabytes
            with torch.inference_mode(), self._autocast():
                cache, mask = self._begin(len(part), mask)
                logits = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    past_key_values=cache,
                    logits_to_keep=ids.shape[1] - first + 1,
                ).logits
            for row, place in enumerate(part):
                head, tail = told[place]
                begun = len(head) - first
                span = logits[row, begun : begun + len(tail)].float()
                logs = span.log_softmax(-1)[torch.arange(len(tail)), torch.tensor(tail)]
                sure[place] = math.exp(min(0.0, float(logs.mean())))
        return sure

    def _autocast(self) -> Any:
        torch = self._torch
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _tokens_of(self, prefix: Prefix) -> tuple[list[int], list[list[int]]]:
        """Return a question's tokens after what all prompts begin with, and those of each step.

        Raises:
            DataError: with an explanation they are more than the model can read.
        """
        asked = prompt_ids(self._tokenizer, self.instructions, prefix.question)
        number, most = len(asked) + self.max_new_tokens, tokens_read(self._model.config)
        if most is not None and number > most:
            raise DataError(
                f"the question {prefix.question.text[:60]!r} and an answer to it are {number} "
                f"tokens, the student reads {most}; shorten it"
            )
        steps = [self._ids(f"{step}\n") for step in prefix.steps]
        return asked[len(self._shared) :], steps

    @cached_property
    def _shared(self) -> list[int]:
        """What the prompts of all questions begin with, token for token."""
        two = [prompt_ids(self._tokenizer, self.instructions, Question(one)) for one in ("a", "b")]
        same = takewhile(lambda pair: pair[0] == pair[1], zip(*two, strict=False))
        return [token for token, _ in same][:-1]

    @cached_property
    def _shared_cache(self) -> Any:
        torch = self._torch
        with torch.inference_mode(), self._autocast():
            return self._model.base_model(
                input_ids=torch.tensor([self._shared]), use_cache=True
            ).past_key_values

    def _begin(self, rows: int, mask: Any) -> tuple[Any, Any]:
        """Return a cache of so many rows that hold what all prompts begin with, and their mask."""
        torch = self._torch
        if not self._shared:
            return None, mask
        cache = copy.deepcopy(self._shared_cache)
        cache.batch_repeat_interleave(rows)
        seen = torch.ones(rows, len(self._shared), dtype=torch.long)
        return cache, torch.cat([seen, mask], 1)

    def _decode(
        self,
        prefixes: Sequence[Prefix],
        max_new_tokens: int,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        lead: str = "",
    ) -> list[tuple[str, bool]]:
        """Return what follows each prefix, `samples` times, and whether it ended.

        What prefixes have in common is computed once: what all prompts begin with, and a question
        with the longest of its explanations, however many go on from some of its steps.

        Args:
            lead: what every reply is made to begin with.
        """
        found: list[tuple[str, bool]] = [("", False)] * (len(prefixes) * samples)
        generator = self._torch.Generator().manual_seed(seed)
        for trunks in _batches(_trunks(prefixes), max(1, BATCH // samples)):
            longest = [self._tokens_of(prefixes[trunk[0]]) for trunk in trunks]
            rows = []
            for number, trunk in enumerate(trunks):
                asked, steps = longest[number]
                for place in trunk:
                    kept = sum(map(len, steps[: len(prefixes[place].steps)]))
                    rows += [
                        (number, len(asked) + kept, place * samples + k) for k in range(samples)
                    ]
            heads = [[*asked, *chain(*steps)] for asked, steps in longest]
            texts = self._go_on(heads, rows, max_new_tokens, temperature, generator, lead)
            for (_, _, place), text in zip(rows, texts, strict=True):
                found[place] = text
        return found

    def _go_on(
        self,
        heads: Sequence[list[int]],
        rows: Sequence[tuple[int, int, int]],
        max_new_tokens: int,
        temperature: float,
        generator: Any,
        lead: str,
    ) -> list[tuple[str, bool]]:
        """Return what follows the first tokens of heads, at most as long as the model can read.

        Args:
            rows: (place in heads, how many of its tokens, anything else) of each reply.
        """
        torch, shared = self._torch, len(self._shared)
        ids, mask = padded([head[:-1] for head in heads])
        with torch.inference_mode(), self._autocast():
            cache, mask = self._begin(len(heads), mask)
            cache = self._model.base_model(
                input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True
            ).past_key_values
            cache.batch_select_indices(torch.tensor([head for head, _, _ in rows]))
            opening = self._ids(lead) if lead else []
            tokens = torch.tensor([[heads[head][end - 1], *opening] for head, end, _ in rows])
            at = torch.tensor([shared + end - 1 for _, end, _ in rows])
            mask = (torch.arange(mask.shape[1]) < at[:, None]).long()
            written: list[list[int]] = [[] for _ in rows]
            ended = [False] * len(rows)
            most = tokens_read(self._model.config) or math.inf
            sums = Sums(self._calculator, len(rows)) if self._calculator else None
            alive = list(range(len(rows)))
            for _ in range(max_new_tokens):
                width = tokens.shape[1]
                mask = torch.cat([mask, torch.ones(len(alive), width, dtype=torch.long)], 1)
                logits = self._model(
                    input_ids=tokens,
                    attention_mask=mask,
                    position_ids=at[:, None] + torch.arange(width),
                    past_key_values=cache,
                    logits_to_keep=1,
                ).logits[:, -1]
                at = at + width
                if sums:
                    logits = sums.without_digits(logits, alive)
                following = self._pick(logits.float(), temperature, generator)
                if sums:
                    following = sums.corrected(following, alive)
                going_on = []
                for row, (token, end) in enumerate(
                    zip(following.tolist(), at.tolist(), strict=True)
                ):
                    place = alive[row]
                    if token in self._ends:
                        ended[place] = True
                    else:
                        written[place].append(token)
                        if sums:
                            sums.look(place, written[place])
                        ended[place] = self._is_complete(written[place], lead)
                    if not ended[place] and end < most:
                        going_on.append(row)
                if not going_on:
                    break
                tokens = following[:, None]
                if len(going_on) < len(alive):
                    kept = torch.tensor(going_on)
                    cache.batch_select_indices(kept)
                    tokens, mask, at = tokens[kept], mask[kept], at[kept]
                    alive = [alive[row] for row in going_on]
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return list(zip(texts, ended, strict=True))

    @property
    def _ends(self) -> set[int]:
        named = self._model.generation_config.eos_token_id
        ends = named if isinstance(named, list) else [named]
        return {one for one in (*ends, self._tokenizer.eos_token_id) if one is not None}

    def _pick(self, logits: Any, temperature: float, generator: Any) -> Any:
        if temperature == 0:
            return logits.argmax(-1)
        shares = (logits / temperature).softmax(-1)
        return self._torch.multinomial(shares, 1, generator=generator)[:, 0]

    def _is_complete(self, tokens: Sequence[int], lead: str) -> bool:
        """Whether the line with the answer is at its end."""
        if "\n" not in self._tokenizer.decode(tokens[-1:]):
            return False
        if lead:
            return bool(self._tokenizer.decode(tokens).strip())
        answer = self._tokenizer.decode(tokens).partition(ANSWER)[2]
        return "\n" in answer.lstrip()


def load_whole(folder: Path) -> tuple[Any, Any]:
    """Load a student's weights in fp32, its matrices merged into them, and its tokenizer.

    Raises:
        ConfigError: they cannot be loaded.
    """
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    model, tokenizer = load_causal(about["model"] or str(folder))
    if (folder / "adapter_config.json").exists():
        model = with_adapter(model, folder).merge_and_unload()
    return model, tokenizer


def padded(rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """Return ids and mask of shape (rows, longest), padded at the end."""
    import torch

    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids, mask


def _trunks(prefixes: Sequence[Prefix]) -> list[list[int]]:
    """Return the places of prefixes of one explanation together, the longest first."""
    order = sorted(range(len(prefixes)), key=lambda place: -len(prefixes[place].steps))
    trunks: list[list[int]] = []
    of_question: dict[Question, list[int]] = {}
    for place in order:
        one = prefixes[place]
        for number in of_question.setdefault(one.question, []):
            longest = prefixes[trunks[number][0]].steps
            if longest[: len(one.steps)] == one.steps:
                trunks[number].append(place)
                break
        else:
            of_question[one.question].append(len(trunks))
            trunks.append([place])
    return sorted(
        trunks,
        key=lambda trunk: (
            len(prefixes[trunk[0]].question.asked) + sum(map(len, prefixes[trunk[0]].steps)),
            trunk[0],
        ),
    )


def _batches(trunks: Sequence[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Yield trunks of similar length together, about `size` prefixes each time."""
    batch: list[list[int]] = []
    for trunk in trunks:
        if batch and sum(map(len, batch)) + len(trunk) > size:
            yield batch
            batch = []
        batch.append(trunk)
    if batch:
        yield batch


def _alike(lengths: Sequence[int], places: Sequence[int]) -> Iterator[list[int]]:
    """Yield places of about the same length together, a batch each time.

    Args:
        lengths: in tokens, ascending.
    """
    first = 0
    for at, length in enumerate(lengths):
        if at - first == BATCH or length - lengths[first] > MOST_APART:
            yield list(places[first:at])
            first = at
    if lengths:
        yield list(places[first:])


def prompt_ids(tokenizer: Any, instructions: str, question: Question) -> list[int]:
    """Return the tokens of a question as the model's chat template has it."""
    text = as_prompt(tokenizer, f"{instructions}\n{FORM}", question.asked)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
