"""Scores of whole conversations, one per repeat: every turn right, the last turn right, and the mean.

A conversation is incomplete if a turn with a target has failed, is missing or has no score: it is counted as such, and
has no scores. A conversation without any target is not counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
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
_MOST_K = 10
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
    """Scores of whole conversations, each counted once per repeat.

    Parameters
    ----------
    n : int
        Complete conversations: every turn with a target is answered and scored.
    incomplete : int
        Conversations of which a turn with a target has failed, is missing or has no score; in none of the three.
    all_right : Estimate
        Share in which every turn with a target has a score of 1.
    last_right : Estimate
        Share in which the last turn with a target has a score of 1.
    mean : Estimate
        Mean over conversations of the mean score of their turns with a target; long and short ones have equal weight.

    Notes
    -----
    The repeats of one conversation, or of one ``group`` of conversations, are one cluster for the intervals.
    """

    n: int
    incomplete: int
    all_right: Estimate
    last_right: Estimate
    mean: Estimate

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        shares = {"all_right": self.all_right, "last_right": self.last_right, "mean": self.mean}
        limits = {name: share.value_and_limits() for name, share in shares.items()}
        return {"n": self.n, "incomplete": self.incomplete, **limits}


class Conversations(NamedTuple):
    """Conversations as columns, one value per repeat; a score is NaN unless the conversation is complete.

    ``counted`` conversations have a turn with a target; in ``complete`` ones every such turn has a score.
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


class ConversationSplitter:
    """Splits turns, in the order of conversation, repeat and turn, into conversations.

    Parameters
    ----------
    connection : sqlite3.Connection
        The run file, for the number of turns of a conversation, and for the missing turns with a target.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._open: list[NDArray[Any]] | None = None  # turns of the last conversation, which may continue
        least, self._most = connection.execute("SELECT min(turns), max(turns) FROM conversation").fetchone()
        self._expected: tuple[Whole, Whole] | None = None
        if least != self._most:
            rows = connection.execute("SELECT position, turns FROM conversation ORDER BY position")
            lengths = np.fromiter(rows, dtype=[("position", "i8"), ("turns", "i4")])
            self._expected = lengths["position"], lengths["turns"]

    def add(self, *turns: NDArray[Any]) -> Conversations:
        """Add turns, and return the conversations that end before the last of them.

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
        # a copy, so that the arrays can be freed
        self._open = [column[last:].copy() for column in turns]
        return self._conversations(
            np.concatenate([[0], begins[:-1]]) if last else begins, *(part[:last] for part in turns)
        )

    def close(self) -> Conversations | None:
        """Return the last conversation; None: there is none."""
        rest, self._open = self._open, None
        return None if rest is None else self._conversations(np.array([0]), *rest)

    def _conversations(self, begins: Whole, *turns: NDArray[Any]) -> Conversations:
        cluster, conversation, repeat, failed, has_target, score = turns
        scored = ~(failed | np.isnan(score))
        has_result = has_target | scored
        targets, scores_known, own_targets, right = (
            np.add.reduceat(part.astype(np.int64), begins) if len(begins) else begins
            for part in (has_result, scored, has_target, scored & (score >= 1))
        )
        total = np.add.reduceat(np.where(scored, score, 0.0), begins) if len(begins) else np.zeros(0)
        last = np.maximum.reduceat(np.where(has_result, np.arange(len(score)), 0), begins) if len(begins) else begins
        turn_count = np.diff(begins, append=len(score))
        position = conversation[begins]
        missing = self._missing(position, turn_count, own_targets, scores_known == targets)
        counted = (targets > 0) | missing
        complete = counted & (scores_known == targets) & ~missing
        values = (scores_known == right, score[last] >= 1, total / np.maximum(targets, 1))
        scores = [np.where(complete, value, np.nan) for value in values]
        return Conversations(
            cluster[begins], position, repeat[begins], turn_count, scores_known, counted, complete, *scores
        )

    def _missing(self, conversation: Whole, turn_count: Whole, targets: Whole, all_scored: Flags) -> Flags:
        """Whether a missing turn has a target; only checked where all other turns are scored."""
        missing = np.zeros(len(conversation), dtype=bool)
        expected: Any = self._most
        if self._expected is not None:
            expected = self._expected[1][np.searchsorted(self._expected[0], conversation)]
        for index in np.flatnonzero(all_scored & (turn_count < expected)):
            (all_targets,) = self._connection.execute(_TARGETS, (int(conversation[index]),)).fetchone()
            missing[index] = all_targets > targets[index]
        return missing


