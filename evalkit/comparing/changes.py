"""How much a metric changes from one run to another, with the interval that a margin is checked against.

The arrays hold pairs of turns; ``verdicts`` takes them from run files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from evalkit.stats import paired, survival
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.checked_samples import cluster_numbers, cluster_totals, samples_needed
from evalkit.stats.estimate import Estimate
from evalkit.stats.power import PilotSpread, pilot_spread
from evalkit.stats.quantiles import quantile
from evalkit.stats.ratios import ratio

_LEAST_NS = 1e-6  # ms: a time of 0 has no logarithm
_ROUNDING = 1e-9
_DRAWS_BEYOND = 50  # resamples beyond each limit
_MOST_RESAMPLES, _MANY_PAIRS, _RESAMPLES_OF_MANY = 20_000, 100_000, 2_000


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one metric.

    Parameters
    ----------
    first, second : float or None
        The metric in both runs. None: missing.
    change : Estimate
        Second − first, or second / first − 1 where it is relative. ``n`` counts pairs.
    clusters : int
        Number of conversations or groups.
    spread : PilotSpread or None
        Standard deviation of what one cluster adds to the change. None: not available.
    constant : bool
        The change is the same in every cluster, so that its variance is not known.
    """

    first: float | None
    second: float | None
    change: Estimate
    clusters: int
    spread: PilotSpread | None = None
    constant: bool = False


def share_change(first: Floats, second: Floats, labels: Whole, confidence: float) -> Change:
    """Change of a mean of values from 0 to 1, by ``paired.difference``; the spread is that of ``evalkit plan``."""
    if not len(first):
        return missing_change("no turn has a value in both runs")
    difference = paired.difference(first, second, labels, confidence)
    estimate = difference.estimate
    spread = _spread(second - first, labels)
    return Change(
        float(first.mean()),
        float(second.mean()),
        Estimate(estimate.value, _within_1(estimate.low), _within_1(estimate.high), estimate.n, estimate.reason),
        difference.clusters,
        spread,
        constant=_constant(second - first),
    )


def cost_change(first: Floats, second: Floats, labels: Whole, confidence: float) -> Change:
    """Relative change of a total, by ``ratios.ratio``."""
    if not len(first):
        return missing_change("no turn was answered in both runs")
    found = ratio(first, second, labels, confidence)
    numbers, clusters = cluster_numbers(labels, len(first))
    change = _shifted(found, 1.0)
    if found.value is None:
        return Change(float(first.sum()), float(second.sum()), change, clusters)
    deviations = (second - found.value * first) / float(first.mean())
    totals, _ = cluster_totals(deviations, numbers, clusters)
    constant = bool(np.abs(totals).max() <= _ROUNDING * max(found.value, 1.0))
    return Change(float(first.sum()), float(second.sum()), change, clusters, _spread(deviations, labels), constant)


def time_change(
    first: Floats,
    second: Floats,
    q: float,
    labels: Whole,
    censored: tuple[Flags, Flags],
    confidence: float,
    *,
    relative: bool,
) -> Change:
    """Change of a quantile of times in ms, by the paired bootstrap over clusters (``survival.quantile_difference``).

    A relative change is the difference of the logarithms. Time-outs are lower bounds.
    """
    if not len(first):
        return missing_change("no turn has this time in both runs")
    ends = [quantile(side, q, flags) for side, flags in zip((first, second), censored, strict=True)]
    _, clusters = cluster_numbers(labels, len(first))
    one, other = (np.log(np.maximum(side, _LEAST_NS)) if relative else side for side in (first, second))
    found = survival.quantile_difference(
        one, other, q, labels, censored=censored, confidence=confidence, resamples=_resamples(confidence, len(first))
    )
    spread = None
    if found.low is not None and found.high is not None and clusters > 1:
        error = (found.high - found.low) / 2 / float(special.ndtri((1 + confidence) / 2))
        spread = PilotSpread(error * math.sqrt(clusters), clusters)
    change = _exponential(found) if relative else found
    # found's reason would name logarithms
    named = zip(("first", "second"), ends, strict=True)
    beyond = [f"of the {name} run {end.reason}" for name, end in named if end.value is None]
    if beyond and any(flags.any() for flags in censored) and len(first) >= samples_needed(q):
        change = replace(change, reason=" and ".join(beyond))
    constant = not any(flags.any() for flags in censored) and _constant(other - one)
    return Change(ends[0].value, ends[1].value, change, clusters, spread, constant)


def missing_change(reason: str, pairs: int = 0) -> Change:
    """A change that is not known."""
    return Change(None, None, Estimate(None, None, None, pairs, reason), 0)


def _spread(values: Floats, labels: Whole) -> PilotSpread | None:
    """The spread of the shares of clusters in the mean of the values, as ``sample_size.plan`` has it."""
    numbers, k = cluster_numbers(labels, len(values))
    sums, sizes = cluster_totals(values, numbers, k)
    shares = (sums - values.mean() * sizes) / sizes.mean()
    if k < 2 or float(np.ptp(shares)) <= 1e-9:
        return None
    return pilot_spread(shares)


def _constant(differences: Floats) -> bool:
    return float(np.ptp(differences)) <= _ROUNDING * max(float(np.abs(differences).max()), 1.0)


def _resamples(confidence: float, pairs: int) -> int:
    needed = math.ceil(_DRAWS_BEYOND / ((1 - confidence) / 2))
    return min(needed, _MOST_RESAMPLES) if pairs < _MANY_PAIRS else _RESAMPLES_OF_MANY


def _within_1(limit: float | None) -> float | None:
    return None if limit is None else min(max(limit, -1.0), 1.0)


def _shifted(found: Estimate, by: float) -> Estimate:
    value, low, high = (None if each is None else each - by for each in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n, found.reason)


def _exponential(found: Estimate) -> Estimate:
    value, low, high = (None if each is None else math.expm1(each) for each in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n, found.reason)
