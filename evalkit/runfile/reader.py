"""Run files open to read: taken as data from a stranger, checked, and never waited for without end.

``reading`` is the border. What is wrong with a file, whether it is seen at once or when a value of it cannot be used,
leaves it as a ``RunFileError`` that says where.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import DatasetError, RunFileError
from evalkit.runfile import integrity, json_texts, schema
from evalkit.runfile.file_names import SUFFIX

_STEPS = 100_000  # of SQLite's machine between two looks whether to stop, about a millisecond
_PATIENCE_S = 3.0  # with a check or a migration of a file,
_BYTES_PER_S = 2_000_000  # and a second more for so many bytes
# what code raises that takes a value for what it is not
_MISUSED = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
    DatasetError,
)  # fmt: skip
_sound: dict[tuple[int, int], tuple[int, ...]] = {}  # files whose limits were checked: which, and in what state


class ReadConnection(sqlite3.Connection):
    """A connection whose queries an interrupt ends, and a time limit while there is one.

    SQLite calls back without a way for exceptions to get out, so an interrupt waits here for ``raise_heard``.
    """

    heard: BaseException | None = None
    until_s: float | None = None

    def listen(self) -> None:
        """Begin to hear interrupts."""
        ticks = self._ticks()
        next(ticks)  # from here on whatever a signal raises is raised inside
        self.set_progress_handler(ticks.__next__, _STEPS)

    def _ticks(self) -> Generator[bool]:
        stop = False
        while True:
            try:
                yield stop
                stop = self.heard is not None or (self.until_s is not None and time.monotonic() > self.until_s)
            except GeneratorExit:
                return
            except BaseException as error:
                self.heard, stop = error, True

    def raise_heard(self) -> None:
        """Raise the interrupt that ended a query."""
        if self.heard is not None:
            heard, self.heard = self.heard, None
            raise heard

    @contextlib.contextmanager
    def patience(self, size: int) -> Iterator[None]:
        """Work on a file of so many bytes that has no end in a hostile file."""
        self.until_s = time.monotonic() + _PATIENCE_S + size / _BYTES_PER_S
        try:
            yield
        finally:
            self.until_s = None


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[sqlite3.Connection]:
    """A run file open to read, in one state although it may be growing.

    Raises
    ------
    RunFileError
        As ``open_to_read``; and whatever is raised inside that comes of a value of the file which cannot be.
    """
    path = Path(path)
    with contextlib.closing(open_to_read(path)) as connection:
        connection.listen()
        try:
            connection.execute("BEGIN")
            _check_limits(path, connection)
            yield connection
        except (sqlite3.DatabaseError, *_MISUSED) as error:
            connection.raise_heard()
            if (wrong := _wrong(path, connection)) is not None:
                raise wrong from None
            if isinstance(error, sqlite3.DatabaseError):
                raise damaged(path, error) from None
            raise
        except Exception:  # of those who wrap an interrupted query in an error of their own
            connection.raise_heard()
            raise


def open_to_read(path: Path | str) -> ReadConnection:
    """Open a run file to read, also while it is written.

    Raises
    ------
    RunFileError
        No such file, no run file, of a newer version, cut short, or with more or other tables than evalkit makes.
    """
    path = Path(path)
    _check_header(path)
    where = path.resolve().as_uri()
    connection = _connected(f"{where}?mode=ro")
    try:
        try:
            version = _version(path, connection)
        except sqlite3.OperationalError:
            # a folder that cannot be written: no log can be there either, so the file alone is the truth
            connection.close()
            connection = _connected(f"{where}?immutable=1")
            version = _version(path, connection)
        with connection.patience(_size(path)):
            if (fault := integrity.schema_fault(connection, version)) is not None:
                raise unsound(path, fault)
            if version < schema.VERSION:
                connection = _brought_up(path, connection, version)
        run_info(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        connection.raise_heard()
        raise damaged(path, error) from None
    except BaseException:
        connection.close()
        raise
    connection.set_progress_handler(None, 0)  # whoever does not know of ``heard`` must lose no interrupt
    return connection


def why_unreadable(path: Path) -> RunFileError | None:
    """What is wrong with a run file of which something could not be used; None: nothing is, or it is no run file."""
    try:
        _check_header(path)
    except RunFileError:
        return None
    try:
        with contextlib.closing(open_to_read(path)) as connection:
            connection.listen()
            return _wrong(path, connection)
    except RunFileError as error:
        return error


def run_info(
    connection: sqlite3.Connection, path: Path | str = "the run file", *, whole: bool = False
) -> dict[str, Any]:
    """Name, creation time (wall, ns), settings, dataset and endpoint of a run.

    Raises
    ------
    RunFileError
        There is no run or more than one, or something of it is none that evalkit writes; ``whole``: or is missing.
    """
    names = ("settings", "dataset", "endpoint")
    lengths = connection.execute(f"SELECT {', '.join(f'length({name})' for name in names)} FROM run LIMIT 2").fetchall()  # noqa: S608
    if not lengths:
        raise RunFileError(f"{path} holds no run: it was cut off while it was made. Delete it and run again")
    if len(lengths) > 1:
        raise unsound(path, "it holds more than one run")
    if any((length or 0) > json_texts.MOST_JSON for length in lengths[0]):
        raise unsound(path, f"its settings, dataset or endpoint have more than {json_texts.MOST_JSON:,} characters")
    name, created_ns, *texts = connection.execute(
        "SELECT name, created_ns, settings, dataset, endpoint FROM run"
    ).fetchone()
    parts = {}
    for part, text in zip(names, texts, strict=True):
        try:
            parts[part] = json_texts.read(text)
        except (ValueError, TypeError, RecursionError):
            raise unsound(path, f"its {part} cannot be read as JSON") from None
    if (fault := json_texts.run_fault(name, created_ns, parts, whole=whole)) is not None:
        raise unsound(path, fault)
    return {"name": name, "created_ns": created_ns, **parts}


def damaged(path: Path | str, error: sqlite3.Error) -> RunFileError:
    """What to raise when SQLite cannot read a file."""
    if str(error) == "interrupted":
        return unsound(path, "reading it takes much longer than its size allows")
    return RunFileError(f"{path} is damaged or cut short ({error}): take it from a backup or run again")


def unsound(path: Path | str, fault: str) -> RunFileError:
    """What to raise when a file holds what evalkit does not write."""
    return RunFileError(
        f"{path} is not as evalkit writes a run file: {fault}. It is damaged, or somebody changed it: "
        "take it from a backup or run again"
    )


def _wrong(path: Path, connection: ReadConnection) -> RunFileError | None:
    """The first thing in a file that is at fault; None: nothing is."""
    try:
        with connection.patience(_size(path)):
            fault = (
                integrity.limits_fault(connection, _size(path))
                or integrity.first_value_fault(connection)
                or json_texts.first_json_fault(connection)
            )
            if fault is None:
                run_info(connection, path, whole=True)
    except RunFileError as error:
        return error
    except sqlite3.Error as error:
        connection.raise_heard()
        return damaged(path, error)
    return None if fault is None else unsound(path, fault)


def _check_limits(path: Path, connection: ReadConnection) -> None:
    """Once for each state of a file: it costs a twentieth of a summary."""
    identity, state = _state(path)
    if state is not None and _sound.get(identity) == state:
        return
    size = _size(path)
    with connection.patience(size):
        fault = integrity.limits_fault(connection, size) or integrity.values_fault(connection, size)
    if fault is not None:
        raise unsound(path, fault)
    if state is not None:
        _sound[identity] = state


def _state(path: Path) -> tuple[tuple[int, int], tuple[int, ...] | None]:
    """Which file it is, and its size and time with those of its log; None: it has just gone."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0), None
    log = Path(f"{path}-wal")
    later = log.stat() if log.exists() else status
    return (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns, later.st_size, later.st_mtime_ns)


