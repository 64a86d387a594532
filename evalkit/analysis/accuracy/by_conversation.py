"""Scores of whole conversations: every turn right, the last turn right, the mean; each once a repeat.

A conversation of which a turn with a target has failed, is missing or has no score is incomplete: it is counted, and
nothing is guessed of it. One without any target is not counted at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.runfile import query_arrays, schema
from evalkit.stats import proportions
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate
from evalkit.stats.repeats import pass_at_k, pass_hat_k

_TURNS = f"""
    SELECT t.conversation, t.conversation, t.repeat, t.error_kind NOT NULL, {schema.SCORABLE}, s.value
    FROM turn t {schema.JOIN_SCORE} ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own
_TYPES = ("i8", "i8", "i8", "?", "?", "f8")
_TARGETS = f"""
    SELECT count(*) FROM conversation, json_each(row, '$.turns')
    WHERE position = ? AND (json_type(value, '$.target') NOT NULL OR json_type(value, '$.scorer') NOT NULL
      OR (SELECT scores_all FROM scoring WHERE id = {schema.CURRENT_SCORING}))"""  # noqa: S608 - SQL of our own

_REPEATS = f"""
    SELECT coalesce(c.cluster, c.position), sum(s.value >= 1), count(*)
    FROM turn t CROSS JOIN conversation c ON c.position = t.conversation
      {schema.JOIN_SCORE}
    WHERE t.error_kind IS NULL AND s.value NOT NULL GROUP BY t.conversation, t.turn"""  # noqa: S608 - SQL of our own

_NEVER_SCORED = f"""
    SELECT count(*) FROM (SELECT 1 FROM turn t {schema.JOIN_SCORE}
      GROUP BY t.conversation, t.turn HAVING max({schema.SCORABLE}) AND count(s.value) = 0)"""  # noqa: S608 - SQL of our own


@dataclass(frozen=True, slots=True)
class ConversationScores:
    """How right whole conversations were, each counted once a repeat.

    Parameters
    ----------
    n : int
        Complete ones: every turn with a target is answered and scored.
    incomplete : int
        A turn with a target has failed, is missing or has no score; in none of the three.
    all_right : Estimate
        Share in which every turn with a target has a score of 1.
    last_right : Estimate
        Share in which the last turn with a target has.
    mean : Estimate
        Mean over conversations of the mean score of their turns with a target; a long one weighs as much as a short.

    Notes
    -----
    The repeats of one conversation, or of one ``group`` of conversations, are one cluster of the intervals.
    """

    n: int
    incomplete: int
    all_right: Estimate
    last_right: Estimate
    mean: Estimate

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        shares = {"all_right": self.all_right, "last_right": self.last_right, "mean": self.mean}
        limits = {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in shares.items()}
        return {"n": self.n, "incomplete": self.incomplete, **limits}


class Ended(NamedTuple):
    """Conversations, each once a repeat, as columns; a score is NaN unless the conversation is complete.

    ``counted`` ones have a turn with a target; of these the ``complete`` ones have a score for each.
    """

    cluster: Whole
    conversation: Whole
    repeat: Whole
    turns: Whole
    scored: Whole
    counted: Flags
    complete: Flags
    all_right: Floats
    last_right: Floats
    mean: Floats


