"""The share of times that are over by then, when some are known as lower bounds only."""

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
from evalkit.stats.checked_samples import needed, numbered, pairs
from evalkit.stats.estimate import Estimate
from evalkit.stats.quantiles import Below

STEPS = 400
_TOLD = 20  # steps whose design effect is made


@dataclass(frozen=True, slots=True)
class Curve:
    """A distribution function in steps, with the limits of each.

    Parameters
    ----------
    at : ndarray of float, shape (m,)
        Known times in ascending order, at most 400 of them: of more, some are left out, evenly.
    share : ndarray of float, shape (m,)
        Share of all times that are at most ``at``.
    low, high : ndarray of float, shape (m,)
        Pointwise interval; NaN where the share is 1, which has none.
    n, lost : int
        Times it stands on, and lower bounds among them.
    last : float
        The greatest time of all, where the curve ends; NaN: there is none.
    """

    at: Floats
    share: Floats
    low: Floats
    high: Floats
    n: int
    lost: int
    last: float


def curve(known: Floats, lost: Floats, confidence: float = 0.95, below: Below | None = None) -> Curve:
    """Distribution function of known times and of lower bounds, both finite and in ascending order.

    The product-limit estimate of Kaplan and Meier (1958): the empirical distribution function where nothing is lost.
    Its limits are Greenwood's on the scale of log(−log S), which keeps them between 0 and 1 (Kalbfleisch and Prentice
    2002, section 1.4). Of times in clusters their variance is larger by n / n*, with the effective number of samples n*
    of ``stats.effective_n``, told at 20 of the steps and between these by a straight line.

    Parameters
    ----------
    known, lost : ndarray of float
    confidence : float
        Two-sided level, of each step by itself.
    below : callable, optional
        Of the clusters of all these times: ``stats.by_clusters``. None: the times are independent.

    Returns
    -------
    Curve
        Without steps when no time is known.

    References
    ----------
    E. L. Kaplan, P. Meier, J. Am. Stat. Assoc. 53 (1958) 457–481.
    J. D. Kalbfleisch, R. L. Prentice, The Statistical Analysis of Failure Time Data, 2nd ed. (2002).
    """
    n = len(known) + len(lost)
    at, first, deaths = np.unique(known, return_index=True, return_counts=True)
    # a loss at a known time comes after it
    risk = n - first - np.searchsorted(lost, at, side="left")
    alive = np.cumprod(1 - deaths / risk)
    alive[np.flatnonzero(deaths == risk)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (risk * (risk - deaths))) * _design_effect(at, alive, n, below, confidence)
        half = float(special.ndtri((1 + confidence) / 2)) * np.sqrt(variance) / np.log(alive)
        bent = np.log(-np.log(alive))
        low, high = 1 - np.exp(-np.exp(bent + half)), 1 - np.exp(-np.exp(bent - half))
    gone = alive <= 0
    low[gone] = high[gone] = math.nan
    last = max((float(part[-1]) for part in (known, lost) if len(part)), default=math.nan)
    kept = np.unique(np.linspace(0, len(at) - 1, STEPS).round().astype(int)) if len(at) > STEPS else slice(None)
    return Curve(at[kept], 1 - alive[kept], low[kept], high[kept], n, len(lost), last)


def _design_effect(at: Floats, alive: Floats, n: int, below: Below | None, confidence: float) -> Floats:
    if below is None or not len(at):
        return np.ones(len(at))
    places = np.unique(np.linspace(0, len(at) - 1, _TOLD).round().astype(int))
    told = [quantiles.effective_n(below(float(at[place])), 1 - float(alive[place]), confidence) for place in places]
    effect: Floats = np.interp(at, at[places], [n / one if one else math.inf for one in told])
    return effect


def quantile_difference(
    first: ArrayLike,
    second: ArrayLike,
    q: float,
    clusters: ArrayLike | None = None,
    *,
    lost: tuple[Flags, Flags],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """``paired.quantile_difference`` of times some of which are known as lower bounds only.

    The value is the difference of the quantiles by Kaplan and Meier's curves, ``stats.quantile``; missing where one of
    the curves does not come down that far. The interval is the paired bootstrap's of the least and of the greatest
    difference that the bounds leave possible (Manski 2003, chapter 1): for the lower limit the lost times of second
    stand at their bounds and those of first above all others, for the upper limit the other way round. So nothing is
    taken for granted of when a lost time would have ended, and a limit that the bounds do not give is missing.

    Parameters
    ----------
    first, second, q, clusters, confidence, resamples, seed
        As for ``paired.quantile_difference``.
    lost : pair of ndarray of bool, shape (n,)
        Of first and of second; True: the value is a lower bound.

    Returns
    -------
    Estimate
        In the unit of the values. No value with too few pairs for q, nor beyond the end of a curve; then a limit may
        still say that the difference is at least, or at most, so much. No limits for fewer than 10 clusters.

    Raises
    ------
    ValueError
        As ``paired.quantile_difference``.

    References
    ----------
    C. F. Manski, Partial Identification of Probability Distributions (2003).
    """
    if not any(flags.any() for flags in lost):
        return paired.quantile_difference(
            first, second, q, clusters, confidence=confidence, resamples=resamples, seed=seed
        )
    x, y = pairs(first, second)
    check_resamples(resamples)
    n, (numbers, k) = len(x), numbered(clusters, len(x))
    ends = [quantiles.quantile(side, q, flags, confidence) for side, flags in zip((x, y), lost, strict=True)]
    named = zip(("first", "second"), ends, strict=True)
    beyond = [f"of the {name} run {end.reason}" for name, end in named if end.value is None]
    first_end, second_end = (end.value for end in ends)
    value = None if first_end is None or second_end is None else second_end - first_end
    if n < needed(q):
        return Estimate(None, None, None, n, ends[0].reason)
    if k < LEAST_CLUSTERS:
        return Estimate(value, None, None, n, " and ".join(beyond) or too_few(k))
    tail = (1 - confidence) / 2
    drawn = [
        quantile_differences(one, other, q, numbers, k, resamples, np.random.default_rng(seed))
        for one, other in ((np.where(lost[0], math.inf, x), y), (x, np.where(lost[1], math.inf, y)))
    ]
    # no interpolation: it would not be beside infinity
    low, high = np.quantile(drawn[0], tail, method="lower"), np.quantile(drawn[1], 1 - tail, method="higher")
    if low == high:
        return Estimate(value, None, None, n, " and ".join(beyond) or NO_VARIANCE)
    if not (beyond or np.isfinite([low, high]).all()):
        counts = [f"{np.count_nonzero(flags):,}" for flags in lost]
        beyond = [f"{counts[0]} and {counts[1]} of {n:,} values are lower bounds: they leave the difference open"]
    least, most = (float(limit) if np.isfinite(limit) else None for limit in (low, high))
    return Estimate(value, least, most, n, " and ".join(beyond) or None)
