"""Accuracy of the turns of a run by the tags of their conversations."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from evalkit.stats import proportions
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate

MOST = 50


@dataclass(frozen=True, slots=True)
class TagAccuracy:
    """Accuracy of the turns of one tag; a turn counts for each tag of its conversation.

    Parameters
    ----------
    tag : str
    turns, answered : int
        Number of finished turns, and of answered turns among them.
    mean : Estimate
        Mean score over answered and scored turns, 0 to 1; ``n`` is the denominator. For the
        interval the turns of one conversation, or of one group of conversations, are one cluster.
    among_all : Estimate
        The same with an interval that holds for all shown tags simultaneously (Bonferroni), for comparisons between
        tags.
    wrong : int
        Answered turns whose score is below 1.
    """

    tag: str
    turns: int
    answered: int
    mean: Estimate
    among_all: Estimate
    wrong: int

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it: ``tag``, the keys of an accuracy, ``turns`` and ``answered``."""
        limits = {**self.mean.value_and_limits(), "n": self.mean.n}
        rest = {"wrong": self.wrong, "unscored": self.answered - self.mean.n}
        return {"tag": self.tag, **limits, **rest, "turns": self.turns, "answered": self.answered}


class TagTally:
    """Adds up turns by conversation, in 36 bytes each, so that turns of a tag need not be read again.

    Parameters
    ----------
    connection : sqlite3.Connection
        A run file; if no conversation has a tag, nothing is stored.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._texts: dict[str, int] = {}
        size = 0
        if connection.execute("SELECT 1 FROM conversation WHERE tags NOT NULL LIMIT 1").fetchone():
            size = 1 + connection.execute("SELECT max(position) FROM conversation").fetchone()[0]
        self._text_of = np.full(size, -1, dtype=np.int32)
        for position, text in connection.execute("SELECT position, tags FROM conversation WHERE tags NOT NULL"):
            self._text_of[position] = self._texts.setdefault(text, len(self._texts))
        self._turns, self._answered, self._scored, self._wrong = np.zeros((4, size), dtype=np.int32)
        self._right, self._partial = np.zeros((2, size))
        grouped = connection.execute("SELECT 1 FROM conversation WHERE cluster NOT NULL LIMIT 1").fetchone()
        self._cluster = np.zeros(size, dtype=np.int64) if grouped and size else None

    def add(self, cluster: Whole, failed: Flags, score: Floats, conversation: Whole) -> None:
        """Add turns by the positions of their conversations; NaN: no score."""
        if not len(self._text_of):
            return
        scored = ~(failed | np.isnan(score))
        np.add.at(self._turns, conversation, 1)
        np.add.at(self._answered, conversation[~failed], 1)
        np.add.at(self._scored, conversation[scored], 1)
        np.add.at(self._wrong, conversation[scored & (score < 1)], 1)
        np.add.at(self._right, conversation[scored], score[scored])
        np.add.at(self._partial, conversation[scored], score[scored] * (1 - score[scored]))
        if self._cluster is not None:
            self._cluster[conversation] = cluster

    def accuracies(self, most: int = MOST) -> tuple[tuple[TagAccuracy, ...], int]:
        """The tags with the most finished turns, ties by name; and the number of other tags."""
        tags = {number: dict.fromkeys(orjson.loads(text)) for text, number in self._texts.items()}
        tagged = self._text_of >= 0
        turns = np.bincount(self._text_of[tagged], weights=self._turns[tagged], minlength=len(tags)).astype(int)
        counts = Counter[str]()
        for number, names in tags.items():
            for tag in names if turns[number] else ():
                counts[tag] += int(turns[number])
        chosen = sorted(counts, key=lambda tag: (-counts[tag], tag))[:most]
        return tuple(self._of(tag, tags, 1 - 0.05 / len(chosen)) for tag in chosen), len(counts) - len(chosen)

    def _of(self, tag: str, tags: dict[int, dict[str, None]], confidence: float) -> TagAccuracy:
        has = np.array(
            [*(tag in names for names in tags.values()), False]
        )  # the last entry is for conversations without tags
        own = np.flatnonzero(has[self._text_of])
        sizes, rights, partial = self._scored[own].astype(np.int64), self._right[own], self._partial[own]
        if self._cluster is not None:
            _, number = np.unique(self._cluster[own], return_inverse=True)
            sizes = np.bincount(number, weights=sizes).astype(np.int64)
            rights, partial = (np.bincount(number, weights=part).astype(np.float64) for part in (rights, partial))
        sums = ClusterSums()
        sums.add_whole(rights[sizes > 0], sizes[sizes > 0], partial[sizes > 0])
        return TagAccuracy(
            tag,
            int(self._turns[own].sum()),
            int(self._answered[own].sum()),
            proportions.clustered_proportion(sums),
            proportions.clustered_proportion(sums, confidence),
            int(self._wrong[own].sum()),
        )
