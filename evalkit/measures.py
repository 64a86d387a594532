"""A run in numbers: counts, accuracy and times by turn index, with their intervals; read from the run file.

Columns are read into compact arrays, and each is let go once it is measured: a million turns take little memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evalkit import sessions, stats, store
from evalkit.errors import RunFileError
from evalkit.sessions import Trust
from evalkit.stats import Estimate, Flags, Floats

Source = Path | str | sqlite3.Connection
Whole = NDArray[np.integer[Any]]
T = TypeVar("T")

NS_PER_MS = 1e6
SAMPLED = 400
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_AT_ONCE = 1024  # rows on their way from SQLite into arrays

_JUDGED = """
    SELECT t.conversation, t.turn, {kind}, t.has_target, s.value
    FROM turn t
      LEFT JOIN score s ON (s.conversation, s.repeat, s.turn, s.scoring) = (t.conversation, t.repeat, t.turn, 0)
    ORDER BY t.conversation, t.repeat, t.turn"""
# a cluster has the number of its first conversation
_CLUSTERS = "SELECT position, min(position) OVER (PARTITION BY cluster) FROM conversation WHERE cluster IS NOT NULL"
_TIMED_OUT = "CASE WHEN error_kind NOT NULL THEN censored_ns END"
# nanoseconds, and whether they are a lower bound only
_TIMES = f"""
    SELECT turn, tpot_ns, 0, coalesce(ttft_ns, {{ttft_bound}}), ttft_ns IS NULL, coalesce({_TIMED_OUT}, latency_ns),
      {_TIMED_OUT} NOT NULL
    FROM turn"""  # noqa: S608 - a constant
# a turn that timed out does not tell that it had a schedule: others of its index do
_SCHEDULE_LATENCY = """
    SELECT turn, schedule_latency_ns, 0 FROM turn WHERE schedule_latency_ns NOT NULL
    UNION ALL
    SELECT t.turn, t.end_ns - min(a.due_ns), 1
    FROM attempt a CROSS JOIN turn t USING (conversation, repeat, turn, session)
    WHERE t.error_kind NOT NULL AND t.censored_ns NOT NULL
      AND t.turn IN (SELECT DISTINCT turn FROM turn WHERE schedule_latency_ns NOT NULL)
    GROUP BY t.conversation, t.repeat, t.turn"""


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
    """

    mean: Estimate
    wrong: int
    unscored: int


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


@dataclass(frozen=True, slots=True)
class Counts:
    """How some turns ended, and how right they were; the fields are those of ``Measures``."""

    turns: int
    answered: int
    errors: dict[str, int]
    accuracy: Accuracy
    accuracy_all: Accuracy


@dataclass(frozen=True, slots=True)
class Measures:
    """Some of a run's turns in numbers.

    Parameters
    ----------
    turn : int or None
        The turn index they share; None: all turns.
    turns, answered : int
        Finished turns, and those among them that have an answer.
    errors : dict
        Error kind to number of turns, the most frequent first.
    accuracy : Accuracy
        Over answered and scored turns.
    accuracy_all : Accuracy
        Failed turns with a target count as 0 here. Turns without a target are in neither denominator.
    ttft_ms, latency_ms, tpot_ms, schedule_latency_ms : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms. A time-out is a lower bound of its latencies and, when no token
        came, of its TTFT. There is a schedule latency in open loop only.
    samples : dict
        ``ttft`` and ``latency`` to Sample.
    """

    turn: int | None
    turns: int
    answered: int
    errors: dict[str, int]
    accuracy: Accuracy
    accuracy_all: Accuracy
    ttft_ms: dict[str, Estimate]
    latency_ms: dict[str, Estimate]
    tpot_ms: dict[str, Estimate]
    schedule_latency_ms: dict[str, Estimate]
    samples: dict[str, Sample]


@dataclass(frozen=True, slots=True)
class RunMeasures:
    """A run in numbers: what every summary and chart of it is made of.

    Parameters
    ----------
    name : str
    all : Measures
    by_turn : tuple of Measures
        By turn index; turn 1 apart, since it is cold.
    open_loop : bool
        A schedule, and not a free slot, said when turns were due.
    prompt_tokens, output_tokens : int or None
        Sums of what the endpoint told of its turns. None: it told none.
    trust : Trust
    wall_s : float or None
        Sum over sessions of end − start; a session without an end counts up to its last turn. None: nothing ended.
    turns_per_s : float or None
        Finished turns / ``wall_s``.
    """

    name: str
    all: Measures
    by_turn: tuple[Measures, ...]
    open_loop: bool
    prompt_tokens: int | None
    output_tokens: int | None
    trust: Trust
    wall_s: float | None
    turns_per_s: float | None


