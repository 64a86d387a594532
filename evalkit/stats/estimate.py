"""An estimate with its interval, and the difference of two independent estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its interval.

    Parameters
    ----------
    value : float or None
        None: too little data; ``reason`` says what is missing.
    low, high : float or None
        Limits of the interval. None: the data do not bound the value on that side.
    n : int
        Number of samples, including censored ones.
    reason : str or None
        Why a value or a limit is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def value_and_limits(self) -> dict[str, float | None]:
        """``value``, ``low`` and ``high``, as ``--json`` prints them."""
        return {"value": self.value, "low": self.low, "high": self.high}


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """Difference second − first of two independent estimates, with an interval made from their intervals.

    Square-and-add limits, method 10 of Newcombe (1998) for proportions:
    ``d − √((p2 − low2)² + (high1 − p1)²)`` to ``d + √((high2 − p2)² + (p1 − low1)²)``. The
    formula assumes that the two are independent. Where they are positively correlated, as on turns of the same
    conversations, the interval is too wide.

    Parameters
    ----------
    first, second : Estimate
        With intervals of the same confidence.

    Returns
    -------
    Estimate
        ``n`` is the smaller of the two. Missing where either estimate or one of its limits is missing.

    References
    ----------
    R. G. Newcombe, Statistics in Medicine 17 (1998) 873–890.
    """
    n = min(first.n, second.n)
    if first.value is None or second.value is None:
        return Estimate(None, None, None, n, first.reason or second.reason)
    value = second.value - first.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Estimate(value, None, None, n, first.reason or second.reason)
    down = math.hypot(second.value - second.low, first.high - first.value)
    up = math.hypot(second.high - second.value, first.value - first.low)
    return Estimate(value, value - down, value + up, n)