def _size(path: Path) -> int:
    """Bytes of a file and its log."""
    size = 0
    for part in (path, Path(f"{path}-wal")):
        with contextlib.suppress(FileNotFoundError):
            size += part.stat().st_size
    return size or 2**40  # it has just gone, and is open still


def _connected(uri: str) -> ReadConnection:
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, factory=ReadConnection)
    connection.listen()
    integrity.guard(connection)
    return connection


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        raise RunFileError(f"there is no run file {path}: 'evalkit run DATA --out {path}' makes one") from None
    except IsADirectoryError:
        inside = min(path.glob(f"*{SUFFIX}"), default=None)
        such = "" if inside is None else f", such as {inside}"
        raise RunFileError(f"{path} is a folder: name a run file in it{such}") from None
    except OSError as error:
        raise RunFileError(f"{path} cannot be read: {error.strerror}") from None
    if not header.startswith(b"SQLite format 3\0"):
        what = "is empty" if not header else "is not a run file"
        raise RunFileError(f"{path} {what}: run files are made by 'evalkit run' and end in {SUFFIX}")
    page_size = int.from_bytes(header[16:18]) if len(header) == 100 else 0
    expected = int.from_bytes(header[28:32]) * (65536 if page_size == 1 else page_size)
    size = path.stat().st_size
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        return  # the pages that seem to be missing may be in the log, from where SQLite takes them
    if len(header) < 100 or size < expected:
        raise RunFileError(
            f"{path} is cut short: it has {size:,} bytes of {max(expected, 100):,}. Copy it again, or run again"
        )


def _version(path: Path, connection: sqlite3.Connection) -> int:
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != schema.APPLICATION_ID:
        raise RunFileError(f"{path} is a database, but not a run file of evalkit")
    if version > schema.VERSION:
        raise RunFileError(
            f"{path} was written by a newer evalkit (file version {version}, this one reads up to "
            f"{schema.VERSION}): update with pip install -U chat-evalkit"
        )
    if version < 0:
        raise unsound(path, f"its version is {version}, and the first one was 1")
    return int(version)


def _brought_up(path: Path, old: ReadConnection, version: int) -> ReadConnection:
    """An older file as this version would have it, in memory: reading changes no file."""
    size = _size(path)
    if version and (fault := integrity.limits_fault(old, size)) is not None:
        raise unsound(path, fault)
    memory = _connected("file::memory:")
    with contextlib.closing(old):
        old.backup(memory)
    with memory.patience(size):
        schema.migrate(memory, version)
    return memory
