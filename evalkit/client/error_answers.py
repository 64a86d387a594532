"""Error answers of every form to one ``Failure``, and how long they ask to wait."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from evalkit.client.sse import EventDecoder
from evalkit.record import Failure, sent

QUOTE_LIMIT = 300  # characters of the endpoint's own words in a message
_TEXT_LIMIT = 4_096  # characters looked through for signs of the cause
_HTML_LIMIT = 8_192  # the words of an error page stand at its top

_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_NOT_TEXT = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>?", re.IGNORECASE | re.DOTALL)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNKNOWN_KEY = re.compile(r"\bapi[ _]?key\b.{0,80}\bnot found\b", re.IGNORECASE)
# what looks like a key in an answer that refuses one: a known prefix, a masked middle, a long mix of letters and digits
_KEYLIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|tk)[-_][\w*.-]{3,}|[\w.-]*\*{3,}[\w*.-]*|\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}"
)
_VALIDATION = re.compile(r"^\{'type': .*?'msg': (?:'([^']+)'|\"([^\"]+)\")", re.DOTALL)
_PROVIDER_CODES = ("PROVIDER_ERROR", "GENERATION_ERROR")
_PROVIDER_STATUS = re.compile(
    r"""['"](?:code|status|status_code)\\*['"]: *\\*['"]?([45]\d\d)\b|\bError code: ([45]\d\d)\b"""
)

# words of codes, types and texts, bare of case, blanks and underlines, to kinds; the first that fits wins
_WORDS = (
    ("rate_limited", ("ratelimit", "quota", "throttl", "toomanyrequests", "resourceexhausted")),
    ("auth", ("authent", "unauthori", "apikey", "permission", "forbidden")),
    ("not_found", ("notfound",)),
    ("server", ("unavailable", "overload", "cannotconnect", "servererror", "internal", "timeout", "timedout")),
    ("bad_request", ("invalid", "badrequest", "validation", "contextlength", "contextsize", "unprocessable", "filter")),
)

# what the endpoint did, and what to try
_SENTENCES = {
    "auth": ("refused the API key", "Check that the key is set, whole and meant for this endpoint."),
    "not_found": (
        "does not know what was asked for",
        "Check the model name or assistant id, and the base URL.",
    ),
    "bad_request": ("refused the request", "Check the messages and parameters against what it accepts."),
    "rate_limited": ("asks for fewer requests", "Lower the concurrency or set a limit of requests per minute."),
    "server": ("failed", "Try again; if it keeps failing, look at the endpoint's own log."),
    "protocol": ("sent no usable answer", "Check the base URL."),
}


@dataclass(frozen=True, slots=True)
class _Told:
    """What an error answer says of itself."""

    text: str = ""
    code: str | None = None
    type: str | None = None

    @property
    def labels(self) -> str:
        return _bare(f"{self.code or ''} {self.type or ''}")


@dataclass(frozen=True, slots=True)
class _Verdict:
    kind: str
    did: str
    advice: str
    who: str = "The endpoint"
    quoted: bool = True


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Why an HTTP answer with an error status is a failure.

    The status gives the kind, except where the text is known to say otherwise: services that stand before a
    model hide its failures behind statuses of their own. 408 and 409 are ``server``: they tell of the endpoint's
    state, not of the request, and are worth a retry. ``timeout`` is only ever said of evalkit's own limits.

    Parameters
    ----------
    status : int
        HTTP status.
    headers : mapping
        Names in lower case.
    body : bytes
        As much of it as came: JSON in any of the known forms, HTML, plain text or nothing.

    Returns
    -------
    Failure
        ``code`` is ``insufficient_quota`` when waiting would not help a ``rate_limited`` request.
    """
    told = _told_by_body(body)
    return _failure(_judge(status, told), told, status, headers)


def failure_of_error(error: Any, status: int, headers: Mapping[str, str]) -> Failure:
    """Why an error object inside a good HTTP answer is a failure; its own code, type or status gives the kind."""
    told = _told_by_error(error)
    inner = _status_in(error)
    kind = _kind_by_words(told.labels) or _kind_by_words(_bare(told.text)) or "server"
    verdict = _judge(inner, told) if inner is not None else _plain_verdict(kind, told)
    return _failure(verdict, told, status, headers)


