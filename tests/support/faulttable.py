"""The table of faults: what is retried, what is recorded, which message the user reads; shown in ``docs/faults.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TEXT = "tok0 tok1 tok2 tok3 tok4 tok5"
TTFT_S, TOTAL_S = 0.8, 1.2  # time limits of the runs that meet these faults
ELSEWHERE = "http://127.0.0.2:9/v1/chat/completions"

_LOG = "Check the endpoint's log."
_MODEL = "The model or its server has most likely failed: check the endpoint's log."
_KEPT = "The part received is kept; if it happens again, check the endpoint's log."
_LOST = "None of it can be read; if it happens again, check the endpoint's log."
_TRY = "Try again; if it keeps failing, check the endpoint's log."
_FEWER = "Lower the concurrency or set a limit of requests per minute."
_ROUTE = "Check that the base URL leads to a chat-completion endpoint."
_LIMIT = "Raise the limit or lower the load."
_LIMITS = "Raise the limit, lower the load or set max_tokens."
_RATE = (
    'The endpoint asks for fewer requests (HTTP 429, rate_limit_exceeded): "Rate limit reached: too many requests". '
)
_ERROR = 'The endpoint failed (HTTP {}, server_error): "The server had an error". '
_WAIT = "It asks to wait {}. "
_TOO_LONG = " Not tried again: the endpoint asks to wait 60 min, longer than 120 s."
_OVERLOAD = f'The endpoint failed (HTTP 200, overloaded): "The model is overloaded". {_TRY}'
_BROKE_OFF = (
    "The endpoint broke off its stream after N events with tokens, with neither a finish reason nor [DONE] (HTTP 200). "
    f"{_KEPT}"
)
_NO_TOKEN = (
    f"No first token within {TTFT_S:g} s (ttft_timeout_s): HOST sent its headers after N s and N bytes in all, "
    f"but no token. {_LIMIT}"
)
_STOPPED = (
    f"No complete answer within {TOTAL_S:g} s (timeout_s): HOST sent N characters in N reads, the last after N s. "
    f"{_LIMITS}"
)
_TTFT = f"No first token within {TTFT_S:g} s (ttft_timeout_s): {{}} {_LIMIT}"
_TOTAL = f"No complete answer within {TOTAL_S:g} s (timeout_s): {{}} {_LIMITS}"
_NO_HEADERS = "HOST has sent N bytes, not even complete headers."
_NO_ANSWER = f"The endpoint ended its answer without any text or tool call (HTTP 200). {_MODEL}"
_ONLY_HEADERS = f"The endpoint closed the connection before sending any text (HTTP 200). {_MODEL}"
_FAILED_TOO = " The same request without a stream failed too ({})."
_ABORTED = (
    f'The endpoint broke off its answer with the finish reason "abort" (HTTP 200). {_TRY} The part received is kept.'
)
_REDIRECT = (
    "The endpoint HOST answered with a redirect (HTTP 307) to http://127.0.0.2:9/v1, another host or port: "
    "the key is not sent there. If you trust that address, set it as base URL."
)
_RESET = (
    f"The connection was closed by HOST before it answered (Connection reset by peer). {_LOG} "
    "If it requires TLS, use https:// in the base URL."
)
_REFUSED = "Nothing listens on HOST: is the server started, and is the port in the base URL right?"
_TOO_BIG = "The endpoint sent more than 64 MiB for one answer (HTTP 200). Set max_tokens."
_BAD_EVENT = f'The endpoint sent a broken event in its stream (HTTP 200): "…". {_ROUTE}'
_BAD_JSON = f'The endpoint sent broken JSON (HTTP 200): "…". {_ROUTE}'
_CUT = f"The endpoint closed the connection in the middle of its answer, N bytes into it (HTTP 200). {_LOST}"


@dataclass(frozen=True)
class End:
    """How a turn ends that meets the fault each time it is asked.

    ``kind`` None: it is answered. ``text``: what is kept of the answer, its beginning if that ends in an ellipsis.
    ``ttft``: a first-token time is recorded. ``again``: it is asked again. ``message``: what the user reads, masked.
    ``cause``: a whole answer is asked for last, to learn the cause.
    """

    kind: str | None
    message: str = ""
    status: int | None = 200
    text: str = ""
    ttft: bool = False
    again: bool = False
    flag: str = ""
    cause: bool = False


@dataclass(frozen=True)
class Case:
    """A fault; ``stream`` and ``whole``: how it ends when each is asked for. None: there is no such fault."""

    name: str
    fault: str
    stream: End | None
    whole: End | None
    options: Mapping[str, Any] = field(default_factory=dict)
    wait_s: float = 0.0  # what it asks to wait, at least
    requests: int = 1  # an attempt makes

    def end(self, stream: bool) -> End | None:
        return self.stream if stream else self.whole


def both(name: str, fault: str, end: End, wait_s: float = 0.0, **options: Any) -> Case:
    return Case(name, fault, end, end, options, wait_s)


def good(flag: str = "", text: str = TEXT) -> End:
    return End(None, text=text, ttft=True, flag=flag)


def limited(wait: str = "", note: str = "") -> End:
    return End("rate_limited", _RATE + wait + _FEWER + note, 429, again=not note)


def failed(status: int, wait: str = "") -> End:
    return End("server", _ERROR.format(status) + wait + _TRY, status, again=True)


def page(status: int, title: str) -> End:
    return End("server", f'The endpoint failed (HTTP {status}): "{status} {title}". {_TRY}', status, again=True)


_3 = "tok0 tok1 tok2"
_CUT_STREAM = End("truncated", _BROKE_OFF, text=_3, ttft=True, again=True)
_CUT_WHOLE = End("truncated", _CUT, again=True)
_SILENT = "HOST has sent nothing."

CASES = (
    Case(
        "reset after the headers", "reset_after_headers",
        End("connection", _ONLY_HEADERS + _FAILED_TOO.format("connection"), again=True, cause=True),
        End("connection", _ONLY_HEADERS, again=True),
    ),
    Case("reset in the middle", "reset_midway", _CUT_STREAM, _CUT_WHOLE),
    Case("closed in the middle", "eof_midway", _CUT_STREAM, _CUT_WHOLE),
    both("429", "rate_limited", limited()),
    both("429, Retry-After in seconds", "rate_limited", limited(_WAIT.format("0.2 s")), 0.2, retry_after=0.2),
    both("429, Retry-After as a date", "rate_limited", limited(_WAIT.format("N s")), retry_after=1.5, form="date"),
    both("429, retry-after-ms", "rate_limited", limited(_WAIT.format("0.1 s")), 0.1, retry_after=0.1, form="ms"),
    both("429, x-ratelimit-reset", "rate_limited", limited(_WAIT.format("0.1 s")), 0.1, retry_after=0.1, form="limit"),
    both("429, Retry-After of an hour", "rate_limited", limited(_WAIT.format("60 min"), _TOO_LONG), retry_after=3600),
    both("500", "server_error", failed(500)),
    both("502, a page in HTML", "html_error", page(502, "Bad Gateway")),
    both("503", "server_error", failed(503), status=503),
    both("503, Retry-After", "server_error", failed(503, _WAIT.format("0.1 s")), 0.1, status=503, retry_after=0.1),
    both("wrong content type", "wrong_type", good()),
    Case(
        "broken JSON", "broken_json",
        End("protocol", _BAD_EVENT, text="tok0", ttft=True),
        End("protocol", _BAD_JSON),
    ),
    Case("cut UTF-8", "cut_utf8", good(text="tok0\ufffd tok1 tok2 tok3 tok4 tok5"), good(text=f"\ufffd{TEXT}")),
    Case("error event at the beginning", "error_event", End("server", _OVERLOAD, again=True), None),
    Case(
        "error event in the middle", "error_event",
        End("server", _OVERLOAD, text=_3, ttft=True, again=True), None, {"after": 3},
    ),
    Case(
        "finish reason of a failure", "aborted",
        End("server", _ABORTED, text=_3, ttft=True, again=True), End("server", _ABORTED, text=TEXT, again=True),
        {"after": 3},
    ),
    Case(
        "no text, but [DONE]", "empty",
        End("empty", _NO_ANSWER + _FAILED_TOO.format("empty"), again=True, cause=True), None,
    ),
    Case("no text, no finish reason, no token counts", "empty", None, End("empty", _NO_ANSWER, again=True)),
    both("no text, but a finish reason and token counts", "nothing_to_say", End(None)),
    Case("no [DONE], but a finish reason", "no_done", good("no_done"), None),
    Case("no end after the finish reason", "left_open", good("left_open"), None),
    Case(
        "neither [DONE] nor a finish reason", "no_done",
        End("truncated", _BROKE_OFF, text=TEXT, ttft=True, again=True), None, {"finish": False},
    ),
    Case("whole answer for a stream", "json_for_stream", End(None, text=TEXT, flag="json_for_stream"), None),
    Case(
        "silence, not even headers", "silence",
        End("timeout", _TTFT.format(_SILENT), None), End("timeout", _TOTAL.format(_SILENT), None), {"headers": False},
    ),
    Case("silence before the first token", "silence", End("timeout", _NO_TOKEN), None),
    Case("nothing but signs of life", "comments_only", End("timeout", _NO_TOKEN), None),
    Case("silence in the middle", "silence", End("timeout", _STOPPED, text=_3, ttft=True), None, {"after": 3}),
    Case("endless stream", "endless", End("timeout", _STOPPED, text=f"{TEXT} tok5…", ttft=True), None),
    Case(
        "headers byte by byte", "slow_headers",
        End("timeout", _TTFT.format(_NO_HEADERS), None), End("timeout", _TOTAL.format(_NO_HEADERS), None),
        {"byte_ms": 50},
    ),
    both("redirect to another host", "redirect", End("protocol", _REDIRECT, 307), to=ELSEWHERE),
    Case("redirect within the host", "redirect", good(), good(), requests=2),
    both("closed after a good answer", "close_after", good()),
)  # fmt: skip

# Each met in a run of its own: what connections are there decides about it, or it needs other limits.
REFUSED = both("refused", "refuse", End("connection", _REFUSED, None, again=True))
RESET = both("reset before the headers", "reset_before_headers", End("connection", _RESET, None, again=True))
REUSED = both("kept connection closed as it is used again", "close_on_reuse", End(None, text=TEXT, again=True))
HUGE = Case(
    "100 MB answer", "huge",
    End("protocol", _TOO_BIG, text="xxx…", ttft=True), End("protocol", _TOO_BIG), {"size": 100_000_000},
)  # fmt: skip
_FLOODED = End("protocol", _TOO_BIG, text=f"{TEXT} tok5…", ttft=True)
FLOOD = Case("endless stream at full speed", "endless", _FLOODED, None, {"itl_ms": 0})
MOVED = both("name that leads to another address", "refuse", End("connection", _REFUSED, None, again=True))
ALL = (REFUSED, MOVED, RESET, REUSED, *CASES, FLOOD, HUGE)


def masked(message: str, base_url: str) -> str:
    """A message without host, request number, quoted body, and the measures that no test can know."""
    message = message.replace(base_url.split("/")[2], "HOST")
    message = re.sub(r", request req_\d+", "", message)
    message = re.sub(r'"\{.*?"\. ', '"…". ', message)
    message = re.sub(r"after [\d.e-]+ s", "after N s", message)
    return re.sub(r"\d+ (byte|character|read|event)s?\b", r"N \1s", message)


def page_table() -> str:
    """The table as ``docs/faults.md`` shows it."""
    lines = ["| fault | request | retried | recorded | message |", "|---|---|---|---|---|"]
    for case in ALL:
        ends = {"stream": case.stream, "whole answer": case.whole}
        if _cells(case.stream) == _cells(case.whole):
            ends = {"both": case.stream}
        lines += [f"| {case.name} | {where} | {_cells(end)} |" for where, end in ends.items() if end is not None]
    return "\n".join(lines)


def _cells(end: End | None) -> str:
    if end is None:
        return ""
    again = "yes" if end.again else "no"
    if end.kind is None:
        flag = f", flag `{end.flag}`" if end.flag else ""
        broken = ", with \ufffd for the broken character" if "\ufffd" in end.text else ""
        return f"{again} | answered{flag} | the answer{broken}"
    kept = [f"`{end.kind}`", "no status" if end.status is None else f"HTTP {end.status}"]
    if end.text:
        kept.append("the first MiB of the text" if end.message == _TOO_BIG else "the text so far")
    if end.ttft:
        kept.append("TTFT")
    return f"{again} | {', '.join(kept)} | {end.message}"
