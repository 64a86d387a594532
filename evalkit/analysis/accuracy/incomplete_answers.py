"""Answers that are cut off at a token limit or unconfirmed, and the accuracy of a run with and without them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from evalkit.analysis.accuracy.by_turn import Accuracy, accuracy
from evalkit.record import UNCONFIRMED

_KINDS = {
    "cut_off": "coalesce(t.finish_reason, '') = 'length'",
    "unconfirmed": f"instr(coalesce(t.flags, ''), '{UNCONFIRMED}') > 0",
}


@dataclass(frozen=True, slots=True)
class IncompleteAnswers:
    """Answers of one kind that are, or may be, incomplete.

    Parameters
    ----------
    answers : int
        Their number.
    without : Accuracy or None
        Accuracy over the other answered and scored turns. None: there are no such answers.
    """

    answers: int
    without: Accuracy | None

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "answers": self.answers,
            "accuracy_without": None if self.without is None else self.without.to_json(),
        }


def incomplete_answers(connection: sqlite3.Connection) -> dict[str, IncompleteAnswers]:
    """Count the answers of a run that are incomplete, and compute its accuracy without them.

    Returns
    -------
    dict
        ``cut_off``: the finish reason is ``length``; ``unconfirmed``: there is none.
    """
    counted = ", ".join(f"total({condition})" for condition in _KINDS.values())
    counts = connection.execute(f"SELECT {counted} FROM turn t WHERE t.status = 'answered'").fetchone()  # noqa: S608
    return {
        name: IncompleteAnswers(int(count), _without(connection, condition) if count else None)
        for (name, condition), count in zip(_KINDS.items(), counts, strict=True)
    }


def _without(connection: sqlite3.Connection, condition: str) -> Accuracy:
    return accuracy(connection, where=f"WHERE t.status = 'answered' AND NOT ({condition})")
