"""Opens run files to read them: as untrusted data, checked, and with a limit on how long a check may take.

``reading`` is the border: a fault in the file, found when it is opened or when one of its values is used, is raised as
a ``RunFileError`` that says where it is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import DatasetError, RunFileError
from evalkit.runfile import json_checks, migrations, schema, table_checks
from evalkit.runfile.file_names import SUFFIX

_STEPS = 100_000  # instructions of SQLite between two checks whether to stop, about a millisecond
_LIMIT_S = 3.0  # for a check or a migration of a file,
_BYTES_PER_S = 2_000_000  # plus a second for each of these
# raised by code that gets a value of another type or range than it expects
_VALUE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
    DatasetError,
)  # fmt: skip
_PARTS = ("settings", "dataset", "endpoint")
_TEXTS = ", ".join(f"substr({part}, 1, {json_checks.MOST_JSON + 1})" for part in _PARTS)  # enough to see a longer one
_RUN = f"SELECT name, created_ns, {_TEXTS} FROM run LIMIT 2"  # noqa: S608 - SQL of our own
_checked_files: dict[tuple[int, int], tuple[int, ...]] = {}  # files whose limits were checked, and their state then


class ReadConnection(sqlite3.Connection):
    """A connection whose queries end at an interrupt, and at a time limit if there is one.

    Exceptions cannot leave SQLite's callback, so an interrupt is kept until ``raise_interrupt``.

    Attributes
    ----------
    info : dict
        The result of ``run_info``, once the file has been checked.
    """

    info: dict[str, Any]
    interrupt_error: BaseException | None = None
    deadline_s: float | None = None

    def watch_interrupts(self) -> None:
        """Let interrupts end queries."""
        ticks = self._ticks()
        next(ticks)  # from now on an exception from a signal handler is raised inside the generator
        self.set_progress_handler(ticks.__next__, _STEPS)

    def _ticks(self) -> Generator[bool]:
        stop = False
        while True:
            try:
                yield stop
                stop = self.interrupt_error is not None
                stop = stop or (self.deadline_s is not None and time.monotonic() > self.deadline_s)
            except GeneratorExit:
                return
            except BaseException as error:
                self.interrupt_error, stop = error, True

    def raise_interrupt(self) -> None:
        """Raise the interrupt that ended a query."""
        if self.interrupt_error is not None:
            error, self.interrupt_error = self.interrupt_error, None
            raise error

    @contextlib.contextmanager
    def time_limit(self, size: int) -> Iterator[None]:
        """Limit the time of the block, which a hostile file could make endless; ``size`` is the file's, in bytes."""
        self.deadline_s = time.monotonic() + _LIMIT_S + size / _BYTES_PER_S
        try:
            yield
        finally:
            self.deadline_s = None


@contextlib.contextmanager
def reading(path: Path | str, *, check_values: bool = True) -> Iterator[ReadConnection]:
    """A run file open to read, as a snapshot, although the file may be growing.

    Parameters
    ----------
    path : path-like
    check_values : bool
        Check every value and limit of a small file now. False: only once the block has failed, which is enough for
        code that accepts no value of another type or range, and saves most of the time of a short look at many files.
        The block has the time limit of a check instead, since pages that refer to themselves make endless rows.

    Raises
    ------
    RunFileError
        As for ``open_to_read``; and in place of any error in the block that an invalid value of the file caused.
    """
    path = Path(path)
    with contextlib.closing(open_to_read(path)) as connection:
        connection.watch_interrupts()
        try:
            connection.execute("BEGIN")
            size = _size(path)
            if check_values or table_checks.is_large(size):
                _check_limits(path, connection, size)
                yield connection
            else:
                with connection.time_limit(size):
                    yield connection
        except (sqlite3.DatabaseError, *_VALUE_ERRORS) as error:
            connection.raise_interrupt()
            if (fault := _first_fault(path, connection)) is not None:
                raise fault from None
            if isinstance(error, sqlite3.DatabaseError):
                raise damaged(path, error) from None
            raise
        except Exception:  # a library may have wrapped the interrupted query in an error of its own
            connection.raise_interrupt()
            raise


