"""The scorings of a run file, and everything that writes them.

Scoring 0 is the run's own. A later one is a row of the table ``scoring`` with scores of its own, made by a scorer or by
a judge. It can become the current scoring once it is complete; an incomplete one is never used, and the next scoring
deletes it.
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
from evalkit.runfile import record_rows, schema
from evalkit.runfile.corrected_targets import CorrectedTargets
from evalkit.runfile.store import RunFile
from evalkit.scorers import scoring
from evalkit.scorers.registry import Scorer
from evalkit.settings import Settings

Scored = tuple[int, int, int, Score]  # position of the conversation, repeat, turn, score

_INCOMPLETE = "SELECT id FROM scoring WHERE id > 0 AND ended_wall_ns IS NULL"
_BEGIN = (
    "INSERT INTO scoring (id, started_wall_ns, scorer, versions, judge, scores_all, targets) "
    "VALUES (?, ?, ?, '{}', ?, ?, ?)"
)
_CORRECT = "INSERT INTO corrected_row (scoring, conversation, row) VALUES (?, ?, ?)"
_MAKE_CURRENT = "UPDATE run SET scoring = ?"
_JUDGINGS = "SELECT id, judge FROM scoring WHERE judge IS NOT NULL AND ended_wall_ns NOT NULL ORDER BY id"


@dataclass(frozen=True, slots=True)
class JudgedScoring:
    """A scoring by a judge: its number, and the description of the judge given to ``add``."""

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
    corrected: CorrectedTargets | None = None,
    counts: bool = True,
) -> int:
    """Add a scoring with its scores and return its number.

    Parameters
    ----------
    runfile : RunFile
    scorer : any JSON value
        The scorer or judge; None: each turn's own scorer.
    groups : iterable of iterables
        Scores to be committed together.
    versions : callable
        Accepts the names of the scorers used and returns their versions, to be stored with the scores.
    scores_all : bool
        Whether turns without a target are scored too; a failed one of these then counts as not right.
    judge : mapping, optional
        The description of the judge, if one made the scores.
    corrected : CorrectedTargets, optional
        Stored before the first group is read. If it cannot be used, nothing is written.
    counts : bool
        Whether the scoring becomes the current one once it is complete; a judge's only if a score has a value.

    Raises
    ------
    RunFileError
        The file cannot be written.
    DatasetError
        The corrected targets are not those of this run.
    """
    connection = runfile.connection
    number = _begin(runfile, scorer, judge, scores_all, corrected)
    used: set[str] = set()
    for group in groups:
        scores = list(group)
        used.update(score.scorer for *_, score in scores)
        with _writing(runfile):
            schema.insert(connection, "score", record_rows.score_rows(scores, number))
    with _writing(runfile):
        ended = (time.time_ns(), json.dumps(dict(versions(used))), number)
        connection.execute("UPDATE scoring SET ended_wall_ns = ?, versions = ? WHERE id = ?", ended)
        if counts and (judge is None or _has_value(connection, number)):
            connection.execute(_MAKE_CURRENT, (number,))
    return number


def make_current_if_read(runfile: RunFile, number: int) -> None:
    """Make a judge's scoring the current one, unless none of its scores has a value.

    Raises
    ------
    RunFileError
        As for ``make_current``.
    """
    if _has_value(runfile.connection, number):
        make_current(runfile, number)


def _has_value(connection: sqlite3.Connection, number: int) -> bool:
    found = connection.execute("SELECT 1 FROM score WHERE scoring = ? AND value NOT NULL LIMIT 1", (number,))
    return found.fetchone() is not None


def make_current(runfile: RunFile, number: int) -> None:
    """Make a scoring the current one, whose scores are the run's.

    Raises
    ------
    RunFileError
        There is no complete scoring with this number, or the file cannot be written.
    """
    known = complete(runfile.connection)
    if number not in known:
        numbers = ", ".join(map(str, known))
        raise RunFileError(
            f"{runfile.path} has no scoring {number}, only {numbers}: see 'evalkit score {runfile.path} --list'"
        )
    with _writing(runfile):
        runfile.connection.execute(_MAKE_CURRENT, (number,))


def complete(connection: sqlite3.Connection) -> list[int]:
    """The numbers of the complete scorings, in order."""
    later = connection.execute("SELECT id FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL ORDER BY id")
    return [0, *(number for (number,) in later)]


def note_own_versions(runfile: RunFile, used: Iterable[str], known: Mapping[str, Scorer] | None = None) -> None:
    """Store the versions of the scorers of the run's own scores: of those in ``known``, else of those registered.

    A resumed run may be scored by a newer version: both are then stored, separated by a comma.
    """
    default = Settings(scorer=runfile.info()["settings"].get("scorer")).default_scorer
    with _writing(runfile):
        values = (0, time.time_ns(), "null", None, scoring.scores_all(default), None)
        runfile.connection.execute(f"{_BEGIN} ON CONFLICT DO NOTHING", values)
        (text,) = runfile.connection.execute("SELECT versions FROM scoring WHERE id = 0").fetchone()
        noted = json.loads(text)
        with scoring.found_once(known):
            versions = versions_of(used)
        for name, version in versions.items():
            before = noted[name].split(", ") if name in noted else []
            noted[name] = ", ".join(dict.fromkeys([*before, version]))
        runfile.connection.execute("UPDATE scoring SET versions = ? WHERE id = 0", (json.dumps(noted),))


def versions_of(used: Iterable[str]) -> dict[str, str]:
    """The versions to store with scores: of their scorers and of evalkit."""
    versions = {}
    for part in sorted({part for name in used for part in name.split("+")}):
        with suppress(SettingsError):  # a score without a scorer has "none" as its name
            versions[part] = scoring.find(part).version
    return {**versions, "evalkit": __version__}


def judgings(connection: sqlite3.Connection) -> list[JudgedScoring]:
    """The complete scorings by judges, oldest first."""
    return [JudgedScoring(number, json.loads(judge)) for number, judge in connection.execute(_JUDGINGS)]


def own_versions(connection: sqlite3.Connection) -> dict[str, str]:
    """Scorer to version for the run's own scores so far; several versions are separated by a comma."""
    found = connection.execute("SELECT versions FROM scoring WHERE id = 0").fetchone()
    versions: dict[str, str] = {} if found is None else json.loads(found[0])
    return versions


