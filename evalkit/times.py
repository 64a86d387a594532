"""The times of a run's turns, by turn index: quantiles with their intervals, and samples for charts.

One metric at a time is read into one array, which is sorted where it is: eight bytes a turn.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from evalkit import columns, stats, survival
from evalkit.clusters import Floats
from evalkit.stats import Estimate, Flags
from evalkit.survival import Curve

NS_PER_MS = 1e6
SAMPLED = 400
METRICS = ("ttft", "latency", "tpot", "schedule_latency")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_TIMED_OUT = "error_kind NOT NULL AND censored_ns NOT NULL"
_KNOWN = {
    "tpot": "SELECT turn, tpot_ns AS ns FROM turn WHERE tpot_ns NOT NULL",
    "ttft": "SELECT turn, ttft_ns AS ns FROM turn WHERE ttft_ns NOT NULL",
    "latency": f"SELECT turn, latency_ns AS ns FROM turn WHERE latency_ns NOT NULL AND NOT ({_TIMED_OUT})",  # noqa: S608
    "schedule_latency": "SELECT turn, schedule_latency_ns AS ns FROM turn WHERE schedule_latency_ns NOT NULL",
}
# what stands for the time of a turn that timed out: a lower bound
_LOST = {
    "ttft": f"SELECT turn, censored_ns AS ns FROM turn WHERE ttft_ns IS NULL AND {_TIMED_OUT}",  # noqa: S608
    "latency": f"SELECT turn, censored_ns AS ns FROM turn WHERE {_TIMED_OUT}",  # noqa: S608
    # it does not tell that it had a schedule: others of its index do
    "schedule_latency": """
    SELECT t.turn, t.end_ns - min(a.due_ns) AS ns
    FROM attempt a CROSS JOIN turn t USING (conversation, repeat, turn, session)
    WHERE t.error_kind NOT NULL AND t.censored_ns NOT NULL
      AND t.turn IN (SELECT DISTINCT turn FROM turn WHERE schedule_latency_ns NOT NULL)
    GROUP BY t.conversation, t.repeat, t.turn""",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """Single times for a chart, a seeded choice of at most 400, and the span of all.

    Parameters
    ----------
    values : ndarray of float
        In ms.
    at_least : ndarray of bool
        True: the turn timed out and the time is a lower bound.
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
    told = {}
    for metric in METRICS:
        column = _Column(turns)
        if scheduled or metric != "schedule_latency":
            for index, values in _read(connection, _KNOWN[metric], turns):
                column.add(index, values)
            # without streaming TTFT does not exist, so that nothing bounds it
            if metric in _LOST and (streamed or metric != "ttft"):
                for index, values in _read(connection, _LOST[metric], turns):
                    column.add_lost(index, values)
        told[metric] = column.times()
        del column  # before the next one is made
    return told


def _read(connection: sqlite3.Connection, query: str, turns: Mapping[int, int]) -> Iterator[tuple[int, Floats]]:
    """Turn index and times in ms, some at a time."""
    if len(turns) == 1:
        for (values,) in columns.groups(connection.execute(f"SELECT ns FROM ({query})"), ("f8",)):  # noqa: S608
            yield next(iter(turns)), values / NS_PER_MS
        return
    for values, turn in columns.groups(connection.execute(f"SELECT ns, turn FROM ({query})"), ("f8", "i8")):  # noqa: S608
        for index in turns.keys() & np.unique(turn).tolist():
            yield index, values[turn == index] / NS_PER_MS


class _Column:
    """The times of one metric in one array, which has a part for every turn index.

    Memory that nothing is written to takes no room. Lower bounds, of which there are few as a rule, stand apart.
    """

    def __init__(self, turns: Mapping[int, int]) -> None:
        ends = list(accumulate(turns.values()))
        self._values = np.empty(ends[-1] if ends else 0)
        self._parts = {
            index: self._values[end - count : end] for (index, count), end in zip(turns.items(), ends, strict=True)
        }
        self._filled = dict.fromkeys(turns, 0)
        self._lost: dict[int, list[Floats]] = {index: [] for index in turns}

    def add(self, index: int, values: Floats) -> None:
        """Add known times of one turn index, in ms; those of turns that came after the counting are left out."""
        part, begin = self._parts[index], self._filled[index]
        values = values[: len(part) - begin]
        part[begin : begin + len(values)] = values
        self._filled[index] += len(values)

    def add_lost(self, index: int, values: Floats) -> None:
        """Add lower bounds."""
        self._lost[index].append(values)

    def times(self) -> dict[int | None, Times]:
        """All turns under None, and those of every turn index; what was added is then in another order."""
        told: dict[int | None, Times] = {}
        for index, part in self._parts.items():
            told[index] = _times(_sorted(part[: self._filled[index]]), _joined(self._lost[index]))
        if len(told) == 1:
            return {None: next(iter(told.values()))} | told
        if filled := sum(self._filled.values()):
            for index, part in self._parts.items():
                part[self._filled[index] :] = np.inf
            self._values.sort()
        told[None] = _times(self._values[:filled], _joined(part for parts in self._lost.values() for part in parts))
        return told


def _sorted(values: Floats) -> Floats:
    values.sort()
    return values


def _joined(parts: Iterable[Floats]) -> Floats:
    return _sorted(np.concatenate([np.empty(0), *parts]))


def _times(known: Floats, lost: Floats) -> Times:
    """Of known times and lower bounds, both in ascending order."""
    quantiles = stats.ordered_quantiles(known, lost, tuple(_QUANTILES.values()))
    count = len(known) + len(lost)
    drawn = np.arange(min(count, SAMPLED))
    if count > SAMPLED:
        drawn = np.random.default_rng(0).choice(count, SAMPLED, replace=False)
    at_least = drawn >= len(known)
    positive = [part[np.searchsorted(part, 0.0, side="right") :] for part in (known, lost)]
    return Times(
        dict(zip(_QUANTILES, quantiles, strict=True)),
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
    parts: dict[tuple[str, bool], list[Floats]] = {}
    for kind, query in queries.items():
        for turn, values in columns.groups(connection.execute(query), ("i8", "f8")):
            for is_first in (True, False):
                parts.setdefault((kind, is_first), []).append(values[(turn == 1) == is_first] / NS_PER_MS)
    told = {}
    for name, is_first in (("first", True), ("later", False)):
        known, lost = (_joined(parts.get((kind, is_first), ())) for kind in ("known", "lost"))
        if len(known) + len(lost):
            quantiles = stats.ordered_quantiles(known, lost, tuple(_QUANTILES.values()))
            told[name] = Distribution(survival.curve(known, lost), dict(zip(_QUANTILES, quantiles, strict=True)))
    return told
