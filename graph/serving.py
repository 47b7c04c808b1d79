"""Which models a run needs, and how they are opened: packs, local servers, endpoints, embedder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from evokd.agents.models import LocalEndpoint, chat_model, resolve_endpoint, split_model
from evokd.agents.teacher import CallLog, Capabilities, Teacher
from evokd.config import Config, role_settings
from evokd.errors import ConfigError
from evokd.graph.prompts import load_prompts
from evokd.graph.strategies import used_roles
from evokd.memory.embeddings import HashEmbedder, SentenceEmbedder
from evokd.records import Embedder, Emit
from evokd.store.run_dir import RunDirectory
from evokd.tools.pack_list import PACKS, find_pack
from evokd.tools.packs import fetch_pack, gguf_path, installed
from evokd.tools.server import LocalServer
from evokd.tools.student import resolve_student


def is_local(config: Config, role: str) -> bool:
    """Whether a role's model is served by us."""
    return (role_settings(config.agents, role).model or "").startswith("local:")


def local_packs(config: Config) -> list[str]:
    """Return the packs that local servers serve.

    Raises:
        ConfigError: a model without provider, or a pack that does not exist.
    """
    names = []
    for role in used_roles(config):
        provider, name = split_model(role_settings(config.agents, role).model or "")
        if provider == "local" and name not in names:
            if find_pack(name).kind != "llm":
                raise ConfigError(f"agents.{role}: the pack {name!r} is no language model")
            names.append(name)
    return names


def needed_packs(config: Config) -> list[str]:
    """Return all packs a run needs: for student, embedder and local roles."""
    names = local_packs(config)
    for model in (config.student.model, config.memory.embedder):
        provider, _, name = model.partition(":")
        if provider == "local":
            find_pack(name)
            if name not in names:
                names.append(name)
    return names


def check_models(config: Config) -> None:
    """Check that prompts and every role's model are known and its key is there, without a call.

    Raises:
        RefusedError: naming role, model and what is missing.
    """
    load_prompts(config)
    packs = needed_packs(config)
    resolve_student(config.student.model, {name: Path() for name in packs})
    stand_in = {name: LocalEndpoint("http://127.0.0.1:1/v1", name) for name in PACKS}
    for role in used_roles(config):
        settings = role_settings(config.agents, role)
        chat_model(role, settings, resolve_endpoint(settings, stand_in))


def ensure_pack(name: str, emit: Emit) -> Path:
    """Return the folder of a model pack; one that is not there is fetched.

    Raises:
        RefusedError: it cannot be had.
    """
    folder = installed(name)
    if folder is None:
        emit({"kind": "note", "text": f"fetching the model pack {name}"})
        folder = fetch_pack(
            name,
            progress=lambda pack, done, total: emit(
                {"kind": "download", "pack": pack, "done": done, "total": total}
            ),
        )
    return folder


def open_embedder(config: Config, folders: Mapping[str, Path]) -> Embedder:
    """Return the embedder of memory and gates.

    Raises:
        ConfigError: `memory.embedder` names none.
    """
    provider, _, name = config.memory.embedder.partition(":")
    if provider == "hash" and (not name or name.isdigit()):
        return HashEmbedder(int(name or 64))
    if provider == "path":
        return SentenceEmbedder(Path(name), f"path:{Path(name).name}")
    if provider == "local" and name in folders:
        return SentenceEmbedder(folders[name], config.memory.embedder)
    raise ConfigError(
        f"memory.embedder: {config.memory.embedder!r} is unknown; give local:PACK or path:DIR"
    )


def start_server(
    name: str, card: str, config: Config, run: RunDirectory, stack: ExitStack, emit: Emit
) -> LocalEndpoint:
    """Start the server of a pack, stopped with the stack, and have it compute the card once.

    Raises:
        RefusedError: it does not start.
    """
    emit({"kind": "note", "text": f"starting the local model {name}"})
    server = LocalServer(
        gguf_path(name),
        slots=config.local.slots,
        slot_context=config.local.slot_context,
        threads=config.local.threads,
        log_file=run.path / f"server-{name}.log",
    )
    stack.enter_context(server)
    server.share_prompt(card)
    return LocalEndpoint(server.base_url, f"sha256:{find_pack(name).weights_sha256}")


def open_teachers(
    config: Config, log: CallLog, local: Mapping[str, LocalEndpoint], emit: Emit
) -> dict[str, Teacher]:
    """Return a teacher for every role in use; each endpoint is asked once what it can do.

    Args:
        local: pack → where its server listens.

    Raises:
        RefusedError: an endpoint, key or model that cannot be used.
    """
    teachers: dict[str, Teacher] = {}
    seen: dict[str, Capabilities] = {}
    for role in used_roles(config):
        settings = role_settings(config.agents, role)
        endpoint = resolve_endpoint(settings, local)
        teacher = Teacher(role, settings, endpoint, log)
        if endpoint.identity not in seen:
            emit({"kind": "note", "text": f"asking {endpoint.model} what it can do"})
            seen[endpoint.identity] = teacher.probe()
        teacher.capabilities = seen[endpoint.identity]
        teachers[role] = teacher
    return teachers
