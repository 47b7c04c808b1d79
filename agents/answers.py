"""What an endpoint's client answers or raises, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evokd.agents.models import Endpoint
from evokd.store.replies import Reply

CHARS_PER_TOKEN = 4  # a rough guess, where nobody counts


def client_errors(endpoint: Endpoint) -> tuple[type[Exception], ...]:
    """Return what a client raises; of one that is not ours to know, anything."""
    if not endpoint.speaks_openai:
        return (Exception,)
    import httpx
    import openai

    return (openai.OpenAIError, httpx.HTTPError)


def named_failure(error: Exception) -> str:
    """Return a failure in words that hold nothing of the request."""
    status = getattr(error, "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__


def classify(error: Exception) -> tuple[str, float | None]:
    """Return the outcome for the ledger and the seconds to wait; None: do not try again."""
    status = getattr(error, "status_code", None)
    if status == 429 or (status is not None and status >= 500):
        return ("rate limited" if status == 429 else "server error"), _retry_after(error)
    if status in (400, 413, 422):
        return "bad request", None
    if status is not None:
        return "refused", None
    name = type(error).__name__
    if "Timeout" in name:
        return "time-out", 0.0
    if "Connect" in name or "Protocol" in name or "Network" in name or "Read" in name:
        return "no connection", 0.0
    return "bad request", None


def _retry_after(error: Exception) -> float:
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after", "") if response is not None else ""
    try:
        return min(60.0, float(value))
    except ValueError:
        return 0.0


def to_reply(message: Any, request: Mapping[str, Any]) -> Reply:
    """Return a client's message as a reply; tokens are estimated where it counts none."""
    content = message.content if isinstance(message.content, str) else message.text
    meta = message.response_metadata or {}
    usage = message.usage_metadata
    asked = sum(len(turn[1]) for turn in request["messages"])
    return Reply(
        text=content,
        finish_reason=_finish_reason(meta),
        input_tokens=usage["input_tokens"] if usage else asked // CHARS_PER_TOKEN,
        output_tokens=usage["output_tokens"] if usage else len(content) // CHARS_PER_TOKEN,
        usage_reported=usage is not None,
        logprobs=_logprobs(meta.get("logprobs")),
    )


def _finish_reason(meta: Mapping[str, Any]) -> str:
    """Return why a reply ended, in OpenAI's words: `length` where it was cut off."""
    reason = str(meta.get("finish_reason") or meta.get("stop_reason") or "")
    return "length" if reason.lower() == "max_tokens" else reason


def _logprobs(raw: Any) -> list[dict[str, Any]] | None:
    tokens = (raw or {}).get("content") if isinstance(raw, dict) else None
    if not tokens:
        return None
    return [
        {
            "token": token["token"],
            "logprob": token["logprob"],
            "top": {top["token"]: top["logprob"] for top in token.get("top_logprobs") or []},
        }
        for token in tokens
    ]
