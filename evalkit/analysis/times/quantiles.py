"""The times of a run's turns by turn index: quantiles with their intervals, and samples for charts.

One metric at a time is read into arrays: each turn takes 8 bytes for its time as read, 8 for the sorted time, and 4 for
its cluster where turns are clustered; and as much again while the quantiles of all turns are computed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from evalkit.runfile import query_arrays, store
from evalkit.runfile.conversation_clusters import conversation_clusters
from evalkit.stats import survival
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.estimate import Estimate
from evalkit.stats.quantiles import CountBelow, count_below, ordered_quantiles
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
_BOUNDS_FROM_DUE = """
    SELECT t.conversation, t.turn, t.end_ns - min(a.due_ns) AS ns
    FROM attempt a CROSS JOIN turn t USING (conversation, repeat, turn, session)
    WHERE t.error_kind NOT NULL AND t.censored_ns NOT NULL {}
    GROUP BY t.conversation, t.repeat, t.turn"""
# lower bounds of the times of turns that timed out, or were cancelled when their session ended
_LOWER_BOUNDS = {
    "ttft": f"SELECT conversation, turn, censored_ns AS ns FROM turn WHERE ttft_ns IS NULL AND {_TIMED_OUT}",  # noqa: S608
    "latency": f"SELECT conversation, turn, censored_ns AS ns FROM turn WHERE {_TIMED_OUT}",  # noqa: S608
    # the turn does not record that it had a schedule, but others of its index do
    "schedule_latency": _BOUNDS_FROM_DUE.format(
        "AND t.turn IN (SELECT DISTINCT turn FROM turn WHERE schedule_latency_ns NOT NULL)"
    ),
    "turn_time": _BOUNDS_FROM_DUE.format(""),
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
    """A seeded sample of at most 400 times for a chart, and the range of all times.

    Parameters
    ----------
    values : ndarray of float
        In ms.
    at_least : ndarray of bool
        True: the turn timed out or was interrupted, and the time is a lower bound.
    low, high : float
        The smallest time above 0 and the largest time of all, in ms; infinite without any.
    timed_out : int
        Number of lower bounds among all times.
    """

    values: Floats
    at_least: Flags
    low: float
    high: float
    timed_out: int


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """Times of one metric.

    Parameters
    ----------
    quantiles : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms.
    sample : Sample
    """

    quantiles: dict[str, Estimate]
    sample: Sample


def times_by_turn(
    connection: sqlite3.Connection, turns: Mapping[int, int], *, streamed: bool, scheduled: bool
) -> dict[str, dict[int | None, TurnTimes]]:
    """Metric to turn index to times; the index None is for all turns.

    Parameters
    ----------
    connection : sqlite3.Connection
    turns : mapping
        Turn index to the number of turns, in order.
    streamed, scheduled : bool
        Whether the run was streamed, and whether it was in open loop.
    """
    times: dict[str, dict[int | None, TurnTimes]] = {}
    clusters = _TurnClusters.of(connection, turns)
    for metric in METRICS:
        column = _Column(turns, clusters.count)
        if scheduled or metric != "schedule_latency":
            for turn, values in clusters.read(connection, _KNOWN[metric]):
                column.add(turn, values)
            # without streaming there is no TTFT to bound; without a time-out there are no bounds
            no_time_out = "latency" in times and not times["latency"][None].sample.timed_out
            if metric in _LOWER_BOUNDS and not no_time_out and (streamed or metric != "ttft"):
                for turn, values in clusters.read(connection, _LOWER_BOUNDS[metric]):
                    column.add_bounds(turn, values)
        times[metric] = column.times()
        del column  # free it before the next one is made
    return times


class Retries(NamedTuple):
    """Requests that were repeated because they had failed.

    Parameters
    ----------
    turns : int
        Number of turns with a repeated request.
    requests : int
        Number of repeated requests.
    lost_s : float
        Time from the first attempt of such a request to its last one, in total: failed attempts and pauses.
    """

    turns: int = 0
    requests: int = 0
    lost_s: float = 0.0


def retries(connection: sqlite3.Connection) -> dict[int | None, Retries]:
    """Retries by turn index, where there are any, and under None of all turns; over all sessions."""
    by_turn = {turn: Retries(turns, requests, ns / 1e9) for turn, turns, requests, ns in connection.execute(_RETRIES)}
    return {None: Retries(*map(sum, zip(Retries(), *by_turn.values(), strict=True))), **by_turn}


class _ClusteredTimes(NamedTuple):
    """Times in ms with the numbers of their clusters; without these numbers, every turn is a cluster of its own."""

    values: Floats
    clusters: Whole

    def at(self, rows: Flags | slice) -> _ClusteredTimes:
        return _ClusteredTimes(self.values[rows], self.clusters[rows] if len(self.clusters) else self.clusters)


@dataclass(frozen=True, slots=True)
class _TurnClusters:
    """Clusters of turns for the intervals: conversations with all their repeats, or groups of conversations.

    Parameters
    ----------
    numbers : ndarray of int, optional
        Cluster of each conversation, by its position; None: the positions themselves.
    count : int
        One more than the largest number; 0: every turn is a cluster of its own.
    """

    numbers: Whole | None
    count: int

    @classmethod
    def of(cls, connection: sqlite3.Connection, turns: Iterable[int]) -> _TurnClusters:
        """The clusters of a run with these turn indices."""
        numbers = conversation_clusters(connection)
        count = len(numbers)
        if count and numbers.max() >= count:
            return cls(numbers, int(numbers.max()) + 1)
        clustered = set(turns) - {1} or store.run_info(connection)["settings"].get("repeats", 1) > 1
        return cls(None, count if clustered else 0)

    def read(self, connection: sqlite3.Connection, query: str) -> Iterator[tuple[Whole, _ClusteredTimes]]:
        """Turn indices and times, in groups."""
        if not self.count:  # all turns have index 1, so only their times are read
            for (ns,) in query_arrays.groups(connection.execute(f"SELECT ns FROM ({query})"), ("f8",)):  # noqa: S608
                yield np.ones(len(ns), dtype=np.int32), _ClusteredTimes(ns / NS_PER_MS, np.empty(0, dtype=np.int32))
            return
        for conversation, turn, ns in query_arrays.groups(connection.execute(query), ("i4", "i4", "f8")):
            numbers = conversation if self.numbers is None else self.numbers[conversation]
            yield turn, _ClusteredTimes(ns / NS_PER_MS, numbers)


class _Column:
    """The times of one metric in one array, with a part for every turn index.

    Memory is only used where something is written. Lower bounds, usually few, are stored separately.
    """

    def __init__(self, turns: Mapping[int, int], clusters: int) -> None:
        ends = list(accumulate(turns.values()))
        total = ends[-1] if ends else 0
        self._count = clusters
        self._all = _ClusteredTimes(np.empty(total), np.empty(total if clusters else 0, dtype=np.int32))
        self._parts = {
            index: self._all.at(slice(end - count, end))
            for (index, count), end in zip(turns.items(), ends, strict=True)
        }
        self._filled = dict.fromkeys(turns, 0)
        self._bounds: dict[int, list[_ClusteredTimes]] = {index: [] for index in turns}

    def add(self, turn: Whole, times: _ClusteredTimes) -> None:
        """Add known times by turn index; turns that were added after the counting are left out."""
        for index, part in self._split(turn, times):
            begin = self._filled[index]
            for stored, new in zip(self._parts[index], part, strict=True):
                stored[begin : begin + len(new)] = new[: len(stored) - begin]
            self._filled[index] = min(begin + len(part.values), len(self._parts[index].values))

    def add_bounds(self, turn: Whole, times: _ClusteredTimes) -> None:
        """Add lower bounds."""
        for index, part in self._split(turn, times):
            self._bounds[index].append(part)

    def times(self) -> dict[int | None, TurnTimes]:
        """Times of all turns under None, and of every turn index."""
        by_turn: dict[int | None, TurnTimes] = {index: self._of([index]) for index in self._parts}
        return {None: next(iter(by_turn.values())) if len(by_turn) == 1 else self._of(list(self._parts))} | by_turn

    def _split(self, turn: Whole, times: _ClusteredTimes) -> Iterator[tuple[int, _ClusteredTimes]]:
        for index in self._parts.keys() & np.unique(turn).tolist():
            yield index, times.at(turn == index)

    def _of(self, indices: Sequence[int]) -> TurnTimes:
        known = _joined([self._parts[index].at(slice(self._filled[index])) for index in indices])
        return _turn_times(known, _joined([part for index in indices for part in self._bounds[index]]), self._count)


def _joined(parts: Sequence[_ClusteredTimes]) -> _ClusteredTimes:
    if len(parts) == 1:
        return parts[0]
    none = _ClusteredTimes(np.empty(0), np.empty(0, dtype=np.int32))
    return _ClusteredTimes(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))


def _below(known: _ClusteredTimes, bounds: _ClusteredTimes, clusters: int) -> CountBelow | None:
    both = _joined([known, bounds]) if len(bounds.values) else known
    return count_below(*both, clusters) if clusters else None


def _ordered(
    known: _ClusteredTimes, bounds: _ClusteredTimes, below: CountBelow | None
) -> tuple[Floats, Floats, dict[str, Estimate]]:
    """Known times and lower bounds in ascending order, and their quantiles."""
    values, censored = np.sort(known.values), np.sort(bounds.values)
    quantiles = ordered_quantiles(values, censored, tuple(_QUANTILES.values()), below=below)
    return values, censored, dict(zip(_QUANTILES, quantiles, strict=True))


def _turn_times(known_times: _ClusteredTimes, bounds: _ClusteredTimes, clusters: int) -> TurnTimes:
    known, censored, quantiles = _ordered(known_times, bounds, _below(known_times, bounds, clusters))
    count = len(known) + len(censored)
    drawn = np.arange(min(count, SAMPLED))
    if count > SAMPLED:
        drawn = np.random.default_rng(0).choice(count, SAMPLED, replace=False)
    at_least = drawn >= len(known)
    positive = [part[np.searchsorted(part, 0.0, side="right") :] for part in (known, censored)]
    return TurnTimes(
        quantiles,
        Sample(
            np.concatenate([known[drawn[~at_least]], censored[drawn[at_least] - len(known)]]),
            np.sort(at_least),
            float(min((part[0] for part in positive if len(part)), default=np.inf)),
            float(max((part[-1] for part in (known, censored) if len(part)), default=-np.inf)),
            len(censored),
        ),
    )


@dataclass(frozen=True, slots=True)
class Distribution:
    """The whole distribution of one metric.

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
    """The distribution of a metric: ``first`` for turn 1, which is cold, and ``later`` for all other turns.

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
        Only for turns with such a time, or with a lower bound of it.
    """
    queries = {"known": _KNOWN[metric]}
    if streamed or metric != "ttft":
        queries["bounds"] = _LOWER_BOUNDS[metric]
    clusters = _TurnClusters.of(connection, (turn for (turn,) in connection.execute("SELECT DISTINCT turn FROM turn")))
    parts: dict[tuple[str, bool], list[_ClusteredTimes]] = {}
    for kind, query in queries.items():
        for turn, values in clusters.read(connection, query):
            for is_first in (True, False):
                parts.setdefault((kind, is_first), []).append(values.at((turn == 1) == is_first))
    distributions = {}
    for name, is_first in (("first", True), ("later", False)):
        times, bounds = (_joined(parts.get((kind, is_first), ())) for kind in ("known", "bounds"))
        below = _below(times, bounds, clusters.count)
        known, censored, quantiles = _ordered(times, bounds, below)
        if len(known) + len(censored):
            distributions[name] = Distribution(survival.curve(known, censored, below=below), quantiles)
    return distributions
