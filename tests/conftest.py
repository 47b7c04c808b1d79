"""Shared fixtures: a toy task over a scripted teacher and a tiny student, all offline."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_llm import WORDS, FakeLLM, running_llm, write_text
from hypothesis import settings

from evokd.tools.packs import models_dir

os.environ["HF_HUB_OFFLINE"] = "1"
# Each client of a teacher would read the system's certificates, for addresses of this machine.
os.environ["SSL_CERT_DIR"] = os.devnull
# A toy run waits for the disk nearly as long as it computes, so that its files lie in memory.
SHARED_MEMORY, ROOM = Path("/dev/shm"), 2 * 2**30
if os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(SHARED_MEMORY))
# The same cases on every machine, however slow it is.
settings.register_profile("evokd", deadline=None, derandomize=True, database=None)
settings.load_profile("evokd")
MODELS = models_dir()  # only tests with the marker local_llm look there


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches a real model, key, cache or trace."""
    monkeypatch.setenv("EVOKD_MODELS", str(MODELS))
    monkeypatch.setenv("EVOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LANGSMITH_TRACING", "LANGSMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    """A well-behaved scripted teacher."""
    with running_llm() as fake:
        yield fake


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer with random weights, and a word-level tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-student")
    words = [word for group in WORDS.values() for word in group]
    characters = [chr(code) for code in range(97, 123)] + list("0123456789")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *words,
        *characters,
        *(f"##{one}" for one in characters),
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_reasoner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, and a tokenizer of single characters."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-reasoner")
    signs = ["<end>", "?", "\n", *(chr(code) for code in range(32, 127) if chr(code) != "?")]
    tokens = Tokenizer(models.WordLevel({sign: n for n, sign in enumerate(signs)}, unk_token="?"))
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokens.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="<end>", pad_token="<end>", unk_token="?"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(signs),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def toy_task(tmp_path: Path, llm: FakeLLM, tiny_student: Path) -> Path:
    """A task file over the scripted teacher."""
    return write_task(tmp_path, llm.base_url, tiny_student)


def write_task(
    folder: Path, base_url: str, student: Path, changes: dict[str, Any] | None = None
) -> Path:
    """Write a toy task and its data; `changes` replaces whole sections or merges into them."""
    rng = random.Random(3)
    seed = [{"text": f"{WORDS[label][0]} here", "label": label} for label in WORDS]
    test = [{"text": write_text(label, rng), "label": label} for label in WORDS for _ in range(8)]
    for name, rows in (("seed", seed), ("test", test)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    task: dict[str, Any] = {
        "task": {
            "kind": "classification",
            "name": "toy",
            "instructions": "Tell what it is about.",
            "labels": {label: f"about a {label}" for label in WORDS},
        },
        "data": {"seed": "seed.jsonl", "test": "test.jsonl"},
        "student": {
            "model": f"path:{student}",
            "min_steps": 10,
            "max_steps": 20,
            "threads": 1,
            "freeze_embeddings": False,
            "learning_rate": 0.01,
        },
        "agents": {
            "default": {
                "model": "openai:scripted",
                "base_url": base_url,
                "timeout": 20,
                "max_concurrency": 2,
            }
        },
        "strategy": {
            "rounds": 2,
            "init_samples": 9,
            "samples_per_round": 9,
            "texts_per_call": 4,
            "check": "all",
        },
        "memory": {"embedder": "hash:64"},
    }
    for section, values in (changes or {}).items():
        task[section] = {**task.get(section, {}), **values} if isinstance(values, dict) else values
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


def let_die_once(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Have a function end the run at its first call, as Ctrl-C does."""
    module, _, name = where.rpartition(".")
    real, died = getattr(import_module(module), name), list[bool]()

    def dies_once(*arguments: Any) -> Any:
        if not died:
            died.append(True)
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(where, dies_once)
