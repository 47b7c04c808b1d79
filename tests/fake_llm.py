"""A loopback OpenAI-style server: a scripted teacher, and ways to misbehave.

The scripted teacher plays all roles over a toy task whose labels have words of their own. It
belongs to tests only.
"""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from openai._utils import maybe_transform

WORDS = {
    "fruit": "apple banana cherry grape lemon mango melon orange peach pear plum kiwi fig".split(),
    "metal": "iron copper silver gold tin zinc nickel lead cobalt titanium brass bronze".split(),
    "river": "nile rhine danube thames volga amazon congo ganges loire tiber elbe oder".split(),
}
FILLERS = "old big new cold warm bright small long deep fine rough fresh near far".split()
RUBBISH = "Your request was handled"
POLL = 0.02  # seconds; by default a server that is shut down goes on for half a second
RENAME_KEYS = "openai.resources.chat.completions.completions.maybe_transform"


def true_label(text: str) -> str:
    """Return the label whose words the text holds."""
    lowered = text.lower()
    counts = {label: sum(word in lowered for word in words) for label, words in WORDS.items()}
    return max(counts, key=lambda label: counts[label])


def write_text(label: str, rng: random.Random) -> str:
    """Return a toy text of a label."""
    word, other = rng.sample(WORDS.get(label, FILLERS), 2)
    return f"{rng.choice(FILLERS)} {word} {rng.choice(FILLERS)} and {other} {rng.randrange(1000)}"


def true_entities(text: str) -> list[dict[str, str]]:
    """Return the toy words a text holds, in their order."""
    known = {word: label for label, words in WORDS.items() for word in words}
    return [{"text": one, "type": known[one]} for one in text.split() if one in known]


def true_explanation(asked: str) -> dict[str, Any]:
    """Return the steps and the answer of a toy question such as "What is 3 plus 4?"."""
    one, other = map(int, re.findall(r"(\d+) plus (\d+)", asked)[0])
    return {"steps": [f"{one} + {other} = {one + other}"], "answer": str(one + other)}


def is_right(asked: str) -> bool:
    """Return whether a step or an answer to a toy question is right, as a reviser would say."""
    truth = true_explanation(asked)
    step = re.search(r'Check the last step: "(.*)"', asked)
    if step is not None:
        return step.group(1) in truth["steps"]
    answer = re.search(r"[Aa]nswer: (.*)", asked)
    return answer is not None and answer.group(1) == truth["answer"]