class Cutter:
    """Cuts turns, which come in the order of conversation, repeat and turn, into conversations.

    Parameters
    ----------
    connection : sqlite3.Connection
        The run file: it knows how many turns a conversation should have, and which of the missing ones have a target.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._open: list[NDArray[Any]] | None = None  # turns of the last conversation, which may go on
        least, self._most = connection.execute("SELECT min(turns), max(turns) FROM conversation").fetchone()
        self._due: tuple[Whole, Whole] | None = None
        if least != self._most:
            rows = connection.execute("SELECT position, turns FROM conversation ORDER BY position")
            known = np.fromiter(rows, dtype=[("position", "i8"), ("turns", "i4")])
            self._due = known["position"], known["turns"]

    def add(self, *turns: NDArray[Any]) -> Ended:
        """Give the conversations that end before the last of these turns.

        Parameters
        ----------
        *turns : arrays, shape (n,), n > 0
            Cluster, conversation, repeat, whether it failed, whether it has a target, score (NaN: none).
        """
        if self._open is not None:
            turns = tuple(np.concatenate(pair) for pair in zip(self._open, turns, strict=True))
        _, conversation, repeat, *_ = turns
        begins = np.flatnonzero((np.diff(conversation) != 0) | (np.diff(repeat) != 0)) + 1
        last = int(begins[-1]) if len(begins) else 0
        # a copy: the arrays that they are parts of are let go
        self._open = [column[last:].copy() for column in turns]
        return self._ended(np.concatenate([[0], begins[:-1]]) if last else begins, *(part[:last] for part in turns))

    def close(self) -> Ended | None:
        """The conversation that was open still; None: there was none."""
        rest, self._open = self._open, None
        return None if rest is None else self._ended(np.array([0]), *rest)

    def _ended(self, begins: Whole, *turns: NDArray[Any]) -> Ended:
        cluster, conversation, repeat, failed, has_target, score = turns
        scored = ~(failed | np.isnan(score))
        wanted = has_target | scored
        targets, known, kept, right = (
            np.add.reduceat(part.astype(np.int64), begins) if len(begins) else begins
            for part in (wanted, scored, has_target, scored & (score >= 1))
        )
        total = np.add.reduceat(np.where(scored, score, 0.0), begins) if len(begins) else np.zeros(0)
        last = np.maximum.reduceat(np.where(wanted, np.arange(len(score)), 0), begins) if len(begins) else begins
        found = np.diff(begins, append=len(score))
        place = conversation[begins]
        missing = self._missing(place, found, kept, known == targets)
        counted = (targets > 0) | missing
        complete = counted & (known == targets) & ~missing
        values = (known == right, score[last] >= 1, total / np.maximum(targets, 1))
        scores = [np.where(complete, value, np.nan) for value in values]
        return Ended(cluster[begins], place, repeat[begins], found, known, counted, complete, *scores)

    def _missing(self, conversation: Whole, found: Whole, targets: Whole, whole: Flags) -> Flags:
        """Whether a turn that is not there has a target; told only where it makes a difference."""
        missing = np.zeros(len(conversation), dtype=bool)
        due: Any = self._most
        if self._due is not None:
            due = self._due[1][np.searchsorted(self._due[0], conversation)]
        for at in np.flatnonzero(whole & (found < due)):
            (all_targets,) = self._connection.execute(_TARGETS, (int(conversation[at]),)).fetchone()
            missing[at] = all_targets > targets[at]
        return missing


class Tally:
    """Adds up the scores of conversations, of which those of one cluster follow each other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cutter = Cutter(connection)
        self._incomplete = 0
        self._sums = ClusterSums(), ClusterSums(), ClusterSums()

    def add(self, *turns: NDArray[Any]) -> None:
        """Add turns, in the order and with the columns of ``Cutter.add``."""
        self._add(self._cutter.add(*turns))

    def scores(self) -> ConversationScores:
        """All that was added."""
        rest = self._cutter.close()
        if rest is not None:
            self._add(rest)
        for sums in self._sums:
            sums.close()
        all_right, last_right, mean = map(proportions.clustered_proportion, self._sums)
        return ConversationScores(mean.n, self._incomplete, all_right, last_right, mean)

    def _add(self, ended: Ended) -> None:
        complete = ended.complete
        self._incomplete += int((ended.counted & ~complete).sum())
        for sums, values in zip(self._sums, (ended.all_right, ended.last_right, ended.mean), strict=True):
            sums.add(ended.cluster[complete], values[complete])


def each(connection: sqlite3.Connection) -> Iterator[Ended]:
    """Every conversation of a run that has a finished turn, once a repeat, in the order of the dataset."""
    cutter = Cutter(connection)
    for turns in query_arrays.groups(connection.execute(_TURNS), _TYPES):
        yield cutter.add(*turns)
    rest = cutter.close()
    if rest is not None:
        yield rest


@dataclass(frozen=True, slots=True)
class RepeatScores:
    """How often turns were right over k repeats.

    Parameters
    ----------
    k : int
        Repeats of the run, or fewer of them.
    once : Estimate
        Share of turns that are right at least once in k (pass@k).
    always : Estimate
        Share of turns that are right each time (pass^k).
    left_out : int
        Turns with a target that have fewer than k scores, since calls failed or are still to be made. They are in
        neither share, which are of the ``n`` other turns, and missing without any.
    """

    k: int
    once: Estimate
    always: Estimate
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        shares = {"once": self.once, "always": self.always}
        limits = {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in shares.items()}
        return {"k": self.k, "n": self.once.n, **limits, "left_out": self.left_out}


def repeated(connection: sqlite3.Connection, k: int) -> RepeatScores | None:
    """Scores over k repeats of a run; None: k is 1. Turns with more than k scores count by all choices of k of them."""
    if k < 2:
        return None
    found = repeats(connection)
    enough = found.n >= k
    left_out = int((~enough).sum()) + int(connection.execute(_NEVER_SCORED).fetchone()[0])
    cluster, right, n = found.cluster[enough], found.right[enough].tolist(), found.n[enough].tolist()
    once, always = (share(right, n, k, cluster) for share in (pass_at_k, pass_hat_k))
    return RepeatScores(k, once, always, left_out)


class Repeats(NamedTuple):
    """How often each turn of each conversation was right over its repeats: what pass@k is made of.

    Columns, one value a turn: a number of its cluster, repeats with a score of 1, and repeats with a score.
    """

    cluster: Whole
    right: Whole
    n: Whole


def repeats(connection: sqlite3.Connection) -> Repeats:
    """Right and scored repeats of every turn that has a score in one; 24 bytes a turn."""
    numbers: dict[str | int, int] = {}  # a group may be called "5", and conversation number 5 is still another cluster
    rows = ((numbers.setdefault(cluster, len(numbers)), right, n) for cluster, right, n in connection.execute(_REPEATS))
    found = np.fromiter(rows, dtype=[(name, "i8") for name in Repeats._fields])
    return Repeats(*(found[name] for name in Repeats._fields))
