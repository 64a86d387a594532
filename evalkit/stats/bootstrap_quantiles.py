"""Quantiles of resampled clusters without sorting each resample, and the checks that every bootstrap shares.

A value far from a quantile cannot be the quantile of a resample, so such values are only counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.checked_samples import cluster_totals
from evalkit.stats.means import mean_and_error

LEAST_CLUSTERS = 10
NO_VARIANCE = "all resamples give the same value: the variance cannot be estimated"
_NUMBERS_IN_MEMORY = 2_000_000  # in each of a few arrays
_MOST_KINDS = 4_096
_ERRORS = 6.0  # standard errors to either side of the quantile, at first


def check_resamples(resamples: int) -> None:
    """Raise ``ValueError`` for fewer resamples than an interval needs."""
    if resamples < 100:
        raise ValueError(f"resamples is {resamples}: at least 100 are needed, 2,000 for an interval of 95 %")


def too_few(clusters: int) -> str:
    """The reason why too few clusters have no bootstrap interval."""
    return f"a bootstrap interval needs {LEAST_CLUSTERS} clusters, there are {clusters}"


def no_interval(drawn: Floats) -> str | None:
    """The reason why resampled values give no interval; None: they give one."""
    undefined = int(np.count_nonzero(~np.isfinite(drawn)))
    if undefined:
        return f"the statistic of {undefined:,} of {len(drawn):,} resamples is not finite: there is no interval"
    # values that differ only in their last bits count as equal
    if float(np.ptp(drawn)) <= 1e-12 * float(np.abs(drawn).max()):
        return NO_VARIANCE
    return None


@dataclass(frozen=True, slots=True)
class _Window:
    """The values of one side near its quantile, in order, and the number of smaller values of each cluster."""

    values: Floats
    numbers: Whole
    below: Whole


class _Clusters:
    """All clusters: one by one where they have a value in a window, else the number of clusters of each kind.

    Clusters of one kind have the same number of values, below the first window, and below the second. Drawing the
    number of each kind is the same as drawing clusters one by one.
    """

    def __init__(self, windows: tuple[_Window, _Window], sizes: Whole) -> None:
        known = np.stack([sizes, *(window.below for window in windows)])
        near = np.zeros(len(sizes), dtype=bool)
        for window in windows:
            near[window.numbers] = True
        kinds, counts = np.unique(known[:, ~near], axis=1, return_counts=True)
        if len(counts) > _MOST_KINDS:
            near[:] = True
            kinds, counts = kinds[:, :0], counts[:0]
        self.count, self.near = len(sizes), int(near.sum())
        self.kinds, self.alone = kinds.T, known[:, near].T
        self.shares = np.append(counts, self.near) / self.count
        self.places = [(np.cumsum(near) - 1)[window.numbers] for window in windows]

    def draw(self, times: int, rng: np.random.Generator) -> tuple[Whole, Whole]:
        """Sizes and counts below, shape (times, 3), and how often each near cluster was drawn, shape (times, near)."""
        counts = rng.multinomial(self.count, self.shares, times)
        drawn = counts[:, -1]
        rows = np.repeat(np.arange(times), drawn)
        chosen = rng.integers(max(self.near, 1), size=len(rows))
        often = np.bincount(rows * self.near + chosen, minlength=times * self.near).reshape(times, self.near)
        return counts[:, :-1] @ self.kinds + often @ self.alone, often


def quantile_differences(
    first: Floats, second: Floats, q: float, numbers: Whole, k: int, resamples: int, rng: np.random.Generator
) -> Floats:
    """The quantile q of second minus that of first, for each resample of the k clusters, shape (resamples,).

    Values of one side, but not of both, may be infinite, and then differences may be too.
    """
    sizes = np.bincount(numbers, minlength=k)
    sides = [(values, np.argsort(values, kind="stable")) for values in (first, second)]
    errors = _ERRORS
    while True:
        left, right = (_window(values, order, q, numbers, k, errors) for values, order in sides)
        drawn = _drawn((left, right), sizes, q, resamples, rng)
        if drawn is not None:
            return drawn
        errors *= 2


def _window(values: Floats, order: Whole, q: float, numbers: Whole, k: int, errors: float) -> _Window:
    n, middle = len(values), (len(values) - 1) * q
    under = (values <= values[order[int(middle)]]).astype(np.float64)
    error = mean_and_error(under, *cluster_totals(under, numbers, k))[1] or 0.0
    half = math.ceil(errors * n * max(error, math.sqrt(q * (1 - q) / n))) + 2
    begin, end = max(int(middle) - half, 0), min(int(middle) + half, n)
    near = order[begin:end]
    return _Window(values[near], numbers[near], np.bincount(numbers[order[:begin]], minlength=k))


def _drawn(
    windows: tuple[_Window, _Window], sizes: Whole, q: float, resamples: int, rng: np.random.Generator
) -> Floats | None:
    """The differences; None: the quantile of a resample is outside its window."""
    clusters = _Clusters(windows, sizes)
    widest = max(clusters.near, *(len(window.values) for window in windows), 1)
    step = max(_NUMBERS_IN_MEMORY // widest, 1)
    parts = []
    for begin in range(0, resamples, step):
        known, often = clusters.draw(min(step, resamples - begin), rng)
        places = np.asarray((known[:, 0] - 1) * q, dtype=np.float64)
        quantiles = []
        for side, window in enumerate(windows):
            reached = known[:, side + 1, None] + np.cumsum(often[:, clusters.places[side]], axis=1)
            values = _at(places, known[:, side + 1], reached, window.values)
            if values is None:
                return None
            quantiles.append(values)
        parts.append(quantiles[1] - quantiles[0])
    return np.concatenate(parts)


def _at(places: Floats, below: Whole, reached: Whole, values: Floats) -> Floats | None:
    """The drawn value at each place, by interpolation; ``reached`` counts the draws up to each value of the window."""
    lower = np.floor(places).astype(np.int64)
    upper = np.ceil(places).astype(np.int64)
    if (lower < below).any() or (upper >= reached[:, -1]).any():
        return None
    low, high = (values[(reached <= rank[:, None]).sum(axis=1)] for rank in (lower, upper))
    # between two infinite values there is nothing to interpolate
    steps = np.subtract(high, low, out=np.zeros_like(low), where=high != low)
    interpolated: Floats = low + steps * (places - lower)
    return interpolated
