"""Numbers as text: the same in a terminal, a chart, a report and a pull request.

Terminals and reports show three digits (``number``), charts, where room is short, two (``short_number``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from evalkit.stats.estimate import Estimate

MISSING = "–"
_ROUNDING_ERROR = 1e-9  # of sums of scores, in hundredths
_EXTRA_DIGITS = 5  # at most


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, and whole numbers from 100 on. A dash if it is missing."""
    if value is None:
        return MISSING
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def short_number(value: float) -> str:
    """Two significant digits, and whole numbers from 10 on."""
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def short_ms(value: float) -> str:
    """A time in ms, as short as ``short_number``."""
    return f"{short_number(value)} ms"


def signed(value: float, form: Callable[[float], str] = short_number) -> str:
    """A change with its sign; ``form`` writes its absolute value."""
    return f"{'−' if value < 0 else '+'}{form(abs(value))}"


def percent(share: float | None, digits: int = 1, unit: str = "%") -> str:
    """A share in percent. Only exactly 0 and 1 are shown as 0% and 100%. A dash if it is missing."""
    return MISSING if share is None else f"{_rounded(100 * share, digits)}{unit}"


def whole_percent(share: float) -> str:
    """A share in whole percent, with a space before the sign, as charts write it."""
    return percent(share, 0, " %")


def points(difference: float, digits: int = 1, *, sign: bool = True) -> str:
    """A difference of shares in percentage points, with its sign. Only exactly 0 is shown as 0."""
    text = _rounded(100 * difference, digits)
    return text if not sign or text[:1] in "-<" else f"+{text}"


def points_rounded_up(difference: float) -> str:
    """A difference of shares in percentage points, rounded up: to whole points above 10, to tenths up to 10."""
    value = 100 * difference - 1e-9
    return f"{math.ceil(value)}" if value > 10 else f"{math.ceil(10 * value) / 10:.1f}"


def share_with_interval(value: float | None, low: float | None, high: float | None, denominator: str = "") -> str:
    """A share, what it is a share of, such as `` of 24``, and its interval. A dash if it is missing."""
    if value is None:
        return MISSING
    text = f"{percent(value)}{denominator}"
    return text if low is None or high is None else f"{text} ({percent(low)} to {percent(high)})"


def share_of(estimate: Estimate) -> str:
    """A share of ``n`` with its interval. A dash if it is missing."""
    return share_with_interval(estimate.value, estimate.low, estimate.high, f" of {estimate.n:,}")


def points_with_interval(difference: Estimate) -> str:
    """A difference of shares in percentage points with its interval. A dash if it is missing."""
    if difference.value is None:
        return MISSING
    text, low, high = points(difference.value), difference.low, difference.high
    text = text if low is None or high is None else f"{text} ({points(low)} to {points(high)})"
    return text.replace("-", "−")


def plus_minus(half_width: float, digits: int = 2) -> str:
    """Half the width of an interval of a share, such as ``± 11 points``."""
    return f"± {100 * half_width:.{digits}g} points"


def _rounded(value: float, digits: int) -> str:
    near = next((end for end in (0.0, 100.0, -100.0) if abs(value - end) < _ROUNDING_ERROR), None)
    if near is not None:
        return f"{near:.{digits}f}"
    texts = (f"{value:.{more}f}" for more in range(digits, digits + _EXTRA_DIGITS))
    text = next((text for text in texts if float(text) not in (0.0, 100.0, -100.0)), None)
    if text is not None:
        return text
    most = digits + _EXTRA_DIGITS - 1
    least = 10.0**-most
    return f"<{least:.{most}f}" if abs(value) < 1 else f">{100 - least:.{most}f}"


def p_value(p: float | None) -> str:
    """A p-value with two digits, never 0. A dash if it is missing."""
    if p is None:
        return MISSING
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 1e-3 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours. A dash if it is missing."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def money(value: float | None) -> str:
    """An amount to the hundredth, smaller ones to three digits, never with an exponent. A dash if it is missing."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    return f"{value:,.{max(2, 2 - math.floor(math.log10(value)))}f}"


def counted(count: int, noun: str) -> str:
    """A count and its noun, which is plural unless the count is 1."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def with_interval(estimate: Estimate, form: Callable[[float], str] = whole_percent) -> str:
    """A value with its 95 % interval and n, or why it is missing."""
    if estimate.value is None:
        return f"missing ({estimate.reason or 'no samples'})"
    if estimate.low is None and estimate.high is None:
        return f"{form(estimate.value)} (no interval, n = {estimate.n:,})"
    low = "no lower limit" if estimate.low is None else form(estimate.low)
    high = "no upper limit" if estimate.high is None else form(estimate.high)
    return f"{form(estimate.value)} (95 % interval {low} to {high}, n = {estimate.n:,})"