def values(connection: sqlite3.Connection, number: int) -> dict[tuple[int, int, int], float | None]:
    """Position, repeat and turn to score, of one scoring."""
    rows = connection.execute("SELECT conversation, repeat, turn, value FROM score WHERE scoring = ?", (number,))
    return {(position, repeat, turn): value for position, repeat, turn, value in rows}


def _begin(
    runfile: RunFile,
    scorer: Any,
    judge: Mapping[str, Any] | None,
    scores_all: bool,
    corrected: CorrectedTargets | None,
) -> int:
    """Add a new, incomplete scoring and return its number; incomplete ones from before are deleted."""
    connection = runfile.connection
    judge_json = None if judge is None else json.dumps(dict(judge), ensure_ascii=False, allow_nan=False)
    with _writing(runfile):
        for incomplete in connection.execute(_INCOMPLETE).fetchall():
            connection.execute("DELETE FROM score WHERE scoring = ?", incomplete)
            connection.execute("DELETE FROM corrected_row WHERE scoring = ?", incomplete)
            connection.execute("DELETE FROM scoring WHERE id = ?", incomplete)
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM scoring").fetchone()
        number = int(last) + 1
        targets = None if corrected is None else str(corrected.path.resolve())
        begun = (number, time.time_ns(), json.dumps(scorer, allow_nan=False), judge_json, scores_all, targets)
        connection.execute(_BEGIN, begun)
        for position, row in corrected.rows if corrected is not None else ():
            connection.execute(_CORRECT, (number, position, row))
    return number


@contextmanager
def _writing(runfile: RunFile) -> Iterator[None]:
    try:
        with runfile.connection:
            yield
    except sqlite3.Error as error:
        raise RunFileError(
            f"{runfile.path} cannot be written: {error}. The current scores are unchanged; "
            "free some space or repair the disk, then run the same command again"
        ) from error
