"""The same item asked several times: pass@k, pass^k, and how much of the variance lies between the items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats
from evalkit.stats.checked_samples import check_level, finite, numbered, totals
from evalkit.stats.estimate import Estimate
from evalkit.stats.means import mean_and_error
from evalkit.stats.proportions import score_limits


@dataclass(frozen=True, slots=True)
class Split:
    """Where the variance of values lies: between items, and within items, from repeat to repeat.

    Parameters
    ----------
    between : float or None
        Variance of the items' true means, in squared units. The estimate is unbiased, so it may fall below 0 when
        there is little or none.
    within : float or None
        Variance of the repeats of one item.
    icc : float or None
        Intra-class correlation, ``between / (between + within)``: 1: repeats add nothing; 0: they tell as much as new
        items.
    items, n : int
        Items and values.
    reason : str or None
        Why something is missing.
    """

    between: float | None
    within: float | None
    icc: float | None
    items: int
    n: int
    reason: str | None = None


def pass_at_k(
    right: Sequence[int], n: Sequence[int], k: int, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """Share of items of which at least one of k repeats is right, from n repeats an item: unbiased.

    An item with c of n right counts ``1 − C(n − c, k) / C(n, k)``, the share of all choices of k repeats that hold a
    right one (Chen et al. 2021), by whole numbers, so that none is too large. ``1 − (1 − c/n)^k`` would be too low.

    The interval is the score interval with an effective number of samples, as in ``stats.proportion``:
    ``p(1 − p) / v · (t[N/k] / t[K−1])²``, v the variance of the mean between clusters, K their number, and at most
    ``N/k``, where N is the sum of ``n``: so many choices have no repeat in common. Where all clusters have the same
    mean, each counts as one sample. For k = 1 it is nearly ``stats.proportion`` of all repeats, clustered by item.

    Parameters
    ----------
    right, n : sequence of int, shape (items,)
        Right and all repeats of each item; failed calls belong to neither.
    k : int
        At least 1.
    clusters : array_like, shape (items,), optional
        Label of each item's cluster, such as its conversation. None: the items are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` counts items. Missing without items, and if an item has fewer than k repeats; no limits for fewer than
        two clusters.

    Raises
    ------
    ValueError
        Other lengths, ``right`` not from 0 to ``n``, k below 1, or the level is none.

    References
    ----------
    M. Chen et al., Evaluating Large Language Models Trained on Code, arXiv:2107.03374 (2021), section 2.1.
    """
    return _pass(right, n, k, clusters, confidence, _at_least_one)


def pass_hat_k(
    right: Sequence[int], n: Sequence[int], k: int, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """Share of items of which all of k repeats are right, from n repeats an item: unbiased.

    An item with c of n right counts ``C(c, k) / C(n, k)``; all else as for ``pass_at_k``.

    Parameters
    ----------
    right, n : sequence of int, shape (items,)
        Right and all repeats of each item; failed calls belong to neither.
    k : int
        At least 1.
    clusters : array_like, shape (items,), optional
        Label of each item's cluster, such as its conversation. None: the items are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` counts items. Missing without items, and if an item has fewer than k repeats; no limits for fewer than
        two clusters.

    Raises
    ------
    ValueError
        Other lengths, ``right`` not from 0 to ``n``, k below 1, or the level is none.

    References
    ----------
    S. Yao et al., τ-bench, arXiv:2406.12045 (2024), section 2.
    """
    return _pass(right, n, k, clusters, confidence, _all)


@lru_cache(100_000)
def _at_least_one(c: int, n: int, k: int) -> float:
    return (math.comb(n, k) - math.comb(n - c, k)) / math.comb(n, k)


@lru_cache(100_000)
def _all(c: int, n: int, k: int) -> float:
    return math.comb(c, k) / math.comb(n, k)


def _pass(
    right: Sequence[int],
    n: Sequence[int],
    k: int,
    clusters: ArrayLike | None,
    confidence: float,
    share: Callable[[int, int, int], float],
) -> Estimate:
    check_level(confidence)
    counts = [(int(c), int(many)) for c, many in zip(right, n, strict=True)]
    if k < 1 or any(not 0 <= c <= many for c, many in counts):
        raise ValueError(f"k is {k}, and of each item 0 to n repeats are right: one of these does not hold")
    numbers, groups = numbered(clusters, len(counts))
    if not counts:
        return Estimate(None, None, None, 0, "no items")
    short = sum(many < k for _, many in counts)
    if short:
        return Estimate(
            None, None, None, len(counts), f"{short:,} of {len(counts):,} items have fewer than {k} repeats"
        )
    values = np.array([share(c, many, k) for c, many in counts])
    middle, error, reason = mean_and_error(values, *totals(values, numbers, groups))
    middle = min(middle, 1.0)  # a mean of ones may come out as 1.0000000000000002
    if groups < 2:
        return Estimate(middle, None, None, len(counts), reason)
    most = sum(many for _, many in counts) / k
    effective = float(groups) if error is None else min(middle * (1 - middle) / error**2, most)
    if groups < most:
        tail = (1 + confidence) / 2
        effective *= float(special.stdtrit(max(most - 1, 1), tail) / special.stdtrit(max(groups - 1, 1), tail)) ** 2
    return Estimate(middle, *score_limits(middle, effective, confidence), len(counts))


def variance_split(values: ArrayLike, items: ArrayLike) -> Split:
    """Split the variance of values into that between items and that within them.

    One-way analysis of variance with random effects, unbiased for any numbers of repeats: ``within`` is the mean square
    within items, and ``between = (MSB − within) / n0``, with MSB the mean square between items and
    ``n0 = (N − Σ n² / N) / (I − 1)`` for I items of n repeats and N values (Searle et al. 1992, section 3.6).

    Parameters
    ----------
    values : array_like, shape (N,)
        In any unit; no missing values.
    items : array_like, shape (N,)
        Label of each value's item, such as its conversation and turn.

    Returns
    -------
    Split
        Nothing for fewer than two items, or if no item has two values. No ``icc`` when all values are equal, or when
        ``between + within`` is not above 0.

    Raises
    ------
    ValueError
        NaN or infinity, or labels of another length.

    References
    ----------
    S. R. Searle, G. Casella, C. E. McCulloch, Variance Components (1992).
    """
    y = finite(values)
    numbers, count = numbered(items, len(y))
    n = len(y)
    if count < 2:
        return Split(None, None, None, count, n, f"two items are needed, there {'is' if count else 'are'} {count}")
    if count == n:
        return Split(None, None, None, count, n, "no item has two values")
    # about the mean: far from 0 squares would be large
    y = y - y.mean()
    sums, sizes = totals(y, numbers, count)
    means: Floats = sums / sizes
    within = float(((y - means[numbers]) ** 2).sum()) / (n - count)
    between_square = float((sizes * (means - y.mean()) ** 2).sum()) / (count - 1)
    per_item = (n - float(sizes @ sizes) / n) / (count - 1)
    between = (between_square - within) / per_item
    if between + within <= 0:
        return Split(
            between, within, None, count, n, "no variance above 0: the values do not differ, or not as items do"
        )
    return Split(between, within, between / (between + within), count, n)
