"""The scorings of a run file: all that writes them.

Scoring 0 is the run's own. A later one is a row of the table ``scoring`` with scores of its own, made by a scorer or by
a judge. It counts as soon as it is complete; one that was cut off on the way is never used, and is cleared away by the
next.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from evalkit import __version__
from evalkit.errors import RunFileError, SettingsError
from evalkit.record import Score
from evalkit.runfile import schema
from evalkit.runfile.store import RunFile
from evalkit.scorers import scoring
from evalkit.scorers.registry import Scorer
from evalkit.settings import Settings

Scored = tuple[int, int, int, Score]  # position of the conversation, repeat, turn, score

_HALF_MADE = "SELECT id FROM scoring WHERE id > 0 AND ended_wall_ns IS NULL"
_BEGIN = "INSERT INTO scoring (id, started_wall_ns, scorer, versions, judge, scores_all) VALUES (?, ?, ?, '{}', ?, ?)"
_COUNTS = "UPDATE run SET scoring = ?"
_JUDGINGS = "SELECT id, judge FROM scoring WHERE judge IS NOT NULL AND ended_wall_ns NOT NULL ORDER BY id"


@dataclass(frozen=True, slots=True)
class JudgedScoring:
    """A scoring that a judge made: its number, and what ``add`` was told of the judge."""

    id: int
    judge: Mapping[str, Any]


def add(
    runfile: RunFile,
    scorer: Any,
    groups: Iterable[Iterable[Scored]],
    *,
    versions: Callable[[set[str]], Mapping[str, str]],
    scores_all: bool,
    judge: Mapping[str, Any] | None = None,
    counts: bool = True,
) -> int:
    """Add a scoring with its scores; its number.

    Parameters
    ----------
    runfile : RunFile
    scorer : any JSON value
        What makes the scores; None: each turn's own scorer.
    groups : iterable of iterables
        Scores that are committed together.
    versions : callable
        The names of the scorers that made the scores, to what is noted beside them.
    scores_all : bool
        It scores turns without a target too: a failed one of these then counts as one that is not right.
    judge : mapping, optional
        What is kept of the judge, if one made them.
    counts : bool
        Whether they are the run's scores once they are complete; those of a judge only if any has a value.

    Raises
    ------
    RunFileError
        The file cannot be written.
    """
    connection = runfile.connection
    number = _begin(runfile, scorer, judge, scores_all)
    used: set[str] = set()
    for group in groups:
        scores = list(group)
        used.update(score.scorer for *_, score in scores)
        with _writing(runfile):
            connection.executemany(schema.INSERT_SCORE, (schema.score_row(*scored, number) for scored in scores))
    with _writing(runfile):
        ended = (time.time_ns(), json.dumps(dict(versions(used))), number)
        connection.execute("UPDATE scoring SET ended_wall_ns = ?, versions = ? WHERE id = ?", ended)
        if counts and (judge is None or _has_value(connection, number)):
            connection.execute(_COUNTS, (number,))
    return number


def count_if_read(runfile: RunFile, number: int) -> None:
    """Let a judge's scores be the run's, unless none of its answers gave a value.

    Raises
    ------
    RunFileError
        As for ``count``.
    """
    if _has_value(runfile.connection, number):
        count(runfile, number)


def _has_value(connection: sqlite3.Connection, number: int) -> bool:
    found = connection.execute("SELECT 1 FROM score WHERE scoring = ? AND value NOT NULL LIMIT 1", (number,))
    return found.fetchone() is not None


def count(runfile: RunFile, number: int) -> None:
    """Let the scores of a scoring be the run's from now on.

    Raises
    ------
    RunFileError
        There is no such scoring that is complete, or the file cannot be written.
    """
    known = complete(runfile.connection)
    if number not in known:
        there = ", ".join(map(str, known))
        raise RunFileError(
            f"{runfile.path} has no scoring {number}, but {there}: see 'evalkit score {runfile.path} --list'"
        )
    with _writing(runfile):
        runfile.connection.execute(_COUNTS, (number,))


def complete(connection: sqlite3.Connection) -> list[int]:
    """The numbers of the scorings that can count, in order."""
    later = connection.execute("SELECT id FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL ORDER BY id")
    return [0, *(number for (number,) in later)]


def note_own(runfile: RunFile, used: Iterable[str], known: Mapping[str, Scorer] | None = None) -> None:
    """Note the versions of the scorers of the run's own scores: of those ``known``, else of those registered.

    A run that is gone on with later may be scored by a newer version: then both stand there, with a comma.
    """
    default = Settings(scorer=runfile.info()["settings"].get("scorer")).default_scorer
    with _writing(runfile):
        begun = (0, time.time_ns(), "null", None, scoring.scores_all(default))
        runfile.connection.execute(f"{_BEGIN} ON CONFLICT DO NOTHING", begun)
        (text,) = runfile.connection.execute("SELECT versions FROM scoring WHERE id = 0").fetchone()
        noted = json.loads(text)
        with scoring.found_once(known):
            versions = versions_of(used)
        for name, version in versions.items():
            before = noted[name].split(", ") if name in noted else []
            noted[name] = ", ".join(dict.fromkeys([*before, version]))
        runfile.connection.execute("UPDATE scoring SET versions = ? WHERE id = 0", (json.dumps(noted),))


def versions_of(used: Iterable[str]) -> dict[str, str]:
    """What is noted beside scores: the versions of their scorers and of evalkit."""
    noted = {}
    for part in sorted({part for name in used for part in name.split("+")}):
        with suppress(SettingsError):  # "none" is what a score without a scorer says
            noted[part] = scoring.find(part).version
    return {**noted, "evalkit": __version__}


def judgings(connection: sqlite3.Connection) -> list[JudgedScoring]:
    """The complete scorings that judges made, oldest first."""
    return [JudgedScoring(number, json.loads(judge)) for number, judge in connection.execute(_JUDGINGS)]


def own_versions(connection: sqlite3.Connection) -> dict[str, str]:
    """Scorer to version, of the run's own scores so far; two versions with a comma."""
    found = connection.execute("SELECT versions FROM scoring WHERE id = 0").fetchone()
    versions: dict[str, str] = {} if found is None else json.loads(found[0])
    return versions


