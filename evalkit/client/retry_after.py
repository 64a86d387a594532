"""How long an answer asks to wait before the next request, read from its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the endpoint asks to wait, from ``now``.

    Read in this order: ``retry-after-ms``; ``retry-after`` as seconds, as an HTTP date or as a Unix time;
    ``x-ratelimit-reset*`` as a duration (``6m0s``), seconds, or a Unix time in seconds or milliseconds. Of several
    resets, those whose ``x-ratelimit-remaining-*`` is 0 are used, or all if none is 0; the longest is returned, also of
    several values that a proxy has merged into one header. A time in the past, or below 0, is 0.

    Parameters
    ----------
    headers : mapping
        Names in lower case.
    now : float
        Unix time in seconds, for dates.

    Returns
    -------
    float or None
        At least 0. None: no header asks to wait, or none can be parsed.
    """
    milliseconds = _longest(headers.get("retry-after-ms", ""), now)
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    date = unix_time(text)
    seconds = _longest(text, now) if date is None else max(0.0, date - now)
    if seconds is not None:
        return seconds
    resets = {name: wait for name, text in headers.items() if (wait := _reset_wait(name, text, now)) is not None}
    used_up = [wait for name, wait in resets.items() if headers.get(name.replace("-reset", "-remaining", 1)) == "0"]
    return max(used_up or resets.values(), default=None)


def _duration(text: str) -> float | None:
    """Seconds in ``12``, ``1.5``, ``20s`` or ``1m30.5s``; None for anything else. Below 0 counts as 0."""
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            return None
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return max(0.0, seconds) if abs(seconds) < float("inf") else None


def unix_time(text: str) -> float | None:
    """The Unix time of an HTTP date; None: the text is not a date."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset_wait(name: str, text: str, now: float) -> float | None:
    if not name.startswith("x-ratelimit-reset"):
        return None
    return _longest(text, now)


def _longest(text: str, now: float) -> float | None:
    """The longest of the durations in a header, which may be Unix times."""
    waits = [wait for part in text.split(",") if (wait := _duration(part)) is not None]
    return max((_from_now(wait, now) for wait in waits), default=None)


def _from_now(wait: float, now: float) -> float:
    if wait < 1e8:  # three years
        return wait
    return max(0.0, (wait / 1000 if wait > 1e11 else wait) - now)
