"""The turns that one of two runs has right and the other not, with both answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.clusters import Floats
from evalkit.measures import opened
from evalkit.pairing import Paired, Places

_ANSWER = "SELECT answer FROM turn WHERE (conversation, repeat, turn) = (?, ?, ?)"


class Flip(NamedTuple):
    """One turn that only one of two runs has right."""

    conversation: str
    repeat: int
    turn: int
    first_answer: str | None
    second_answer: str | None
    first_score: float
    second_score: float


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
                yield Flip(
                    name,
                    repeat,
                    turn,
                    _answer(one, places[0], repeat, turn),
                    _answer(other, places[1], repeat, turn),
                    float(self.first[row]),
                    float(self.second[row]),
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


def _answer(connection: sqlite3.Connection, *key: int) -> Any:
    row = connection.execute(_ANSWER, key).fetchone()
    return None if row is None else row[0]
