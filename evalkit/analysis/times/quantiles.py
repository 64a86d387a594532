"""The times of a run's turns, by turn index: quantiles with their intervals, and samples for charts.

One metric at a time is read into arrays: of a turn 8 bytes for its time as it came, 8 for it sorted, and 4 for its
cluster where turns hang together; as much again while the quantiles of all turns are made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from evalkit.runfile import query_arrays, store
from evalkit.stats import survival
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.estimate import Estimate
from evalkit.stats.quantiles import Below, by_clusters, ordered_quantiles
from evalkit.stats.survival import Curve

NS_PER_MS = 1e6
SAMPLED = 400
METRICS = ("ttft", "latency", "tpot", "schedule_latency", "turn_time")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_TIMED_OUT = "error_kind NOT NULL AND censored_ns NOT NULL"
_TIME = "SELECT conversation, turn, {0}_ns AS ns FROM turn WHERE {0}_ns NOT NULL"
_KNOWN = {
    "tpot": _TIME.format("tpot"),
    "ttft": _TIME.format("ttft"),
    "latency": f"{_TIME.format('latency')} AND NOT ({_TIMED_OUT})",
    "schedule_latency": _TIME.format("schedule_latency"),
    "turn_time": _TIME.format("turn_time"),
}
_LOST_FROM_DUE = """
    SELECT t.conversation, t.turn, t.end_ns - min(a.due_ns) AS ns
    FROM attempt a CROSS JOIN turn t USING (conversation, repeat, turn, session)
    WHERE t.error_kind NOT NULL AND t.censored_ns NOT NULL {}
    GROUP BY t.conversation, t.repeat, t.turn"""
# what stands for the time of a turn that timed out, or was cancelled when its session ended: a lower bound
_LOST = {
    "ttft": f"SELECT conversation, turn, censored_ns AS ns FROM turn WHERE ttft_ns IS NULL AND {_TIMED_OUT}",  # noqa: S608
    "latency": f"SELECT conversation, turn, censored_ns AS ns FROM turn WHERE {_TIMED_OUT}",  # noqa: S608
    # it does not tell that it had a schedule: others of its index do
    "schedule_latency": _LOST_FROM_DUE.format(
        "AND t.turn IN (SELECT DISTINCT turn FROM turn WHERE schedule_latency_ns NOT NULL)"
    ),
    "turn_time": _LOST_FROM_DUE.format(""),
}
_RETRIES = """
    SELECT turn, count(DISTINCT conversation || ' ' || repeat), sum(requests), sum(lost_ns) FROM (
      SELECT conversation, repeat, turn, count(*) - 1 AS requests, max(sent_ns) - min(sent_ns) AS lost_ns FROM attempt
      WHERE (conversation, repeat, turn, session, round) IN (
        SELECT conversation, repeat, turn, session, round FROM attempt WHERE number > 1)
      GROUP BY conversation, repeat, turn, session, round)
    GROUP BY turn"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Single times for a chart, a seeded choice of at most 400, and the span of all.

    Parameters
    ----------
    values : ndarray of float
        In ms.
    at_least : ndarray of bool
        True: the turn timed out or was interrupted, and the time is a lower bound.
    low, high : float
        The smallest time above 0 and the largest of all, in ms; infinite when there is none.
    timed_out : int
        How many of all times are lower bounds.
    """

    values: Floats
    at_least: Flags
    low: float
    high: float
    timed_out: int


@dataclass(frozen=True, slots=True)
class Times:
    """Times of one kind.

    Parameters
    ----------
    quantiles : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms.
    sample : Sample
    """

    quantiles: dict[str, Estimate]
    sample: Sample


def timed(
    connection: sqlite3.Connection, turns: Mapping[int, int], *, streamed: bool, scheduled: bool
) -> dict[str, dict[int | None, Times]]:
    """Metric to turn index to times; None: of all turns.

    Parameters
    ----------
    connection : sqlite3.Connection
    turns : mapping
        Turn index to the number of its turns, in order.
    streamed, scheduled : bool
        Whether the run was streamed, and whether it was in open loop.
    """
    told: dict[str, dict[int | None, Times]] = {}
    hanging = _Clusters.of(connection, turns)
    for metric in METRICS:
        column = _Column(turns, hanging.count)
        if scheduled or metric != "schedule_latency":
            for turn, values in hanging.read(connection, _KNOWN[metric]):
                column.add(turn, values)
            # without streaming TTFT does not exist, so that nothing bounds it; without a time-out nothing is lost
            in_time = "latency" in told and not told["latency"][None].sample.timed_out
            if metric in _LOST and not in_time and (streamed or metric != "ttft"):
                for turn, values in hanging.read(connection, _LOST[metric]):
                    column.add_lost(turn, values)
        told[metric] = column.times()
        del column  # before the next one is made
    return told


class Retries(NamedTuple):
    """What was asked again, since it had failed.

    Parameters
    ----------
    turns : int
        Turns of which a request was made again.
    requests : int
        How many requests were made again.
    lost_s : float
        From the first try of such a request to its last one, added up: failed tries, and the pauses between.
    """

    turns: int = 0
    requests: int = 0
    lost_s: float = 0.0


def retries(connection: sqlite3.Connection) -> dict[int | None, Retries]:
    """Of turn indices that have any, and of all turns under None; in every session."""
    told = {turn: Retries(turns, requests, ns / 1e9) for turn, turns, requests, ns in connection.execute(_RETRIES)}
    return {None: Retries(*map(sum, zip(Retries(), *told.values(), strict=True))), **told}


class _Timed(NamedTuple):
    """Times in ms, and the number of each one's cluster; none of these: every turn is a cluster of its own."""

    values: Floats
    clusters: Whole

    def at(self, rows: Flags | slice) -> _Timed:
        return _Timed(self.values[rows], self.clusters[rows] if len(self.clusters) else self.clusters)


