"""Retracts answers in the run file that may be incomplete: during a session, and before a run is resumed."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from evalkit.engine.pacing import incomplete_answers
from evalkit.record import IN_DOUBT, UNCONFIRMED, TurnKey
from evalkit.runfile.store import RunFile, unwritable
from evalkit.settings import Settings

_FROM_TURN = """
    SELECT t.turn, t.error_kind, s.value, t.session FROM turn t LEFT JOIN score s
      ON (s.conversation, s.repeat, s.turn, s.scoring) = (t.conversation, t.repeat, t.turn, 0)
    WHERE (t.conversation, t.repeat) = (?, ?) AND t.turn >= ? ORDER BY t.turn"""
_RETRACT = """
    UPDATE turn SET status = 'error', error_kind = 'truncated', error_message = ?, flags = trim(flags || ?),
      latency_ns = NULL, tpot_ns = NULL, turn_time_ns = NULL, schedule_latency_ns = NULL
    WHERE (conversation, repeat, turn) = (?, ?, ?)"""
_RETRACT_ATTEMPT = """
    UPDATE attempt SET error_kind = 'truncated', error_message = ?, flags = trim(flags || ?),
      partial = (SELECT answer FROM turn WHERE (conversation, repeat, turn) = (?, ?, ?)) WHERE id = ?"""
_LAST_ATTEMPT = """
    SELECT max(id) FROM attempt
    WHERE id > (SELECT max(id) FROM attempt) - 20000 AND (conversation, repeat, turn) = (?, ?, ?)"""
_ANSWERS = f"""
    SELECT session, conversation, repeat, turn, sent_ns, end_ns FROM turn
    WHERE status = 'answered' AND streamed AND instr(flags, '{UNCONFIRMED}')
      AND sent_ns NOT NULL AND end_ns NOT NULL"""  # noqa: S608 - SQL of our own
_FAILURES = f"""
    SELECT session, end_ns FROM attempt
    WHERE error_kind IN ({", ".join("?" * len(incomplete_answers.KINDS))}) AND end_ns NOT NULL
      AND coalesce(error_code, '') NOT IN ({", ".join("?" * len(incomplete_answers.EXPLAINED_CODES))})
      AND NOT instr(coalesce(flags, ''), '{IN_DOUBT}')
      AND NOT instr(error_message, '{incomplete_answers.LOST_ON_REUSE}') ORDER BY end_ns"""  # noqa: S608 - SQL of our own
# the attempt of each unconfirmed answer, and how often an answer of its turn was retracted before
_ATTEMPTS = f"""
    SELECT a.conversation, a.repeat, a.turn, max(iif(a.sent_ns = t.sent_ns, a.id, NULL)),
      total(instr(a.flags, '{IN_DOUBT}') > 0)
    FROM attempt a JOIN turn t USING (conversation, repeat, turn)
    WHERE instr(a.flags, '{UNCONFIRMED}') GROUP BY 1, 2, 3"""  # noqa: S608 - SQL of our own


class RetractedTurn(NamedTuple):
    """A turn to send again: its answer was retracted, or it had failed; ``score`` is the run's own.

    ``this_session``: it was sent in this session.
    """

    turn: int
    error_kind: str | None
    score: float | None
    this_session: bool


def retract(
    runfile: RunFile,
    position: int,
    repeat: int,
    turns: Collection[int],
    *,
    later: bool,
    attempts: Mapping[TurnKey, int] | None = None,
) -> list[RetractedTurn]:
    """Retract answers that may be incomplete: each of these turns counts as failed until it is sent again.

    The text is kept; the scores are deleted.

    Parameters
    ----------
    runfile : RunFile
    position, repeat : int
    turns : collection of int
    later : bool
        Retract all later answers too: they saw the first.
    attempts : mapping, optional
        Key of a turn to the id of its last attempt. None: the attempt is among the latest in the file.

    Returns
    -------
    list of RetractedTurn
        The turns to send again.
    """
    first, connection = min(turns), runfile.connection
    rows = connection.execute(_FROM_TURN, (position, repeat, first)).fetchall()
    retracted = [
        RetractedTurn(turn, kind, score, session == runfile.session)
        for turn, kind, score, session in rows
        if later or turn in turns
    ]
    try:
        with connection:
            for turn, kind, *_ in retracted:
                if kind is None:
                    _retract(connection, (position, repeat, turn), attempts, incomplete=turn in turns)
    except sqlite3.Error as error:
        raise unwritable(runfile.path, str(error)) from error
    return retracted


def _retract(
    connection: sqlite3.Connection, key: TurnKey, attempts: Mapping[TurnKey, int] | None, *, incomplete: bool
) -> None:
    execute = connection.execute
    why = incomplete_answers.MAY_BE_INCOMPLETE if incomplete else incomplete_answers.SAW_INCOMPLETE
    flag = f" {IN_DOUBT}" if incomplete else ""
    if incomplete:
        attempt = execute(_LAST_ATTEMPT, key).fetchone()[0] if attempts is None else attempts.get(key)
        execute(_RETRACT_ATTEMPT, (why, flag, *key, attempt))
    execute(_RETRACT, (why, flag, *key))
    execute("DELETE FROM score WHERE (conversation, repeat, turn) = (?, ?, ?)", key)


def retract_incomplete(runfile: RunFile, settings: Settings) -> int:
    """Retract the answers that may be incomplete, by ``may_be_incomplete``; return their number.

    Of one turn at most as many answers are retracted as it may be retried, and at least one.
    """
    incomplete = _incomplete(runfile.connection)
    if not incomplete:
        return 0
    most, attempts = max(settings.retries, 1), dict[TurnKey, int]()
    for *key, number, before in runfile.connection.execute(_ATTEMPTS):
        if (turn := (key[0], key[1], key[2])) in incomplete:
            attempts[turn] = number
            if before >= most:
                incomplete.remove(turn)
    own_history = settings.history == "own"
    for (position, repeat), turns in _by_conversation(incomplete).items():
        retract(runfile, position, repeat, [min(turns)] if own_history else turns, later=own_history, attempts=attempts)
    return len(incomplete)


def _incomplete(connection: sqlite3.Connection) -> set[TurnKey]:
    answers = np.array(connection.execute(_ANSWERS).fetchall(), dtype=np.int64).reshape(-1, 6)
    if not len(answers):
        return set()
    kinds = (*incomplete_answers.KINDS, *incomplete_answers.EXPLAINED_CODES)
    failures = np.array(connection.execute(_FAILURES, kinds).fetchall(), dtype=np.int64).reshape(-1, 2)
    found = set[TurnKey]()
    for session in np.unique(failures[:, 0]):
        own = answers[answers[:, 0] == session]
        failed = failures[failures[:, 0] == session][:, 1]
        for _, position, repeat, turn, *_ in own[
            incomplete_answers.may_be_incomplete(own[:, 4], own[:, 5], failed)
        ].tolist():
            found.add((position, repeat, turn))
    return found


def _by_conversation(keys: set[TurnKey]) -> Mapping[tuple[int, int], list[int]]:
    found = defaultdict[tuple[int, int], list[int]](list)
    for position, repeat, turn in sorted(keys):
        found[position, repeat].append(turn)
    return found
