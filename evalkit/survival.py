"""The share of times that are over by then, when some are known as lower bounds only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from evalkit import stats
from evalkit.clusters import Floats
from evalkit.stats import Below

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
    told = [stats.effective_n(below(float(at[place])), 1 - float(alive[place]), confidence) for place in places]
    effect: Floats = np.interp(at, at[places], [n / one if one else math.inf for one in told])
    return effect
