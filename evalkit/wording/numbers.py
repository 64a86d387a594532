"""Numbers in words: the same in a terminal, a chart, a report and a pull request."""

from __future__ import annotations

import math

MISSING = "–"
_EXACT = 1e-9  # what sums of scores may be off by, in hundredths
_MORE_DIGITS = 5  # than asked for, at most


def number(value: float | None, unit: str = "") -> str:
    """With as many digits as it bears; a dash when it is missing."""
    if value is None:
        return MISSING
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def percent(share: float | None, digits: int = 1, unit: str = "%") -> str:
    """A share in hundredths; rounding makes neither 0 nor 100 of what is not. A dash when it is missing."""
    return MISSING if share is None else f"{_rounded(100 * share, digits)}{unit}"


def points(difference: float, digits: int = 1, *, sign: bool = True) -> str:
    """A difference of shares in hundredths, with its sign; 0 only where there is none."""
    shown = _rounded(100 * difference, digits)
    return shown if not sign or shown[:1] in "-<" else f"+{shown}"


def _rounded(value: float, digits: int) -> str:
    near = next((end for end in (0.0, 100.0, -100.0) if abs(value - end) < _EXACT), None)
    if near is not None:
        return f"{near:.{digits}f}"
    shown = (f"{value:.{more}f}" for more in range(digits, digits + _MORE_DIGITS))
    told = next((text for text in shown if float(text) not in (0.0, 100.0, -100.0)), None)
    if told is not None:
        return told
    least = 10.0 ** -(digits + _MORE_DIGITS - 1)
    return (
        f"<{least:.{digits + _MORE_DIGITS - 1}f}" if abs(value) < 1 else f">{100 - least:.{digits + _MORE_DIGITS - 1}f}"
    )


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours; a dash when they are missing."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def money(value: float | None) -> str:
    """To the hundredth, and smaller amounts to three digits; never with an exponent. A dash when it is missing."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    return f"{value:,.{max(2, 2 - math.floor(math.log10(value)))}f}"


def counted(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}{'s' * (count != 1)}"