class FakeLLM:
    """A server that answers as a teacher, or as `faults` says, one fault a request.

    Faults: 'fenced', 'truncated', 'empty', 'status:429', 'status:500', 'status:400', 'status:401',
    'slow', 'garbage'.
    """

    def __init__(self, *, logprobs: bool = True, usage: bool = True, schema: bool = True) -> None:
        self.logprobs, self.usage, self.schema = logprobs, usage, schema
        self.refused: set[str] = set()  # parameters answered with 400
        self.faults: list[str] = []
        self.delay = 0.0
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self._rng = random.Random(7)
        self._asked: Counter[tuple[str, str]] = Counter()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """The address a role is given."""
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> str:
        """Return what the teacher says."""
        said = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
        asked = [text for text in said if not text.startswith("That cannot be used")][-1]
        form = self._form(body)
        if '"Answer: "' in body["messages"][0]["content"]:
            truth = true_explanation(asked)
            return "\n".join([*truth["steps"], f"Answer: {truth['answer']}"])
        if "the calculation alone" in body["messages"][0]["content"]:
            return str(true_explanation(asked)["steps"][0].partition(" =")[0])
        if form is None:
            return "The sea is wide."
        properties = form.get("properties", {})
        if {"texts", "plain", "hard", "easy", "question"} & {
            name.partition("_")[0] for name in properties
        }:
            return json.dumps({name: self._texts(asked, form, name) for name in properties})
        if "c1" in properties:
            return json.dumps({name: self._plan() for name in properties})
        if "t1" in properties:
            texts = dict(re.findall(r'^(t\d+): "(.*)"$', asked, re.MULTILINE))
            return json.dumps({name: true_label(texts[name]) for name in properties})
        if "names" in properties:
            return json.dumps({"names": self._names(asked, properties["names"]["minItems"])})
        if "entities" in properties:
            return json.dumps({"entities": true_entities(asked.rsplit('Text: "', 1)[-1])})
        if "topics" in form.get("properties", {}):
            return json.dumps(
                {
                    name: [f"{name[:-1]} {index}" for index in range(field["minItems"])]
                    for name, field in form["properties"].items()
                }
            )
        if "text" in form.get("properties", {}):
            return json.dumps({"text": "repaired " + write_text("fruit", self._rng)})
        return self._choice(asked, form)

    def _form(self, body: dict[str, Any]) -> dict[str, Any] | None:
        if "response_format" in body and self.schema:
            form: dict[str, Any] = body["response_format"]["json_schema"]["schema"]
            return form
        asked = body["messages"][-1]["content"]
        if "of this schema: " in asked:
            text = asked.rsplit("of this schema: ", 1)[1]
            return dict(json.loads(text))
        if "nothing else: " in asked:
            return {"enum": asked.rsplit("nothing else: ", 1)[1].split(", "), "plain": True}
        return None

    def _texts(self, asked: str, form: dict[str, Any], name: str) -> list[str]:
        label = re.search(
            r"(?:[Tt]he label (?:of all of them is )?|names in passing: )(\w+)", asked
        )
        named = label.group(1) if label else "none"
        assert label or "no entity at all" in asked
        count = form["properties"][name]["minItems"]
        # By the prompt, not by the order in which threads ask: a run is then the same every time.
        with self.lock:
            self._asked[asked, name] += 1
            rng = random.Random(f"{asked} {name} {self._asked[asked, name]}")
        texts = [write_text(named, rng) for _ in range(count)]
        if mentioned := re.search(rf"^{name}: .*, which mentions (.*?)[.,]", asked, re.MULTILINE):
            names = mentioned.group(1).replace('"', "")
            texts = [f"{text} {names}" for text in texts]
        # Of a call whose texts have orders of their own, one.
        if count > 1 or name == next(iter(form["properties"])):
            texts[0] = f"{RUBBISH} {rng.randrange(10**6)} {texts[0]}"
        return texts

    def _names(self, asked: str, count: int) -> list[str]:
        part = asked.split("each one different: ")[1].partition(".")[0]
        known = WORDS[part.split()[-1]]
        return [known[place % len(known)] for place in range(count)]

    def _plan(self) -> dict[str, Any]:
        return {
            "name": "short fruit",
            "pattern": "fruit beside metal",
            "hard": 2,
            "easy": 1,
            "vary": "the words",
        }

    def _choice(self, asked: str, form: dict[str, Any]) -> str:
        inner = form.get("properties", {}).get("answer", form)
        options = inner["enum"]
        text = asked.rsplit('Text: "', 1)[-1]
        option = options[0]
        if set(options) == {"Yes", "No"}:
            option = "Yes" if is_right(asked) else "No"
        elif set(options) == {"content", "order"}:
            option = "order" if "We all know" in asked else "content"
        elif "yes" in options:
            option = "reply" if RUBBISH in text else "yes"
        elif set(WORDS) <= set(options):
            option = true_label(text)
        if form.get("plain"):
            return option
        return json.dumps({"answer": option} if "properties" in form else option)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a whole chat completion."""
        if self.refused & set(body):
            raise FaultError(400)
        text, finish = self.answer(body), "stop"
        with self.lock:
            fault = self.faults.pop(0) if self.faults else ""
        if fault == "fenced":
            text = f"Sure:\n```json\n{text}\n```\nHope it helps."
        elif fault == "truncated":
            text, finish = text[: len(text) // 2], "length"
        elif fault == "empty":
            text = ""
        elif fault == "garbage":
            text = "I would rather talk about the sea."
        elif fault == "slow":
            time.sleep(1.5)
        elif fault.startswith("status:"):
            raise FaultError(int(fault.partition(":")[2]))
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": finish,
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs") and self.logprobs:
            choice["logprobs"] = {"content": spell(text)}
        answer: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
        }
        if self.usage:
            answer["usage"] = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802 - the base class's name
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with fake.lock:
                    fake.requests.append(body)
                    fake.headers.append({k.lower(): v for k, v in self.headers.items()})
                time.sleep(fake.delay)
                try:
                    status, answer = 200, fake.reply(body)
                except FaultError as fault:
                    status, answer = fault.status, {"error": {"message": "no", "type": "x"}}
                data = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class FaultError(Exception):
    """The server is to answer with an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def spell(text: str) -> list[dict[str, Any]]:
    """Return log-probabilities as a server would: one token a character run, 0.9 each."""
    return [
        {
            "token": token,
            "logprob": math.log(0.9),
            "top_logprobs": [{"token": token, "logprob": math.log(0.9)}],
        }
        for token in re.findall(r"\w+|\W+", text)
    ]


def rename_keys(request: dict[str, Any], form: Any) -> Any:
    """Do as openai does, but for the messages: it takes a fifth of a toy run to find nothing."""
    messages = request.pop("messages")
    return maybe_transform(request, form) | {"messages": messages}


@contextmanager
def running_llm(**options: bool) -> Iterator[FakeLLM]:
    """Run a fake teacher for the length of a block."""
    fake = FakeLLM(**options)
    thread = threading.Thread(target=fake.server.serve_forever, args=(POLL,), daemon=True)
    thread.start()
    try:
        with patch(RENAME_KEYS, rename_keys):
            yield fake
    finally:
        fake.server.shutdown()
        fake.server.server_close()
