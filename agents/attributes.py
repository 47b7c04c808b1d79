"""Attributes of a label's texts, for attribute-varied generation (AttrPrompt, Yu et al., 2023).

The analyst model is asked once a label for topics and for styles; every text then gets one of
each, drawn at random. AttrPrompt also varies the length, which the planning of calls does.
"""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher
from evokd.tasks import is_unicode

TOPICS = 8
STYLES = 5


class Attributes(BaseModel):
    """What texts of one label may be about, and how they may be said."""

    model_config = ConfigDict(extra="ignore")

    topics: list[str] = Field(description="situations or topics within the label")
    styles: list[str] = Field(description="ways of saying it")

    def draw(self, rng: random.Random) -> str:
        """Return one random combination in words; '' where nothing is known."""
        drawn = [rng.choice(values) for values in (self.topics, self.styles) if values]
        return "; ".join(drawn)


class _Reply(Attributes):
    topics: list[str] = Field(min_length=TOPICS, max_length=TOPICS)
    styles: list[str] = Field(min_length=STYLES, max_length=STYLES)


def find_attributes(
    teacher: Teacher, prompt: Prompt, card: str, label: str, call: Call
) -> Attributes:
    """Return topics and styles of the texts of `label`.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = prompt.fill("main", label=label, topics=TOPICS, styles=STYLES)
    messages: list[Message] = [("system", card), ("user", user)]
    reply = teacher.ask(messages, _Reply, call)
    return Attributes(topics=_short(reply.topics), styles=_short(reply.styles))


def _short(values: list[str]) -> list[str]:
    return [one.strip()[:80] for one in values if one.strip() and is_unicode(one)]
