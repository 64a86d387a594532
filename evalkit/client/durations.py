"""Lengths of time and moments as endpoints write them in headers and bodies."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 366 * 86_400.0  # a longer wait is cut to this
_MOMENTS_FROM = 1e8  # a number above this, three years of seconds, is a Unix time
_MILLISECONDS_FROM = 1e11
_TEXT_LIMIT = 80  # characters; none of the forms is longer
_UNITS = (
    (r"milliseconds?|millis|msecs?|ms", 1e-3),
    (r"microseconds?|us|µs", 1e-6),
    (r"nanoseconds?|ns", 1e-9),
    (r"seconds?|secs?|s", 1.0),
    (r"minutes?|mins?|m", 60.0),
    (r"hours?|hrs?|h", 3_600.0),
    (r"days?|d", 86_400.0),
)
_NAMES = "|".join(names for names, _ in _UNITS)
_PART = rf"(\d{{1,15}}(?:\.\d{{0,15}})?)\s?({_NAMES})(?![a-zµ])"
# a duration with units, such as 20s, 1m30.5s, 2 minutes, 3 hours and 5 minutes; without a group, for larger patterns
DURATION = rf"(?:\d{{1,15}}(?:\.\d{{0,15}})?\s?(?:{_NAMES})(?![a-zµ])(?:,? and |, |\s)?){{1,6}}"
_CLOCK = re.compile(r"(?:(\d{1,6})\.)?(\d{1,3}):(\d\d):(\d\d(?:\.\d{1,9})?)")  # days, hours, minutes, seconds
_COMPACT = re.compile(r"(\d{1,15}(?:\.\d{0,15})?)(ms|us|µs|ns|s|m|h|d)")
_WORDS = re.compile(_PART, re.IGNORECASE)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")


def wait_s(text: str, now: float) -> float | None:
    """Seconds from ``now`` in a text that is a length of time or a moment, and nothing else.

    ``12``, ``1.5``, ``20s``, ``1m30.5s``, ``2 minutes``, ``00:01:30``; an HTTP date, an ISO 8601 date, or a Unix time
    in seconds or milliseconds.

    Parameters
    ----------
    text : str
    now : float
        Unix time in seconds, for moments.

    Returns
    -------
    float or None
        0 to ``LONGEST_S``; a moment in the past, or a length below 0, is 0. None: the text is something else.
    """
    text = text.strip()
    seconds = _length(text) if len(text) <= _TEXT_LIMIT else None
    if seconds is None and len(text) <= _TEXT_LIMIT:
        moment = unix_time(text)
        seconds = None if moment is None else moment - now
    elif seconds is not None and seconds >= _MOMENTS_FROM:
        seconds = (seconds / 1000 if seconds > _MILLISECONDS_FROM else seconds) - now
    return None if seconds is None else min(max(0.0, seconds), LONGEST_S)


def unix_time(text: str) -> float | None:
    """The Unix time of an HTTP date or an ISO 8601 date; None: the text is not a date. A date without zone is UTC."""
    try:
        date = datetime.fromisoformat(text) if _ISO_DATE.match(text) else parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _length(text: str) -> float | None:
    """Seconds in a text that is a number or a duration; may be below 0."""
    try:
        seconds = float(text)
        return seconds if abs(seconds) < float("inf") else None
    except ValueError:
        pass
    if (clock := _CLOCK.fullmatch(text)) is not None:
        days, hours, minutes, seconds_text = clock.groups()
        return int(days or 0) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + float(seconds_text)
    parts = _COMPACT.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _unit_s(unit) for number, unit in parts)
    if re.fullmatch(DURATION, text + " ", re.IGNORECASE):
        return sum(float(number) * _unit_s(unit) for number, unit in _WORDS.findall(text))
    return None


def _unit_s(unit: str) -> float:
    return next(seconds for names, seconds in _UNITS if re.fullmatch(names, unit.lower()))
