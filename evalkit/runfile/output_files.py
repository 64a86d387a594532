"""Writes outputs other than run files: completely or not at all, and only over earlier outputs of evalkit.

A file is written under another name in the same folder, flushed to the disk and renamed. A reader sees the old or the
new file, and a process that is killed leaves the old one. A run file, a dataset or a file that evalkit did not write is
never overwritten. Pipes and devices, such as ``/dev/stdout``, are written directly.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import SettingsError
from evalkit.runfile.schema import SQLITE_HEADER

MARKDOWN_MARK = "<!-- evalkit report -->"
_ENDS = 65_536  # bytes at either end of a file that identify its kind
# the end of a log for inspect: its last file, whose comment is "evalkit", and the records of zip64 that a log of more
# than 2 GiB or 65,535 files has; in older logs it is the comment of the zip
_LOG_END = re.compile(
    rb"header\.json(?:\x01\0\x08\0.{8})?evalkit(?:PK\x06\x06.{52}PK\x06\x07.{16})?PK\x05\x06.{18}\Z"
    rb"|PK\x05\x06.{16}\x07\0evalkit\Z",
    re.DOTALL,
)
_RUN_NAME = re.compile(r"\.evalkit(?:-(?:wal|shm|journal|lock|spool-\d))?\Z")

_NAMED = {"stdout": 1, "stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")
_STREAMS = (Path("/dev"), Path("/proc"))


class OutputKind(NamedTuple):
    """A kind of output.

    Parameters
    ----------
    name : str
        Its name in messages.
    matches : callable
        Accepts both ends of a file, as bytes, and returns whether it is such an output of evalkit.
    """

    name: str
    matches: Callable[[bytes, bytes], bool]


def _is_export(head: bytes, tail: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").replace(b'"', b"")
    if text.startswith((b"conversation,repeat,turn,status,", b"conversation;repeat;turn;status;")):
        return True
    if text.startswith(b"{conversation:"):
        return b",repeat:" in text and b",turn:" in text and b",status:" in text
    if text.startswith(b"{resourceSpans:"):
        return b"{scope:{name:evalkit}" in text
    if head.startswith(b"PK") and _LOG_END.search(tail):
        return b"samples/" in head or b"summaries.json" in head
    return head.startswith(b"PAR1") and all(name in tail for name in (b"conversation", b"token_source", b"extracted"))


def _is_chart(head: bytes, tail: bytes) -> bool:
    if head.startswith(b"\x89PNG"):
        return b"Software\0evalkit" in head
    return head.startswith(b"<?xml") and b"<dc:title>evalkit</dc:title>" in head


def _is_report(head: bytes, tail: bytes) -> bool:
    return b"<title>evalkit: " in head or MARKDOWN_MARK.encode() in tail


REPORT = OutputKind("report", _is_report)
EXPORT = OutputKind("export", _is_export)
CHART = OutputKind("chart", _is_chart)
JUNIT = OutputKind("JUnit file", lambda head, tail: b"<testsuites>" in head and b' package="evalkit"' in head)
CHECKUP = OutputKind("check of an endpoint", lambda head, tail: bool(re.match(rb'\{\s*"checkup": 1,', head)))
_KINDS = (REPORT, EXPORT, CHART, JUNIT, CHECKUP)


def check(path: Path, kind: OutputKind, inputs: Iterable[Path | str] = (), *, overwrite: bool = True) -> None:
    """Check that a file may be written, before its content is made.

    Parameters
    ----------
    path : Path
    kind : OutputKind
        What will be written.
    inputs : iterable of path-like
        Files that the output is made from: runs and their datasets.
    overwrite : bool
        Whether an earlier output of evalkit may be overwritten.

    Raises
    ------
    SettingsError
        Its folder does not exist, or it is a folder, one of the inputs, a run file, a file that evalkit did not write,
        or an earlier output that must not be overwritten.
    """
    target = path.resolve()
    if _RUN_NAME.search(path.name) or _RUN_NAME.search(target.name):
        what = "a run file itself" if path.exists() else "the name of a run file"
        raise SettingsError(f"{path} is {what}: give the {kind.name} another name")
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise SettingsError(f"the {kind.name} {path} cannot be written: {what}. Choose another place")
    if any(target == Path(other).resolve() or _same(path, Path(other)) for other in inputs):
        raise SettingsError(f"{path} is read for the {kind.name}: give the {kind.name} another name")
    if path.is_file() and path.stat().st_size and not _is_stream(path):
        _check_earlier(path, kind, overwrite=overwrite)


def _check_earlier(path: Path, kind: OutputKind, *, overwrite: bool) -> None:
    try:
        head, tail = _both_ends(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}. Give the {kind.name} another name") from None
    if head.startswith(SQLITE_HEADER):
        raise SettingsError(f"{path} is a run file itself, or another database: give the {kind.name} another name")
    earlier = next((known for known in (kind, *_KINDS) if known.matches(head, tail)), None)
    if earlier is None:
        raise SettingsError(
            f"{path} exists already, and evalkit did not write it: give the {kind.name} another name, or remove that "
            "file first"
        )
    if not overwrite or (kind is JUNIT and earlier is not JUNIT):
        how = "add --overwrite, or give" if kind is not JUNIT else "give"
        raise SettingsError(f"{path} exists already, an earlier {earlier.name}: {how} the new {kind.name} another name")


def is_earlier(path: Path, kind: OutputKind) -> bool:
    """Whether a file is an earlier output of this kind; False if it cannot be read."""
    try:
        return path.is_file() and kind.matches(*_both_ends(path))
    except OSError:
        return False


def input_files(runs: Iterable[Path | str], infos: Iterable[Mapping[str, Any]]) -> list[Path | str]:
    """The runs and their datasets, from the results of ``store.run_info``: files that an output must not replace."""
    datasets = (info["dataset"].get("path") for info in infos)
    return [*runs, *(path for path in datasets if path)]


@contextlib.contextmanager
def writing(
    path: Path, kind: OutputKind, inputs: Iterable[Path | str] = (), *, overwrite: bool = True
) -> Iterator[Path]:
    """A path to write to; the file gets its final name at the end of the block. See ``check`` for the parameters.

    Yields
    ------
    Path
        A new file in the same folder, renamed at the end; ``path`` itself if it is a pipe or a device.

    Raises
    ------
    SettingsError
        The file must not be written, or the disk is full.
    """
    check(path, kind, inputs, overwrite=overwrite)
    try:
        if _is_stream(path):
            with _streamed(path) as place:
                yield place
            return
        target = path.resolve()
        draft = target.with_name(f".evalkit-{secrets.token_hex(6)}{path.suffix[:16]}")
        try:
            yield draft
            _flush(draft, target)
            draft.replace(target)
            _flush_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}. Choose another place") from None


def _is_stream(path: Path) -> bool:
    if path.exists() and not path.is_file():
        return True
    return any(folder in Path(os.path.abspath(path)).parents for folder in _STREAMS)  # noqa: PTH100 - links are not followed


@contextlib.contextmanager
def _streamed(path: Path) -> Iterator[Path]:
    """A path to write to for a pipe or a device, or for an open descriptor, to which the output is then appended."""
    found = _DESCRIPTOR.fullmatch(str(path))
    if found is None or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield (draft := Path(folder) / "draft")
        sys.stdout.flush()
        with draft.open("rb") as made, open(os.dup(_NAMED.get(found[1]) or int(found[2])), "wb") as to:  # noqa: PTH123
            shutil.copyfileobj(made, to)


def _same(path: Path, other: Path) -> bool:
    """Whether two paths are the same file, also through a symbolic or a hard link."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _both_ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(_ENDS)
        file.seek(max(0, path.stat().st_size - _ENDS))
        return head, file.read(_ENDS)


def _flush(draft: Path, target: Path) -> None:
    """Flush the new file to the disk, with the permissions of the file that it replaces."""
    file = os.open(draft, os.O_RDONLY)
    try:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.fchmod(file, target.stat().st_mode & 0o777)
        os.fsync(file)
    finally:
        os.close(file)


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
