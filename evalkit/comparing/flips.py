"""The turns that only one of two runs has right, with both answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalkit.analysis.measures import opened
from evalkit.comparing.pairing import PairedRuns
from evalkit.comparing.shared_conversations import Positions
from evalkit.runfile.turn_columns import OUTCOME
from evalkit.stats.arrays import Floats

_ANSWER = f"""
    SELECT {OUTCOME}, answer, refusal, reasoning FROM turn t
    WHERE (conversation, repeat, turn) = (?, ?, ?)"""  # noqa: S608 - SQL of our own


class Flip(NamedTuple):
    """One turn that only one of two runs has right."""

    conversation: str
    repeat: int
    turn: int
    first_answer: str | None
    second_answer: str | None
    first_score: float
    second_score: float
    first_outcome: str | None
    second_outcome: str | None
    first_refusal: str | None
    second_refusal: str | None
    first_reasoning: str | None
    second_reasoning: str | None


@dataclass(frozen=True, slots=True)
class Flips:
    """All such turns, in the order of the first run's dataset.

    Parameters
    ----------
    first_position, second_position : ndarray of int, shape (n,)
        Positions of their conversations in each run.
    repeat, turn : ndarray of int, shape (n,)
    first, second : ndarray of float, shape (n,)
        Scores; 1 is right, any lower score is not.
    """

    first_position: Positions
    second_position: Positions
    repeat: Positions
    turn: Positions
    first: Floats
    second: Floats

    def __len__(self) -> int:
        return len(self.turn)

    def read(self, first: Path, second: Path, most: int | None = None) -> Iterator[Flip]:
        """The flips, or the first ``most`` of them, with their answers from the two run files."""
        with opened(first) as one, opened(second) as other:
            for row in range(len(self) if most is None else min(most, len(self))):
                repeat, turn = int(self.repeat[row]), int(self.turn[row])
                positions = int(self.first_position[row]), int(self.second_position[row])
                (name,) = one.execute("SELECT id FROM conversation WHERE position = ?", positions[:1]).fetchone()
                first_answer = _answer(one, positions[0], repeat, turn)
                second_answer = _answer(other, positions[1], repeat, turn)
                yield Flip(
                    name,
                    repeat,
                    turn,
                    first_answer=first_answer["answer"],
                    second_answer=second_answer["answer"],
                    first_score=float(self.first[row]),
                    second_score=float(self.second[row]),
                    first_outcome=first_answer["outcome"],
                    second_outcome=second_answer["outcome"],
                    first_refusal=first_answer["refusal"],
                    second_refusal=second_answer["refusal"],
                    first_reasoning=first_answer["reasoning"],
                    second_reasoning=second_answer["reasoning"],
                )


def find_flips(paired: PairedRuns) -> Flips:
    """Find the flips among the single answers of two runs."""
    single = paired.single
    scored = ~(np.isnan(single.first) | np.isnan(single.second))
    rows = np.flatnonzero(scored & ((single.first >= 1) != (single.second >= 1)))
    conversation = single.conversation[rows]
    return Flips(
        paired.shared.first[conversation],
        paired.shared.second[conversation],
        single.repeat[rows],
        single.turn[rows],
        single.first[rows],
        single.second[rows],
    )


def _answer(connection: sqlite3.Connection, *key: int) -> dict[str, str | None]:
    """The answer of a turn, and its outcome."""
    row = connection.execute(_ANSWER, key).fetchone() or (None,) * 4
    return dict(zip(("outcome", "answer", "refusal", "reasoning"), row, strict=True))
