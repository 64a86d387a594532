"""How long an answer asks to wait before the next request, read from its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from evalkit.client.durations import LONGEST_S, wait_s

_RESET = re.compile(r"rate-?limit.*\breset")
# RateLimit of the IETF drafts: limit=9, remaining=0, reset=5; and later "name";r=0;t=5, a member per limit
_DRAFT = re.compile(r"\b(limit|remaining|reset|r|t)\s?=\s?\"?(\d{1,15}(?:\.\d{1,9})?)")
_MOST_HEADERS = 64  # looked at, of those that name a rate limit


class _Limit(NamedTuple):
    """One of the limits that an answer reports; None: not reported."""

    reset_s: float
    remaining: float | None = None
    limit: float | None = None


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the endpoint asks to wait, from ``now``: as ``wait_before_retry_s``, or else as ``reset_s``.

    Parameters
    ----------
    headers : mapping
        Names in lower case.
    now : float
        Unix time in seconds, for dates.

    Returns
    -------
    float or None
        At least 0, at most ``durations.LONGEST_S``. None: no header asks to wait, or none can be parsed.
    """
    wait = wait_before_retry_s(headers, now)
    return reset_s(headers, now) if wait is None else wait


def wait_before_retry_s(headers: Mapping[str, str], now: float) -> float | None:
    """The wait of ``retry-after-ms``, ``x-ms-retry-after-ms`` or ``retry-after``: whatever failed, it is asked for.

    ``retry-after`` may be seconds, a duration, an HTTP date, an ISO date or a Unix time. Of several values that a proxy
    has merged into one header, the longest is returned.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _longest(headers.get(name, ""), now)
        if milliseconds is not None:
            return milliseconds / 1000
    return _longest(headers.get("retry-after", ""), now)


def reset_s(headers: Mapping[str, str], now: float) -> float | None:
    """When the limit that was exceeded is renewed, by headers that report limits on every answer.

    ``x-ratelimit-reset*``, ``ratelimit-reset``, ``anthropic-ratelimit-*-reset``, ``RateLimit`` and others named alike.
    Of several limits, those count of which nothing remains; without one, the limit of which the smallest share
    remains; where that is not reported, all. Of those that count, the longest wait is returned.
    """
    limits = [*_named_limits(headers, now), *_draft_limits(headers.get("ratelimit", ""), now)]
    used_up = [limit.reset_s for limit in limits if limit.remaining is not None and limit.remaining <= 0]
    if not used_up and limits and all(limit.remaining is not None and limit.limit for limit in limits):
        return min(limits, key=lambda limit: (limit.remaining or 0) / (limit.limit or 1)).reset_s
    return max(used_up or [limit.reset_s for limit in limits], default=None)


def _named_limits(headers: Mapping[str, str], now: float) -> list[_Limit]:
    limits = []
    names = [name for name in headers if "ratelimit" in name or "rate-limit" in name][:_MOST_HEADERS]
    for name in names:
        if not _RESET.search(name):
            continue
        wait = _longest(headers[name], now)
        if wait is not None:
            wait = wait / 1000 if name.endswith("-ms") else wait
            beside = [headers.get(name.replace("reset", other, 1), "") for other in ("remaining", "limit")]
            limits.append(_Limit(wait, *map(_number, beside)))
    return limits


def _draft_limits(text: str, now: float) -> list[_Limit]:
    """The limits of a ``RateLimit`` header."""
    text = text[:1_000]
    members = text.split(",") if ";" in text else [text]
    limits = []
    for member in members:
        fields = dict(_DRAFT.findall(member))
        reset = fields.get("reset", fields.get("t"))
        wait = None if reset is None else wait_s(reset, now)
        if wait is not None:
            remaining = str(fields.get("remaining", fields.get("r", "")))
            limits.append(_Limit(wait, _number(remaining), _number(str(fields.get("limit", "")))))
    return limits


def _number(text: str) -> float | None:
    try:
        number = float(text[:40])
    except ValueError:
        return None
    return number if abs(number) < LONGEST_S * 1e9 else None


def _longest(text: str, now: float) -> float | None:
    """The longest of the waits in a header; a date has a comma of its own."""
    whole = wait_s(text, now)
    if whole is not None:
        return whole
    waits = [wait for part in text[:1_000].split(",") if (wait := wait_s(part, now)) is not None]
    return max(waits, default=None)
