"""A recording in a file: JSON lines, first what is recorded, then an exchange a line. Run files are recordings too."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Self

from evalkit.errors import SettingsError
from evalkit.recorded import run_exchanges
from evalkit.recorded.exchange import Exchange
from evalkit.runfile import output_files
from evalkit.runfile.output_files import OutputKind
from evalkit.runfile.schema import SQLITE_HEADER

VERSION = 1
MOST_BYTES = 256 * 2**20
_MARK = "evalkit_recording"
_KIND = OutputKind("recording", lambda head, tail: head.startswith(f'{{"{_MARK}": '.encode()))


class Recording(NamedTuple):
    """The exchanges of a recording, and the model that answered."""

    model: str
    exchanges: Sequence[Exchange]


def read(path: Path | str) -> Recording:
    """Read a recording, or a run file as one.

    Raises
    ------
    SettingsError
        The file cannot be read, is no recording, or is too large; the message names the line.
    RunFileError
        It is a run file that cannot be read.
    """
    path = Path(path)
    recording = _read(path)
    if not recording.model.isprintable() or not recording.model.strip():  # it is printed, also for a shell
        raise SettingsError(f"{path}: what it names as its model is not the name of a model. Record it again")
    return recording


def _read(path: Path) -> Recording:
    try:
        with path.open("rb") as file:
            if file.read(len(SQLITE_HEADER)) == SQLITE_HEADER:
                return Recording(*run_exchanges.read(path))
            file.seek(0)
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"the recording {path} cannot be read: {error.strerror}. 'evalkit serve --record FILE' makes one"
        ) from None
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{path} has more than {MOST_BYTES >> 20} MiB, the limit for a recording: divide it")
    return _read_lines(path, content)


def _read_lines(path: Path, content: bytes) -> Recording:
    about, *lines = _values(path, content)
    if not _is_head(about) or not isinstance(about.get("model"), str):
        raise SettingsError(
            f"{path} is neither a recording nor a run file: 'evalkit serve --record FILE' makes a recording, "
            "'evalkit run' a run file"
        )
    if about[_MARK] > VERSION:
        raise SettingsError(f"{path} was recorded by a newer evalkit: update with pip install -U chat-evalkit")
    exchanges = []
    for number, line in enumerate(lines, start=2):
        if _is_head(line):  # of a recording that was appended
            if (line[_MARK], line.get("model")) == (about[_MARK], about["model"]):
                continue
            raise SettingsError(
                f"{path}, line {number}: here begins a recording of another model or version. Divide the file there"
            )
        try:
            exchanges.append(Exchange.from_json(line))
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{path}, line {number}: {error}. Record it again, or delete the line") from None
    return Recording(about["model"], exchanges)


def _is_head(line: Any) -> bool:
    """Whether a line is the first one of a recording."""
    return isinstance(line, dict) and type(line.get(_MARK)) is int


def _values(path: Path, content: bytes) -> Iterator[Any]:
    lines = content.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            if number == 1:
                yield None
                return
            raise SettingsError(
                f"{path}, line {number}: it is not JSON. The recording was cut off: delete this line, or record again"
            ) from None


def check(path: Path, *, overwrite: bool = False) -> None:
    """Check that a recording may be written to this place, before anything is started or replaced.

    Raises
    ------
    SettingsError
        The file cannot be written, or it exists: only with ``overwrite`` is an earlier recording replaced.
    """
    output_files.check(path, _KIND, overwrite=overwrite)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"the recording {path} cannot be written: {os.strerror(errno.EACCES)}")


class RecordingWriter:
    """Writes a recording, exchange by exchange; each is in the file once ``add`` returns.

    A recording that can no longer be written, as the disk is full, ends there; ``failure`` then says why.

    Parameters
    ----------
    path : Path
    model : str
    overwrite : bool
        Replace an earlier recording.

    Attributes
    ----------
    failure : SettingsError or None

    Raises
    ------
    SettingsError
        See ``check``; at the end of a block, if an exchange could not be written and no other error ends the block.
    """

    def __init__(self, path: Path, model: str, *, overwrite: bool = False) -> None:
        check(path, overwrite=overwrite)
        self.failure: SettingsError | None = None
        self._path = path
        self._lock = Lock()
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from None
        self._write({_MARK: VERSION, "model": model})
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._file.close()
        if self.failure is not None and error is None:
            raise self.failure

    def add(self, exchange: Exchange) -> None:
        """Add an exchange; after the end of the recording it is dropped."""
        with self._lock:
            if not self._file.closed:
                self._write(exchange.to_json())

    def _write(self, value: Any) -> None:
        try:
            self._file.write(json.dumps(value) + "\n")  # ASCII: also what is not UTF-8 comes back as it was
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # closing writes what is left, and fails too
                self._file.close()
            self.failure = self._unwritable(error)

    def _unwritable(self, error: OSError) -> SettingsError:
        return SettingsError(f"the recording {self._path} cannot be written: {error.strerror}. Choose another place")
