"""Times of turns against the length of their prompts, over all turns and within conversations."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
from scipy import special

from evalkit.analysis.times.quantiles import clusters
from evalkit.runfile import query_arrays
from evalkit.stats import quantiles
from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.estimate import Estimate

NS_PER_MS = 1e6
MOST_POINTS = 400
MOST_LINES = 40
BINS, LEAST_IN_BIN = 8, 20
_TURNS = """
    SELECT conversation, repeat, turn, prompt_tokens, ttft_ns, latency_ns FROM turn
    WHERE error_kind IS NULL AND prompt_tokens NOT NULL AND latency_ns NOT NULL ORDER BY conversation, repeat, turn"""


@dataclass(frozen=True, slots=True)
class Binned:
    """Median time of the turns with prompts of about one length; ``tokens`` is the median of their lengths."""

    tokens: float
    median: Estimate


@dataclass(frozen=True, slots=True)
class Lengths:
    """One kind of times, in ms, against prompt tokens.

    Parameters
    ----------
    tokens, times, turn : ndarray, shape (m,)
        A seeded choice of at most 400 turns.
    lines : tuple of (ndarray, ndarray)
        Tokens and times of the turns of a conversation from turn 2 on, of a seeded choice of at most 40.
    bins : tuple of Binned
        Of turns from 2 on, equally filled and of 20 turns at least; none where there are fewer.
    by_turn : dict
        Turn index to Binned.
    growth : Estimate
        ms more for each 100 prompt tokens more, within conversations and from turn 2 on; see ``slope_within``.
    n, untold : int
        Turns with both, and answered turns that tell no such time or no tokens.
    """

    tokens: Floats
    times: Floats
    turn: Whole
    lines: tuple[tuple[Floats, Floats], ...]
    bins: tuple[Binned, ...]
    by_turn: dict[int, Binned]
    growth: Estimate
    n: int
    untold: int


def lengths(connection: sqlite3.Connection) -> dict[str, Lengths]:
    """``ttft`` and ``latency`` against the prompt tokens that the endpoint told of each answered turn."""
    kinds = ("i8", "i8", "i8", "f8", "f8", "f8")
    parts = list(query_arrays.groups(connection.execute(_TURNS), kinds))
    empty: list[list[Floats]] = [[np.empty(0)] * len(kinds)]
    conversation, repeat, turn, tokens, *times = (
        np.concatenate(column) for column in zip(*(parts or empty), strict=True)
    )
    numbers = clusters(connection)
    (answered,) = connection.execute("SELECT count(*) FROM turn WHERE error_kind IS NULL").fetchone()
    told = {}
    for name, ns in zip(("ttft", "latency"), times, strict=True):
        there = ~np.isnan(ns)
        asked = np.stack([conversation[there], repeat[there]])
        cluster = np.cumsum(np.any(np.diff(asked, axis=1, prepend=-1), axis=0))
        talk = numbers[conversation[there].astype(int)]
        told[name] = _lengths(cluster, talk, turn[there].astype(int), tokens[there], ns[there] / NS_PER_MS, answered)
    return told


def _lengths(cluster: Whole, talk: Whole, turn: Whole, tokens: Floats, times: Floats, answered: int) -> Lengths:
    """``cluster`` numbers the askings of a conversation; ``talk`` is what medians take for one sample each."""
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(len(times), min(len(times), MOST_POINTS), replace=False))
    later = turn > 1
    talks, length = np.unique(cluster[later], return_counts=True)
    longer = talks[length > 1]
    chosen = np.sort(rng.choice(longer, min(len(longer), MOST_LINES), replace=False)).tolist()
    own = [later & (cluster == number) for number in chosen]
    return Lengths(
        tokens=tokens[drawn],
        times=times[drawn],
        turn=turn[drawn],
        lines=tuple((tokens[one], times[one]) for one in own),
        bins=_bins(tokens[later], times[later], talk[later]),
        by_turn=_by_turn(turn, tokens, times, talk),
        growth=slope_within(tokens[later] / 100, times[later], cluster[later]),
        n=len(times),
        untold=answered - len(times),
    )


def _by_turn(turn: Whole, tokens: Floats, times: Floats, talk: Whole) -> dict[int, Binned]:
    order = np.argsort(turn, kind="stable")
    indices, begins = np.unique(turn[order], return_index=True)
    parts = (np.split(column[order], begins[1:]) for column in (tokens, times, talk))
    return {index: _binned(*part) for index, *part in zip(indices.tolist(), *parts, strict=False)}


def _bins(tokens: Floats, times: Floats, talk: Whole) -> tuple[Binned, ...]:
    count = min(BINS, len(times) // LEAST_IN_BIN)
    if count < 2:
        return ()
    edges = np.quantile(tokens, np.linspace(0, 1, count + 1)[1:-1])
    place = np.searchsorted(edges, tokens, side="right")
    bins = (place == each for each in np.unique(place).tolist())
    return tuple(_binned(tokens[own], times[own], talk[own]) for own in bins)


def _binned(tokens: Floats, times: Floats, talk: Whole) -> Binned:
    return Binned(float(np.median(tokens)), quantiles.quantile(times, 0.5, clusters=talk))


def slope_within(x: Floats, y: Floats, cluster: Whole, confidence: float = 0.95) -> Estimate:
    """How y changes with x inside clusters: what clusters have of their own falls out.

    The within estimator of a fixed-effects regression, ``Σ x̃ y / Σ x̃²`` with x̃ the distance from the mean of its
    cluster. Its variance is the jackknife's, ``(K − 1)/K · Σ over clusters (slope without the cluster − slope)²`` for K
    clusters in which x varies. A cluster in which x varies more weighs more, so that few of them may decide: the
    Student quantile has ``(Σ w)²/Σ w² − 1`` degrees of freedom, with w = Σ x̃² of a cluster; K − 1 where all are alike.

    Parameters
    ----------
    x, y : ndarray of float, shape (n,)
    cluster : ndarray of int, shape (n,)
        Label of each value's cluster, in order.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        In units of y for one of x; ``n`` counts the values in clusters in which x varies. No value where it varies in
        none, no limits where in one.

    References
    ----------
    R. M. Bell, D. F. McCaffrey, Survey Methodology 28 (2002) 169–181.
    """
    numbers, of_value, size = np.unique(cluster, return_inverse=True, return_counts=True)
    inside_x = x - (np.bincount(of_value, x, len(numbers)) / size)[of_value]
    inside_y = y - (np.bincount(of_value, y, len(numbers)) / size)[of_value]
    squares = np.bincount(of_value, inside_x**2, len(numbers))
    varies = squares > 0
    n, k = int(size[varies].sum()), int(varies.sum())
    if not k:
        return Estimate(None, None, None, n, "the prompt grows in no conversation")
    value = float((inside_x * inside_y).sum() / squares.sum())
    if k < 2:
        return Estimate(value, None, None, n, "one conversation: no interval can be told")
    scores = np.bincount(of_value, inside_x * (inside_y - value * inside_x), len(numbers))
    moved = scores[varies] / (squares.sum() - squares[varies])  # the slope, when the cluster is left out
    error = float(np.sqrt((k - 1) / k * (moved**2).sum()))
    freedom = squares.sum() ** 2 / (squares**2).sum() - 1
    half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * error
    return Estimate(value, value - half, value + half, n)
