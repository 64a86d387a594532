"""Turns for run files that benchmarks write themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.conversation import Conversation
    from evalkit.record import TurnRecord
    from evalkit.runfile.finished_turn import FinishedTurn


def finished(position: int, asked: Conversation, record: TurnRecord) -> FinishedTurn:
    """A turn on its way into a run file, as the asking process hands it over."""
    from evalkit.runfile import record_rows
    from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation

    turn = record_rows.turn_row(position, asked.turns[record.turn - 1], record)
    return FinishedTurn(
        LazyConversation(position, asked),
        turn,
        [record_rows.attempt_row(position, record, each) for each in record.attempts],
    )
