"""Turns for run files that benchmarks write themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.conversation import Conversation
    from evalkit.record import TurnRecord
    from evalkit.runfile.finished_turn import Done


def finished(position: int, asked: Conversation, record: TurnRecord) -> Done:
    """A turn on its way into a run file, as the asking process hands it over."""
    from evalkit.runfile import schema
    from evalkit.runfile.finished_turn import Done, Talk

    turn = schema.turn_row(position, asked.turns[record.turn - 1], record)
    return Done(Talk(position, asked), turn, [schema.attempt_row(position, record, each) for each in record.attempts])