def clusters(connection: sqlite3.Connection) -> Whole:
    """What the intervals take for one sample: a number for each conversation, by its position.

    That of a group, which comes after all positions, or the position itself.
    """
    count = 1 + connection.execute("SELECT coalesce(max(position), -1) FROM conversation").fetchone()[0]
    numbers = np.arange(count, dtype=np.int32)
    groups: dict[str, int] = {}
    for place, name in connection.execute("SELECT position, cluster FROM conversation WHERE cluster NOT NULL"):
        numbers[place] = groups.setdefault(name, count + len(groups))
    return numbers


@dataclass(frozen=True, slots=True)
class _Clusters:
    """What the intervals take for one sample each: conversations with all their repeats, or groups of them.

    Parameters
    ----------
    numbers : ndarray of int, optional
        Of each conversation, by its position; None: the positions themselves.
    count : int
        One more than the greatest number; 0: every turn is a cluster of its own.
    """

    numbers: Whole | None
    count: int

    @classmethod
    def of(cls, connection: sqlite3.Connection, turns: Iterable[int]) -> _Clusters:
        """Those of a run whose turns have these indices."""
        numbers = clusters(connection)
        count = len(numbers)
        if count and numbers.max() >= count:
            return cls(numbers, int(numbers.max()) + 1)
        several = set(turns) - {1} or store.run_info(connection)["settings"].get("repeats", 1) > 1
        return cls(None, count if several else 0)

    def read(self, connection: sqlite3.Connection, query: str) -> Iterator[tuple[Whole, _Timed]]:
        """Turn indices and times, some at a time."""
        if not self.count:  # then there is no turn but the first, and nothing of it but its time to read
            for (ns,) in query_arrays.groups(connection.execute(f"SELECT ns FROM ({query})"), ("f8",)):  # noqa: S608
                yield np.ones(len(ns), dtype=np.int32), _Timed(ns / NS_PER_MS, np.empty(0, dtype=np.int32))
            return
        for conversation, turn, ns in query_arrays.groups(connection.execute(query), ("i4", "i4", "f8")):
            numbers = conversation if self.numbers is None else self.numbers[conversation]
            yield turn, _Timed(ns / NS_PER_MS, numbers)


