"""Scores made anew from a run file: no call is made, and the old scores stay, with the versions of their scorers.

Scoring 0 is the run's own. A later one is a row of the table ``scoring`` with scores of its own, and counts as soon as
it is complete. One that was cut off on the way is never used, and is cleared away by the next.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from evalkit import __version__, datasets, functions, schema, scorers
from evalkit.conversation import ScorerSpec, ToolCall, Turn
from evalkit.errors import EvalkitError, RunFileError, SettingsError
from evalkit.heap import resting
from evalkit.record import Answer
from evalkit.settings import Settings
from evalkit.store import RunFile

GROUP = 10_000  # scores committed together

_SCORER = 4  # its place in such a row
_Place = tuple[int, int, int]
_ANSWERED = """
    SELECT t.conversation, t.repeat, t.turn, c.row, t.answer, t.refusal, t.tool_calls
    FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE (t.conversation, t.repeat, t.turn) > (?, ?, ?) AND t.status = 'answered' AND (t.has_target OR ?)
    ORDER BY t.conversation, t.repeat, t.turn LIMIT ?"""
# one that a judge was at is kept: its calls were paid for
_HALF_MADE = "SELECT id FROM scoring WHERE id > 0 AND ended_wall_ns IS NULL AND judge IS NULL"
_BEGIN = "INSERT INTO scoring (id, started_wall_ns, scorer, versions) VALUES (?, ?, ?, '{}')"


def rescore(path: Path | str, scorer: Any = None) -> int:
    """Score every answered turn anew that has a target, or whose scorer needs none.

    Parameters
    ----------
    path : path-like
        A run file that nobody is writing.
    scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
        Scores all of these turns, whatever they name. None: each turn's own scorer, or the one that the run was made
        with, or that of the target's type.

    Returns
    -------
    int
        The number of the new scoring, which counts from now on.

    Raises
    ------
    RunFileError
        The file cannot be used or written, or is being written by another process.
    SettingsError
        There is no such scorer; or the run was made with a Python function, and none is given.
    """
    scorer = functions.setting_of(scorer)
    given = Settings(scorer=scorer).default_scorer
    with RunFile.open(Path(path)) as runfile, resting():
        default = None if given else Settings(scorer=runfile.info()["settings"].get("scorer")).default_scorer
        number = _begin(runfile, scorer)
        used: set[str] = set()
        after: _Place | None = (-1, 0, 0)
        while after is not None:
            rows, after = _scored(runfile, number, after, given, default)
            used.update(row[_SCORER] for row in rows)
            with _writing(runfile):
                runfile.connection.executemany(schema.INSERT_SCORE, rows)
        with _writing(runfile):
            runfile.connection.execute(
                "UPDATE scoring SET ended_wall_ns = ?, versions = ? WHERE id = ?",
                (time.time_ns(), json.dumps(_versions(used)), number),
            )
            runfile.connection.execute("UPDATE run SET scoring = ?", (number,))
    return number


def use(path: Path | str, number: int) -> int:
    """Make an older scoring count again; 0 is the run's own. Gives its number back.

    Raises
    ------
    RunFileError
        There is no such scoring, or the file cannot be used or written.
    """
    with RunFile.open(Path(path)) as runfile:
        known = complete(runfile.connection)
        if number not in known:
            there = ", ".join(map(str, known))
            raise RunFileError(f"{path} has no scoring {number}, but {there}: see 'evalkit score {path} --list'")
        with _writing(runfile):
            runfile.connection.execute("UPDATE run SET scoring = ?", (number,))
    return number


def complete(connection: sqlite3.Connection) -> list[int]:
    """The numbers of the scorings that can count, in order."""
    later = connection.execute("SELECT id FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL ORDER BY id")
    return [0, *(number for (number,) in later)]


def note_own(runfile: RunFile, used: Iterable[str]) -> None:
    """Note the versions of the scorers of the run's own scores.

    A run that is gone on with later may be scored by a newer version: then both stand there, with a comma.
    """
    with _writing(runfile):
        runfile.connection.execute(f"{_BEGIN} ON CONFLICT DO NOTHING", (0, time.time_ns(), "null"))
        (text,) = runfile.connection.execute("SELECT versions FROM scoring WHERE id = 0").fetchone()
        noted = json.loads(text)
        for name, version in _versions(used).items():
            known = noted[name].split(", ") if name in noted else []
            noted[name] = ", ".join(dict.fromkeys([*known, version]))
        runfile.connection.execute("UPDATE scoring SET versions = ? WHERE id = 0", (json.dumps(noted),))


def _versions(used: Iterable[str]) -> dict[str, str]:
    """What is noted beside scores: the versions of their scorers and of evalkit."""
    noted = {}
    for part in sorted({part for name in used for part in name.split("+")}):
        with suppress(SettingsError):  # "none" is what a score without a scorer says
            noted[part] = scorers.find(part).version
    return {**noted, "evalkit": __version__}


def _begin(runfile: RunFile, scorer: Any) -> int:
    """A new scoring, which does not count yet; what was cut off before is cleared away."""
    connection = runfile.connection
    with _writing(runfile):
        for half_made in connection.execute(_HALF_MADE).fetchall():
            connection.execute("DELETE FROM score WHERE scoring = ?", half_made)
            connection.execute("DELETE FROM scoring WHERE id = ?", half_made)
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM scoring").fetchone()
        connection.execute(_BEGIN, (last + 1, time.time_ns(), json.dumps(scorer)))
    return int(last) + 1


def _scored(
    runfile: RunFile, number: int, after: _Place, given: ScorerSpec | None, default: ScorerSpec | None
) -> tuple[list[tuple[Any, ...]], _Place | None]:
    """Rows of INSERT_SCORE for the next turns, and the place of the last; None: there are no more.

    Turns are read one at a time, so that only their scores are held, and a conversation is parsed once.
    """
    rows: list[tuple[Any, ...]] = []
    turns: Sequence[Turn] = ()
    at, last = -1, None
    try:
        for position, repeat, turn, row, text, refusal, calls in runfile.connection.execute(
            _ANSWERED, (*after, given is not None, GROUP)
        ):
            last = position, repeat, turn
            if position != at:
                at, turns = position, _turns(row, given)
            answer = Answer(text or "", refusal=refusal, tool_calls=_calls(calls) if calls else ())
            score = scorers.score(turns[turn - 1], answer, default=default)
            if score is not None:
                rows.append(schema.score_row(position, repeat, turn, score, number))
    except (sqlite3.DatabaseError, EvalkitError, ValueError, LookupError, TypeError) as error:
        where = f"near conversation number {(last or after)[0] + 1}"
        raise RunFileError(f"{runfile.path} is damaged {where} ({error}): take it from a backup or run again") from None
    return rows, last


def _turns(row: str, given: ScorerSpec | None) -> Sequence[Turn]:
    """What the turns of a dataset row ask for."""
    turns = datasets.parse_row(orjson.loads(row)).turns
    return turns if given is None else [turn._replace(scorer=given) for turn in turns]


def _calls(text: str) -> tuple[ToolCall, ...]:
    """The calls of all tool rounds of a turn."""
    return tuple(
        ToolCall(call["function"]["name"], call["function"]["arguments"], call["id"]) for call in orjson.loads(text)
    )


@contextmanager
def _writing(runfile: RunFile) -> Iterator[None]:
    try:
        with runfile.connection:
            yield
    except sqlite3.Error as error:
        raise RunFileError(
            f"{runfile.path} cannot be written: {error}. The scores that counted before still do; "
            f"make room or mend the disk, then 'evalkit score {runfile.path}'"
        ) from error
