"""Warnings about the answers of a run: unconfirmed, requested again when in doubt, or requested in another way."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import NamedTuple

from evalkit.record import (
    CALL_NOT_DEMANDED,
    IN_DOUBT,
    KEYS_LEFT_OUT,
    LEFT_OPEN,
    LENIENT_HTTP,
    NO_TOOL_ROUNDS,
    OUTPUT_CORRECTED,
    UNCONFIRMED,
    UNKNOWN_FINISH_REASON,
)
from evalkit.runfile.reasoning_only import reasoning_only

_TURNS = f"""
    SELECT total(status = 'answered'), total(status = 'answered' AND instr(flags, '{UNCONFIRMED}')),
      total(instr(flags, '{CALL_NOT_DEMANDED}') > 0), total(instr(flags, '{NO_TOOL_ROUNDS}') > 0),
      total(instr(flags, '{KEYS_LEFT_OUT}') > 0), total(instr(flags, '{UNCONFIRMED}') > 0),
      total(status = 'answered' AND instr(flags, '{LEFT_OPEN}')),
      total(status = 'answered' AND instr(flags, '{LENIENT_HTTP}')),
      total(status = 'answered' AND instr(flags, '{UNKNOWN_FINISH_REASON}')),
      total(instr(flags, '{OUTPUT_CORRECTED}') > 0) FROM turn"""  # noqa: S608 - SQL of our own
_DOUBTED = f"SELECT total(instr(flags, '{IN_DOUBT}') > 0) FROM attempt"  # noqa: S608
_UNKNOWN_REASONS = f"""
    SELECT finish_reason, count(*) FROM turn
    WHERE status = 'answered' AND instr(flags, '{UNKNOWN_FINISH_REASON}') GROUP BY 1 ORDER BY 2 DESC, 1"""  # noqa: S608


class Caveats(NamedTuple):
    """Number of answers and turns with a warning.

    Parameters
    ----------
    answers : int
        Answered turns.
    unconfirmed : int
        Those without a finish reason: the endpoint does not confirm that they are complete.
    in_doubt : int
        Answers that were requested again, or will be: unconfirmed, and they ended close to a failure of another
        request.
    call_not_demanded : int
        Turns whose required call the endpoint refused, so that the model decided whether to call.
    no_tool_rounds : int
        Turns whose history was sent without earlier tool rounds, which the endpoint does not accept.
    keys_left_out : int
        Turns whose tool rounds were sent without keys that the endpoint does not accept.
    left_open : int
        Answers with a finish reason after which the endpoint ended neither the stream nor the connection.
    lenient_http : int
        Answers whose HTTP breaks the rules, but could be read.
    unknown_finish_reasons : mapping of str to int
        Finish reasons of answers that evalkit does not know, with the number of answers.
    reasoning_only : int
        Answers that are all reasoning, without text, refusal or call; none of them is scored.
    reasoning_cut_off : int
        Those of them that were cut off at a token limit.
    output_tokens_corrected : int
        Turns whose number of output tokens, as reported, left out the reasoning tokens, which were added.
    """

    answers: int
    unconfirmed: int
    in_doubt: int
    call_not_demanded: int
    no_tool_rounds: int
    keys_left_out: int = 0
    left_open: int = 0
    lenient_http: int = 0
    unknown_finish_reasons: Mapping[str, int] = {}
    reasoning_only: int = 0
    reasoning_cut_off: int = 0
    output_tokens_corrected: int = 0


NO_CAVEATS = Caveats(0, 0, 0, 0, 0)


def caveats(connection: sqlite3.Connection) -> Caveats:
    """Count the warnings in a run file."""
    counts = map(int, connection.execute(_TURNS).fetchone())
    answers, unconfirmed, not_demanded, no_rounds, left_out, unconfirmed_turns, *more = counts
    left_open, lenient, unknown, corrected = more
    # an answer in doubt is unconfirmed, and then most answers of its endpoint are
    doubted = int(connection.execute(_DOUBTED).fetchone()[0]) if unconfirmed_turns else 0
    return Caveats(
        answers,
        unconfirmed,
        doubted,
        not_demanded,
        no_rounds,
        left_out,
        left_open,
        lenient,
        dict(connection.execute(_UNKNOWN_REASONS)) if unknown else {},
        *reasoning_only(connection),
        corrected,
    )


def answer_note(flags: Collection[str]) -> str | None:
    """The warning about one answer, from the flags of its attempt; None: there is none."""
    if UNKNOWN_FINISH_REASON in flags:
        return "a finish reason that evalkit does not know: the answer may be incomplete"
    return "no finish reason: the endpoint does not confirm that it is complete" if UNCONFIRMED in flags else None
