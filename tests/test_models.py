"""From settings to a client: which address and key win, and what is refused without telling."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evokd.agents.models import Endpoint, LocalEndpoint, chat_model, resolve_endpoint, split_model
from evokd.config import (
    AgentsSection,
    RoleSection,
    role_settings,
)
from evokd.errors import EXIT_REFUSED, ConfigError, EndpointError
from evokd.task_file import load_config

KEY = "sk-very-secret-key-0123456789"


def settings(**fields: object) -> RoleSection:
    default = RoleSection.model_validate({"model": "openai:small"} | fields)
    return role_settings(AgentsSection(default=default), "critic")


def build(section: RoleSection) -> object:
    return chat_model("critic", section, resolve_endpoint(section, {}))


def test_a_model_is_split_at_its_first_colon() -> None:
    assert split_model("openai:ft:small:me") == ("openai", "ft:small:me")


@pytest.mark.parametrize("model", ["gpt-5-mini", "openai:", ":small", ""])
def test_a_model_without_provider_or_name_is_refused_with_an_example(model: str) -> None:
    with pytest.raises(ConfigError, match=f"model '{model}': expected provider:name, such as"):
        split_model(model)


def test_a_local_model_answers_at_its_own_server_and_is_known_by_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    server = LocalEndpoint("http://127.0.0.1:1234/v1", "sha256:abc")
    endpoint = resolve_endpoint(settings(model="local:tiny"), {"tiny": server})
    assert endpoint == Endpoint("local", "tiny", "http://127.0.0.1:1234/v1", "sha256:abc")


def test_explicit_beats_file_beats_environment_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = {
        "task": {
            "kind": "classification",
            "name": "t",
            "instructions": "i",
            "labels": {"a": "", "b": ""},
        },
        "data": {"seed": "s"},
    }
    path = tmp_path / "task.yaml"

    def address(*overrides: str, **agents: object) -> str | None:
        path.write_text(yaml.safe_dump(raw | {"agents": agents}), encoding="utf-8")
        config = load_config(path, list(overrides))
        return resolve_endpoint(role_settings(config.agents, "critic"), {}).base_url

    default = {"model": "openai:x"}
    assert address(default=default) is None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/env")
    assert address(default=default) == "http://127.0.0.1:1/env"
    in_file = {**default, "base_url": "http://127.0.0.1:1/file"}
    assert address(default=in_file) == "http://127.0.0.1:1/file"
    explicit = "agents.critic.base_url=http://127.0.0.1:1/set"
    assert address(explicit, default=in_file) == "http://127.0.0.1:1/set"


def test_replies_of_two_addresses_are_not_mixed_up() -> None:
    one = resolve_endpoint(settings(base_url="http://127.0.0.1:1/v1"), {})
    other = resolve_endpoint(settings(base_url="http://127.0.0.1:2/v1"), {})
    assert one.identity != other.identity
    assert one.model == other.model == "openai:small"


@pytest.mark.parametrize("where", ["file", "environment"])
@pytest.mark.parametrize("login", [f"me:{KEY}", KEY])
def test_an_address_that_holds_credentials_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, where: str, login: str
) -> None:
    url = f"http://{login}@127.0.0.1:1/v1"
    if where == "environment":
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    section = settings(base_url=url) if where == "file" else settings()
    with pytest.raises(ConfigError, match="base_url holds a user name.*api_key_env") as caught:
        resolve_endpoint(section, {})
    assert KEY not in str(caught.value)
    assert caught.value.exit_code == EXIT_REFUSED


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        resolve_endpoint(settings(base_url="http://[::1/v1"), {})


def test_a_missing_key_names_role_model_and_variable() -> None:
    with pytest.raises(EndpointError) as caught:
        build(settings(api_key_env="MY_KEY"))
    assert "critic: openai:small needs a key" in str(caught.value)
    assert "environment variable MY_KEY is not set" in str(caught.value)
    assert caught.value.exit_code == EXIT_REFUSED


def test_a_distant_address_needs_a_key_and_a_loopback_one_does_not() -> None:
    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        build(settings(base_url="http://10.0.0.8:8000/v1"))
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert build(settings(base_url=f"http://{host}:8000/v1"))


def test_the_client_gets_the_key_of_its_variable_and_never_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    model = build(settings(api_key_env="MY_KEY"))
    assert model.openai_api_key.get_secret_value() == KEY  # type: ignore[attr-defined]
    assert KEY not in repr(model)


def test_the_client_gets_the_settings_and_leaves_retries_to_the_caller() -> None:
    model = build(settings(base_url="http://127.0.0.1:1/v1", timeout=9))
    assert [getattr(model, name) for name in ("request_timeout", "max_retries")] == [9, 0]


def test_a_provider_that_is_not_installed_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="critic: .*no_such_provider"):
        build(settings(model="no_such_provider:large"))
