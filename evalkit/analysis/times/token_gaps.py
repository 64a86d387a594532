"""Inter-chunk gaps of streamed answers: times between reads with tokens, from the stored arrivals."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from evalkit.stats import proportions
from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate

NS_PER_MS = 1e6
MOST_ANSWERS = 2_000
MOST_GAPS = 200_000
STEPS = 60
# at least two arrivals of eight bytes each
_STREAMED = "FROM attempt WHERE error_kind IS NULL AND length(arrivals) >= 16"
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Gaps:
    """Inter-chunk gaps of some answers, and their distribution.

    Parameters
    ----------
    at : ndarray of float, shape (m,)
        In ms, ascending.
    share : tuple of Estimate, length m
        Share of gaps of at most ``at``; its interval accounts for the correlation of gaps of one answer.
    quantiles : dict
        ``p50``, ``p95``, ``p99`` to the gap in ms, where there are enough gaps.
    gaps, answers : int
        Number of gaps and answers that were read.
    answers_in_all : int
        Number of answers with a gap; of more than 2,000 answers a seeded sample is read.
    """

    at: Floats
    share: tuple[Estimate, ...]
    quantiles: dict[str, float]
    gaps: int
    answers: int
    answers_in_all: int


def gaps(connection: sqlite3.Connection, most: int = MOST_ANSWERS) -> Gaps:
    """Read the gaps of a run's successful attempts, of at most this many answers."""
    ids = _answers(connection)
    values, answer = pooled(connection, most)
    at = np.unique(np.quantile(values, np.linspace(0, 1, STEPS))) if len(values) else values
    enough = {name: q for name, q in _QUANTILES.items() if len(values) * (1 - q) >= 1}
    return Gaps(
        at=at,
        share=cumulative_shares(values, answer, at),
        quantiles={name: float(np.quantile(values, q)) for name, q in enough.items()},
        gaps=len(values),
        answers=int(answer[-1]) + 1 if len(answer) else 0,
        answers_in_all=len(ids),
    )


def pooled(connection: sqlite3.Connection, most: int = MOST_ANSWERS) -> tuple[Floats, Whole]:
    """All gaps in ms and the number of the answer that each is of; of more than ``most`` answers a seeded sample."""
    ids = _answers(connection)
    drawn = ids if len(ids) <= most else np.sort(np.random.default_rng(0).choice(ids, most, replace=False))
    parts: list[Floats] = []
    total = 0
    for number in drawn.tolist():
        (packed,) = connection.execute("SELECT arrivals FROM attempt WHERE id = ?", (number,)).fetchone()
        parts.append(np.diff(np.frombuffer(packed, dtype="<i8")) / NS_PER_MS)
        total += len(parts[-1])
        if total > MOST_GAPS:
            break
    return np.concatenate([np.empty(0), *parts]), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _answers(connection: sqlite3.Connection) -> Whole:
    return np.fromiter((row[0] for row in connection.execute(f"SELECT id {_STREAMED} ORDER BY id")), dtype=np.int64)


def cumulative_shares(values: Floats, cluster: Whole, at: Floats) -> tuple[Estimate, ...]:
    """Share of values of at most each of ``at``, with intervals by clusters (``proportions.proportion``).

    Cluster labels must be in order.
    """
    estimates = []
    for limit in at.tolist():
        sums = ClusterSums()
        sums.add(cluster, (values <= limit).astype(np.float64))
        sums.close()
        estimates.append(proportions.clustered_proportion(sums))
    return tuple(estimates)
