"""Warnings about the answers of a run: unconfirmed, requested again when in doubt, or requested in another way."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from evalkit.record import CALL_NOT_DEMANDED, IN_DOUBT, NO_TOOL_ROUNDS, UNCONFIRMED

_TURNS = f"""
    SELECT total(status = 'answered'), total(status = 'answered' AND instr(flags, '{UNCONFIRMED}')),
      total(instr(flags, '{CALL_NOT_DEMANDED}') > 0), total(instr(flags, '{NO_TOOL_ROUNDS}') > 0),
      total(instr(flags, '{UNCONFIRMED}') > 0) FROM turn"""  # noqa: S608 - SQL of our own
_DOUBTED = f"SELECT total(instr(flags, '{IN_DOUBT}') > 0) FROM attempt"  # noqa: S608


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
    """

    answers: int
    unconfirmed: int
    in_doubt: int
    call_not_demanded: int
    no_tool_rounds: int


NO_CAVEATS = Caveats(0, 0, 0, 0, 0)


def caveats(connection: sqlite3.Connection) -> Caveats:
    """Count the warnings in a run file."""
    answers, unconfirmed, not_demanded, no_rounds, unconfirmed_turns = map(int, connection.execute(_TURNS).fetchone())
    # an answer in doubt is unconfirmed, and then most answers of its endpoint are
    doubted = int(connection.execute(_DOUBTED).fetchone()[0]) if unconfirmed_turns else 0
    return Caveats(answers, unconfirmed, doubted, not_demanded, no_rounds)


def sentences(counts: Mapping[str, Any]) -> list[str]:
    """One sentence for each kind of warning, from the ``caveats`` of ``--json``."""
    lines = []
    if counts["unconfirmed"]:
        lines.append(
            f"{counts['unconfirmed']:,} of {counts['answers']:,} answers ended without a finish reason: "
            "the endpoint does not confirm that they are complete"
        )
    if counts["in_doubt"]:
        answers, they = ("answer", "it") if counts["in_doubt"] == 1 else ("answers", "they")
        lines.append(
            f"{counts['in_doubt']:,} such {answers} ended within a second of a failure of another request: "
            f"{they} may be incomplete, and {'is' if they == 'it' else 'are'} requested again"
        )
    if counts["call_not_demanded"]:
        lines.append(
            f"the endpoint refuses a required call (tool_choice): in {_turns(counts['call_not_demanded'])} the model "
            "decided whether to call (auto)"
        )
    if counts["no_tool_rounds"]:
        lines.append(
            "the endpoint does not accept the tool rounds of earlier turns: "
            f"{_turns(counts['no_tool_rounds'])} had only their final answers in the history"
        )
    return lines


def answer_note(flags: Collection[str]) -> str | None:
    """The warning about one answer, from the flags of its attempt; None: there is none."""
    return "no finish reason: the endpoint does not confirm that it is complete" if UNCONFIRMED in flags else None


def _turns(count: int) -> str:
    return "one turn" if count == 1 else f"{count:,} turns"
