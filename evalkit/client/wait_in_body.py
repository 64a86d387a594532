"""How long an error answer asks to wait, read from its body: fields of many names, and words.

The body is searched as text, not as JSON: gateways wrap the answer of a provider into a string of their own, at times
as the text of a Python object.
"""

from __future__ import annotations

import re

from evalkit.client.durations import DURATION, LONGEST_S, wait_s
from evalkit.client.retry_after import reset_s

TEXT_LIMIT = 16_384  # characters that are searched
_MOST_FIELDS = 32
_QUOTE = r"\\{0,8}[\"']?"
_NAME = (
    r"retry[_-]?(?:delay|after|in)|quota[_-]?reset[_-]?delay|reset[_-]?(?:after|in)|wait[_-]?(?:time|for)|"
    r"(?:x-?)?rate-?limit-?(?:reset|remaining|limit)[a-z-]{0,20}|estimated[_-]?time"
)
_UNIT = r"(?:[_-]?in)?[_-]?(milliseconds|millis|ms|minutes|seconds|secs|sec|s)?"
_VALUE = r"\[?\s{0,3}(?:\{\s{0,8}\\{0,8}[\"']seconds\\{0,8}[\"']\s{0,3}:\s{0,3})?" + _QUOTE + r"([\w:.+ ,-]{1,40})"
_FIELD = re.compile(rf"(?<![\w-])({_NAME}){_UNIT}{_QUOTE}\s{{0,3}}[:=]\s{{0,3}}{_VALUE}", re.IGNORECASE)
_SCALES = {"ms": 1e-3, "millis": 1e-3, "milliseconds": 1e-3, "minutes": 60.0}

_MOMENT = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?|\d{10}(?:\d{3})?\b"
_ABOUT = r"(?:about |another |around |approximately |at least )?"
_BETWEEN = r"\b[^.\d]{0,60}?\b"
# "in" and "at" tell when something will be; "after" and "for" also tell what has been, unless a command precedes them
_WORDS = re.compile(
    rf"\b(?:try(?:ing)? again|retry(?:ing)?|wait|resets?|renews?|available|come back|back[ -]?off){_BETWEEN}"
    rf"(?:in[ :~]{{1,3}}{_ABOUT}({DURATION})|(?:at|until)[ :]{{1,2}}({_MOMENT}))"
    r"|\b(?:try again|retry|come back|back[ -]?off|(?:will|to) (?:reset|renew|be (?:available|reset))|resets|renews)"
    rf"{_BETWEEN}"
    rf"after[ :~]{{1,3}}(?:{_ABOUT}({DURATION})|({_MOMENT}))"
    rf"|\b(?:wait|back[ -]?off){_BETWEEN}for[ :~]{{1,3}}{_ABOUT}({DURATION})",
    re.IGNORECASE,
)
_WAIT_WORDS = re.compile(rf"\bwait:? {_ABOUT}({DURATION})", re.IGNORECASE)
# a wait that is over
_GAVE_UP = re.compile(r"\b(?:gave|giving|given) up (?:(?:the|its|on|after) )?\Z", re.IGNORECASE)
_OVER = re.compile(r"\W{0,2}(?:was |has |have )?(?:exceeded|elapsed|expired|passed)\b", re.IGNORECASE)
_BARE_SECONDS = re.compile(r"\bretry[- ]after[ :]{1,3}(\d{1,7}(?:\.\d{1,6})?)(?!\s?[\w%])", re.IGNORECASE)
_DAILY = re.compile(
    r"per[ _-]?day|by[ _-]?day|\b[RT]PD\b|per[ _-]?month|tomorrow|\d ?/ ?(?:day|month)\b"
    r"|\b(?:daily|monthly)\b(?=[^.]{0,60}\b(?:limit|quota|allowance|allocation|cap\b|exceed|reach|exhaust|used))"
    r"|\b(?:limit|quota|exceed|reach|exhaust|used)[^.]{0,60}\b(?:daily|monthly)\b(?! (?:dashboard|usage|report|page))",
    re.IGNORECASE,
)
_SHORTER = re.compile(
    r"(?:per|by)[ _-]?(?:\d{1,4} )?(?:min(?:ute)?|second|hour)|\b(?:each|every) (?:\d{1,4} )?(?:min|sec|hour)"
    r"|(?:\d|\breq|\breqs|\brequests?|\btokens?|\bcalls?) ?/ ?(?:\d{1,4} ?)?(?:min(?:ute)?|sec(?:ond)?|s|m|h|hr|hour)\b"
    r"|\b[RT]P[MSH]\b",
    re.IGNORECASE,
)


def wait_in_body_s(text: str, now: float) -> float | None:
    """Seconds that the body of an error answer asks to wait, from ``now``.

    Fields come first: ``retryDelay``, ``retry_after``, ``retryAfterMs``, ``estimated_time`` and others named alike,
    at any depth, then rate-limit headers that a gateway has put into the body; then words, such as ``try again in
    20s``. The longest of several fields is returned, of several sentences the first.

    Parameters
    ----------
    text : str
        The body; the first ``TEXT_LIMIT`` characters are searched.
    now : float
        Unix time in seconds, for moments.

    Returns
    -------
    float or None
        At least 0, at most ``durations.LONGEST_S``. None: it asks for no wait.
    """
    wait = wait_in_fields_s(text, now)
    return _wait_in_words(text[:TEXT_LIMIT], now) if wait is None else wait


def names_daily_quota(text: str) -> bool:
    """Whether a refusal names a quota counted by the day or month, and none that renews sooner."""
    text = text[:TEXT_LIMIT]
    return bool(_DAILY.search(text)) and not _SHORTER.search(text)


def wait_in_fields_s(text: str, now: float) -> float | None:
    """The same, without words."""
    text = text[:TEXT_LIMIT]
    waits: list[float] = []
    estimates: list[float] = []
    headers: dict[str, str] = {}
    for number, field in enumerate(_FIELD.finditer(text)):
        name, unit, value = field.group(1).lower(), (field.group(2) or "").lower(), field.group(3).strip(" ,")
        if number >= _MOST_FIELDS:
            break
        if "limit" in name:
            headers[name] = value
            continue
        wait = wait_s(value, now)
        if wait is not None:
            wait = min(wait * _SCALES.get(unit, 1.0), LONGEST_S)
            (estimates if name.startswith("estimated") else waits).append(wait)
    if waits:
        return max(waits)
    reset = reset_s(headers, now)
    return max(estimates, default=None) if reset is None else reset


def _wait_in_words(text: str, now: float) -> float | None:
    words = _WORDS.search(text) or _WAIT_WORDS.search(text) or _BARE_SECONDS.search(text)
    if words is None or _OVER.match(text, words.end()) or _GAVE_UP.search(text[: words.start()][-20:]):
        return None
    found = next(group for group in words.groups() if group)
    return wait_s(found.strip(" ,").removesuffix(" and"), now)
