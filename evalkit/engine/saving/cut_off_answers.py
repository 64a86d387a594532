"""Retracts answers that were cut off at a token limit, so that a session sends their turns again with a higher one."""

from __future__ import annotations

import sqlite3

from evalkit.runfile import raised_limits
from evalkit.runfile.raised_limits import RaisedLimit
from evalkit.runfile.store import RunFile, unwritable
from evalkit.settings import Settings

EXPLAINED = "length"  # the error code of these attempts: they throw no doubt on other answers
CUT_OFF = "The answer was cut off at a token limit. It is kept, and the turn is sent again with {limit:,} tokens."
SAW_CUT_OFF = "This turn saw an earlier answer that was cut off at a token limit: both are sent again."
# the turns to send again: where later turns saw the model's own answers, also those after a cut-off one
_CREATE = """
    CREATE TEMP TABLE again AS SELECT conversation, repeat, turn, finish_reason IS 'length' AS cut_off, sent_ns
    FROM turn WHERE status = 'answered' AND {which}"""
_CUT_OFF_ONLY = "finish_reason = 'length'"
_AND_LATER = """turn >= (SELECT min(turn) FROM turn c WHERE c.status = 'answered' AND c.finish_reason = 'length'
      AND (c.conversation, c.repeat) = (turn.conversation, turn.repeat))"""
_WHY = "iif(again.cut_off, :cut_off, :saw)"
_ATTEMPTS = f"""
    UPDATE attempt SET error_kind = 'truncated', error_code = '{EXPLAINED}', error_message = {_WHY},
      partial = (SELECT answer FROM turn t
        WHERE (t.conversation, t.repeat, t.turn) = (again.conversation, again.repeat, again.turn))
    FROM again WHERE (attempt.conversation, attempt.repeat, attempt.turn, attempt.sent_ns)
      = (again.conversation, again.repeat, again.turn, again.sent_ns) AND attempt.error_kind IS NULL"""  # noqa: S608
_TURNS = f"""
    UPDATE turn SET status = 'error', error_kind = 'truncated', error_message = {_WHY},
      latency_ns = NULL, tpot_ns = NULL, turn_time_ns = NULL, schedule_latency_ns = NULL
    FROM again WHERE (turn.conversation, turn.repeat, turn.turn) = (again.conversation, again.repeat, again.turn)"""  # noqa: S608
_SCORES = "DELETE FROM score WHERE (conversation, repeat, turn) IN (SELECT conversation, repeat, turn FROM again)"


def retract_cut_off(runfile: RunFile, settings: Settings, limit: RaisedLimit) -> RaisedLimit | None:
    """Let cut-off answers, and later ones that saw them, count as failed until they are sent again.

    Their texts are kept with their attempts; their scores are deleted, and the run file notes the new limit.

    Parameters
    ----------
    runfile : RunFile
    settings : Settings
    limit : RaisedLimit
        From ``raised_limits.next_limit``.

    Returns
    -------
    RaisedLimit or None
        With its counts; None: no answer was cut off, and nothing has changed.
    """
    connection = runfile.connection
    which = _AND_LATER if settings.history == "own" else _CUT_OFF_ONLY
    messages = {"cut_off": CUT_OFF.format(limit=limit.after), "saw": SAW_CUT_OFF}
    try:
        with connection:
            connection.execute("DROP TABLE IF EXISTS temp.again")
            connection.execute(_CREATE.format(which=which))
            connection.execute("CREATE INDEX temp.again_key ON again (conversation, repeat, turn)")
            turns, answers = connection.execute("SELECT count(*), total(cut_off) FROM again").fetchone()
            if not turns:
                return None
            for change in (_ATTEMPTS, _TURNS):
                connection.execute(change, messages)
            connection.execute(_SCORES)
            noted = limit._replace(answers=int(answers), turns=turns)
            raised_limits.add(connection, noted)
            return noted
    except sqlite3.Error as error:
        raise unwritable(runfile.path, str(error)) from error