def refuses_stream_options(failure: Failure) -> bool:
    """Whether the endpoint refused ``stream_options``: worth asking once more without."""
    return failure.kind == "bad_request" and failure.http_status in (400, 422) and "stream_options" in failure.message


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the endpoint asks to wait, from now on.

    Read in this order: ``retry-after-ms``; ``retry-after`` as seconds, as an HTTP date or as a Unix time;
    ``x-ratelimit-reset*`` as a duration (``6m0s``), seconds, or a Unix time in seconds or milliseconds. Of
    several resets those count whose ``x-ratelimit-remaining-*`` is 0, or all if none is; the longest wins, as it
    does of several values that a proxy has put into one header. What is past, or below 0, is 0.

    Parameters
    ----------
    headers : mapping
        Names in lower case.
    now : float
        Unix time in seconds, for dates.

    Returns
    -------
    float or None
        At least 0. None: it asks for nothing that can be read.
    """
    milliseconds = _longest(headers.get("retry-after-ms", ""), now)
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after", "")
    date = _unix_time(asked)
    seconds = _longest(asked, now) if date is None else max(0.0, date - now)
    if seconds is not None:
        return seconds
    resets = {name: wait for name, text in headers.items() if (wait := _reset_wait(name, text, now)) is not None}
    spent = [wait for name, wait in resets.items() if headers.get(name.replace("-reset", "-remaining", 1)) == "0"]
    return max(spent or resets.values(), default=None)


def plain(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Text safe to show on one line: no control characters, no terminal escapes, at most ``limit`` characters."""
    text = _ANSI.sub("", text[: limit * 8])
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def words_of(body: bytes) -> str:
    """The first words of a body, for a message: of HTML its title or text."""
    text = body[:_HTML_LIMIT].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        return plain(text)
    title = _TITLE.search(text)
    return plain(html.unescape(title.group(1) if title else "")) or plain(html.unescape(_NOT_TEXT.sub(" ", text)))


def _failure(verdict: _Verdict, told: _Told, status: int, headers: Mapping[str, str]) -> Failure:
    if verdict.kind == "rate_limited":
        asking: Mapping[str, str] = headers
    else:  # the rate-limit headers stand on every answer and are no wish to wait
        asking = {name: headers[name] for name in ("retry-after", "retry-after-ms") if name in headers}
    sent_at = _unix_time(headers.get("date", ""))  # the sender's own clock, so that ours may be wrong
    now = time.time() if sent_at is None else sent_at
    wait = retry_after_s(asking, now) if verdict.kind in ("rate_limited", "server") else None
    return Failure(
        kind=verdict.kind,
        message=_message(verdict, told, status, headers, wait),
        http_status=status,
        code=told.code or told.type,
        retry_after_s=wait,
        sent=(),
    )


def _message(verdict: _Verdict, told: _Told, status: int, headers: Mapping[str, str], wait: float | None) -> str:
    marks = [f"HTTP {status}", sent(told.code or told.type or "")]
    request = sent(plain(headers.get("x-request-id", ""), 80))
    marks.append(f"request {request}" if request else "")
    what = f"{verdict.who} {verdict.did} ({', '.join(mark for mark in marks if mark)})"
    quote = plain(_KEYLIKE.sub("…", told.text) if verdict.kind == "auth" else told.text)
    advice = verdict.advice if wait is None else f"It asks to wait {_shown(wait)} s. {verdict.advice}"
    if not verdict.quoted:
        return f"{what}. {advice}"
    if not quote:
        return f"{what} and gave no reason. {advice}"
    return f'{what}: "{sent(quote.rstrip("."))}". {advice}'


def _shown(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:,.0f}"


def _judge(status: int, told: _Told) -> _Verdict:
    """The kind an error status means, unless the text is known to mean another."""
    bare = _bare(told.text)
    if 400 <= status < 500 and _UNKNOWN_KEY.search(told.text):
        # the text repeats a part of the key
        return _Verdict(
            "auth",
            "does not know this API key",
            "The key is wrong or belongs to another service: copy it again.",
            quoted=False,
        )
    if status >= 400 and ("cannotconnecttohost" in bare or "serviceisunavailable" in bare):
        return _Verdict("server", "cannot reach the model behind it", "Try again when the model's provider is back.")
    if status >= 400 and told.code in _PROVIDER_CODES:
        return _provider_verdict(status, told)
    if status == 500 and "unsupportedmessagetype" in bare:
        return _Verdict(
            "bad_request", "refused a message", "Use the roles system, user, assistant and tool, with text as content."
        )
    return _plain_verdict(_kind_by_status(status), told, status)


