"""The run file as its writer sees it: one SQLite file per run, one writer, readable while it grows.

Attempts are only added. A failed turn may be replaced when it is sent again; an answered turn never is, unless it is
marked as failed first because its answer may be incomplete.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

from evalkit.conversation import INSTRUCTION_ROLES, Conversation
from evalkit.errors import RunFileError
from evalkit.record import Answer, Score, TurnRecord
from evalkit.runfile import lock_and_flush, migrations, record_rows, resume_command, schema, table_checks
from evalkit.runfile.file_names import SUFFIX, shortened
from evalkit.runfile.finished_turn import FinishedTurn, stored_answer, stored_record
from evalkit.runfile.lock_and_flush import FileIdentity, Flusher
from evalkit.runfile.reader import invalid, open_to_read, reading, run_info
from evalkit.runfile.schema import Row

__all__ = ["SUFFIX", "RunFile", "answered_turns", "open_to_read", "reading", "run_info", "spool_files"]

_REMEMBERED = 10_000  # conversations known to be in the file
# one statement for many keys: one for each takes as long as the score
_TO_SCORE = """
    SELECT t.conversation, t.repeat, t.turn, c.row, t.answer, t.refusal, t.tool_calls, t.finish_reason, t.reasoning
    FROM (VALUES {}) key CROSS JOIN turn t ON (t.conversation, t.repeat, t.turn)
        = (key.column1, key.column2, key.column3)
      CROSS JOIN conversation c ON c.position = t.conversation"""
_KEYS = 50  # of one statement
_UNSCORED = """
    SELECT t.conversation, t.repeat, t.turn, c.row, t.answer, t.refusal, t.tool_calls, t.finish_reason, t.reasoning
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN score s ON (s.conversation, s.repeat, s.turn, s.scoring) = (t.conversation, t.repeat, t.turn, 0)
    WHERE (t.conversation, t.repeat, t.turn) > (?, ?, ?) AND t.status = 'answered' AND t.has_target AND s.scorer IS NULL
    ORDER BY t.conversation, t.repeat, t.turn LIMIT 1000"""
_HOLDS = """
    SELECT 1 FROM turn
    WHERE (conversation, repeat, turn) = (?, ?, ?) AND (sent_ns IS ? OR (session = ? AND sent_ns > ?))"""
# a row without the instructions that it begins with, as Conversation.with_system(None) leaves them out
_WITHOUT_SYSTEM = f"""json_remove(row, '$.system', '$.context') || (
    SELECT json_group_array(value) FROM json_each(row, '$.context') WHERE id >= (
        SELECT min(id) FROM json_each(row, '$.context')
        WHERE coalesce(json_extract(row, fullkey || '.role'), '') NOT IN {INSTRUCTION_ROLES}
    )
)"""  # noqa: S608 - SQL of our own
_CHECK_S = 0.5  # between two checks whether the file still exists
_LOG_PAGES = 4_000  # of 4 KiB: the log is merged into the file at this length


class RunFile:
    """A run file open for writing; one process at a time.

    Use ``RunFile.create`` or ``RunFile.open``; both raise ``RunFileError``.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[str]) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock
        self._known_conversations: set[int] = set()
        self._flusher: Flusher | None = None
        self._identity = FileIdentity(path)
        self._checked_s = 0.0
        self._own_scores_count = False
        self.session = 0

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str,
        settings: Mapping[str, Any],
        dataset: Mapping[str, Any],
        endpoint: Mapping[str, Any],
    ) -> RunFile:
        """Create a run file; an existing file is never overwritten."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = lock_and_flush.lock(path)
        except OSError as error:
            raise RunFileError(f"{path} cannot be written: {error.strerror}. Choose another place with --out") from None
        if path.is_symlink() or path.exists():
            lock_and_flush.unlock(lock)
            if path.is_dir():
                raise RunFileError(f"{path} is a folder: name a file in it with --out")
            resumable = not settings.get("imported") and _is_of_a_session(path)
            how = f"continue it with 'evalkit resume {path}', or " if resumable else ""
            raise RunFileError(f"{path} exists already: {how}name another file with --out")
        for spool in spool_files(path):
            spool.unlink(missing_ok=True)  # of a run file that was deleted
        parts = [json.dumps(dict(part), ensure_ascii=False, allow_nan=False) for part in (settings, dataset, endpoint)]
        try:
            connection = _connect(path)
            with contextlib.ExitStack() as on_error:
                on_error.callback(connection.close)
                connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                migrations.migrate(connection, 0)
                with connection:
                    connection.execute(schema.INSERT_RUN, (name, time.time_ns(), *parts))
                on_error.pop_all()
        except sqlite3.Error as error:
            for part in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
                part.unlink(missing_ok=True)
            lock_and_flush.unlock(lock)
            raise RunFileError(f"{path} cannot be written: {error}. Choose another place with --out") from None
        return cls(path, connection, lock)

    @classmethod
    def open(cls, path: Path) -> RunFile:
        """Open an existing run file to continue it."""
        with reading(path):  # raises for a file that is not a valid run file
            pass
        try:
            lock = lock_and_flush.lock(path)
        except OSError as error:
            raise RunFileError(f"{path} cannot be written: {error.strerror}") from None
        try:
            connection = _connect(path)
            with contextlib.ExitStack() as on_error:
                on_error.callback(connection.close)
                migrations.migrate(connection, connection.execute("PRAGMA user_version").fetchone()[0])
                if (fault := table_checks.schema_fault(connection, migrations.VERSION)) is not None:
                    raise invalid(path, fault)  # it was replaced in the meantime
                on_error.pop_all()
        except sqlite3.Error as error:
            lock_and_flush.unlock(lock)
            raise RunFileError(f"{path} cannot be written: {error}") from None
        except RunFileError:
            lock_and_flush.unlock(lock)
            raise
        return cls(path, connection, lock)

    def info(self) -> dict[str, Any]:
        """The result of ``run_info``."""
        return run_info(self.connection, self.path)

    def begin_session(self, mono_ns: int, about: Mapping[str, Any], wall_ns: int | None = None) -> None:
        """Store the start of a session: the pair of clock values its stamps refer to, versions and machine."""
        with self._writing():
            cursor = self.connection.execute(
                "INSERT INTO session (started_wall_ns, started_mono_ns, about) VALUES (?, ?, ?)",
                (wall_ns or time.time_ns(), mono_ns, json.dumps(dict(about), ensure_ascii=False, allow_nan=False)),
            )
        self.session = cursor.lastrowid or 0
        if self._flusher is None:
            self._flusher = Flusher(Path(f"{self.path}-wal"))
            self._flusher.start()

    def continue_session(self, mono_ns: int, wall_ns: int) -> None:
        """Add to the session that began at these times, which is stored first if it is not in the file."""
        found = self.connection.execute("SELECT id FROM session WHERE started_mono_ns = ?", (mono_ns,)).fetchone()
        if found is None:
            self.begin_session(mono_ns, {}, wall_ns)
        else:
            self.session = found[0]

    def end_session(self, mono_ns: int, outcome: str, trust: Mapping[str, Any] | None) -> None:
        """Store how the session ended, an ``Outcome``, and its client measures; None: its process was killed."""
        with self._writing():
            self.connection.execute(
                "UPDATE session SET ended_mono_ns = ?, outcome = ?, trust = ? WHERE id = ?",
                (mono_ns, outcome, None if trust is None else json.dumps(dict(trust), allow_nan=False), self.session),
            )
        if self._identity.lost:
            self._rescue()

    def answered(self) -> int:
        """The number of answered turns."""
        return int(self.connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()[0])

    def scored(self) -> tuple[int, float]:
        """The number of answers with a score of the run's own, and the sum of these scores."""
        number, total = self.connection.execute(
            "SELECT count(value), total(value) FROM score WHERE scoring = 0"
        ).fetchone()
        return int(number), float(total)

    def holds(self, position: int, repeat: int, turn: int, sent_ns: int | None) -> bool:
        """Whether the file holds a turn that was sent at this time, or later in the same session."""
        key = (position, repeat, turn, sent_ns, self.session, sent_ns)
        return self.connection.execute(_HOLDS, key).fetchone() is not None

    def row_of(self, position: int) -> str | None:
        """The dataset row of a conversation; None: it was not started."""
        found = self.connection.execute("SELECT row FROM conversation WHERE position = ?", (position,)).fetchone()
        return None if found is None else str(found[0])

    def to_score(self, keys: Iterable[tuple[int, int, int]]) -> list[tuple[tuple[int, int, int], str, Answer]]:
        """Key, dataset row and answer of these turns, in the order of the keys."""
        keys = iter(keys)
        found = []
        while some := tuple(islice(keys, _KEYS)):
            statement = _TO_SCORE.format(", ".join(["(?, ?, ?)"] * len(some)))
            found += self.connection.execute(statement, tuple(chain.from_iterable(some))).fetchall()
        return _scorable(found)

    def unscored(self) -> Iterator[list[tuple[tuple[int, int, int], str, Answer]]]:
        """Key, dataset row and answer of the answered turns that still have to be scored, by position, in groups.

        Between two groups, turns may be scored and others added.
        """
        after = (-1, 0, 0)
        while rows := self.connection.execute(_UNSCORED, after).fetchall():
            yield _scorable(rows)
            after = rows[-1][:3]

    def add(self, group: Iterable[FinishedTurn], scores: Iterable[tuple[int, int, int, Score]] = ()) -> None:
        """Add finished turns with their attempts, and scores as (position, repeat, turn, score), in one transaction.

        The scores are the run's own. The run's own scoring is the current one again once an answer is added that a
        later scoring has not scored.
        """
        answers = False
        known = self._known_conversations
        conversations: list[Row] = []
        turns: list[Row] = []
        attempts: list[Row] = []
        for done in group:
            answers = answers or done.error_kind is None
            if done.position not in known:
                known.add(done.position)
                conversations.append(done.conversation_row)
            turns.append(done.turn_row)
            attempts += done.attempt_rows
        with self._writing(conversations):
            schema.insert(self.connection, "conversation", conversations)
            schema.insert(self.connection, "turn", turns, self.session)
            schema.insert(self.connection, "attempt", map(record_rows.storable, attempts), self.session)
            schema.insert(self.connection, "score", record_rows.score_rows(scores))
            if answers and not self._own_scores_count:
                self.connection.execute("UPDATE run SET scoring = 0 WHERE scoring <> 0")
                self._own_scores_count = True
        if self._flusher is not None:
            self._flusher.note_commit()
        if time.monotonic() - self._checked_s > _CHECK_S:
            self._checked_s = time.monotonic()
            if self._identity.lost:
                self._rescue()
        if len(known) > _REMEMBERED:  # later inserts of known ones change nothing
            known.clear()

    def _refuse_second_ids(self, conversations: Iterable[Row]) -> None:
        """Raise for an id that occurs twice, as in an unchecked dataset: its turns would have no conversation."""
        for position, name, *_ in (row[1] for row in conversations):
            found = self.connection.execute("SELECT position FROM conversation WHERE id = ?", (name,)).fetchone()
            if found is not None and found[0] != position:
                raise RunFileError(
                    f"conversations number {found[0] + 1} and {position + 1} of the dataset have the same id, "
                    f"{name!r}: give every row its own, and start a new run"
                )

    @contextlib.contextmanager
    def _writing(self, conversations: Iterable[Row] = ()) -> Any:
        try:
            with self.connection:
                yield
        except sqlite3.IntegrityError:
            self._refuse_second_ids(conversations)
            raise
        except sqlite3.Error as error:
            raise unwritable(self.path, str(error)) from error

    def _rescue(self) -> NoReturn:
        """Copy the content of a file that is still open but has lost its name to a new file, and raise."""
        saved = self.path.with_name(f"{shortened(self.path.stem)}-saved-{time.strftime('%Y%m%d-%H%M%S')}{SUFFIX}")
        lost = f"{self.path} was deleted, moved or replaced while it was written"
        try:
            saved.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(saved)) as copy:
                self.connection.backup(copy)
            for spool, moved in zip(spool_files(self.path), spool_files(saved), strict=True):
                with contextlib.suppress(FileNotFoundError):
                    spool.rename(moved)
        except (OSError, sqlite3.Error) as error:
            raise RunFileError(f"{lost}, and its content could not be saved as {saved}: {error}") from error
        raise RunFileError(f"{lost}. Its content is saved; continue with: {resume_command.command(saved)}")

    def close(self) -> None:
        """Merge the log into the file, so that it is a single file, and release the lock."""
        if self._flusher is not None:
            self._flusher.end()
        with contextlib.suppress(sqlite3.Error):  # another process is reading: the log remains
            self.connection.execute("PRAGMA journal_mode = DELETE")
        self.connection.close()
        lock_and_flush.unlock(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def spool_files(path: Path) -> tuple[Path, Path]:
    """The files with turns that are received but not yet in the run file; see ``spool``."""
    return Path(f"{path}-spool-0"), Path(f"{path}-spool-1")


def unwritable(path: Path, why: str) -> RunFileError:
    """The error to raise when a run in progress cannot be written to the disk."""
    return RunFileError(
        f"{path} cannot be written: {why}. What it holds is complete; "
        f"free some space or repair the disk, then '{resume_command.command(path)}'"
    )


def hashes(connection: sqlite3.Connection) -> Iterator[tuple[int, str, str]]:
    """Position, id and content hash of the conversations started so far, by position."""
    yield from connection.execute("SELECT position, id, hash FROM conversation ORDER BY position")


def content(*infos: Mapping[str, Any]) -> str:
    """SQL for the part of a conversation that must be equal in these runs (``run_info``) for it to be the same.

    A run's own system prompt is a setting, and no part of the dataset: with one, what it replaces is left out, as in
    ``Conversation.with_system``.
    """
    own_system = any(info["settings"].get("system") is not None for info in infos)
    return _WITHOUT_SYSTEM if own_system else "hash"


def answered_turns(
    connection: sqlite3.Connection, conversation: Conversation, position: int, repeat: int
) -> dict[int, TurnRecord]:
    """The answered turns of one conversation: answers, calls and tool rounds, without their stamps."""
    rows = connection.execute(
        "SELECT turn, answer, refusal, tool_calls, exchange, reasoning FROM turn "
        "WHERE conversation = ? AND repeat = ? AND status = 'answered'",
        (position, repeat),
    )
    return {turn: stored_record(conversation.id, repeat, turn, *columns) for turn, *columns in rows}


def _scorable(rows: Iterable[tuple[Any, ...]]) -> list[tuple[tuple[int, int, int], str, Answer]]:
    return [(row[:3], row[3], stored_answer(*row[4:])) for row in rows]


def _is_of_a_session(path: Path) -> bool:
    """Whether a file is a run that ``resume`` can continue: not one of answers that another tool has collected."""
    try:
        with reading(path) as connection:
            return not run_info(connection)["settings"].get("imported")
    except (OSError, RunFileError):
        return False


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        table_checks.guard(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # the flusher thread does the rest
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