def values(connection: sqlite3.Connection, number: int) -> dict[tuple[int, int, int], float | None]:
    """Position, repeat and turn to the score of one scoring."""
    rows = connection.execute("SELECT conversation, repeat, turn, value FROM score WHERE scoring = ?", (number,))
    return {(position, repeat, turn): value for position, repeat, turn, value in rows}


def _begin(runfile: RunFile, scorer: Any, judge: Mapping[str, Any] | None, scores_all: bool) -> int:
    """A new scoring, which does not count yet; what was cut off before is cleared away."""
    connection = runfile.connection
    of_judge = None if judge is None else json.dumps(dict(judge), ensure_ascii=False, allow_nan=False)
    with _writing(runfile):
        for half_made in connection.execute(_HALF_MADE).fetchall():
            connection.execute("DELETE FROM score WHERE scoring = ?", half_made)
            connection.execute("DELETE FROM scoring WHERE id = ?", half_made)
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM scoring").fetchone()
        connection.execute(
            _BEGIN, (last + 1, time.time_ns(), json.dumps(scorer, allow_nan=False), of_judge, scores_all)
        )
    return int(last) + 1


@contextmanager
def _writing(runfile: RunFile) -> Iterator[None]:
    try:
        with runfile.connection:
            yield
    except sqlite3.Error as error:
        raise RunFileError(
            f"{runfile.path} cannot be written: {error}. The scores that counted before still do; "
            "make room or mend the disk, then give the same command again"
        ) from error
