"""The scorings of a run, its own and later ones: the accuracy by each, and what changed between two."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from evalkit.analysis.accuracy import by_turn
from evalkit.analysis.accuracy.by_turn import Accuracy
from evalkit.runfile import schema

_SCORINGS = """
    SELECT id, scorer, versions, started_wall_ns, id = (SELECT scoring FROM run), targets,
      (SELECT count(*) FROM corrected_row WHERE scoring = id)
    FROM (SELECT id, scorer, versions, started_wall_ns, ended_wall_ns, targets FROM scoring
      UNION ALL SELECT 0, json_quote(json_extract(settings, '$.imported.scorer')), '{}', NULL, NULL, NULL FROM run
        WHERE NOT EXISTS (SELECT 1 FROM scoring WHERE id = 0))
    WHERE id = 0 OR ended_wall_ns NOT NULL ORDER BY id"""
_MISSING = f"""
    SELECT count(*) FROM turn t {schema.join_score("?1")}
    WHERE t.status = 'answered' AND {schema.scorable("?1")} AND s.scorer IS NULL"""  # noqa: S608 - SQL of our own
_CHANGES = f"""
    SELECT sum(old.value >= 1 AND new.value < 1), sum(old.value < 1 AND new.value >= 1),
      sum(old.value NOT NULL AND new.value IS NULL), sum(old.value IS NULL AND new.value NOT NULL),
      sum(old.value < 1 AND new.value < 1 AND old.value <> new.value)
    FROM turn t {schema.join_score("?", "old")} {schema.join_score("?", "new")}
    WHERE t.status = 'answered'"""  # noqa: S608 - SQL of our own


@dataclass(frozen=True, slots=True)
class Scoring:
    """One scoring of a run.

    Parameters
    ----------
    number : int
        0 is the run's own.
    scorer : any JSON value
        The scorer of every turn, such as its name. None: that of each turn, of the run, or of the type of the target.
        Of imported scores it is that of the other tool.
    versions : dict
        Scorer to version, and the version of evalkit; both versions if two were used. Empty: not recorded.
    begun_ns : int or None
        Start by the wall clock, in ns since 1970. None: not recorded.
    counts : bool
        Whether summaries and tables show its scores.
    missing : int
        Answered turns with a target that it does not cover, because they were added later.
    accuracy : Accuracy
        Over answered and scored turns.
    targets : str or None
        The corrected dataset whose targets and scorers it used. None: those of the run's dataset.
    corrected : int
        Conversations whose targets or scorers it corrected.
    """

    number: int
    scorer: Any
    versions: dict[str, str]
    begun_ns: int | None
    counts: bool
    missing: int
    accuracy: Accuracy
    targets: str | None = None
    corrected: int = 0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it; ``scoring`` is its number."""
        row = {name: getattr(self, name) for name in ("scorer", "versions", "begun_ns", "counts", "missing")}
        later = {"targets": self.targets, "corrected": self.corrected}
        return {"scoring": self.number, **row, "accuracy": self.accuracy.to_json(), **later}


@dataclass(frozen=True, slots=True)
class ScoreChanges:
    """How many scores differ between two scorings; right is a score of 1, wrong any lower score.

    Parameters
    ----------
    right_to_wrong, wrong_to_right : int
    to_unscored, from_unscored : int
        Turns without a value in one of the two.
    within_wrong : int
        Turns with different values below 1.
    """

    right_to_wrong: int
    wrong_to_right: int
    to_unscored: int
    from_unscored: int
    within_wrong: int


@dataclass(frozen=True, slots=True)
class Rescored:
    """Two scorings of a run, and what changed."""

    old: Scoring
    new: Scoring
    changed: ScoreChanges

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"old": self.old.to_json(), "new": self.new.to_json(), "changed": asdict(self.changed)}


def active_scoring(connection: sqlite3.Connection) -> int:
    """The number of the scoring that summaries and tables show."""
    return int(connection.execute("SELECT scoring FROM run").fetchone()[0])


def scorings(connection: sqlite3.Connection) -> list[Scoring]:
    """Every complete scoring of a run, the run's own first."""
    return [_scoring(connection, row) for row in connection.execute(_SCORINGS).fetchall()]


def rescored(connection: sqlite3.Connection, old: int, new: int) -> Rescored:
    """Two scorings by their numbers, and what changed from the first to the second."""
    rows = {row[0]: row for row in connection.execute(_SCORINGS)}
    counts = connection.execute(_CHANGES, (old, new)).fetchone()
    first = _scoring(connection, rows[old])
    second = first if new == old else _scoring(connection, rows[new])
    return Rescored(first, second, ScoreChanges(*(count or 0 for count in counts)))


def _scoring(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Scoring:
    number, scorer, versions, begun_ns, counts, targets, corrected = row
    return Scoring(
        number=number,
        scorer=orjson.loads(scorer),
        versions=orjson.loads(versions),
        begun_ns=begun_ns,
        counts=bool(counts),
        missing=connection.execute(_MISSING, (number,)).fetchone()[0],
        accuracy=by_turn.accuracy(connection, number),
        targets=targets,
        corrected=corrected,
    )