def open_to_read(path: Path | str) -> ReadConnection:
    """Open a run file to read, also while it is written.

    Raises
    ------
    RunFileError
        The file does not exist, is not a run file, is of a newer version, is cut short, or has other tables than
        evalkit creates.
    """
    path = Path(path)
    size = _checked_size(path)
    where = path.absolute().as_uri()
    connection = _connected(f"{where}?mode=ro")
    try:
        try:
            version = _version(path, connection)
        except sqlite3.OperationalError:
            # the folder cannot be written, so there is no log, and the file alone is complete
            connection.close()
            connection = _connected(f"{where}?immutable=1")
            version = _version(path, connection)
        with connection.time_limit(size):
            if (fault := table_checks.schema_fault(connection, version)) is not None:
                raise invalid(path, fault)
            if version < migrations.VERSION:
                connection = _migrated(path, connection, version, size)
        connection.info = run_info(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        connection.raise_interrupt()
        raise damaged(path, error) from None
    except BaseException:
        connection.close()
        raise
    connection.set_progress_handler(None, 0)  # code that never calls ``raise_interrupt`` must not lose an interrupt
    return connection


def why_unreadable(path: Path) -> RunFileError | None:
    """The fault of a run file that caused another error; None: it has none, or it is not a run file."""
    try:
        _checked_size(path)
    except RunFileError:
        return None
    try:
        with contextlib.closing(open_to_read(path)) as connection:
            connection.watch_interrupts()
            return _first_fault(path, connection)
    except RunFileError as error:
        return error


def has_header(path: Path) -> bool:
    """Whether a file with any name begins as a run file; False for one that cannot be read."""
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123 - a buffer takes longer than the call
            header = file.read(72)
    except OSError:
        return False
    return header.startswith(schema.SQLITE_HEADER) and int.from_bytes(header[68:]) == schema.APPLICATION_ID


def run_info(
    connection: sqlite3.Connection, path: Path | str = "the run file", *, whole: bool = False
) -> dict[str, Any]:
    """Name, creation time (wall, ns), settings, dataset and endpoint of a run.

    Raises
    ------
    RunFileError
        There is no run or more than one, or a value is invalid or, with ``whole``, missing.
    """
    found = connection.execute(_RUN).fetchall()
    if not found:
        raise RunFileError(f"{path} holds no run: it was cut off while it was created. Delete it and run again")
    if len(found) > 1:
        raise invalid(path, "it holds more than one run")
    name, created_ns, *texts = found[0]
    if any(len(text or "") > json_checks.MOST_JSON for text in texts):
        raise invalid(path, f"its settings, dataset or endpoint have more than {json_checks.MOST_JSON:,} characters")
    parts = {}
    for part, text in zip(_PARTS, texts, strict=True):
        try:
            parts[part] = json_checks.read(text)
        except (ValueError, TypeError, RecursionError):
            raise invalid(path, f"its {part} cannot be read as JSON") from None
    if (fault := json_checks.run_fault(name, created_ns, parts, whole=whole)) is not None:
        raise invalid(path, fault)
    return {"name": name, "created_ns": created_ns, **parts}


def damaged(path: Path | str, error: sqlite3.Error) -> RunFileError:
    """The error to raise when SQLite cannot read a file."""
    if str(error) == "interrupted":
        return invalid(path, "reading it takes much longer than its size allows")
    return RunFileError(f"{path} is damaged or cut short ({error}): restore it from a backup or run again")


def invalid(path: Path | str, fault: str) -> RunFileError:
    """The error to raise when a file holds something that evalkit does not write."""
    return RunFileError(
        f"{path} is not a valid run file: {fault}. It is damaged or was changed: restore it from a backup or run again"
    )


def _first_fault(path: Path, connection: ReadConnection) -> RunFileError | None:
    """The first fault in a file; None: there is none."""
    try:
        with connection.time_limit(_size(path)):
            fault = (
                table_checks.limits_fault(connection, _size(path))
                or table_checks.first_value_fault(connection)
                or json_checks.first_json_fault(connection)
            )
            if fault is None:
                run_info(connection, path, whole=True)
    except RunFileError as error:
        return error
    except sqlite3.Error as error:
        connection.raise_interrupt()
        return damaged(path, error)
    return None if fault is None else invalid(path, fault)


def _check_limits(path: Path, connection: ReadConnection, size: int) -> None:
    """Check limits and values once for each state of a file; this takes a twentieth of the time of a summary."""
    identity, state = _state(path)
    if state is not None and _checked_files.get(identity) == state:
        return
    with connection.time_limit(size):
        fault = table_checks.limits_fault(connection, size)
        if fault is None:
            fault = table_checks.values_fault(connection, size)
    if fault is not None:
        raise invalid(path, fault)
    if state is not None:
        _checked_files[identity] = state


def _state(path: Path) -> tuple[tuple[int, int], tuple[int, ...] | None]:
    """A file's identity, and its size and time with those of its log; None: it was deleted just now."""
    status, later = _statuses(path)
    if status is None:
        return (0, 0), None
    later = later or status
    return (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns, later.st_size, later.st_mtime_ns)


def _size(path: Path) -> int:
    """Bytes of a file and its log together."""
    size = sum(status.st_size for status in _statuses(path) if status is not None)
    return size or 2**40  # it was deleted just now, and is still open


def _statuses(path: Path) -> list[os.stat_result | None]:
    """Of a file and its log; None: it does not exist."""
    found: list[os.stat_result | None] = []
    for name in (str(path), f"{path}-wal"):
        try:
            found.append(os.stat(name))  # noqa: PTH116 - a path object for each takes longer than the call
        except OSError:
            found.append(None)
    return found


def _connected(uri: str) -> ReadConnection:
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, factory=ReadConnection)
    connection.watch_interrupts()
    table_checks.guard(connection)
    return connection


