"""Names of the files that evalkit makes: names for runs without one, free ones, and short enough for a file system."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from evalkit.errors import RunFileError
from evalkit.runfile import lock_and_flush

SUFFIX = ".evalkit"
RUNS_FOLDER = Path("runs")
_MOST_BYTES = 255  # of a name, on nearly all file systems
_BESIDE = len("-spool-0")  # bytes of the longest ending of the files beside a run file
_LONGEST = 200  # bytes of a stem: there is room for .judge-123, -saved-20260101-120000, .evalkit and -spool-0
_STAMPED = 180  # bytes of a stem that gets a time and a number


@contextmanager
def run_file(data: Path | str, model: str, *, name: str | None = None, out: Path | str | None = None) -> Iterator[Path]:
    """The path of a new run file, kept free for this process until the block ends.

    Parameters
    ----------
    data : path-like
        The dataset; it is part of the name of a run without one.
    model : str
    name : str, optional
        Given by the user: ``runs/NAME.evalkit``.
    out : path-like, optional
        Given by the user, in place of ``name``.

    Raises
    ------
    RunFileError
        ``out`` is too long for the files that lie beside it.
    """
    if out is not None:
        yield _checked(Path(out))
    elif name:
        yield RUNS_FOLDER / f"{cut(_plain(name))}{SUFFIX}"
    else:
        with free(f"{_plain(Path(data).stem)}-{_plain(model)}") as path:
            yield path


@contextmanager
def free(name: str) -> Iterator[Path]:
    """``runs/NAME-TIME.evalkit``, with ``-2``, ``-3``, … where a run has it or another process is about to make it."""
    found = next(path for path in _numbered(name, SUFFIX) if _reserved(path))
    try:
        yield found
    finally:
        lock_and_flush.release(found)


@contextmanager
def load_folder(data: Path, model: str, *, out: Path | None = None) -> Iterator[Path]:
    """The folder of a load test; one without a name is made, and goes again if it stays empty."""
    if out is not None:
        yield out
        return
    found = next(path for path in _numbered(f"load-{_plain(data.stem)}-{_plain(model)}") if _made(path))
    try:
        yield found
    finally:
        with contextlib.suppress(OSError):  # it holds runs
            found.rmdir()


def cut(text: str, most: int = _LONGEST) -> str:
    """A name of so many bytes at most; one that is cut ends with a digest, so that others stay apart from it."""
    name = text.encode(errors="surrogateescape")
    if len(name) <= most:
        return text
    digest = hashlib.sha256(name).hexdigest()[:8]
    return f"{name[: most - 9].decode(errors='ignore').rstrip('-.')}-{digest}"


def _checked(path: Path) -> Path:
    size, most = len(os.fsencode(path.name)), _MOST_BYTES - _BESIDE
    if size > most:
        raise RunFileError(f"the name of the run file {path} has {size} bytes, and {most} is the most: shorten it")
    return path


def _numbered(name: str, suffix: str = "") -> Iterator[Path]:
    stem = f"{cut(name, _STAMPED)}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield RUNS_FOLDER / f"{stem}{suffix}"
    for number in count(2):
        yield RUNS_FOLDER / f"{stem}-{number}{suffix}"


def _reserved(path: Path) -> bool:
    """Whether the name is ours now."""
    if os.path.lexists(path):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_and_flush.reserve(path)
    except RunFileError:  # another process makes it
        return False
    except OSError:  # who makes the file says why it cannot be
        return True
    if os.path.lexists(path):  # another process has made it meanwhile, and let it go
        lock_and_flush.release(path)
        return False
    return True


def _made(folder: Path) -> bool:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        return not folder.parent.is_dir()
    except OSError:  # who makes the first file in it says why it cannot be
        pass
    return True


def _plain(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "run"
