"""The parsing ladder and the call cache, against a loopback server that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_llm import FakeLLM, running_llm
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel, Field

from evokd.agents import models
from evokd.agents.models import resolve_endpoint
from evokd.agents.parsing import parse_json, strict_schema
from evokd.agents.teacher import SAMPLERS, Call, CallLog, Capabilities, Teacher
from evokd.config import (
    AgentsSection,
    RoleSection,
    role_settings,
)
from evokd.errors import EndpointError, ReplyError, TeacherError
from evokd.store.ledger import Ledger
from evokd.store.replies import ReplyCache

KEY = "sk-very-secret-key-0123456789"


class Texts(BaseModel):
    texts: list[str]


ASKED = [("system", "card"), ("user", "Write 3 new texts with the label fruit (x).")]
LABEL = [("system", "card"), ("user", 'Which?\nText: "a golden apple and silver pear, peach"')]
OPTIONS = ["fruit", "metal", "river"]
SCALAR = Capabilities(schema_mode="scalar", logprobs=True, usage=True)


class FixedTexts(Texts):
    """With a fixed count, as the generator asks for it."""

    model_config = {
        "json_schema_extra": lambda schema: schema["properties"]["texts"].update(
            minItems=3, maxItems=3
        )
    }


@pytest.fixture
def log(tmp_path: Path) -> Iterator[CallLog]:
    ledger = Ledger(tmp_path / "calls.sqlite")
    caches = (ReplyCache(tmp_path / "calls.sqlite"), ReplyCache(tmp_path / "shared.sqlite"))
    yield CallLog(ledger, caches, "run", "evokd")
    ledger.close()
    for cache in caches:
        cache.close()


def make_teacher(
    llm: FakeLLM, log: CallLog, capabilities: Capabilities | None = SCALAR, **settings: object
) -> Teacher:
    section = RoleSection(model="openai:scripted", base_url=llm.base_url, **settings)
    full = role_settings(AgentsSection(default=section), "labeler")
    endpoint = resolve_endpoint(full, {})
    return Teacher("labeler", full, endpoint, log, capabilities, sleep=lambda seconds: None)


def outcomes(log: CallLog) -> dict[str, int]:
    return log.ledger.counts()


def test_probe_sees_a_schema_log_probabilities_and_usage(llm: FakeLLM, log: CallLog) -> None:
    assert make_teacher(llm, log).probe() == SCALAR


class OtherClient(BaseChatModel):
    """A client that knows neither a seed nor OpenAI's body, as those of other providers."""

    replies: list[Any]
    asked: list[dict[str, Any]] = []

    @property
    def _llm_type(self) -> str:
        return "other"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kw: Any) -> Any:
        if set(kw) - {"temperature"}:
            raise TypeError(f"unexpected {sorted(kw)}")
        self.asked.append(kw)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return ChatResult(generations=[ChatGeneration(message=reply)])


class OtherError(Exception):
    """Of another provider's client."""

    def __init__(self, status_code: int) -> None:
        super().__init__("no")
        self.status_code = status_code


