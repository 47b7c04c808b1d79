"""One role's model, asked through cache, ledger, retries and the parsing ladder.

The ladder: the endpoint is asked for a schema the way its probe showed it honours; the raw reply
is kept with its usage; it must have ended on its own, parse as JSON and validate; one repair turn
follows; then the reply is dropped with a `ReplyError` and counted. Nothing half-parsed passes.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.answers import classify, client_errors, named_failure, to_reply
from evokd.agents.compact_grammar import choice_grammar, compact_grammar
from evokd.agents.models import LOCAL, Endpoint, chat_model
from evokd.agents.option_probability import option_probabilities
from evokd.agents.parsing import (
    Form,
    Lines,
    Mode,
    answers_one_of,
    check_ended,
    choice_schema,
    in_words,
    strict_schema,
    unwrap,
    validated,
    was_cut,
)
from evokd.config import RoleSection
from evokd.errors import EndpointError, ReplyError, TeacherError
from evokd.store.ledger import OK, Ledger
from evokd.store.replies import Reply, ReplyCache, reply_key

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig

Message = tuple[Literal["system", "user", "assistant"], str]
R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")
TOP_LOGPROBS = 20
SAMPLING_HEAT = 0.7  # the temperature at which answers are compared, where nothing else tells
# What makes the texts of a reply differ: a role's setting, and what is sent with it. XTC's
# threshold is the least probability of a likely token, llama.cpp's own default. DRY punishes a
# token that would go on repeating what stands in prompt or reply already, once as many tokens are
# the same, and the more of them, the harder; a quotation mark or colon ends a repetition, so that
# the form of a JSON reply is none.
SAMPLERS: dict[str, dict[str, float]] = {
    "presence_penalty": {},
    "xtc_probability": {"xtc_threshold": 0.1},
    "dry_multiplier": {"dry_allowed_length": 8, "dry_penalty_last_n": 1500},
}
# Which parameters a probe tries, in turn: log-probabilities, then temperature and seed.
PROBED = ((True, True), (False, True), (False, False))
UNKNOWN = -1.0
YES, NO = "Yes", "No"


class Capabilities(BaseModel):
    """What an endpoint was seen to honour."""

    model_config = ConfigDict(extra="forbid")

    schema_mode: Mode = Field(
        "none",
        description="how one of several options is bound: by a llama.cpp grammar, a JSON "
        "string, a JSON object with the key answer, or in words only",
    )
    logprobs: bool = False
    usage: bool = False
    sampling: bool = Field(True, description="temperature and seed are accepted")


@dataclass(frozen=True)
class Call:
    """What a call is for; with a temperature above 0 it is part of the cache key."""

    round: int
    purpose: str
    slot: int = 0


@dataclass(frozen=True)
class Choice:
    """One of the given options, how sure the model was, and what it gave the others, in [0, 1]."""

    option: str
    confidence: float
    others: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def likeliest(cls, shares: Mapping[str, float]) -> Choice:
        """Return the option with the largest share, the first of equal ones."""
        option = max(shares, key=lambda name: shares[name])
        others = {name: share for name, share in shares.items() if name != option}
        return cls(option, shares[option], others)

    def probability(self, option: str) -> float:
        """Return how likely an option was."""
        return self.confidence if option == self.option else self.others.get(option, 0.0)


@dataclass
class CallLog:
    """Where calls are looked up and written; shared by all roles of a run."""

    ledger: Ledger
    caches: Sequence[ReplyCache]  # the run's own first, then the shared one
    run_id: str = ""
    strategy: str = ""
    random_seed: int = 0
    semaphores: dict[str, threading.BoundedSemaphore] = field(default_factory=dict)

    def find(self, key: str) -> Reply | None:
        """Return a stored reply and copy it to the run's own cache."""
        for cache in self.caches:
            reply = cache.get(key)
            if reply is not None:
                self.caches[0].put(key, reply)
                return reply
        return None


def probability_of_yes(teacher: Teacher, messages: Sequence[Message], call: Call) -> float:
    """Ask for Yes or No, as chat models begin such an answer, and return how likely Yes was.

    Raises:
        ReplyError, TeacherError: see `Teacher.choose`.
    """
    return teacher.choose(messages, [YES, NO], call).probability(YES)


