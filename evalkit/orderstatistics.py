"""Order statistics: which ranks bound a quantile, the value of a rank, and the quantile where some are lower bounds."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from evalkit.clusters import Floats


def ranks(n: int, effective: int, q: float, confidence: float) -> tuple[int, int]:
    """Ranks of the limits, from 1 to n; others, where the sample does not bound the quantile."""
    tail = (1 - confidence) / 2
    if not effective:
        return 0, n + 1
    first, last = _binomial_quantile(tail, effective, q), _binomial_quantile(1 - tail, effective, q) + 1
    # part k of n* parts holds the values after (k − 1) n / n*, up to k n / n*
    return (first - 1) * n // effective + 1 if first else 0, -(-last * n // effective)


def order_statistic(first: Floats, second: Floats, rank: int) -> float | None:
    """The value of this rank, from 1, among those of two arrays in order."""
    if not 1 <= rank <= len(first) + len(second):
        return None
    taken, most = max(rank - len(second), 0), min(rank, len(first))  # how many of these come from the first
    while taken < most:
        middle = (taken + most) // 2
        if first[middle] < second[rank - middle - 1]:
            taken = middle + 1
        else:
            most = middle
    return float(max(part[count - 1] for part, count in ((first, taken), (second, rank - taken)) if count))


def _binomial_quantile(probability: float, n: int, q: float) -> int:
    """Smallest k with P(B ≤ k) ≥ probability; SciPy's inverse is continuous and may be off by one in its last bits."""
    k = max(math.ceil(float(special.bdtrik(probability, n, q))) - 1, 0)
    while special.bdtr(k, n, q) < probability:
        k += 1
    return k


def kaplan_meier(known: Floats, lost: Floats, q: float) -> float | None:
    """Smallest known time at which the curve is down to 1 − q; None: it does not come down that far.

    Between two losses the factors ``(r − 1) / r`` of the curve cancel, r at risk before each known time. So there is
    one factor to a loss, and not one to a value.
    """
    goal = 1 - q + 1e-12  # the curve is a product of fractions: 0.5 may come out as 0.5000000000000001
    # a loss at a known time comes after it
    begins = np.concatenate([[0], np.searchsorted(known, lost, side="right")])
    risk = len(known) + len(lost) - begins - np.arange(len(begins))
    deaths = np.diff(begins, append=len(known))
    curve = np.cumprod(1 - deaths / np.maximum(risk, 1))
    down = np.flatnonzero(curve <= goal)
    if not down.size:
        return None
    at = int(down[0])
    above = float(curve[at - 1]) if at else 1.0
    more = min(max(math.ceil(int(risk[at]) * (1 - goal / above)), 1), int(deaths[at]))
    return float(known[begins[at] + more - 1])