def _provider_verdict(status: int, told: _Told) -> _Verdict:
    """The failure of a provider that the endpoint passes on inside a text, under a status of its own."""
    inner = _PROVIDER_STATUS.search(told.text)
    if inner:
        kind = _kind_by_status(int(inner.group(1) or inner.group(2)))
    else:
        kind = _kind_by_words(_bare(told.text)) or _kind_by_status(status)
    did, advice = _SENTENCES[kind]
    if kind == "auth":
        did = "refused the key stored there"
        advice = "Your own key was accepted: renew the provider's key in the service's settings."
    return _Verdict(kind, did, advice, who="The model's provider behind the endpoint")


def _plain_verdict(kind: str, told: _Told, status: int = 0) -> _Verdict:
    did, advice = _SENTENCES[kind]
    if kind == "rate_limited" and "quota" in told.labels:
        did, advice = "says that the quota is used up", "Waiting does not help: check the account's plan and credit."
    elif status == 402:
        did, advice = "asks for payment", "Check the account's credit."
    elif status == 403:
        did, advice = "does not allow this", "Check what the key may be used for, and that no proxy stands in the way."
    elif status == 413:
        did, advice = "finds the request too large", "Shorten the messages."
    elif 300 <= status < 400:
        did, advice = "answered with a redirect", "Set the base URL to the address it leads to."
    elif kind == "bad_request" and "stream_options" in told.text:
        advice = "It does not take stream_options."
    elif kind == "bad_request" and "model" in told.text.lower():
        advice = "Check the model name or assistant id."
    return _Verdict(kind, did, advice)


def _kind_by_status(status: int) -> str:
    if status in (401, 402, 403):
        return "auth"
    if status in (404, 405, 410):
        return "not_found"
    if status == 429:
        return "rate_limited"
    if status in (408, 409) or 500 <= status < 600:
        return "server"
    return "bad_request" if 400 <= status < 500 else "protocol"


def _kind_by_words(bare: str) -> str | None:
    return next((kind for kind, words in _WORDS if any(word in bare for word in words)), None)


def _bare(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text.lower())


def _told_by_body(body: bytes) -> _Told:
    stripped = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if stripped.startswith(b"data:"):
        stripped = next(iter(EventDecoder().feed(stripped + b"\n\n")), b"")
    try:
        payload = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return _Told(words_of(stripped))
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if isinstance(payload, dict) and payload.get("error"):
        error = payload["error"]
        if not isinstance(error, dict):  # a word for the error, its text beside it
            said = payload.get("message") or error
            return _told_by_error({"code": payload.get("error_type"), **payload, "message": said})
        payload = error
    return _told_by_error(payload)


def _told_by_error(error: Any) -> _Told:
    """What an error object says: its message, or FastAPI's detail, else all of it."""
    if not isinstance(error, dict):
        return _Told(plain(_as_text(error), _TEXT_LIMIT) if error else "")
    said = error.get("message") or error.get("detail") or error.get("debug") or error.get("msg")
    if isinstance(said, list):
        said = "; ".join(_validation_text(item) for item in said[:5])
    elif not said:
        said = "" if error.get("code") or error.get("type") or not any(error.values()) else error
    said = _as_text(said)
    validation = _VALIDATION.search(said[:_TEXT_LIMIT])
    if validation:
        said = validation.group(1) or validation.group(2)
    return _Told(plain(said, _TEXT_LIMIT), _label(error.get("code")), _label(error.get("type")))


def _validation_text(item: Any) -> str:
    if not isinstance(item, dict) or "msg" not in item:
        return _as_text(item)
    place = item.get("loc")
    where = ".".join(_as_text(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {_as_text(item['msg'])}" if where else _as_text(item["msg"])


def _label(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return plain(str(value), 80) or None


def _status_in(error: Any) -> int | None:
    """The HTTP status an error object names as its code or status."""
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code"):
        text = _label(error.get(name)) or ""
        if re.fullmatch("[45][0-9][0-9]", text):
            return int(text)
    return None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested too deep, or a number beyond 64 bits
        return ""


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


def _unix_time(text: str) -> float | None:
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
    """The longest of the durations in a header, which may be points in Unix time."""
    waits = [wait for part in text.split(",") if (wait := _duration(part)) is not None]
    return max((_from_now(wait, now) for wait in waits), default=None)


def _from_now(wait: float, now: float) -> float:
    if wait < 1e8:  # three years
        return wait
    return max(0.0, (wait / 1000 if wait > 1e11 else wait) - now)