class Teacher:
    """The model behind one role.

    Args:
        role: its name in ledger, traces and errors.
        settings: complete settings of the role.
        endpoint: where it answers.
        log: caches and ledger.
        capabilities: what the probe saw; the least there may be until `probe` has run.
        sleep: waits between retries; tests hand in one that does not.

    The client is built at the first call that no cache answers.
    """

    def __init__(
        self,
        role: str,
        settings: RoleSection,
        endpoint: Endpoint,
        log: CallLog,
        capabilities: Capabilities | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.role = role
        self.settings = settings
        self.endpoint = endpoint
        self.log = log
        self.capabilities = capabilities or Capabilities()
        self._client: BaseChatModel | None = None
        self._client_lock = threading.Lock()
        self._sleep = sleep
        width = settings.max_concurrency or 1
        self._gate = log.semaphores.setdefault(
            f"{endpoint.identity} {width}", threading.BoundedSemaphore(width)
        )

    @property
    def model(self) -> str:
        """The model as the task file names it."""
        return self.endpoint.model

    def ask(
        self,
        messages: Sequence[Message],
        reply: type[R],
        call: Call,
        *,
        begun: Callable[[str], R] | None = None,
        most: int | None = None,
    ) -> R:
        """Ask for a reply of the given pydantic model.

        Args:
            most: tokens of the reply, where the role's `max_tokens` allows more and the client
                speaks OpenAI's protocol.
            begun: makes a value of what stands in a reply that was cut off; ValueError: it cannot.
                None: such a reply is asked for again.

        Raises:
            ReplyError: neither the reply nor its repair could be used.
            TeacherError: the endpoint failed for good.
        """
        form, read = reply.model_json_schema(), _reader(reply)
        answer: R = self._traced(
            call, lambda: self._ladder(messages, form, call, read, begun=begun, most=most)
        )
        return answer

    def tell(
        self, messages: Sequence[Message], form: Lines, read: Callable[[str], T], call: Call
    ) -> T:
        """Ask for a reply in plain lines, and return what `read` makes of it.

        Args:
            read: raises ValueError where the reply cannot be used.

        Raises:
            ReplyError, TeacherError: as for `ask`.
        """
        told: T = self._traced(
            call, lambda: self._ladder(messages, form, call, lambda text, _: read(text))
        )
        return told

    def tell_raw(
        self, messages: Sequence[Message], form: Lines, read: Callable[[str], T], call: Call
    ) -> tuple[T, Reply]:
        """Tell as `tell` does, and return the raw reply, too, with its tokens' log-probabilities.

        Raises:
            ReplyError, TeacherError: as for `ask`.
        """

        def read_raw(text: str, raw: Reply) -> tuple[T, Reply]:
            return read(text), raw

        told: tuple[T, Reply] = self._traced(
            call, lambda: self._ladder(messages, form, call, read_raw, tokens=True)
        )
        return told

    def ask_raw(self, messages: Sequence[Message], reply: type[R], call: Call) -> tuple[R, Reply]:
        """Ask as `ask` does, and return the raw reply, too, with its tokens' log-probabilities.

        Raises:
            ReplyError, TeacherError: as for `ask`.
        """
        form = reply.model_json_schema()

        def read(text: str, raw: Reply) -> tuple[R, Reply]:
            return validated(reply, text), raw

        answer: tuple[R, Reply] = self._traced(
            call, lambda: self._ladder(messages, form, call, read, tokens=True)
        )
        return answer

    def ask_often(self, messages: Sequence[Message], reply: type[R], call: Call) -> list[R]:
        """Return `samples` sampled replies, those that can be used.

        Raises:
            ReplyError: none can. TeacherError: as for `ask`.
        """
        form, read = reply.model_json_schema(), _reader(reply)

        def again() -> list[R]:
            return self._sampled(
                call, lambda one: self._ladder(messages, form, one, read, SAMPLING_HEAT)
            )

        answers: list[R] = self._traced(call, again)
        return answers

    def choose(self, messages: Sequence[Message], options: Sequence[str], call: Call) -> Choice:
        """Ask for one of `options`, with a confidence.

        From the log-probabilities of the option's own tokens, renormalised over the options; else
        from agreement over `samples` answers.

        Raises:
            ReplyError, TeacherError: as for `ask`.
        """
        if not self.capabilities.logprobs:
            agreed: Choice = self._traced(call, lambda: self._agree(messages, options, call))
            return agreed
        chosen: Choice = self._traced(
            call, lambda: self._choose_once(messages, options, call, None)
        )
        if chosen.confidence == UNKNOWN:  # the tokens did not spell the option
            return self._agree(messages, options, call)
        return chosen

    def probe(self) -> Capabilities:
        """Ask once or twice to see what the endpoint honours, and remember it.

        Raises:
            EndpointError: it is dead, refuses the key or does not know the model.
        """
        try:
            self.capabilities = self._probe()
        except (TeacherError, ReplyError) as error:
            raise EndpointError(str(error)) from None
        return self.capabilities

    def _traced(self, call: Call, work: Callable[[], Any]) -> Any:
        """Do the work as a named run of its own, so that cached answers stand in traces, too."""
        from langchain_core.runnables import RunnableLambda

        return RunnableLambda(lambda _: work(), name=self.role).invoke(
            call.purpose, config=self._run_config(self.role, call)
        )

    def _run_config(self, name: str, call: Call) -> RunnableConfig:
        return {
            "run_name": name,
            "tags": [self.role, f"round:{call.round}"],
            "metadata": {
                "run": self.log.run_id,
                "round": call.round,
                "role": self.role,
                "strategy": self.log.strategy,
            },
        }

    def _probe(self) -> Capabilities:
        messages: list[Message] = [("user", "Write a sentence about the sea.")]
        options = ["kelp", "dune"]  # nobody answers this unless the schema binds
        call = Call(0, "probe")
        if not self.endpoint.speaks_openai:
            return self._probe_plain(messages, call)
        modes: tuple[Mode, ...] = ("scalar", "object")
        if self.endpoint.provider == LOCAL:  # the grammar saves the tokens of JSON and fences
            modes = ("grammar", *modes)
        for mode in modes:
            for probs, sampling in PROBED:
                self.capabilities = Capabilities(sampling=sampling)
                request = self._request(messages, options, mode, 0.0, probs)
                try:
                    reply = self._reply(request, call, 0, 0.0)
                except ReplyError:  # 400: it does not know one of these parameters
                    continue
                if answers_one_of(reply.text, mode, options):
                    return _seen(reply, mode, sampling)
                break  # it ignores this form
        return self._probe_plain(messages, call)

    def _probe_plain(self, messages: list[Message], call: Call) -> Capabilities:
        """No schema is honoured: see whether log-probabilities and usage come with plain text."""
        refused: ReplyError | None = None
        for probs, sampling in PROBED:
            self.capabilities = Capabilities(sampling=sampling)
            request = self._request(messages, None, "none", 0.0, probs)
            try:
                return _seen(self._reply(request, call, 0, 0.0), "none", sampling)
            except ReplyError as error:
                refused = error
        assert refused is not None
        raise refused

    def _agree(self, messages: Sequence[Message], options: Sequence[str], call: Call) -> Choice:
        answers: list[Choice] = self._sampled(
            call, lambda one: self._choose_once(messages, options, one, SAMPLING_HEAT)
        )
        return Choice.likeliest(self.agreement(one.option for one in answers))

    def agreement(self, answers: Iterable[str]) -> dict[str, float]:
        """Return answer → share of the `samples` asked for that gave it."""
        return {answer: votes / self.samples for answer, votes in Counter(answers).items()}

    @property
    def samples(self) -> int:
        """How many answers are compared where nothing else tells how sure one is."""
        return self.settings.samples or 3

    def _sampled(self, call: Call, ask: Callable[[Call], Any]) -> list[Any]:
        """Ask `samples` times and return the replies that can be used; the last try may raise."""
        answers = []
        for index in range(self.samples):
            again = Call(call.round, call.purpose, call.slot * self.samples + index)
            try:
                answers.append(ask(again))
            except ReplyError:
                if index == self.samples - 1 and not answers:
                    raise
        return answers

    def _choose_once(
        self,
        messages: Sequence[Message],
        options: Sequence[str],
        call: Call,
        temperature: float | None,
    ) -> Choice:
        mode = self.capabilities.schema_mode

        def read(text: str, reply: Reply) -> Choice:
            option = unwrap(text, mode)
            if option not in options:
                raise ValueError(f"{option[:40]!r} is none of {', '.join(options)}")
            found = (
                option_probabilities(reply.logprobs, option, options) if reply.logprobs else None
            )
            if found is None:
                return Choice(option, UNKNOWN)
            return Choice(option, found.pop(option), found)

        choice: Choice = self._ladder(messages, list(options), call, read, temperature)
        return choice

    def _ladder(
        self,
        messages: Sequence[Message],
        form: Form,
        call: Call,
        read: Callable[[str, Reply], Any],
        temperature: float | None = None,
        *,
        tokens: bool = False,
        begun: Callable[[str], Any] | None = None,
        most: int | None = None,
    ) -> Any:
        heat = self.settings.temperature or 0.0 if temperature is None else temperature
        mode = self.capabilities.schema_mode
        turns = list(messages)
        if mode == "none" or (isinstance(form, Lines) and mode != "grammar"):
            turns[-1] = (turns[-1][0], turns[-1][1] + "\n\n" + in_words(form))
        problem, text = "", ""
        for attempt in (0, 1):
            probs = (tokens or isinstance(form, list)) and self.capabilities.logprobs
            request = self._request(turns, form, mode, heat, probs)
            if most is not None:
                request["max_tokens"] = min(most, self.settings.max_tokens or most)
            if isinstance(form, dict) and heat > 0 and temperature is None:
                request |= self._samplers()
            reply = self._reply(request, call, attempt, heat)
            text = reply.text
            try:
                if begun is not None and was_cut(reply):
                    return begun(text)
                check_ended(reply)
                return read(text, reply)
            except ValueError as error:
                problem = str(error)
                self.log.ledger.mark_outcome(self._last_call(), "unusable reply")
            turns = [
                *turns,
                ("assistant", text[:1000]),
                ("user", f"That cannot be used: {problem}. " + in_words(form)),
            ]
        raise ReplyError(self.role, self.model, problem, text)

    def _request(
        self, messages: Sequence[Message], form: Form | None, mode: Mode, heat: float, probs: bool
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "messages": [list(message) for message in messages],
            "temperature": heat,
            "max_tokens": self.settings.max_tokens,
        }
        if isinstance(form, Lines):
            request |= {"grammar": form.grammar} if mode == "grammar" else {}
        elif isinstance(form, list) and mode == "grammar":
            request["grammar"] = choice_grammar(form)
        elif isinstance(form, list) and mode in ("scalar", "object"):
            request["schema"] = choice_schema(form, mode)
        elif isinstance(form, dict) and mode != "none":
            grammar = compact_grammar(form) if mode == "grammar" else None
            request |= {"grammar": grammar} if grammar else {"schema": form}
        if probs:
            request["top_logprobs"] = TOP_LOGPROBS
        return request

    def _samplers(self) -> dict[str, float]:
        """Return what makes sampled texts differ; not for answers that are only compared."""
        wanted: dict[str, float] = {}
        for name, companions in SAMPLERS.items():
            if (value := getattr(self.settings, name)) is not None:
                wanted |= {name: value, **companions}
        return wanted

    def _reply(self, request: dict[str, Any], call: Call, attempt: int, heat: float) -> Reply:
        sampled = None
        if heat > 0:
            sampled = {
                "seed": self.log.random_seed,
                "role": self.role,
                "purpose": call.purpose,
                "round": call.round,
                "slot": call.slot,
                "attempt": attempt,
            }
        key = reply_key(self.endpoint.identity, request, sampled)
        stored = self.log.find(key)
        if stored is not None:
            self._open(call, key, attempt)
            self._close(OK, stored, cached=True)
            return stored
        seed = int(key[:7], 16)
        with self._gate:
            return self._over_the_wire(request, call, key, attempt, seed)

    def _over_the_wire(
        self, request: dict[str, Any], call: Call, key: str, attempt: int, seed: int
    ) -> Reply:
        for retry in range((self.settings.max_retries or 0) + 1):
            self._open(call, key, attempt)
            try:
                reply = self._invoke(request, call, seed)
            except client_errors(self.endpoint) as error:
                outcome, wait = classify(error)
                self._close(outcome, None)
                self._give_up_or_wait(error, outcome, wait, retry)
                continue
            self.log.caches[0].put(key, reply)
            self._close(OK, reply)
            if reply.text.strip():
                for cache in self.log.caches[1:]:
                    cache.put(key, reply)
            return reply
        raise AssertionError("unreachable: the last retry raises")

    def _give_up_or_wait(
        self, error: Exception, outcome: str, wait: float | None, retry: int
    ) -> None:
        where = f"{self.role}: {self.model} at {self.endpoint.base_url or 'its default address'}"
        if outcome == "bad request":
            raise ReplyError(
                self.role, self.model, f"the endpoint refused: {named_failure(error)}", ""
            )
        if wait is None:
            raise TeacherError(
                f"{where} answered {named_failure(error)} ({outcome}); "
                "check key, model name and address"
            ) from None
        if retry >= (self.settings.max_retries or 0):
            raise TeacherError(
                f"{where} gave no answer after {retry + 1} attempt(s), the last: {outcome}; "
                "is it running and reachable?"
            ) from None
        self._sleep(wait or min(30.0, 2.0**retry) * (0.75 + random.random() / 2))  # noqa: S311

    def _invoke(self, request: dict[str, Any], call: Call, seed: int) -> Reply:
        bound: dict[str, Any] = {}
        if self.capabilities.sampling:
            bound["temperature"] = request["temperature"]
            if self.endpoint.speaks_openai:
                bound["seed"] = seed
        if self.endpoint.speaks_openai and request["max_tokens"] != self.settings.max_tokens:
            bound["max_tokens"] = request["max_tokens"]  # other clients name it otherwise
        extra: dict[str, Any] = {}
        if "schema" in request:
            # Not as `response_format` itself: the client would then parse the reply, raise on one
            # that was cut off, and lose its usage.
            form = strict_schema(request["schema"], lengths=not self.endpoint.is_openai)
            extra["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": form},
            }
        if "grammar" in request:
            extra["grammar"] = request["grammar"]
        for name, companions in SAMPLERS.items():
            if name in request:
                extra |= {one: request[one] for one in (name, *companions)}
        if extra and self.endpoint.speaks_openai:
            bound["extra_body"] = extra
        if "top_logprobs" in request and self.endpoint.speaks_openai:
            bound |= {"logprobs": True, "top_logprobs": request["top_logprobs"]}
        message = self._chat_model().invoke(
            [tuple(turn) for turn in request["messages"]],
            config=self._run_config(f"{self.role}: {call.purpose}", call),
            **bound,
        )
        return to_reply(message, request)

    def _chat_model(self) -> BaseChatModel:
        with self._client_lock:
            if self._client is None:
                self._client = chat_model(self.role, self.settings, self.endpoint)
            return self._client

    # The id of the call this thread has open; a role is asked from several threads at once.
    _current = threading.local()

    def _last_call(self) -> int:
        return int(self._current.call)

    def _open(self, call: Call, key: str, attempt: int) -> None:
        self._current.call = self.log.ledger.open_call(
            role=self.role,
            round=call.round,
            purpose=call.purpose,
            model=self.model,
            key=key,
            attempt=attempt,
        )

    def _close(self, outcome: str, reply: Reply | None, *, cached: bool = False) -> None:
        usd = None
        price_in = self.settings.usd_per_million_input
        price_out = self.settings.usd_per_million_output
        if reply is not None and price_in is not None and price_out is not None:
            usd = (reply.input_tokens * price_in + reply.output_tokens * price_out) / 1e6
        self.log.ledger.close_call(
            self._last_call(),
            outcome=outcome,
            input_tokens=reply.input_tokens if reply else 0,
            output_tokens=reply.output_tokens if reply else 0,
            usd=usd,
            cached=cached,
            estimated=reply is not None and not reply.usage_reported,
        )


def _reader(model: type[R]) -> Callable[[str, Reply], R]:
    """Return what reads a reply's text as the model."""
    return lambda text, _: validated(model, text)


def _seen(reply: Reply, mode: Mode, sampling: bool) -> Capabilities:
    return Capabilities(
        schema_mode=mode,
        logprobs=bool(reply.logprobs),
        usage=reply.usage_reported,
        sampling=sampling,
    )
