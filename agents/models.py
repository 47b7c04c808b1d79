"""From a role's settings to a chat model. `chat_model` is the only place that builds a client."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from evokd.config import RoleSection
from evokd.errors import ConfigError, EndpointError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

OPENAI = "openai"
LOCAL = "local"
OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")


@dataclass(frozen=True)
class LocalEndpoint:
    """A llama.cpp server the runner has started."""

    base_url: str
    identity: str  # the weights' hash


@dataclass(frozen=True)
class Endpoint:
    """Where a role's model answers."""

    provider: str
    name: str
    base_url: str | None
    identity: str  # what the reply cache knows it by

    @property
    def speaks_openai(self) -> bool:
        """Whether `langchain-openai` is its client, with a seed, schemas and log-probabilities."""
        return self.provider in (OPENAI, LOCAL)

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own address, or Azure's, and no server that speaks like it."""
        host = urlsplit(self.base_url).hostname if self.base_url else OPENAI_HOSTS[0]
        return self.provider == OPENAI and str(host).endswith(OPENAI_HOSTS)

    @property
    def model(self) -> str:
        """The model as the task file names it."""
        return f"{self.provider}:{self.name}"


def split_model(model: str) -> tuple[str, str]:
    """Split 'provider:name'.

    Raises:
        ConfigError: there is no provider.
    """
    provider, colon, name = model.partition(":")
    if not colon or not provider or not name:
        raise ConfigError(
            f"model {model!r}: expected provider:name, such as local:qwen2.5-coder-1.5b-instruct "
            "or openai:gpt-5-mini"
        )
    return provider, name


def resolve_endpoint(settings: RoleSection, local: Mapping[str, LocalEndpoint]) -> Endpoint:
    """Return where a role's model answers; `local` maps pack names to running servers."""
    provider, name = split_model(settings.model or "")
    if provider == LOCAL:
        server = local[name]
        return Endpoint(provider, name, server.base_url, server.identity)
    base_url = settings.base_url or (
        os.environ.get("OPENAI_BASE_URL") if provider == OPENAI else None
    )
    try:
        parts = urlsplit(base_url or "http://default")
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("a base_url is malformed; expected http://host:port/v1")
    if parts.username is not None or parts.query:
        raise ConfigError(
            "a base_url holds a user name, password or query; put the key into a variable "
            "and name it in api_key_env"
        )
    return Endpoint(provider, name, base_url, f"{provider}:{name}@{base_url or 'default'}")


def chat_model(role: str, settings: RoleSection, endpoint: Endpoint) -> BaseChatModel:
    """Build the client of a role.

    Retries are the caller's (`Teacher`), so that every attempt stands in the ledger.

    Raises:
        EndpointError: no key where one is needed.
        ConfigError: a provider that is not installed.
    """
    if endpoint.speaks_openai:
        from langchain_openai import ChatOpenAI
        from pydantic import SecretStr

        return ChatOpenAI(
            model=endpoint.name,
            base_url=endpoint.base_url,
            api_key=SecretStr(_api_key(role, settings, endpoint)),
            max_completion_tokens=settings.max_tokens,
            timeout=settings.timeout,
            max_retries=0,
            stream_usage=False,
        )
    return _other_provider(role, settings, endpoint)


def _api_key(role: str, settings: RoleSection, endpoint: Endpoint) -> str:
    if endpoint.provider == LOCAL:
        return "local"
    variable = settings.api_key_env or "OPENAI_API_KEY"
    key = os.environ.get(variable, "")
    if key:
        return key
    if endpoint.base_url and _is_loopback(endpoint.base_url):
        return "none"
    raise EndpointError(
        f"{role}: {endpoint.model} needs a key, but the environment variable {variable} is not "
        f"set; export {variable}=… or choose another model"
    )


def _is_loopback(base_url: str) -> bool:
    return bool(re.match(r"^(localhost|127\.|\[?::1)", urlsplit(base_url).hostname or ""))


def _other_provider(role: str, settings: RoleSection, endpoint: Endpoint) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise ConfigError(
            f"{role}: provider {endpoint.provider!r} needs the packages langchain and "
            f"langchain-{endpoint.provider}; install them, or use openai:… or local:…"
        ) from None
    try:
        model: BaseChatModel = init_chat_model(
            endpoint.name,
            model_provider=endpoint.provider,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            timeout=settings.timeout,
            max_retries=0,
        )
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{role}: {endpoint.model} cannot be used: {error}") from None
    return model
