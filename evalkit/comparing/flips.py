"""The turns that one of two runs has right and the other not, with both answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalkit.analysis.measures import opened
from evalkit.comparing.pairing import Paired, Places
from evalkit.runfile.turn_columns import OUTCOME
from evalkit.stats.arrays import Floats

_SAID = f"""
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
    first_place, second_place : ndarray of int, shape (n,)
        Positions of their conversations in either run.
    repeat, turn : ndarray of int, shape (n,)
    first, second : ndarray of float, shape (n,)
        Scores; 1 is right, anything below is not.
    """

    first_place: Places
    second_place: Places
    repeat: Places
    turn: Places
    first: Floats
    second: Floats

    def __len__(self) -> int:
        return len(self.turn)

    def read(self, first: Path, second: Path, most: int | None = None) -> Iterator[Flip]:
        """Them, or the first so many, with their answers from the two run files."""
        with opened(first) as one, opened(second) as other:
            for row in range(len(self) if most is None else min(most, len(self))):
                repeat, turn = int(self.repeat[row]), int(self.turn[row])
                places = int(self.first_place[row]), int(self.second_place[row])
                (name,) = one.execute("SELECT id FROM conversation WHERE position = ?", places[:1]).fetchone()
                mine, theirs = _said(one, places[0], repeat, turn), _said(other, places[1], repeat, turn)
                yield Flip(
                    name,
                    repeat,
                    turn,
                    first_answer=mine["answer"],
                    second_answer=theirs["answer"],
                    first_score=float(self.first[row]),
                    second_score=float(self.second[row]),
                    first_outcome=mine["outcome"],
                    second_outcome=theirs["outcome"],
                    first_refusal=mine["refusal"],
                    second_refusal=theirs["refusal"],
                    first_reasoning=mine["reasoning"],
                    second_reasoning=theirs["reasoning"],
                )


def found(paired: Paired) -> Flips:
    """The flips among the single answers of two runs."""
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


def _said(connection: sqlite3.Connection, *key: int) -> dict[str, str | None]:
    """What the model said in a turn, and what became of it."""
    row = connection.execute(_SAID, key).fetchone() or (None,) * 4
    return dict(zip(("outcome", "answer", "refusal", "reasoning"), row, strict=True))