def measure(source: Source) -> RunMeasures:
    """Measure a run, read once for several summaries and charts.

    Accuracy is the mean score: with scores of 0 and 1 the share of right answers. Its interval takes the turns of one
    conversation, or of one ``group`` of conversations, as one cluster (``stats.proportion``).

    Parameters
    ----------
    source : path-like or sqlite3.Connection

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with opened(source) as connection:
        info = store.run_info(connection)
        turns, last, scheduled, prompt_tokens, output_tokens = connection.execute(
            "SELECT count(*), max(turn), count(schedule_latency_ns), sum(prompt_tokens), sum(output_tokens) FROM turn"
        ).fetchone()
        reader = _Reader(connection, turns, np.min_scalar_type(last or 0))
        judged = _judged(reader)
        timed = _timed(reader, tuple(judged), streamed=info["settings"].get("stream", True), scheduled=scheduled > 0)
        everything, *by_turn = (_measures(index, judged, timed) for index in judged)
        wall_s = sessions.wall_s(connection)
        trust = sessions.trust(connection, everything.ttft_ms["p50"].value)
    return RunMeasures(
        name=info["name"],
        all=everything,
        by_turn=tuple(by_turn),
        open_loop=scheduled > 0,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        trust=trust,
        wall_s=wall_s,
        turns_per_s=everything.turns / wall_s if wall_s else None,
    )


@contextmanager
def opened(source: Source) -> Iterator[sqlite3.Connection]:
    """A run file open to read, in one state although it may be growing; an open connection is taken as it is."""
    try:
        if isinstance(source, sqlite3.Connection):
            yield source
            return
        with closing(store.open_to_read(source)) as connection:
            connection.execute("BEGIN")
            yield connection
    except sqlite3.DatabaseError as error:
        where = "the run file" if isinstance(source, sqlite3.Connection) else source
        raise RunFileError(f"{where} is damaged or cut short ({error}): take it from a backup or run again") from None


def _measures(
    index: int | None, judged: Mapping[int | None, Counts], timed: Mapping[str, Mapping[int | None, Times]]
) -> Measures:
    counts = judged[index]
    return Measures(
        turn=index,
        turns=counts.turns,
        answered=counts.answered,
        errors=counts.errors,
        accuracy=counts.accuracy,
        accuracy_all=counts.accuracy_all,
        ttft_ms=timed["ttft"][index].quantiles,
        latency_ms=timed["latency"][index].quantiles,
        tpot_ms=timed["tpot"][index].quantiles,
        schedule_latency_ms=timed["schedule_latency"][index].quantiles,
        samples={metric: timed[metric][index].sample for metric in ("ttft", "latency")},
    )


def _each(indexes: Sequence[int | None], turn: Whole, tell: Callable[[Flags | slice], T]) -> dict[int | None, T]:
    """What is told of all turns, under None, and of those of every turn index."""
    if len(indexes) == 2:  # there is one turn index, so that both are the same
        return dict.fromkeys(indexes, tell(slice(None)))
    return {index: tell(slice(None) if index is None else turn == index) for index in indexes}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads columns of so many turns; a turn index takes as little room as the last one needs."""

    connection: sqlite3.Connection
    turns: int
    index: np.dtype[Any]

    def read(self, query: str, types: Sequence[Any], given: Sequence[Any] = ()) -> list[NDArray[Any]]:
        """The columns of a query, each as one array; but for the few on their way no rows stand as Python objects."""
        row = np.dtype([(f"column{number}", kind) for number, kind in enumerate(types)])
        columns = [np.empty(self.turns, dtype=kind) for kind in types]
        cursor = self.connection.execute(query, given)
        had = 0
        # a connection that was given may see more turns by now
        while len(rows := np.fromiter(islice(cursor, min(_AT_ONCE, self.turns - had)), dtype=row)):
            for column, name in zip(columns, row.names or (), strict=True):
                column[had : had + len(rows)] = rows[name]
            had += len(rows)
        return [column[:had] for column in columns]


