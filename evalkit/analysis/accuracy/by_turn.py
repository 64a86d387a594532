"""How the turns of a run ended and how right they were, by turn index."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.analysis.accuracy.by_conversation import Tally
from evalkit.analysis.accuracy.by_tag import TagTally
from evalkit.runfile import query_arrays, schema
from evalkit.stats import means, proportions
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate

_JUDGED = """
    SELECT {cluster}, t.error_kind NOT NULL, {aimed}, s.value, {interrupted}{columns}
    FROM turn t {more}
      {score}
    ORDER BY {order}"""
# turns of one cluster must follow each other: so they do in the order of the file, unless conversations are grouped
_BY_CONVERSATION = {"cluster": "t.conversation", "more": "", "order": "t.conversation, t.repeat, t.turn"}
_BY_GROUP = {
    "cluster": "coalesce(c.cluster, c.position)",
    "more": "CROSS JOIN conversation c ON c.position = t.conversation",
    "order": "1, t.conversation, t.repeat, t.turn",
}
_TYPES = ("i8", "?", "?", "f8", "?")
_TALK = ", t.conversation, t.repeat"
_ERRORS = "SELECT turn, error_kind FROM turn WHERE error_kind NOT NULL ORDER BY conversation, repeat, turn"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean score with its interval, 0 to 1.

    Parameters
    ----------
    mean : Estimate
        ``n`` is the denominator.
    wrong : int
        Answered turns whose score is below 1; a failed turn is not among them.
    unscored : int
        Turns outside the denominator.
    doubt : str or None
        Why the interval may be too short: see ``intervals.doubt``.
    """

    mean: Estimate
    wrong: int
    unscored: int
    doubt: str | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """As ``--json`` prints it."""
        mean = self.mean
        limits = {"value": mean.value, "low": mean.low, "high": mean.high}
        return {**limits, "n": mean.n, "wrong": self.wrong, "unscored": self.unscored}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How some turns ended, and how right they were; the fields are those of ``Measures``."""

    turns: int
    answered: int
    errors: dict[str, int]
    accuracy: Accuracy
    accuracy_all: Accuracy
    interrupted: int


def judged(connection: sqlite3.Connection, conversations: Tally, tags: TagTally) -> dict[int | None, Verdicts]:
    """Turn index to what came of its turns, in order; None, which is first: of all turns.

    They are read once: ``conversations`` and ``tags`` add them up on the way.
    """
    first, last = connection.execute("SELECT min(turn), max(turn) FROM turn").fetchone()
    everything, by_turn = _Tally(), dict[int, _Tally]()
    if first == last:  # there is one turn index at most: it is the whole run
        for *judgement, talk, repeat in query_arrays.groups(_rows(connection, _TALK), (*_TYPES, "i8", "i8")):
            everything.add(*judgement)
            conversations.add(judgement[0], talk, repeat, *judgement[1:4])
            tags.add(judgement[0], judgement[1], judgement[3], talk)
    else:
        types = (*_TYPES, "i8", "i8", "i8")
        for *judgement, talk, repeat, turn in query_arrays.groups(_rows(connection, f"{_TALK}, t.turn"), types):
            everything.add(*judgement)
            conversations.add(judgement[0], talk, repeat, *judgement[1:4])
            tags.add(judgement[0], judgement[1], judgement[3], talk)
            for index in np.unique(turn).tolist():
                own = turn == index
                by_turn.setdefault(index, _Tally()).add(*(column[own] for column in judgement))
    errors, errors_by_turn = Counter[str](), dict[int, Counter[str]]()
    for index, kind in connection.execute(_ERRORS):
        errors[kind] += 1
        errors_by_turn.setdefault(index, Counter())[kind] += 1
    whole = everything.verdicts(errors)
    told: dict[int | None, Verdicts] = {None: whole}
    if first == last:
        return told if first is None else told | {first: whole}
    return told | {index: by_turn[index].verdicts(errors_by_turn.get(index, Counter())) for index in sorted(by_turn)}


def accuracy(connection: sqlite3.Connection, scoring: int) -> Accuracy:
    """Over answered and scored turns, by the scores of a scoring that need not be the one that counts."""
    tally = _Tally()
    for group in query_arrays.groups(_rows(connection, "", str(int(scoring))), _TYPES):
        tally.add(*group)
    return tally.verdicts(Counter()).accuracy


def _rows(
    connection: sqlite3.Connection, more: str, scoring: str = schema.CURRENT_SCORING
) -> Iterator[tuple[Any, ...]]:
    grouped = connection.execute("SELECT 1 FROM conversation WHERE cluster IS NOT NULL LIMIT 1").fetchone()
    score, aimed = schema.join_score(scoring), schema.scorable(scoring)
    order = _BY_GROUP if grouped else _BY_CONVERSATION
    rows = connection.execute(
        _JUDGED.format(columns=more, score=score, aimed=aimed, interrupted=schema.INTERRUPTED, **order)
    )
    return _numbered(rows) if grouped else rows


def _numbered(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of their first value, with a number in its place: a group has a name."""
    number, before = 0, None
    for row in rows:
        if row[0] != before:
            number, before = number + 1, row[0]
        yield number, *row[1:]


class _Tally:
    """Adds up turns, of which those of one cluster follow each other."""

    def __init__(self) -> None:
        self._turns = 0
        self._answered = 0
        self._interrupted = 0
        self._wrong = 0
        self._scored = ClusterSums()
        self._counted = ClusterSums()

    def add(self, cluster: Whole, failed: Flags, has_target: Flags, score: Floats, interrupted: Flags) -> None:
        """A missing score is NaN."""
        self._turns += len(failed)
        self._answered += len(failed) - int(failed.sum())
        self._interrupted += int(interrupted.sum())
        scored = ~(failed | np.isnan(score))
        self._wrong += int((score[scored] < 1).sum())
        self._scored.add(cluster[scored], score[scored])
        counted = scored | (failed & has_target & ~interrupted)
        self._counted.add(cluster[counted], np.where(failed, 0.0, score)[counted])

    def verdicts(self, errors: Counter[str]) -> Verdicts:
        """All that was added; ``errors`` in the order in which they came."""
        self._scored.close()
        self._counted.close()
        mean, mean_all = proportions.clustered_proportion(self._scored), proportions.clustered_proportion(self._counted)
        return Verdicts(
            turns=self._turns,
            answered=self._answered,
            errors=dict(errors.most_common()),
            accuracy=Accuracy(mean, self._wrong, self._answered - mean.n, _doubt(self._scored, mean)),
            accuracy_all=Accuracy(mean_all, self._wrong, self._turns - mean_all.n, _doubt(self._counted, mean_all)),
            interrupted=self._interrupted,
        )


def _doubt(sums: ClusterSums, mean: Estimate) -> str | None:
    alone = sums.clusters == sums.n  # one turn a conversation: nothing has to be told from between them
    if mean.value is None or mean.low is None or alone:
        return None
    spread = mean.value * (1 - mean.value)
    return means.doubt(sums.clusters, mean.value, sums.partial / sums.n / spread if spread else 0.0, sums.n)
