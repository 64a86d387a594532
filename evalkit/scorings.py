"""Scorings of a run file: scores made of a run's answers after it, beside those the run made itself."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.errors import RunFileError
from evalkit.record import Score
from evalkit.store import RunFile

Scored = tuple[str, int, int, Score]  # conversation id, repeat, turn, score

_INSERT_SCORING = "INSERT INTO scoring (started_wall_ns, ended_wall_ns, scorer, versions, judge) VALUES (?, ?, ?, ?, ?)"
_INSERT_SCORE = """
    INSERT INTO score (conversation, repeat, turn, scoring, scorer, value, reason, extracted)
    SELECT position, ?, ?, ?, ?, ?, ?, ? FROM conversation WHERE id = ?"""
_JUDGINGS = "SELECT id, scorer, judge FROM scoring WHERE judge IS NOT NULL ORDER BY id"


@dataclass(frozen=True, slots=True)
class JudgedScoring:
    """A scoring that a judge made: its number, its scorer, and what ``add`` was told of the judge."""

    id: int
    scorer: str
    judge: Mapping[str, Any]


def add(
    runfile: RunFile,
    scorer: str,
    scores: Iterable[Scored],
    *,
    started_wall_ns: int,
    versions: Mapping[str, str],
    judge: Mapping[str, Any] | None = None,
    counts: bool = True,
) -> int:
    """Add a scoring with its scores, in one transaction; its number.

    Parameters
    ----------
    runfile : RunFile
    scorer : str
    scores : iterable of (str, int, int, Score)
        Conversation id, repeat and turn of each.
    started_wall_ns : int
        When the making of the scores began.
    versions : mapping of str to str
        What made them, and in which version.
    judge : mapping, optional
        What is kept of the judge, if one made them.
    counts : bool
        Whether they are the run's scores from now on.

    Raises
    ------
    RunFileError
        The file cannot be written.
    """
    connection = runfile.connection
    told = [json.dumps(value, ensure_ascii=False) for value in (scorer, dict(versions))]
    of_judge = None if judge is None else json.dumps(dict(judge), ensure_ascii=False)
    try:
        with connection:
            cursor = connection.execute(_INSERT_SCORING, (started_wall_ns, time.time_ns(), *told, of_judge))
            number = cursor.lastrowid or 0
            connection.executemany(_INSERT_SCORE, (_row(number, *scored) for scored in scores))
            if counts:
                connection.execute("UPDATE run SET scoring = ?", (number,))
    except sqlite3.Error as error:
        raise RunFileError(f"{runfile.path} cannot be written: {error}. What is in it is whole") from error
    return number


def count(runfile: RunFile, number: int) -> None:
    """Let the scores of this scoring be the run's from now on."""
    with runfile.connection:
        runfile.connection.execute("UPDATE run SET scoring = ?", (number,))


def judgings(connection: sqlite3.Connection) -> list[JudgedScoring]:
    """The scorings that judges made, oldest first."""
    rows = connection.execute(_JUDGINGS).fetchall()
    return [JudgedScoring(number, json.loads(scorer), json.loads(judge)) for number, scorer, judge in rows]


def values(connection: sqlite3.Connection, number: int) -> dict[tuple[int, int, int], float | None]:
    """Position, repeat and turn to the score of one scoring."""
    rows = connection.execute("SELECT conversation, repeat, turn, value FROM score WHERE scoring = ?", (number,))
    return {(position, repeat, turn): value for position, repeat, turn, value in rows}


def _row(number: int, conversation: str, repeat: int, turn: int, score: Score) -> tuple[Any, ...]:
    extracted = None if score.extracted is None else json.dumps(score.extracted, ensure_ascii=False)
    return repeat, turn, number, score.scorer, score.value, score.reason, extracted, conversation
