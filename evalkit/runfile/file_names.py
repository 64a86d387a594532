"""Names of the files that evalkit creates: generated if none is given, unused, and short enough for a file system."""

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
_LONGEST_ENDING = len("-spool-0")  # bytes of the longest ending of the files next to a run file
_LONGEST = 200  # bytes of a stem: leaves room for .judge-123, -saved-20260101-120000, .evalkit and -spool-0
_LONGEST_STAMPED = 180  # bytes of a stem to which a time and a number are added


@contextmanager
def new_run_file(
    data: Path | str, model: str, *, name: str | None = None, out: Path | str | None = None
) -> Iterator[Path]:
    """The path of a new run file, reserved for this process until the block ends.

    Parameters
    ----------
    data : path-like
        The dataset; its name is part of a generated name.
    model : str
        Also part of a generated name.
    name : str, optional
        The user's name: ``runs/NAME.evalkit``.
    out : path-like, optional
        The user's path, in place of ``name``.

    Raises
    ------
    RunFileError
        ``out`` is too long for the names of the files next to it.
    """
    if out is not None:
        yield _checked(Path(out))
    elif name:
        yield RUNS_FOLDER / f"{shortened(plain(name))}{SUFFIX}"
    else:
        with unused_run_file(f"{plain(Path(data).stem)}-{plain(model)}") as path:
            yield path


@contextmanager
def unused_run_file(name: str) -> Iterator[Path]:
    """``runs/NAME-TIME.evalkit``, with ``-2``, ``-3``, … if that exists or another process has reserved it."""
    found = next(path for path in _numbered(name, SUFFIX) if _reserved(path))
    try:
        yield found
    finally:
        lock_and_flush.release(found)


@contextmanager
def new_load_folder(data: Path, model: str, *, out: Path | None = None) -> Iterator[Path]:
    """The folder of a load test; if none is given, one is created, and removed at the end if it is empty."""
    if out is not None:
        yield out
        return
    found = next(path for path in _numbered(f"load-{plain(data.stem)}-{plain(model)}") if _created(path))
    try:
        yield found
    finally:
        with contextlib.suppress(OSError):  # it holds runs
            found.rmdir()


def shortened(text: str, most: int = _LONGEST) -> str:
    """A name of at most ``most`` bytes; a shortened name ends with a digest, so that names stay distinct."""
    name = text.encode(errors="surrogateescape")
    if len(name) <= most:
        return text
    digest = hashlib.sha256(name).hexdigest()[:8]
    return f"{name[: most - 9].decode(errors='ignore').rstrip('-.')}-{digest}"


def _checked(path: Path) -> Path:
    size, most = len(os.fsencode(path.name)), _MOST_BYTES - _LONGEST_ENDING
    if size > most:
        raise RunFileError(f"the name of the run file {path} has {size} bytes, the maximum is {most}: shorten it")
    return path


def _numbered(name: str, suffix: str = "") -> Iterator[Path]:
    stem = f"{shortened(name, _LONGEST_STAMPED)}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield RUNS_FOLDER / f"{stem}{suffix}"
    for number in count(2):
        yield RUNS_FOLDER / f"{stem}-{number}{suffix}"


def _reserved(path: Path) -> bool:
    """Whether the name is now reserved for this process."""
    if os.path.lexists(path):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_and_flush.reserve(path)
    except RunFileError:  # another process is creating it
        return False
    except OSError:  # the error is reported where the file is created
        return True
    if os.path.lexists(path):  # another process has created and released it in the meantime
        lock_and_flush.release(path)
        return False
    return True


def _created(folder: Path) -> bool:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        return not folder.parent.is_dir()
    except OSError:  # the error is reported where the first file in it is created
        pass
    return True


def plain(text: str) -> str:
    """A text, such as a model's name, as a part of a file name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "run"