class ConversationTally:
    """Adds up the scores of conversations; those of one cluster must be consecutive."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._splitter = ConversationSplitter(connection)
        self._incomplete = 0
        self._sums = ClusterSums(), ClusterSums(), ClusterSums()

    def add(self, *turns: NDArray[Any]) -> None:
        """Add turns, in the order and with the columns of ``ConversationSplitter.add``."""
        self._add(self._splitter.add(*turns))

    def scores(self) -> ConversationScores:
        """The scores of everything added."""
        rest = self._splitter.close()
        if rest is not None:
            self._add(rest)
        for sums in self._sums:
            sums.close()
        all_right, last_right, mean = map(proportions.clustered_proportion, self._sums)
        return ConversationScores(mean.n, self._incomplete, all_right, last_right, mean)

    def _add(self, conversations: Conversations) -> None:
        complete = conversations.complete
        self._incomplete += int((conversations.counted & ~complete).sum())
        for sums, values in zip(
            self._sums, (conversations.all_right, conversations.last_right, conversations.mean), strict=True
        ):
            sums.add(conversations.cluster[complete], values[complete])


def conversations(connection: sqlite3.Connection) -> Iterator[Conversations]:
    """Every conversation of a run with a finished turn, once per repeat, in the order of the dataset."""
    splitter = ConversationSplitter(connection)
    for turns in query_arrays.groups(connection.execute(_TURNS), _TYPES):
        yield splitter.add(*turns)
    rest = splitter.close()
    if rest is not None:
        yield rest


class TurnRepeats(NamedTuple):
    """How often each turn of each conversation is right over its repeats, for pass@k.

    Columns with one value per turn: the number of its cluster, repeats with a score of 1, and repeats with a score.
    """

    cluster: Whole
    right: Whole
    n: Whole


@dataclass(frozen=True, slots=True)
class RepeatScores:
    """How often turns are right over k repeats.

    Parameters
    ----------
    k : int
        Number of repeats, at most that of the run.
    once : Estimate
        Share of turns that are right at least once in k (pass@k).
    always : Estimate
        Share of turns that are right every time (pass^k).
    left_out : int
        Turns with a target and fewer than k scores, because calls failed or were not made yet. They are in neither
        share; the shares are over the ``n`` other turns, and missing without any.
    turns : TurnRepeats
        What the shares are made of, for other k.
    never_scored : int
        Turns with a target and no score in any repeat.
    of : int
        Repeats of the run.
    """

    k: int
    once: Estimate
    always: Estimate
    left_out: int
    turns: TurnRepeats = field(repr=False)
    never_scored: int
    of: int

    def at(self, k: int) -> RepeatScores:
        """The scores over k repeats, from 1 to the repeats of the run. Of more scores of a turn, all choices count."""
        return _repeat_scores(self.turns, self.never_scored, k, self.of)

    def worst_turn(self) -> Estimate:
        """The smallest share of its scored repeats in which a turn is right; without limits."""
        if not len(self.turns.n):
            return Estimate(None, None, None, 0, "no turn has a score")
        return Estimate(float((self.turns.right / self.turns.n).min()), None, None, len(self.turns.n))

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it: over all k repeats, and in ``by_k`` over 1, 2, … of them, at most 10."""
        smaller = [self if k == self.k else self.at(k) for k in range(1, min(self.of, _MOST_K) + 1)]
        worst = self.worst_turn().value
        return {**self._shares(), "worst_turn": worst, "by_k": [each._shares() for each in smaller]}

    def _shares(self) -> dict[str, Any]:
        shares = {"once": self.once, "always": self.always}
        limits = {name: share.value_and_limits() for name, share in shares.items()}
        return {"k": self.k, "n": self.once.n, **limits, "left_out": self.left_out}


def repeat_scores(connection: sqlite3.Connection, k: int, of: int | None = None) -> RepeatScores | None:
    """Scores over k repeats of a run with ``of`` (default: k); None: k is 1."""
    if k < 2:
        return None
    never_scored = int(connection.execute(_NEVER_SCORED).fetchone()[0])
    return _repeat_scores(turn_repeats(connection), never_scored, k, k if of is None else of)


def _repeat_scores(turns: TurnRepeats, never_scored: int, k: int, of: int) -> RepeatScores:
    enough = turns.n >= k
    left_out = int((~enough).sum()) + never_scored
    cluster, right, n = turns.cluster[enough], turns.right[enough].tolist(), turns.n[enough].tolist()
    once, always = (share(right, n, k, cluster) for share in (pass_at_k, pass_hat_k))
    return RepeatScores(k, once, always, left_out, turns, never_scored, of)


def turn_repeats(connection: sqlite3.Connection) -> TurnRepeats:
    """Right and scored repeats of every turn with a score, in 24 bytes per turn."""
    numbers: dict[str | int, int] = {}  # a group named "5" and conversation number 5 are different clusters
    rows = ((numbers.setdefault(cluster, len(numbers)), right, n) for cluster, right, n in connection.execute(_REPEATS))
    columns = np.fromiter(rows, dtype=[(name, "i8") for name in TurnRepeats._fields])
    return TurnRepeats(*(columns[name] for name in TurnRepeats._fields))
