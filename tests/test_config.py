"""The task file: what is refused and how it is said, overrides, and which setting wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from evokd.config import (
    AgentsSection,
    Config,
    RoleSection,
    config_fingerprint,
    role_settings,
)
from evokd.errors import EXIT_REFUSED, ConfigError
from evokd.task_file import dump_config, load_config, parse_config

KEY = "sk-very-secret-key-0123456789"


def minimal() -> dict[str, Any]:
    return {
        "task": {
            "kind": "classification",
            "name": "toy",
            "instructions": "Sort.",
            "labels": {"a": "first", "b": "second"},
        },
        "data": {"seed": "seed.jsonl"},
    }


def save(folder: Path, raw: dict[str, Any]) -> Path:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, "task.yaml")
    assert caught.value.exit_code == EXIT_REFUSED
    return str(caught.value)


def test_a_minimal_task_file_is_enough() -> None:
    config = parse_config(minimal(), "task.yaml")
    assert (config.task.name, config.strategy.name, config.random_seed) == ("toy", "evokd", 0)


@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        (None, "stratgy", "strategy"),
        ("strategy", "round", "rounds"),
        ("data", "sead", "seed"),
        ("agents", "labeller", "labeler"),
        ("gates", "max_cosin", "max_cosine"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(section: str | None, key: str, near: str) -> None:
    raw = minimal()
    (raw if section is None else raw.setdefault(section, {}))[key] = 1
    said = refusal(raw)
    where = key if section is None else f"{section}.{key}"
    assert f"unknown key {where!r}, did you mean {near!r}?" in said


def test_an_unknown_key_deep_inside_is_named_with_the_nearest() -> None:
    said = refusal(minimal() | {"agents": {"critic": {"modell": "local:x"}}})
    assert "unknown key 'agents.critic.modell', did you mean 'model'?" in said


def test_an_unknown_key_near_to_nothing_lists_the_known() -> None:
    assert "known here: path, url, embedder, related" in refusal(
        minimal() | {"memory": {"zzzzzz": 1}}
    )


@pytest.mark.parametrize("missing", ["task", "data"])
def test_a_missing_section_is_named(missing: str) -> None:
    raw = minimal()
    del raw[missing]
    assert f"missing key {missing!r}" in refusal(raw)


@pytest.mark.parametrize("topics", ["all", ["shoes", " "], ["shoes\nhats"], {"a": "shoes"}])
def test_topics_are_a_list_of_words_or_any(topics: Any) -> None:
    raw = minimal()
    raw["task"]["topics"] = topics
    assert "task.topics" in refusal(raw)


@pytest.mark.parametrize("topics", ["any", [], ["shoes", "hats"]])
def test_topics_may_be_given(topics: Any) -> None:
    raw = minimal()
    raw["task"]["topics"] = topics
    assert parse_config(raw, "task.yaml").task.topics == topics


@pytest.mark.parametrize("missing", ["kind", "name", "instructions", "labels"])
def test_a_missing_key_is_named_with_its_section(missing: str) -> None:
    raw = minimal()
    del raw["task"][missing]
    assert f"missing key 'task.{missing}'" in refusal(raw)


def test_all_problems_are_told_at_once() -> None:
    raw = minimal() | {"budget": {"usd": -1}, "surprise": 1}
    del raw["task"]["name"]
    said = refusal(raw)
    assert all(part in said for part in ("'surprise'", "'task.name'", "budget.usd"))


def test_a_value_out_of_range_is_shown_with_what_was_found() -> None:
    said = refusal(minimal() | {"strategy": {"rounds": 0}})
    assert "strategy.rounds" in said
    assert "(found 0)" in said


@pytest.mark.parametrize("label", ["", " a", "a\nb", 'say "a"'])
def test_a_label_that_no_reply_could_hold_is_refused(label: str) -> None:
    raw = minimal()
    raw["task"]["labels"] = {label: "odd", "b": "fine"}
    assert f"label {label!r}" in refusal(raw)


def test_one_label_is_no_classification() -> None:
    raw = minimal()
    raw["task"]["labels"] = {"a": "alone"}
    assert "labels: expected two or more" in refusal(raw)


def test_an_unknown_strategy_is_named_with_the_nearest() -> None:
    said = refusal(minimal() | {"strategy": {"name": "evokdd"}})
    assert "unknown strategy 'evokdd', did you mean 'evokd'?" in said


def test_an_unknown_task_kind_says_which_are_known() -> None:
    raw = minimal()
    raw["task"]["kind"] = "translation"
    said = refusal(raw)
    assert "task.kind" in said
    assert "classification" in said


def test_memory_in_two_places_is_refused() -> None:
    said = refusal(minimal() | {"memory": {"path": "m", "url": "http://127.0.0.1:1"}})
    assert "either path or url" in said


def test_lengths_that_no_text_has_are_refused() -> None:
    said = refusal(minimal() | {"gates": {"min_words": 61}})
    assert "gates: min_words 61 is more than max_words 60" in said
    parse_config(minimal() | {"gates": {"min_words": 61, "max_words": 61}}, "task.yaml")


def test_a_key_written_into_the_task_file_is_refused_and_not_shown() -> None:
    said = refusal(minimal() | {"agents": {"default": {"api_key": KEY}}})
    assert "did you mean 'api_key_env'?" in said
    assert KEY not in said


def test_a_key_in_place_of_its_variable_is_refused_and_not_shown() -> None:
    said = refusal(minimal() | {"agents": {"default": {"api_key_env": KEY}}})
    assert "agents.default.api_key_env" in said
    assert KEY not in said


def test_no_task_file_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no task file at .*absent.yaml"):
        load_config(tmp_path / "absent.yaml")


def test_a_folder_is_no_task_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"task: {kind: [", "not valid YAML"),
        ("task: caf\xe9".encode("latin-1"), r"not UTF-8 \(byte 9\)"),
        (b"", "holds NoneType, expected a mapping"),
        (b"- task", "holds list, expected a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_config(path)


def test_data_paths_are_resolved_against_the_task_file(tmp_path: Path) -> None:
    config = load_config(save(tmp_path, minimal() | {"memory": {"path": "mind"}}))
    assert config.data.seed == str(tmp_path / "seed.jsonl")
    assert config.memory.path == str(tmp_path / "mind")
    assert config.data.test is None


def test_set_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    path = save(tmp_path, minimal() | {"strategy": {"rounds": 4, "patience": 2}})
    config = load_config(path, ["strategy.rounds=9", "budget.usd=0.5"])
    assert (config.strategy.rounds, config.strategy.patience) == (9, 2)
    assert (config.budget.usd, config.strategy.max_refills) == (0.5, 2)


def test_of_two_overrides_of_one_key_the_last_wins(tmp_path: Path) -> None:
    config = load_config(save(tmp_path, minimal()), ["random_seed=3", "random_seed=4"])
    assert config.random_seed == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("strategy.rounds", "expected KEY=VALUE, such as strategy.rounds=3"),
        ("=3", "expected KEY=VALUE"),
        ("task.name.first=x", "'name' holds a value, not a section"),
        ("strategy.rounds=[1", "the value is not valid YAML"),
        ("strategy.rounds=many", r"strategy.rounds: .*\(found 'many'\)"),
        ("strategy.rouns=3", "unknown key 'strategy.rouns', did you mean 'rounds'"),
        ("strategy.name=evocd", "unknown strategy 'evocd', did you mean 'evokd'"),
        ("strategy.noise=mixture", "is for task.kind ner and for the strategy llkd, not for evokd"),
    ],
)
def test_a_bad_override_is_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(save(tmp_path, minimal()), [override])
    assert caught.value.exit_code == EXIT_REFUSED


def test_a_dumped_config_reads_back_equal() -> None:
    config = parse_config(minimal() | {"budget": {"minutes": 1.5}}, "task.yaml")
    assert Config.model_validate(yaml.safe_load(dump_config(config))) == config


def test_the_fingerprint_depends_on_values_and_not_on_their_order() -> None:
    assert config_fingerprint({"a": 1, "b": 2}) == config_fingerprint({"b": 2, "a": 1})
    assert config_fingerprint({"a": 1}) != config_fingerprint({"a": 2})


def test_a_role_has_its_own_setting_else_that_of_default_else_ours() -> None:
    agents = AgentsSection(
        default=RoleSection(model="openai:small", timeout=7),
        critic=RoleSection(model="openai:large"),
    )
    critic, labeler = role_settings(agents, "critic"), role_settings(agents, "labeler")
    assert (critic.model, critic.timeout, critic.max_tokens) == ("openai:large", 7, 512)
    assert (labeler.model, labeler.timeout) == ("openai:small", 7)


def test_only_the_generator_is_warm_unless_told_otherwise() -> None:
    agents = AgentsSection(analyst=RoleSection(temperature=0.5))
    heat = {role: role_settings(agents, role).temperature for role in ("generator", "labeler")}
    assert heat == {"generator": 1.0, "labeler": 0.0}
    assert role_settings(agents, "analyst").temperature == 0.5


def test_a_temperature_set_for_all_roles_holds_for_the_generator_too() -> None:
    agents = AgentsSection(default=RoleSection(temperature=0.3))
    assert role_settings(agents, "generator").temperature == 0.3


@pytest.mark.parametrize(
    ("setting", "ours"),
    [("presence_penalty", 0.8), ("xtc_probability", 0.5), ("dry_multiplier", 0.8)],
)
def test_a_hosted_model_is_sent_no_local_setting_unless_asked(setting: str, ours: float) -> None:
    def read(agents: AgentsSection, role: str = "generator") -> Any:
        return getattr(role_settings(agents, role), setting)

    asked = RoleSection.model_validate({"model": "openai:x", setting: 0.1})
    assert read(AgentsSection(default=RoleSection(model="openai:x"))) is None
    assert read(AgentsSection(default=asked)) == 0.1
    assert read(AgentsSection()) == ours
    assert read(AgentsSection(), "labeler") is None
