"""Several repeats of each item: pass@k, pass^k, and the variance between and within items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats
from evalkit.stats.checked_samples import check_level, cluster_numbers, cluster_totals, finite
from evalkit.stats.estimate import Estimate
from evalkit.stats.means import mean_and_error
from evalkit.stats.proportions import score_limits


@dataclass(frozen=True, slots=True)
class VarianceSplit:
    """The variance of values, split into that between items and that between the repeats of one item.

    Parameters
    ----------
    between : float or None
        Variance of the items' true means, in squared units. The estimate is unbiased, so it may be below 0 when the
        true variance is small. None: no item has repeats, so that the two cannot be separated.
    within : float or None
        Variance between the repeats of one item.
    icc : float or None
        Intra-class correlation, ``between / (between + within)``: 1: repeats add no information; 0: they add as much
        as new items.
    items, n : int
        Number of items and of values.
    reason : str or None
        Why a value is missing.
    total : float or None
        Variance of one repeat of an item: the sum of both, with a variance between items of at least 0; without repeats
        the variance of the values. None: fewer than two items.
    """

    between: float | None
    within: float | None
    icc: float | None
    items: int
    n: int
    reason: str | None = None
    total: float | None = None

    def sd(self, repeats: int) -> float | None:
        """Standard deviation of an item's mean over this many repeats; None: it cannot be estimated."""
        if repeats == 1:
            return None if self.total is None else math.sqrt(self.total)
        if self.between is None or self.within is None:
            return None
        return math.sqrt(max(self.between, 0.0) + self.within / repeats)


def pass_at_k(
    right: Sequence[int], n: Sequence[int], k: int, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """Unbiased share of items with at least one right repeat out of k, from n repeats of each item.

    An item with c of n right counts ``1 − C(n − c, k) / C(n, k)``, the share of all choices of k repeats that contain a
    right one (Chen et al. 2021), in integer arithmetic, so that no number is too large. ``1 − (1 − c/n)^k`` would be
    too low.

    The interval is the score interval with an effective sample size, as in ``proportions.proportion``: ``p(1 − p) / v ·
    (t[N/k] / t[K−1])²``, v the variance of the mean between clusters, K their number, and at most ``N/k``, the number
    of choices without a common repeat, where N is the sum of ``n``. Where all clusters have the same mean, each counts
    as one sample. For k = 1 it is nearly ``proportions.proportion`` of all repeats, clustered by item.

    Parameters
    ----------
    right, n : sequence of int, shape (items,)
        Number of right repeats and of all repeats of each item; failed calls count in neither.
    k : int
        At least 1.
    clusters : array_like, shape (items,), optional
        Label of each item's cluster, such as its conversation. None: the items are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` counts items. Missing without items, or if an item has fewer than k repeats; no limits with fewer than two
        clusters.

    Raises
    ------
    ValueError
        The lengths differ, ``right`` is not from 0 to ``n``, k is below 1, or the confidence is not between 0 and 1.

    References
    ----------
    M. Chen et al., Evaluating Large Language Models Trained on Code, arXiv:2107.03374 (2021), section 2.1.
    """
    return _pass(right, n, k, clusters, confidence, _at_least_one)


def pass_hat_k(
    right: Sequence[int], n: Sequence[int], k: int, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """Unbiased share of items with k right repeats out of k, from n repeats of each item.

    An item with c of n right counts ``C(c, k) / C(n, k)``. Parameters, result and errors are those of ``pass_at_k``.

    References
    ----------
    S. Yao et al., τ-bench, arXiv:2406.12045 (2024), section 2.
    """
    return _pass(right, n, k, clusters, confidence, _all)


def _at_least_one(c: int, n: int, k: int) -> float:
    return (math.comb(n, k) - math.comb(n - c, k)) / math.comb(n, k)


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
    counts = np.array(list(zip(right, n, strict=True)), dtype=np.int64).reshape(-1, 2)
    if k < 1 or (counts[:, 0] < 0).any() or (counts[:, 0] > counts[:, 1]).any():
        raise ValueError(f"k is {k}: it must be at least 1, and each item must have from 0 to n right repeats")
    numbers, groups = cluster_numbers(clusters, len(counts))
    if not len(counts):
        return Estimate(None, None, None, 0, "no items")
    short = int((counts[:, 1] < k).sum())
    if short:
        return Estimate(
            None, None, None, len(counts), f"{short:,} of {len(counts):,} items have fewer than {k} repeats"
        )
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    values = np.array([share(c, total, k) for c, total in kinds.tolist()])[kind.reshape(-1)]
    middle, error, reason = mean_and_error(values, *cluster_totals(values, numbers, groups))
    middle = min(middle, 1.0)  # the mean of ones may be 1.0000000000000002
    if groups < 2:
        return Estimate(middle, None, None, len(counts), reason)
    most = int(counts[:, 1].sum()) / k
    effective = float(groups) if error is None else min(middle * (1 - middle) / error**2, most)
    if groups < most:
        tail = (1 + confidence) / 2
        effective *= float(special.stdtrit(max(most - 1, 1), tail) / special.stdtrit(max(groups - 1, 1), tail)) ** 2
    return Estimate(middle, *score_limits(middle, effective, confidence), len(counts))


def variance_split(values: ArrayLike, items: ArrayLike) -> VarianceSplit:
    """Split the variance of values into that between items and that between the repeats of one item.

    One-way analysis of variance with random effects, unbiased for any numbers of repeats: ``within`` is the mean square
    within items, and ``between = (MSB − within) / n0``, with MSB the mean square between items and
    ``n0 = (N − Σ n² / N) / (I − 1)`` for I items of n repeats and N values (Searle et al. 1992, section 3.6).

    Parameters
    ----------
    values : array_like, shape (N,)
        In any unit, without missing values.
    items : array_like, shape (N,)
        Label of each value's item, such as its conversation and turn.

    Returns
    -------
    VarianceSplit
        Without ``between`` and ``within`` for fewer than two items, or if no item has two values. Without ``icc`` when
        ``between + within`` is not above 0, for example when all values are equal.

    Raises
    ------
    ValueError
        A value is NaN or infinite, or the number of labels is not N.

    References
    ----------
    S. R. Searle, G. Casella, C. E. McCulloch, Variance Components (1992).
    """
    y = finite(values)
    numbers, count = cluster_numbers(items, len(y))
    n = len(y)
    if count < 2:
        return VarianceSplit(
            None, None, None, count, n, f"two items are needed, there {'is' if count else 'are'} {count}"
        )
    if count == n:
        return VarianceSplit(None, None, None, count, n, "no item has two values", float(np.var(y, ddof=1)))
    # centred, because far from 0 the squares would lose digits
    y = y - y.mean()
    sums, sizes = cluster_totals(y, numbers, count)
    means: Floats = sums / sizes
    within = float(((y - means[numbers]) ** 2).sum()) / (n - count)
    between_square = float((sizes * (means - y.mean()) ** 2).sum()) / (count - 1)
    per_item = (n - float(sizes @ sizes) / n) / (count - 1)
    between = (between_square - within) / per_item
    total = max(between, 0.0) + within
    if between + within <= 0:
        return VarianceSplit(
            between,
            within,
            None,
            count,
            n,
            "the variance is not above 0: repeats differ at least as much as items",
            total,
        )
    return VarianceSplit(between, within, between / (between + within), count, n, total=total)
