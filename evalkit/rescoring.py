"""Re-scores a run file without any call; the old scores stay, with the versions of their scorers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.conversation import ScorerSpec
from evalkit.errors import EvalkitError, RunFileError
from evalkit.process.gc_freeze import gc_frozen
from evalkit.record import Score, TurnKey
from evalkit.runfile import scorings
from evalkit.runfile.finished_turn import stored_answer, stored_turns
from evalkit.runfile.scorings import Scored
from evalkit.runfile.store import RunFile
from evalkit.scorers import own_functions, scoring
from evalkit.settings import Settings

GROUP = 10_000  # scores committed together

_ANSWERED = """
    SELECT t.conversation, t.repeat, t.turn, c.row, t.has_target, t.answer, t.refusal, t.tool_calls,
      t.finish_reason
    FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE (t.conversation, t.repeat, t.turn) > (?, ?, ?) AND t.status = 'answered' AND (t.has_target OR ?)
    ORDER BY t.conversation, t.repeat, t.turn LIMIT ?"""


def rescore(path: Path | str, scorer: Any = None) -> int:
    """Re-score every answered turn that has a target, or whose scorer needs none.

    Parameters
    ----------
    path : path-like
        A run file that no process is writing.
    scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
        Scores all of these turns, whatever scorer they name. None: each turn's own scorer, else the run's, else the
        default for the target's type.

    Returns
    -------
    int
        The number of the new scoring, which is used from now on.

    Raises
    ------
    RunFileError
        The file cannot be used or written, or is being written by another process.
    SettingsError
        There is no such scorer, or the run used a Python function and none is given.
    """
    scorer = own_functions.setting_of(scorer)
    given = Settings(scorer=scorer).default_scorer
    with RunFile.open(Path(path)) as runfile, gc_frozen():
        default = None if given else Settings(scorer=runfile.info()["settings"].get("scorer")).default_scorer
        return scorings.add(
            runfile, scorer, _groups(runfile, given, default),
            versions=scorings.versions_of, scores_all=scoring.scores_all(given or default),
        )  # fmt: skip


def use_scoring(path: Path | str, number: int) -> int:
    """Use an earlier scoring again; 0 is the run's own. Returns its number.

    Raises
    ------
    RunFileError
        There is no such scoring, or the file cannot be used or written.
    """
    with RunFile.open(Path(path)) as runfile:
        scorings.make_current(runfile, number)
    return number


def _groups(runfile: RunFile, given: ScorerSpec | None, default: ScorerSpec | None) -> Iterator[list[Scored]]:
    after: TurnKey | None = (-1, 0, 0)
    while after is not None:
        scores, after = _scored(runfile, after, given, default)
        yield scores


def _scored(
    runfile: RunFile, after: TurnKey, given: ScorerSpec | None, default: ScorerSpec | None
) -> tuple[list[Scored], TurnKey | None]:
    """Scores of the next turns, and the key of the last one; None: there are no more.

    Turns are read one at a time, so that only their scores are in memory; each conversation is parsed once.
    """
    scores: list[Scored] = []
    last = None
    try:
        for position, repeat, turn, row, has_target, *answer in runfile.connection.execute(
            _ANSWERED, (*after, given is not None, GROUP)
        ):
            last = position, repeat, turn
            scored_turn = stored_turns(row)[turn - 1]
            scored_turn = scored_turn._replace(scorer=given) if given else scored_turn
            score = scoring.score(scored_turn, stored_answer(*answer), default=default)
            if score is None and has_target and given:
                score = Score(given.name, None, f"there is no target, and the scorer {given.name} needs one")
            if score is not None:
                scores.append((position, repeat, turn, score))
    except (sqlite3.DatabaseError, EvalkitError, ValueError, LookupError, TypeError) as error:
        where = f"near conversation number {(last or after)[0] + 1}"
        raise RunFileError(
            f"{runfile.path} is damaged {where} ({error}): restore it from a backup or run again"
        ) from None
    return scores, last