def _checked_size(path: Path) -> int:
    """Bytes of a file and its log together; its header says that it is a whole run file."""
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123 - a buffer takes longer than the call
            header = file.read(100)
    except FileNotFoundError:
        raise RunFileError(
            f"there is no run file {path}: 'evalkit list FOLDER' shows the runs in a folder, "
            f"'evalkit run DATA --out {path}' creates one"
        ) from None
    except IsADirectoryError:
        first = min(path.glob(f"*{SUFFIX}"), default=None)
        example = "" if first is None else f", such as {first}"
        raise RunFileError(f"{path} is a folder: name a run file in it{example}") from None
    except OSError as error:
        raise RunFileError(f"{path} cannot be read: {error.strerror}") from None
    if not header.startswith(schema.SQLITE_HEADER):
        what = "is empty" if not header else "is not a run file"
        raise RunFileError(f"{path} {what}: run files are created by 'evalkit run' and end in {SUFFIX}")
    page_size = int.from_bytes(header[16:18]) if len(header) == 100 else 0
    expected = int.from_bytes(header[28:32]) * (65536 if page_size == 1 else page_size)
    status, log = _statuses(path)
    size = 0 if status is None else status.st_size
    if log is not None and log.st_size:
        return size + log.st_size  # the pages that seem to be missing may be in the log, where SQLite finds them
    if len(header) < 100 or size < expected:
        raise RunFileError(
            f"{path} is cut short: it has {size:,} bytes of {max(expected, 100):,}. Copy it again, or run again"
        )
    return size


def _version(path: Path, connection: sqlite3.Connection) -> int:
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != schema.APPLICATION_ID:
        raise RunFileError(f"{path} is a database, but not a run file of evalkit")
    if version > migrations.VERSION:
        raise RunFileError(
            f"{path} was written by a newer evalkit (file version {version}, this one reads up to "
            f"{migrations.VERSION}): update with pip install -U chat-evalkit"
        )
    if version < 0:
        raise invalid(path, f"its version is {version}, and the first version is 1")
    return int(version)


def _migrated(path: Path, old: ReadConnection, version: int, size: int) -> ReadConnection:
    """A copy of an older file in memory, migrated to this version: reading changes no file."""
    if version and (fault := table_checks.limits_fault(old, size, version)) is not None:
        raise invalid(path, fault)
    memory = _connected("file::memory:")
    with contextlib.closing(old):
        old.backup(memory)
    with memory.time_limit(size):
        migrations.migrate(memory, version)
    return memory