class _Column:
    """The times of one metric in one array, which has a part for every turn index.

    Memory that nothing is written to takes no room. Lower bounds, of which there are few as a rule, stand apart.
    """

    def __init__(self, turns: Mapping[int, int], clusters: int) -> None:
        ends = list(accumulate(turns.values()))
        total = ends[-1] if ends else 0
        self._count = clusters
        self._all = _Timed(np.empty(total), np.empty(total if clusters else 0, dtype=np.int32))
        self._parts = {
            index: self._all.at(slice(end - count, end))
            for (index, count), end in zip(turns.items(), ends, strict=True)
        }
        self._filled = dict.fromkeys(turns, 0)
        self._lost: dict[int, list[_Timed]] = {index: [] for index in turns}

    def add(self, turn: Whole, times: _Timed) -> None:
        """Add known times by turn index; those of turns that came after the counting are left out."""
        for index, some in self._split(turn, times):
            begin = self._filled[index]
            for kept, new in zip(self._parts[index], some, strict=True):
                kept[begin : begin + len(new)] = new[: len(kept) - begin]
            self._filled[index] = min(begin + len(some.values), len(self._parts[index].values))

    def add_lost(self, turn: Whole, times: _Timed) -> None:
        """Add lower bounds."""
        for index, some in self._split(turn, times):
            self._lost[index].append(some)

    def times(self) -> dict[int | None, Times]:
        """All turns under None, and those of every turn index."""
        told: dict[int | None, Times] = {index: self._of([index]) for index in self._parts}
        return {None: next(iter(told.values())) if len(told) == 1 else self._of(list(self._parts))} | told

    def _split(self, turn: Whole, times: _Timed) -> Iterator[tuple[int, _Timed]]:
        for index in self._parts.keys() & np.unique(turn).tolist():
            yield index, times.at(turn == index)

    def _of(self, indices: Sequence[int]) -> Times:
        known = _joined([self._parts[index].at(slice(self._filled[index])) for index in indices])
        return _told(known, _joined([some for index in indices for some in self._lost[index]]), self._count)


def _joined(parts: Sequence[_Timed]) -> _Timed:
    if len(parts) == 1:
        return parts[0]
    none = _Timed(np.empty(0), np.empty(0, dtype=np.int32))
    return _Timed(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))


def _below(known: _Timed, lost: _Timed, clusters: int) -> Below | None:
    both = _joined([known, lost]) if len(lost.values) else known
    return by_clusters(*both, clusters) if clusters else None


def _ordered(known: _Timed, lost: _Timed, below: Below | None) -> tuple[Floats, Floats, dict[str, Estimate]]:
    """Known times and lower bounds in ascending order, and their quantiles."""
    values, bounds = np.sort(known.values), np.sort(lost.values)
    quantiles = ordered_quantiles(values, bounds, tuple(_QUANTILES.values()), below=below)
    return values, bounds, dict(zip(_QUANTILES, quantiles, strict=True))


def _told(known_times: _Timed, lost_times: _Timed, clusters: int) -> Times:
    known, lost, quantiles = _ordered(known_times, lost_times, _below(known_times, lost_times, clusters))
    count = len(known) + len(lost)
    drawn = np.arange(min(count, SAMPLED))
    if count > SAMPLED:
        drawn = np.random.default_rng(0).choice(count, SAMPLED, replace=False)
    at_least = drawn >= len(known)
    positive = [part[np.searchsorted(part, 0.0, side="right") :] for part in (known, lost)]
    return Times(
        quantiles,
        Sample(
            np.concatenate([known[drawn[~at_least]], lost[drawn[at_least] - len(known)]]),
            np.sort(at_least),
            float(min((part[0] for part in positive if len(part)), default=np.inf)),
            float(max((part[-1] for part in (known, lost) if len(part)), default=-np.inf)),
            len(lost),
        ),
    )


@dataclass(frozen=True, slots=True)
class Distribution:
    """Times of one kind, whole.

    Parameters
    ----------
    curve : Curve
        In ms.
    quantiles : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms.
    """

    curve: Curve
    quantiles: dict[str, Estimate]


def distributions(connection: sqlite3.Connection, metric: str, *, streamed: bool) -> dict[str, Distribution]:
    """The distribution of a metric over all turns: ``first`` of turn 1, which is cold, and ``later`` of all others.

    Parameters
    ----------
    connection : sqlite3.Connection
    metric : str
        ``ttft`` or ``latency``.
    streamed : bool
        Whether the run was streamed.

    Returns
    -------
    dict
        Only of turns that have such a time, if only as a lower bound.
    """
    queries = {"known": _KNOWN[metric]}
    if streamed or metric != "ttft":
        queries["lost"] = _LOST[metric]
    hanging = _Clusters.of(connection, (turn for (turn,) in connection.execute("SELECT DISTINCT turn FROM turn")))
    parts: dict[tuple[str, bool], list[_Timed]] = {}
    for kind, query in queries.items():
        for turn, values in hanging.read(connection, query):
            for is_first in (True, False):
                parts.setdefault((kind, is_first), []).append(values.at((turn == 1) == is_first))
    told = {}
    for name, is_first in (("first", True), ("later", False)):
        times, bounds = (_joined(parts.get((kind, is_first), ())) for kind in ("known", "lost"))
        below = _below(times, bounds, hanging.count)
        known, lost, quantiles = _ordered(times, bounds, below)
        if len(known) + len(lost):
            told[name] = Distribution(survival.curve(known, lost, below=below), quantiles)
    return told
