"""Times of turns by the length of their prompts, over all turns and within conversations."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
from scipy import special

from evalkit.runfile import query_arrays
from evalkit.runfile.conversation_clusters import conversation_clusters
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
class PromptBin:
    """Median time of turns with prompts of similar length; ``tokens`` is their median length."""

    tokens: float
    median: Estimate


@dataclass(frozen=True, slots=True)
class TimesByPromptLength:
    """Times of one metric, in ms, by prompt tokens.

    Parameters
    ----------
    tokens, times, turn : ndarray, shape (m,)
        A seeded sample of at most 400 turns.
    lines : tuple of (ndarray, ndarray)
        Tokens and times of the turns of a conversation from turn 2 on, for a seeded sample of at most 40 conversations.
    bins : tuple of PromptBin
        Bins of turns from 2 on, of equal size and with at least 20 turns; empty where there are fewer.
    by_turn : dict
        Turn index to PromptBin.
    growth : Estimate
        Increase in ms per 100 prompt tokens, within conversations and from turn 2 on; see ``slope_within``.
    n, untold : int
        Number of turns with time and tokens, and of answered turns without one of them.
    """

    tokens: Floats
    times: Floats
    turn: Whole
    lines: tuple[tuple[Floats, Floats], ...]
    bins: tuple[PromptBin, ...]
    by_turn: dict[int, PromptBin]
    growth: Estimate
    n: int
    untold: int


def times_by_prompt_length(connection: sqlite3.Connection) -> dict[str, TimesByPromptLength]:
    """``ttft`` and ``latency`` by the prompt tokens that the endpoint reported for each answered turn."""
    kinds = ("i8", "i8", "i8", "f8", "f8", "f8")
    parts = list(query_arrays.groups(connection.execute(_TURNS), kinds))
    empty: list[list[Floats]] = [[np.empty(0)] * len(kinds)]
    conversation, repeat, turn, tokens, *times = (
        np.concatenate(column) for column in zip(*(parts or empty), strict=True)
    )
    numbers = conversation_clusters(connection)
    (answered,) = connection.execute("SELECT count(*) FROM turn WHERE error_kind IS NULL").fetchone()
    by_metric = {}
    for name, ns in zip(("ttft", "latency"), times, strict=True):
        known = ~np.isnan(ns)
        dialogue = dialogues(conversation[known], repeat[known])
        cluster = numbers[conversation[known].astype(int)]
        by_metric[name] = _by_length(
            dialogue, cluster, turn[known].astype(int), tokens[known], ns[known] / NS_PER_MS, answered
        )
    return by_metric


def _by_length(
    dialogue: Whole, cluster: Whole, turn: Whole, tokens: Floats, times: Floats, answered: int
) -> TimesByPromptLength:
    """``dialogue`` numbers conversations and their repeats; ``cluster`` numbers the clusters of the medians."""
    rng = np.random.default_rng(0)
    drawn = sample(len(times), rng)
    later = turn > 1
    numbers, length = np.unique(dialogue[later], return_counts=True)
    longer = numbers[length > 1]
    chosen = np.sort(rng.choice(longer, min(len(longer), MOST_LINES), replace=False)).tolist()
    lines = [later & (dialogue == number) for number in chosen]
    return TimesByPromptLength(
        tokens=tokens[drawn],
        times=times[drawn],
        turn=turn[drawn],
        lines=tuple((tokens[line], times[line]) for line in lines),
        bins=_bins(tokens[later], times[later], cluster[later]),
        by_turn=_by_turn(turn, tokens, times, cluster),
        growth=slope_within(tokens[later] / 100, times[later], dialogue[later]),
        n=len(times),
        untold=answered - len(times),
    )


def _by_turn(turn: Whole, tokens: Floats, times: Floats, cluster: Whole) -> dict[int, PromptBin]:
    order = np.argsort(turn, kind="stable")
    indices, begins = np.unique(turn[order], return_index=True)
    parts = (np.split(column[order], begins[1:]) for column in (tokens, times, cluster))
    return {index: _prompt_bin(*part) for index, *part in zip(indices.tolist(), *parts, strict=False)}


def _bins(tokens: Floats, times: Floats, cluster: Whole) -> tuple[PromptBin, ...]:
    count = min(BINS, len(times) // LEAST_IN_BIN)
    if count < 2:
        return ()
    edges = np.quantile(tokens, np.linspace(0, 1, count + 1)[1:-1])
    bin_of = np.searchsorted(edges, tokens, side="right")
    bins = (bin_of == each for each in np.unique(bin_of).tolist())
    return tuple(_prompt_bin(tokens[own], times[own], cluster[own]) for own in bins)


def _prompt_bin(tokens: Floats, times: Floats, cluster: Whole) -> PromptBin:
    return PromptBin(float(np.median(tokens)), quantiles.quantile(times, 0.5, clusters=cluster))


def dialogues(conversation: Floats, repeat: Floats) -> Whole:
    """Number the conversations and their repeats, whose turns are neighbours."""
    return np.cumsum(np.any(np.diff(np.stack([conversation, repeat]), axis=1, prepend=-1), axis=0))


def sample(count: int, rng: np.random.Generator) -> Whole:
    """Places of at most 400 of so many turns, drawn at random, in their order."""
    return np.sort(rng.choice(count, min(count, MOST_POINTS), replace=False))


def slope_within(x: Floats, y: Floats, cluster: Whole, confidence: float = 0.95) -> Estimate:
    """How y changes with x within clusters; differences between clusters cancel.

    The within estimator of a fixed-effects regression, ``Σ x̃ y / Σ x̃²`` with x̃ the distance from the mean of its
    cluster. Its variance is that of the jackknife, ``(K − 1)/K · Σ over clusters (slope without the cluster − slope)²``
    for K clusters in which x varies. Clusters in which x varies more have more weight, so that few of them may
    dominate: the Student quantile has ``(Σ w)²/Σ w² − 1`` degrees of freedom, with w = Σ x̃² of a cluster, which is K −
    1 for equal weights.

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
        In units of y per unit of x; ``n`` counts the values in clusters in which x varies. No value if it varies in no
        cluster, no limits if in only one.

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
        return Estimate(value, None, None, n, "the prompt grows in one conversation: an interval needs two")
    scores = np.bincount(of_value, inside_x * (inside_y - value * inside_x), len(numbers))
    changes = scores[varies] / (squares.sum() - squares[varies])  # of the slope, when the cluster is left out
    error = float(np.sqrt((k - 1) / k * (changes**2).sum()))
    freedom = squares.sum() ** 2 / (squares**2).sum() - 1
    half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * error
    return Estimate(value, value - half, value + half, n)
