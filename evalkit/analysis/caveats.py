"""What has to be known of the answers of a run: not confirmed as whole, asked again in doubt, asked in another way."""

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
    """Counts over a run.

    Parameters
    ----------
    answers : int
        Answered turns.
    unconfirmed : int
        Those that ended without a finish reason: the endpoint does not confirm that they are whole.
    in_doubt : int
        Answers that were asked again, or are to be: unconfirmed, and ended close to a failure of another request.
    call_not_demanded : int
        Turns whose demanded call the endpoint refused, so that it was left to the model.
    no_tool_rounds : int
        Turns whose history was sent without finished tool rounds, which the endpoint does not take.
    """

    answers: int
    unconfirmed: int
    in_doubt: int
    call_not_demanded: int
    no_tool_rounds: int


NO_CAVEATS = Caveats(0, 0, 0, 0, 0)


def caveats(connection: sqlite3.Connection) -> Caveats:
    """Count them in a run file."""
    answers, unconfirmed, not_demanded, no_rounds, ended_so = map(int, connection.execute(_TURNS).fetchone())
    # an answer in doubt was an unconfirmed one, and so are mostly those of its endpoint
    doubted = int(connection.execute(_DOUBTED).fetchone()[0]) if ended_so else 0
    return Caveats(answers, unconfirmed, doubted, not_demanded, no_rounds)


def said(told: Mapping[str, Any]) -> list[str]:
    """A sentence for each that there is, by ``caveats`` of ``--json``."""
    found = []
    if told["unconfirmed"]:
        found.append(
            f"{told['unconfirmed']:,} of {told['answers']:,} answers ended without a finish reason: "
            "the endpoint does not confirm that they are whole"
        )
    if told["in_doubt"]:
        answers, they = ("answer", "it") if told["in_doubt"] == 1 else ("answers", "they")
        found.append(
            f"{told['in_doubt']:,} such {answers} ended within a second of a failure of another request: "
            f"{they} may be half, and {'is' if they == 'it' else 'are'} asked again"
        )
    if told["call_not_demanded"]:
        found.append(
            f"the endpoint refuses a demanded call (tool_choice): in {_turns(told['call_not_demanded'])} it was left "
            "to the model whether to call (auto)"
        )
    if told["no_tool_rounds"]:
        found.append(
            "the endpoint does not take the tool rounds of earlier turns: "
            f"{_turns(told['no_tool_rounds'])} did not see them, but their final answers"
        )
    return found


def said_of(flags: Collection[str]) -> str | None:
    """What has to be known of one answer, by the flags of its attempt; None: nothing."""
    return "no finish reason: the endpoint does not confirm that it is whole" if UNCONFIRMED in flags else None


def _turns(count: int) -> str:
    return "one turn" if count == 1 else f"{count:,} turns"
