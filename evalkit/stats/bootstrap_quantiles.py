"""What every bootstrap needs; and the quantiles of clusters drawn again, without sorting each draw.

What lies far from a quantile cannot become it when clusters are drawn again, so it is only counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.checked_samples import totals
from evalkit.stats.means import mean_and_error

LEAST_CLUSTERS = 10
NO_VARIANCE = "all resamples give the same value: no variance can be told"
_AT_ONCE = 2_000_000  # numbers held in memory, a few times over
_KINDS = 4_096
_ERRORS = 6.0  # standard errors to either side of the quantile, at first


def check_resamples(resamples: int) -> None:
    """Raise ``ValueError`` for fewer resamples than an interval needs."""
    if resamples < 100:
        raise ValueError(f"resamples is {resamples}: at least 100 are needed, 2,000 for an interval of 95 %")


def too_few(clusters: int) -> str:
    """Why so few clusters have no bootstrap interval."""
    return f"a bootstrap interval needs {LEAST_CLUSTERS} clusters, there are {clusters}"


def no_interval(drawn: Floats) -> str | None:
    """Why resampled values tell no interval; None: they do."""
    lost = int(np.count_nonzero(~np.isfinite(drawn)))
    if lost:
        return f"the statistic of {lost:,} of {len(drawn):,} resamples is not finite: no interval can be told"
    # means that differ in their last bits do not differ
    if float(np.ptp(drawn)) <= 1e-12 * float(np.abs(drawn).max()):
        return NO_VARIANCE
    return None


@dataclass(frozen=True, slots=True)
class _Window:
    """The values of one side near its quantile, in order; of the smaller ones, how many each cluster has."""

    values: Floats
    numbers: Whole
    below: Whole


class _Clusters:
    """All clusters: those with a value in a window one by one, of the others how many there are of each kind.

    A kind is a number of values, a number below the first window and a number below the second. Drawing how many of
    each kind is the same as drawing clusters one by one.
    """

    def __init__(self, windows: tuple[_Window, _Window], sizes: Whole) -> None:
        known = np.stack([sizes, *(window.below for window in windows)])
        near = np.zeros(len(sizes), dtype=bool)
        for window in windows:
            near[window.numbers] = True
        kinds, counts = np.unique(known[:, ~near], axis=1, return_counts=True)
        if len(counts) > _KINDS:
            near[:] = True
            kinds, counts = kinds[:, :0], counts[:0]
        self.count, self.near = len(sizes), int(near.sum())
        self.kinds, self.alone = kinds.T, known[:, near].T
        self.shares = np.append(counts, self.near) / self.count
        self.places = [(np.cumsum(near) - 1)[window.numbers] for window in windows]

    def draw(self, times: int, rng: np.random.Generator) -> tuple[Whole, Whole]:
        """Sizes and counts below, shape (times, 3), and how often each near cluster was drawn, (times, near)."""
        counts = rng.multinomial(self.count, self.shares, times)
        drawn = counts[:, -1]
        rows = np.repeat(np.arange(times), drawn)
        chosen = rng.integers(max(self.near, 1), size=len(rows))
        often = np.bincount(rows * self.near + chosen, minlength=times * self.near).reshape(times, self.near)
        return counts[:, :-1] @ self.kinds + often @ self.alone, often


def quantile_differences(
    first: Floats, second: Floats, q: float, numbers: Whole, k: int, resamples: int, rng: np.random.Generator
) -> Floats:
    """Of each resample of the k clusters, the quantile q of second less that of first, shape (resamples,).

    Values of one side, but not of both, may be infinite: so may differences then be.
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
    error = mean_and_error(under, *totals(under, numbers, k))[1] or 0.0
    half = math.ceil(errors * n * max(error, math.sqrt(q * (1 - q) / n))) + 2
    begin, end = max(int(middle) - half, 0), min(int(middle) + half, n)
    near = order[begin:end]
    return _Window(values[near], numbers[near], np.bincount(numbers[order[:begin]], minlength=k))


def _drawn(
    windows: tuple[_Window, _Window], sizes: Whole, q: float, resamples: int, rng: np.random.Generator
) -> Floats | None:
    """The differences; None: in a resample the quantile lies outside its window."""
    clusters = _Clusters(windows, sizes)
    widest = max(clusters.near, *(len(window.values) for window in windows), 1)
    step = max(_AT_ONCE // widest, 1)
    parts = []
    for begin in range(0, resamples, step):
        known, often = clusters.draw(min(step, resamples - begin), rng)
        places = np.asarray((known[:, 0] - 1) * q, dtype=np.float64)
        quantiles = []
        for side, window in enumerate(windows):
            reached = known[:, side + 1, None] + np.cumsum(often[:, clusters.places[side]], axis=1)
            found = _at(places, known[:, side + 1], reached, window.values)
            if found is None:
                return None
            quantiles.append(found)
        parts.append(quantiles[1] - quantiles[0])
    return np.concatenate(parts)


def _at(places: Floats, below: Whole, reached: Whole, values: Floats) -> Floats | None:
    """Value at each place among those drawn, by interpolation; ``reached`` counts those up to each of the window."""
    lower = np.floor(places).astype(np.int64)
    upper = np.ceil(places).astype(np.int64)
    if (lower < below).any() or (upper >= reached[:, -1]).any():
        return None
    low, high = (values[(reached <= rank[:, None]).sum(axis=1)] for rank in (lower, upper))
    # between two infinite values there is no distance to go part of
    steps = np.subtract(high, low, out=np.zeros_like(low), where=high != low)
    found: Floats = low + steps * (places - lower)
    return found