def _judged(reader: _Reader) -> dict[int | None, Counts]:
    rows = reader.connection.execute("SELECT DISTINCT error_kind FROM turn WHERE error_kind NOT NULL")
    kinds = [kind for (kind,) in rows]
    cases = "".join(f" WHEN ? THEN {code}" for code in range(len(kinds)))
    query = _JUDGED.format(kind=f"CASE t.error_kind{cases} ELSE -1 END" if kinds else "-1")
    place, turn, error, has_target, score = reader.read(query, ("i4", reader.index, "i2", "?", "f8"), kinds)
    cluster = _clusters(reader.connection, place)

    def tell(chosen: Flags | slice) -> Counts:
        return _counts(error[chosen], kinds, has_target[chosen], score[chosen], cluster[chosen])

    return _each((None, *map(int, np.unique(turn))), turn, tell)


def _counts(error: NDArray[np.int16], kinds: Sequence[str], has_target: Flags, score: Floats, cluster: Whole) -> Counts:
    """Count turns whose error is an index into ``kinds``, or −1, and whose missing score is NaN."""
    failed = error >= 0
    answered = len(error) - int(failed.sum())
    scored = ~(failed | np.isnan(score))
    right = score[scored]
    wrong = int((right < 1).sum())
    mean = stats.proportion(right, cluster[scored])
    del right
    counted = scored | (failed & has_target)
    mean_all = mean
    if counted.sum() > mean.n:
        right = score[counted]
        right[failed[counted]] = 0.0
        mean_all = stats.proportion(right, cluster[counted])
    codes, first, count = np.unique(error[failed], return_index=True, return_counts=True)
    ranked = sorted(zip(-count, first, codes, strict=True))
    return Counts(
        turns=len(error),
        answered=answered,
        errors={kinds[code]: -int(less) for less, _, code in ranked},
        accuracy=Accuracy(mean, wrong, answered - mean.n),
        accuracy_all=Accuracy(mean_all, wrong, len(error) - mean_all.n),
    )


def _clusters(connection: sqlite3.Connection, place: Whole) -> Whole:
    """Equal numbers for turns that are not independent: those of one conversation, or of one group."""
    grouped = connection.execute("SELECT count(cluster), max(position) FROM conversation").fetchone()
    if not grouped[0]:
        return place
    first = np.arange(grouped[1] + 1, dtype=np.int32)
    member, leader = _Reader(connection, grouped[0], np.dtype("i4")).read(_CLUSTERS, ("i4", "i4"))
    first[member] = leader
    return first[place]


def _timed(
    reader: _Reader, indexes: Sequence[int | None], *, streamed: bool, scheduled: bool
) -> dict[str, dict[int | None, Times]]:
    """Metric to turn index to times; None: of all turns."""
    # without streaming TTFT does not exist, so that nothing bounds it
    query = _TIMES.format(ttft_bound=_TIMED_OUT if streamed else "NULL")
    turn, *columns = reader.read(query, (reader.index, *("f8", "?") * 3))
    told = {}
    for metric in ("tpot", "ttft", "latency"):
        told[metric] = _times_of(indexes, turn, columns.pop(0), columns.pop(0))
    if scheduled:
        told["schedule_latency"] = _times_of(indexes, *reader.read(_SCHEDULE_LATENCY, (reader.index, "f8", "?")))
    else:
        told["schedule_latency"] = dict.fromkeys(indexes, _times(np.empty(0), np.empty(0, dtype=bool)))
    return told


def _times_of(indexes: Sequence[int | None], turn: Whole, times: Floats, at_least: Flags) -> dict[int | None, Times]:
    there = ~np.isnan(times)
    turn, times, at_least = turn[there], times[there], at_least[there]
    times /= NS_PER_MS
    return _each(indexes, turn, lambda chosen: _times(times[chosen], at_least[chosen]))


def _times(values: Floats, at_least: Flags) -> Times:
    quantiles = stats.quantiles(values, tuple(_QUANTILES.values()), at_least)
    drawn = np.arange(min(len(values), SAMPLED))
    if len(values) > SAMPLED:
        drawn = np.random.default_rng(0).choice(len(values), SAMPLED, replace=False)
    low = float(np.min(values, where=values > 0, initial=np.inf))
    high = float(np.max(values, initial=-np.inf))
    return Times(
        dict(zip(_QUANTILES, quantiles, strict=True)),
        Sample(values[drawn], at_least[drawn], low, high, int(at_least.sum())),
    )
