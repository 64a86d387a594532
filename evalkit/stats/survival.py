"""Distributions and quantile differences of times of which some are censored, that is, known as lower bounds only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats import paired, quantiles
from evalkit.stats.arrays import Flags, Floats
from evalkit.stats.bootstrap_quantiles import (
    LEAST_CLUSTERS,
    NO_VARIANCE,
    check_resamples,
    quantile_differences,
    too_few,
)
from evalkit.stats.checked_samples import cluster_numbers, pairs, samples_needed
from evalkit.stats.estimate import Estimate
from evalkit.stats.quantiles import CountBelow

STEPS = 400
_DESIGN_STEPS = 20  # steps at which the design effect is computed


@dataclass(frozen=True, slots=True)
class Curve:
    """A distribution function in steps, with limits at each step.

    Parameters
    ----------
    at : ndarray of float, shape (m,)
        Known times in ascending order, at most 400, evenly chosen where there are more.
    share : ndarray of float, shape (m,)
        Share of all times that are at most ``at``.
    low, high : ndarray of float, shape (m,)
        Pointwise interval; NaN where the share is 1, where it is not defined.
    n, censored : int
        Number of times, and of lower bounds among them.
    last : float
        The largest time, where the curve ends; NaN: there is none.
    """

    at: Floats
    share: Floats
    low: Floats
    high: Floats
    n: int
    censored: int
    last: float


def curve(known: Floats, censored: Floats, confidence: float = 0.95, below: CountBelow | None = None) -> Curve:
    """Distribution function of known and censored times, both finite and in ascending order.

    The product-limit estimate of Kaplan and Meier (1958): the empirical distribution function where nothing is
    censored. Its limits are Greenwood's on the scale of log(−log S), which keeps them between 0 and 1 (Kalbfleisch and
    Prentice 2002, section 1.4). For times in clusters the variance is multiplied by n / n*, with the effective sample
    size n* of ``quantiles.effective_n``, computed at 20 steps and interpolated linearly between them.

    Parameters
    ----------
    known, censored : ndarray of float
    confidence : float
        Two-sided level of each step.
    below : callable, optional
        Counts of all these times by clusters: ``quantiles.count_below``. None: the times are independent.

    Returns
    -------
    Curve
        It has no steps when no time is known.

    References
    ----------
    E. L. Kaplan, P. Meier, J. Am. Stat. Assoc. 53 (1958) 457–481.
    J. D. Kalbfleisch, R. L. Prentice, The Statistical Analysis of Failure Time Data, 2nd ed. (2002).
    """
    n = len(known) + len(censored)
    at, first, deaths = np.unique(known, return_index=True, return_counts=True)
    # a time censored at a known time counts after it
    risk = n - first - np.searchsorted(censored, at, side="left")
    alive = np.cumprod(1 - deaths / risk)
    alive[np.flatnonzero(deaths == risk)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (risk * (risk - deaths))) * _design_effect(at, alive, n, below, confidence)
        half = float(special.ndtri((1 + confidence) / 2)) * np.sqrt(variance) / np.log(alive)
        log_log = np.log(-np.log(alive))
        low, high = 1 - np.exp(-np.exp(log_log + half)), 1 - np.exp(-np.exp(log_log - half))
    ended = alive <= 0
    low[ended] = high[ended] = math.nan
    last = max((float(part[-1]) for part in (known, censored) if len(part)), default=math.nan)
    chosen = np.unique(np.linspace(0, len(at) - 1, STEPS).round().astype(int)) if len(at) > STEPS else slice(None)
    return Curve(at[chosen], 1 - alive[chosen], low[chosen], high[chosen], n, len(censored), last)


def _design_effect(at: Floats, alive: Floats, n: int, below: CountBelow | None, confidence: float) -> Floats:
    if below is None or not len(at):
        return np.ones(len(at))
    places = np.unique(np.linspace(0, len(at) - 1, _DESIGN_STEPS).round().astype(int))
    sizes = [quantiles.effective_n(below(float(at[place])), 1 - float(alive[place]), confidence) for place in places]
    effect: Floats = np.interp(at, at[places], [n / size if size else math.inf for size in sizes])
    return effect


def quantile_difference(
    first: ArrayLike,
    second: ArrayLike,
    q: float,
    clusters: ArrayLike | None = None,
    *,
    censored: tuple[Flags, Flags],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """``paired.quantile_difference`` of times of which some are censored, that is, lower bounds.

    The value is the difference of the quantiles of the Kaplan–Meier curves, ``quantiles.quantile``; missing where one
    of the curves does not come down that far. The interval is that of the paired bootstrap, of the smallest and the
    largest difference that the bounds allow (Manski 2003, chapter 1): for the lower limit the censored times of second
    count at their bounds and those of first above all others, and vice versa for the upper limit. So nothing is assumed
    about when a censored time would have ended, and a limit that the bounds do not determine is missing.

    Parameters
    ----------
    first, second, q, clusters, confidence, resamples, seed
        As for ``paired.quantile_difference``.
    censored : pair of ndarray of bool, shape (n,)
        For first and second; True: the value is a lower bound.

    Returns
    -------
    Estimate
        In the unit of the values. No value with too few pairs for q, nor beyond the end of a curve; a limit may then
        still give the smallest, or the largest, possible difference. No limits for fewer than 10 clusters.

    Raises
    ------
    ValueError
        As ``paired.quantile_difference``.

    References
    ----------
    C. F. Manski, Partial Identification of Probability Distributions (2003).
    """
    if not any(flags.any() for flags in censored):
        return paired.quantile_difference(
            first, second, q, clusters, confidence=confidence, resamples=resamples, seed=seed
        )
    x, y = pairs(first, second)
    check_resamples(resamples)
    n, (numbers, k) = len(x), cluster_numbers(clusters, len(x))
    ends = [quantiles.quantile(side, q, flags, confidence) for side, flags in zip((x, y), censored, strict=True)]
    named = zip(("first", "second"), ends, strict=True)
    beyond = [f"of the {name} run {end.reason}" for name, end in named if end.value is None]
    first_end, second_end = (end.value for end in ends)
    value = None if first_end is None or second_end is None else second_end - first_end
    if n < samples_needed(q):
        return Estimate(None, None, None, n, ends[0].reason)
    if k < LEAST_CLUSTERS:
        return Estimate(value, None, None, n, " and ".join(beyond) or too_few(k))
    tail = (1 - confidence) / 2
    drawn = [
        quantile_differences(one, other, q, numbers, k, resamples, np.random.default_rng(seed))
        for one, other in ((np.where(censored[0], math.inf, x), y), (x, np.where(censored[1], math.inf, y)))
    ]
    # no interpolation, which is undefined next to infinity
    low, high = np.quantile(drawn[0], tail, method="lower"), np.quantile(drawn[1], 1 - tail, method="higher")
    if low == high:
        return Estimate(value, None, None, n, " and ".join(beyond) or NO_VARIANCE)
    if not (beyond or np.isfinite([low, high]).all()):
        counts = [f"{np.count_nonzero(flags):,}" for flags in censored]
        beyond = [f"{counts[0]} and {counts[1]} of {n:,} values are lower bounds: they leave the difference unknown"]
    least, most = (float(limit) if np.isfinite(limit) else None for limit in (low, high))
    return Estimate(value, least, most, n, " and ".join(beyond) or None)
