"""Scores made anew from a run file: no call is made, and the old scores stay, with the versions of their scorers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.conversation import ScorerSpec
from evalkit.errors import EvalkitError, RunFileError
from evalkit.process.gc_freeze import resting
from evalkit.record import Score
from evalkit.runfile import scorings
from evalkit.runfile.finished_turn import stored_answer, stored_turns
from evalkit.runfile.scorings import Scored
from evalkit.runfile.store import RunFile
from evalkit.scorers import own_functions, scoring
from evalkit.settings import Settings

GROUP = 10_000  # scores committed together

_Place = tuple[int, int, int]
_ANSWERED = """
    SELECT t.conversation, t.repeat, t.turn, c.row, t.has_target, t.answer, t.refusal, t.tool_calls,
      t.finish_reason
    FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE (t.conversation, t.repeat, t.turn) > (?, ?, ?) AND t.status = 'answered' AND (t.has_target OR ?)
    ORDER BY t.conversation, t.repeat, t.turn LIMIT ?"""


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
    scorer = own_functions.setting_of(scorer)
    given = Settings(scorer=scorer).default_scorer
    with RunFile.open(Path(path)) as runfile, resting():
        default = None if given else Settings(scorer=runfile.info()["settings"].get("scorer")).default_scorer
        return scorings.add(
            runfile, scorer, _groups(runfile, given, default),
            versions=scorings.versions_of, scores_all=scoring.scores_all(given or default),
        )  # fmt: skip


def use(path: Path | str, number: int) -> int:
    """Make an older scoring count again; 0 is the run's own. Gives its number back.

    Raises
    ------
    RunFileError
        There is no such scoring, or the file cannot be used or written.
    """
    with RunFile.open(Path(path)) as runfile:
        scorings.make_current(runfile, number)
    return number


def _groups(runfile: RunFile, given: ScorerSpec | None, default: ScorerSpec | None) -> Iterator[list[Scored]]:
    after: _Place | None = (-1, 0, 0)
    while after is not None:
        scores, after = _scored(runfile, after, given, default)
        yield scores


def _scored(
    runfile: RunFile, after: _Place, given: ScorerSpec | None, default: ScorerSpec | None
) -> tuple[list[Scored], _Place | None]:
    """Scores of the next turns, and the place of the last; None: there are no more.

    Turns are read one at a time, so that only their scores are held, and a conversation is parsed once.
    """
    scores: list[Scored] = []
    last = None
    try:
        for position, repeat, turn, row, aimed, *said in runfile.connection.execute(
            _ANSWERED, (*after, given is not None, GROUP)
        ):
            last = position, repeat, turn
            asked = stored_turns(row)[turn - 1]
            asked = asked._replace(scorer=given) if given else asked
            score = scoring.score(asked, stored_answer(*said), default=default)
            if score is None and aimed and given:
                score = Score(given.name, None, f"there is no target, and the scorer {given.name} needs one")
            if score is not None:
                scores.append((position, repeat, turn, score))
    except (sqlite3.DatabaseError, EvalkitError, ValueError, LookupError, TypeError) as error:
        where = f"near conversation number {(last or after)[0] + 1}"
        raise RunFileError(f"{runfile.path} is damaged {where} ({error}): take it from a backup or run again") from None
    return scores, last