def test_a_client_of_another_provider_is_asked_in_words(
    log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = AIMessage('{"texts": ["a", "b", "c"]}', response_metadata={"stop_reason": "end_turn"})
    cut = AIMessage('{"texts": ["a', response_metadata={"stop_reason": "max_tokens"})
    replies = [AIMessage("the sea"), OtherError(429), cut, whole, OtherError(401)]
    client = OtherClient(replies=replies)
    monkeypatch.setattr(models, "_other_provider", lambda *_: client)
    settings = role_settings(
        AgentsSection(default=RoleSection(model="other:large", temperature=0.5)), "generator"
    )
    endpoint = resolve_endpoint(settings, {})
    teacher = Teacher("generator", settings, endpoint, log, sleep=lambda seconds: None)
    assert teacher.probe() == Capabilities(sampling=True)
    assert teacher.ask(ASKED, FixedTexts, Call(1, "c"), most=50).texts == ["a", "b", "c"]
    assert client.asked[-1] == {"temperature": 0.5}
    assert outcomes(log) == {"ok": 2, "rate limited": 1, "unusable reply": 1}
    with pytest.raises(TeacherError, match="HTTP 401"):
        teacher.ask(ASKED, FixedTexts, Call(2, "d"))


def test_probe_sees_that_a_schema_is_ignored(log: CallLog) -> None:
    with running_llm(schema=False, logprobs=False, usage=False) as llm:
        assert make_teacher(llm, log).probe() == Capabilities()


@pytest.mark.parametrize(
    ("refused", "seen"),
    [
        ({"logprobs"}, Capabilities(schema_mode="scalar", usage=True)),
        (
            {"logprobs", "temperature"},
            Capabilities(schema_mode="scalar", usage=True, sampling=False),
        ),
        ({"response_format"}, Capabilities(logprobs=True, usage=True)),
    ],
)
def test_probe_finds_a_way_around_parameters_that_are_refused(
    llm: FakeLLM, log: CallLog, refused: set[str], seen: Capabilities
) -> None:
    llm.refused = refused
    teacher = make_teacher(llm, log, samples=2)
    assert teacher.probe() == seen
    assert teacher.choose(LABEL, OPTIONS, Call(1, "c")).option == "fruit"
    assert not refused & set(llm.requests[-1])


def test_probe_names_a_refused_key_without_showing_it(
    llm: FakeLLM, log: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    llm.faults = ["status:401"]
    with pytest.raises(EndpointError, match="401") as caught:
        make_teacher(llm, log).probe()
    assert KEY not in str(caught.value)
    assert llm.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_dead_endpoint_is_refused(llm: FakeLLM, log: CallLog) -> None:
    teacher = make_teacher(llm, log, max_retries=1, timeout=2)
    llm.server.shutdown()
    llm.server.server_close()
    with pytest.raises(EndpointError, match="no answer after 2 attempt"):
        teacher.probe()


def test_fenced_json_is_read(llm: FakeLLM, log: CallLog) -> None:
    llm.faults = ["fenced"]
    assert len(make_teacher(llm, log).ask(ASKED, FixedTexts, Call(1, "c")).texts) == 3
    assert outcomes(log) == {"ok": 1}


@pytest.mark.parametrize("fault", ["truncated", "empty", "garbage"])
def test_one_unusable_reply_is_repaired_by_a_second_turn(
    llm: FakeLLM, log: CallLog, fault: str
) -> None:
    llm.faults = [fault]
    assert len(make_teacher(llm, log).ask(ASKED, FixedTexts, Call(1, "c")).texts) == 3
    assert outcomes(log) == {"ok": 1, "unusable reply": 1}
    assert "cannot be used" in llm.requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize(("most", "sent"), [(None, 512), (50, 50), (900, 512)])
def test_a_reply_is_no_longer_than_call_and_role_allow(
    llm: FakeLLM, log: CallLog, most: int | None, sent: int
) -> None:
    make_teacher(llm, log).ask(ASKED, FixedTexts, Call(1, "c"), most=most)
    assert llm.requests[0]["max_completion_tokens"] == sent


@pytest.mark.parametrize("fault", ["truncated", "empty", "garbage"])
def test_two_unusable_replies_are_an_error_and_never_a_value(
    llm: FakeLLM, log: CallLog, fault: str
) -> None:
    llm.faults = [fault, fault]
    with pytest.raises(ReplyError, match="labeler.*openai:scripted"):
        make_teacher(llm, log).ask(ASKED, FixedTexts, Call(1, "c"))


def test_a_truncated_label_is_not_taken_for_the_label(llm: FakeLLM, log: CallLog) -> None:
    llm.faults = ["truncated", "truncated"]
    with pytest.raises(ReplyError):
        make_teacher(llm, log).choose(LABEL, OPTIONS, Call(1, "c"))


@pytest.mark.parametrize("fault", ["status:429", "status:500", "slow"])
def test_passing_trouble_is_tried_again_and_stands_in_the_ledger(
    llm: FakeLLM, log: CallLog, fault: str
) -> None:
    llm.faults = [fault]
    teacher = make_teacher(llm, log, timeout=1)
    assert teacher.choose(LABEL, OPTIONS, Call(1, "c")).option == "fruit"
    name = {"status:429": "rate limited", "status:500": "server error", "slow": "time-out"}[fault]
    assert outcomes(log) == {"ok": 1, name: 1}


def test_lasting_trouble_stops_the_run_and_caches_nothing(llm: FakeLLM, log: CallLog) -> None:
    llm.faults = ["status:500"] * 3
    teacher = make_teacher(llm, log, max_retries=2)
    with pytest.raises(TeacherError, match="3 attempt"):
        teacher.choose(LABEL, OPTIONS, Call(1, "c"))
    assert teacher.choose(LABEL, OPTIONS, Call(1, "c")).option == "fruit"
    assert len(llm.requests) == 4


def test_a_bad_request_drops_the_reply_and_is_not_tried_again(llm: FakeLLM, log: CallLog) -> None:
    llm.faults = ["status:400"]
    with pytest.raises(ReplyError, match="400"):
        make_teacher(llm, log).choose(LABEL, OPTIONS, Call(1, "c"))
    assert len(llm.requests) == 1


class Named(BaseModel):
    text: str = Field(min_length=1, max_length=9)


class Names(BaseModel):
    entities: list[Named] = Field(max_length=2)


def test_a_schema_is_sent_as_a_strict_mode_takes_it(llm: FakeLLM, log: CallLog) -> None:
    make_teacher(llm, log).ask([("user", 'Text: "new"')], Names, Call(1, "names"))
    sent = llm.requests[-1]["response_format"]["json_schema"]
    assert sent["strict"] is True
    named = sent["schema"]["$defs"]["Named"]
    assert sent["schema"]["additionalProperties"] is named["additionalProperties"] is False
    assert named["properties"]["text"]["maxLength"] == 9  # a server of one's own keeps to it
    ours = strict_schema(Names.model_json_schema(), lengths=False)
    assert ours["properties"]["entities"]["maxItems"] == 2
    assert ours["$defs"]["Named"]["properties"]["text"] == {"title": "Text", "type": "string"}


@pytest.mark.parametrize(
    ("settings", "is_openai"),
    [
        ({}, True),
        ({"base_url": "https://api.openai.com/v1"}, True),
        ({"base_url": "https://mine.openai.azure.com/openai/v1"}, True),
        ({"base_url": "http://127.0.0.1:8000/v1"}, False),
        ({"model": "anthropic:x"}, False),
    ],
)
def test_openai_is_known_by_its_address(settings: dict[str, str], is_openai: bool) -> None:
    role = RoleSection(**{"model": "openai:gpt-5-mini", **settings})
    assert resolve_endpoint(role, {}).is_openai is is_openai


def test_without_a_schema_the_form_is_asked_for_in_words(log: CallLog) -> None:
    with running_llm(schema=False) as llm:
        teacher = make_teacher(llm, log, Capabilities(logprobs=True))
        assert teacher.choose(LABEL, OPTIONS, Call(1, "c")).option == "fruit"
        assert len(teacher.ask(ASKED, FixedTexts, Call(1, "d")).texts) == 3
    assert all("response_format" not in body for body in llm.requests)


def test_without_log_probabilities_confidence_is_agreement(log: CallLog) -> None:
    with running_llm(logprobs=False) as llm:
        teacher = make_teacher(llm, log, Capabilities(schema_mode="scalar"), samples=3)
        assert teacher.choose(LABEL, OPTIONS, Call(1, "c")).confidence == 1.0
        llm.faults = ["garbage", "garbage"]
        assert teacher.choose(LABEL, OPTIONS, Call(2, "c")).confidence == pytest.approx(2 / 3)


def test_missing_usage_is_estimated_and_said(log: CallLog) -> None:
    with running_llm(usage=False) as llm:
        make_teacher(llm, log).choose(LABEL, OPTIONS, Call(1, "c"))
    assert log.ledger.budget_spent()["output_tokens"] == len('"fruit"') // 4


def another_run(log: CallLog, folder: Path) -> CallLog:
    """Return the log of another run of the same user."""
    own = folder / "other.sqlite"
    return CallLog(Ledger(own), (ReplyCache(own), log.caches[1]))


def test_what_was_answered_once_is_not_asked_again(
    llm: FakeLLM, log: CallLog, tmp_path: Path
) -> None:
    make_teacher(llm, log).choose(LABEL, OPTIONS, Call(1, "c"))
    other = another_run(log, tmp_path)
    make_teacher(llm, other).choose(LABEL, OPTIONS, Call(5, "later"))
    assert len(llm.requests) == 1
    usage = other.ledger.usage_by_role()["labeler"]
    assert (usage.calls, usage.cached, usage.output_tokens) == (0, 1, 0)
    assert other.ledger.budget_spent()["output_tokens"] == 10


def test_sampled_calls_are_cached_by_slot_not_by_prompt(llm: FakeLLM, log: CallLog) -> None:
    teacher = make_teacher(llm, log, temperature=0.9)
    first = teacher.ask(ASKED, FixedTexts, Call(1, "c", slot=0))
    assert teacher.ask(ASKED, FixedTexts, Call(1, "c", slot=1)) != first
    assert teacher.ask(ASKED, FixedTexts, Call(1, "c", slot=0)) == first
    assert len(llm.requests) == 2


def test_the_likeliest_words_are_left_out_of_texts_only(llm: FakeLLM, log: CallLog) -> None:
    heat = {"temperature": 0.9, "xtc_probability": 0.5}
    make_teacher(llm, log, **heat).ask(ASKED, FixedTexts, Call(1, "c"))
    assert llm.requests[-1]["xtc_probability"] == 0.5
    assert SAMPLERS["xtc_probability"].items() <= llm.requests[-1].items()
    make_teacher(llm, log, xtc_probability=0.5).choose(LABEL, OPTIONS, Call(1, "c"))
    assert "xtc_probability" not in llm.requests[-1]


def test_what_stands_in_a_cut_reply_may_be_used_instead_of_asking_again(
    llm: FakeLLM, log: CallLog, tmp_path: Path
) -> None:
    known = FixedTexts(texts=["a"])
    llm.faults = ["truncated"]
    for one in (log, another_run(log, tmp_path)):
        reply = make_teacher(llm, one).ask(ASKED, FixedTexts, Call(1, "c"), begun=lambda _: known)
        assert reply is known
    assert len(llm.requests) == 1

    def unusable(text: str) -> FixedTexts:
        raise ValueError("nothing in it")

    reply = make_teacher(llm, log).ask(ASKED, FixedTexts, Call(2, "c"), begun=unusable)
    assert reply != known
    assert len(llm.requests) == 2  # the cut reply came from the cache


def test_answers_that_are_compared_may_repeat_the_text(llm: FakeLLM, log: CallLog) -> None:
    teacher = make_teacher(llm, log, temperature=0.9, dry_multiplier=0.8, presence_penalty=0.5)
    teacher.ask_often(ASKED, FixedTexts, Call(1, "c"))
    assert len(llm.requests) == 3
    assert not [body for body in llm.requests if {"dry_multiplier", "presence_penalty"} & set(body)]


def test_repetition_is_punished_in_texts_only(llm: FakeLLM, log: CallLog) -> None:
    heat = {"temperature": 0.9, "dry_multiplier": 0.8}
    make_teacher(llm, log, **heat).ask(ASKED, FixedTexts, Call(1, "c"))
    assert (SAMPLERS["dry_multiplier"] | {"dry_multiplier": 0.8}).items() <= llm.requests[
        -1
    ].items()
    make_teacher(llm, log, dry_multiplier=0.8).choose(LABEL, OPTIONS, Call(1, "c"))
    assert not {name for name in llm.requests[-1] if name.startswith("dry_")}
    make_teacher(llm, log, temperature=0.9).ask(ASKED, FixedTexts, Call(2, "c"))
    assert not {name for name in llm.requests[-1] if name.startswith("dry_")}


def test_the_key_reaches_no_file(
    llm: FakeLLM, log: CallLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    make_teacher(llm, log).choose(LABEL, OPTIONS, Call(1, "c"))
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('so: {"a": 1} yes', {"a": 1}),
        ("```json\n[1]\n```", [1]),
        ('"word"', "word"),
    ],
)
def test_json_is_found(text: str, value: object) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize("text", ['{"label": "po', "", "pony", '{"a": 1'])
def test_half_json_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match="complete JSON"):
        parse_json(text)
