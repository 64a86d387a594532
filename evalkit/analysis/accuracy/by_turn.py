"""How the turns of a run ended, and their accuracy, by turn index."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.analysis.accuracy.by_conversation import ConversationTally
from evalkit.analysis.accuracy.by_tag import TagTally
from evalkit.runfile import query_arrays, schema
from evalkit.stats import means, proportions
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate

_TURNS = """
    SELECT {cluster}, t.error_kind NOT NULL, {aimed}, s.value, {interrupted}{columns}
    FROM turn t {more}
      {score}
    {where} ORDER BY {order}"""
# turns of one cluster must be consecutive: they are in the order of the file, unless conversations are grouped
_BY_CONVERSATION = {"cluster": "t.conversation", "more": "", "order": "t.conversation, t.repeat, t.turn"}
_BY_GROUP = {
    "cluster": "coalesce(c.cluster, c.position)",
    "more": "CROSS JOIN conversation c ON c.position = t.conversation",
    "order": "1, t.conversation, t.repeat, t.turn",
}
_TYPES = ("i8", "?", "?", "f8", "?")
_CONVERSATION_COLUMNS = ", t.conversation, t.repeat"
_ERRORS = "SELECT turn, error_kind FROM turn WHERE error_kind NOT NULL ORDER BY conversation, repeat, turn"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean score with its interval, 0 to 1.

    Parameters
    ----------
    mean : Estimate
        ``n`` is the denominator.
    wrong : int
        Answered turns with a score below 1; failed turns do not count.
    unscored : int
        Turns outside the denominator.
    doubt : str or None
        Why the interval may be too short: see ``means.doubt``.
    """

    mean: Estimate
    wrong: int
    unscored: int
    doubt: str | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """As ``--json`` prints it."""
        rest = {"n": self.mean.n, "wrong": self.wrong, "unscored": self.unscored}
        return {**self.mean.value_and_limits(), **rest}


@dataclass(frozen=True, slots=True)
class TurnOutcomes:
    """How turns ended, and their accuracy; the fields are those of ``Measures``."""

    turns: int
    answered: int
    errors: dict[str, int]
    accuracy: Accuracy
    accuracy_all: Accuracy
    interrupted: int


def outcomes_by_turn(
    connection: sqlite3.Connection, conversations: ConversationTally, tags: TagTally
) -> dict[int | None, TurnOutcomes]:
    """Turn index to the outcomes of its turns, in order; the first key is None, for all turns.

    The turns are read once: ``conversations`` and ``tags`` add them up too.
    """
    first, last = connection.execute("SELECT min(turn), max(turn) FROM turn").fetchone()
    everything, by_turn = _TurnTally(), dict[int, _TurnTally]()
    if first == last:  # at most one turn index: it is the whole run
        for *columns, conversation, repeat in query_arrays.groups(
            _rows(connection, _CONVERSATION_COLUMNS), (*_TYPES, "i8", "i8")
        ):
            everything.add(*columns)
            conversations.add(columns[0], conversation, repeat, *columns[1:4])
            tags.add(columns[0], columns[1], columns[3], conversation)
    else:
        types = (*_TYPES, "i8", "i8", "i8")
        for *columns, conversation, repeat, turn in query_arrays.groups(
            _rows(connection, f"{_CONVERSATION_COLUMNS}, t.turn"), types
        ):
            everything.add(*columns)
            conversations.add(columns[0], conversation, repeat, *columns[1:4])
            tags.add(columns[0], columns[1], columns[3], conversation)
            for index in np.unique(turn).tolist():
                own = turn == index
                by_turn.setdefault(index, _TurnTally()).add(*(column[own] for column in columns))
    errors, errors_by_turn = Counter[str](), dict[int, Counter[str]]()
    for index, kind in connection.execute(_ERRORS):
        errors[kind] += 1
        errors_by_turn.setdefault(index, Counter())[kind] += 1
    whole = everything.outcomes(errors)
    outcomes: dict[int | None, TurnOutcomes] = {None: whole}
    if first == last:
        return outcomes if first is None else outcomes | {first: whole}
    return outcomes | {
        index: by_turn[index].outcomes(errors_by_turn.get(index, Counter())) for index in sorted(by_turn)
    }


def accuracy(connection: sqlite3.Connection, scoring: int | None = None, where: str = "") -> Accuracy:
    """Accuracy over answered and scored turns, by the scores of a scoring; None: by those in use.

    ``where``: SQL that selects turns ``t``.
    """
    tally, number = _TurnTally(), schema.CURRENT_SCORING if scoring is None else str(int(scoring))
    for group in query_arrays.groups(_rows(connection, "", number, where), _TYPES):
        tally.add(*group)
    return tally.outcomes(Counter()).accuracy


def _rows(
    connection: sqlite3.Connection, more: str, scoring: str = schema.CURRENT_SCORING, where: str = ""
) -> Iterator[tuple[Any, ...]]:
    grouped = connection.execute("SELECT 1 FROM conversation WHERE cluster IS NOT NULL LIMIT 1").fetchone()
    score, aimed = schema.join_score(scoring), schema.scorable(scoring)
    order = _BY_GROUP if grouped else _BY_CONVERSATION
    rows = connection.execute(
        _TURNS.format(columns=more, score=score, aimed=aimed, interrupted=schema.INTERRUPTED, where=where, **order)
    )
    return _numbered(rows) if grouped else rows


def _numbered(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Replace the first value of each row, a name, by a number; the rows are in its order."""
    number, previous = 0, None
    for row in rows:
        if row[0] != previous:
            number, previous = number + 1, row[0]
        yield number, *row[1:]


class _TurnTally:
    """Adds up turns; those of one cluster must be consecutive."""

    def __init__(self) -> None:
        self._turns = 0
        self._answered = 0
        self._interrupted = 0
        self._wrong = 0
        self._scored = ClusterSums()
        self._counted = ClusterSums()

    def add(self, cluster: Whole, failed: Flags, has_target: Flags, score: Floats, interrupted: Flags) -> None:
        """Add turns; NaN: no score."""
        self._turns += len(failed)
        self._answered += len(failed) - int(failed.sum())
        self._interrupted += int(interrupted.sum())
        scored = ~(failed | np.isnan(score))
        self._wrong += int((score[scored] < 1).sum())
        self._scored.add(cluster[scored], score[scored])
        counted = scored | (failed & has_target & ~interrupted)
        self._counted.add(cluster[counted], np.where(failed, 0.0, score)[counted])

    def outcomes(self, errors: Counter[str]) -> TurnOutcomes:
        """The outcomes of everything added; ``errors`` in order of occurrence."""
        self._scored.close()
        self._counted.close()
        mean, mean_all = proportions.clustered_proportion(self._scored), proportions.clustered_proportion(self._counted)
        return TurnOutcomes(
            turns=self._turns,
            answered=self._answered,
            errors=dict(errors.most_common()),
            accuracy=Accuracy(mean, self._wrong, self._answered - mean.n, _doubt(self._scored, mean)),
            accuracy_all=Accuracy(mean_all, self._wrong, self._turns - mean_all.n, _doubt(self._counted, mean_all)),
            interrupted=self._interrupted,
        )


def _doubt(sums: ClusterSums, mean: Estimate) -> str | None:
    one_turn_each = sums.clusters == sums.n  # then there is no correlation within conversations to estimate
    if mean.value is None or mean.low is None or one_turn_each:
        return None
    variance = mean.value * (1 - mean.value)
    return means.doubt(sums.clusters, mean.value, sums.partial / sums.n / variance if variance else 0.0, sums.n)
