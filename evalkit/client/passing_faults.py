"""Which failures pass by themselves: by status, and by what an endpoint says about its state.

A 4xx usually blames the request, and is not sent again. Some report the state of the endpoint instead, or of what is
between it and the model: they are ``server``, as every 5xx is. ``docs/faults.md`` lists them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from evalkit.client.wait_in_body import names_daily_quota
from evalkit.errors import AT_CAPACITY, DAILY_QUOTA, LOADING

# 408 time-out, 409 conflict, 423 locked, 424 failed dependency, 425 too early, 444 and 499 closed connection (nginx),
# 449 retry with, 460 closed connection (AWS), 498 capacity exceeded (Groq)
PASSING_4XX = frozenset({408, 409, 423, 424, 425, 444, 449, 460, 498, 499})
_TOO_MANY = frozenset({420, 429})

_STARTING = r"(?:starting|initiali[sz]ing|booting)(?! (?:with|from|at|by|a|an|the|in)\b)"
_LOADING = re.compile(
    r"\bloading (?:the |your |this )?(?:\w+ )?(?:model|weights)\b"
    r"|\b(?:is|are|still|currently|now|being|model|was) (?:still |currently |now |being )*(?:loading|being loaded)\b"
    r"|\bmodel[_ ]loading\b"
    rf"|\bis (?:not (?:yet )?ready|(?:still |currently )?{_STARTING})\b"
    r"|\bwarming up\b|\bwaking up\b|\bcold[- ]start|\bspinning up\b|\bscal(?:ed|ing)(?: up)? (?:to|from) (?:0|zero)\b",
    re.IGNORECASE,
)
# a 4xx blames the request: only a text about the model itself says otherwise
_MODEL_LOADING = re.compile(
    r"\b(?:loading|warming up|waking up|spinning up|cold[- ]start of) (?:the |your |this )?(?:\w+ )?(?:model|weights)\b"
    r"|\bmodel[_ ]loading\b"
    r"|\b(?:model|weights)\b\W{0,3}(?:\s\S{1,100}){0,2}?\s(?:is|are|was)(?: still| currently| now| being| not| yet)*"
    rf" (?:loading|(?<=being )loaded|(?<=not |yet )ready|{_STARTING}|warming up|waking up|spinning up"
    r"|scal(?:ed|ing)(?: up)? (?:to|from) (?:0|zero))\b",
    re.IGNORECASE,
)
# what else can be loading or not be ready, and belongs to one request
_OTHERS = re.compile(
    r"(?<![\w-])(?:files?|images?|pictures?|videos?|audios?|documents?|attachments?|uploads?|urls?|pages?|assistants?"
    r"|threads?|conversations?|prompts?|messages?|chats?|vector stores?|knowledge|index(?:es)?|collections?|datasets?"
    r"|batch(?:es)?|plugins?|tools?|functions?|agents?|bots?|apps?|workflows?|outputs?|caches?)(?![\w-]| model)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.;:!?]\s")
_CANNOT_LOAD = re.compile(
    r"\b(?:fail\w*|errors?|exception|unable|cannot|can't|could not) (?:(?:to|while|when|during|in|on) )?"
    r"(?:the )?(?:\w+ )?(?:load|start|initiali[sz])|\bload\w* (?:\w+ ){0,3}(?:failed|error)",
    re.IGNORECASE,
)
_AT_CAPACITY = re.compile(
    r"\bqueue (?:is |was )?(?:full|overflow)|\bqueue size\b|\b(?:exceed|max)\w* [^.]{0,30}\b(?:queue|pending|concurren)"
    r"|\btoo many (?:concurrent|pending|parallel|simultaneous|active|requests|connections)"
    r"|\bconcurren\w* (?:\w+ )?(?:limit|request\w* (?:limit|exceed))|\bpending requests? exceed"
    r"|\bserver (?:is )?(?:too )?busy\b|\breset reason: overflow|\bslow down\b|\bthrottl",
    re.IGNORECASE,
)
# pages of the limiters themselves: nginx sends its own 503 for limit_req and limit_conn; HAProxy for a full queue, and
# when no server is up
_LIMITER_PAGES = ("service temporarily unavailable", "no server is available to handle this request")

_SOON_S = 120.0
_FEWER = "Lower the concurrency (--concurrency) or set a limit of requests per minute (--rpm)."


class PassingFault(NamedTuple):
    """A failure that passes: the state that the endpoint reports, and what to try."""

    pending: str
    kind: str
    did: str
    advice: str


def kind_of_status(status: int) -> str:
    """The kind of an error status."""
    if status in (401, 402, 403):
        return "auth"
    if status in (404, 405, 410):
        return "not_found"
    if status in _TOO_MANY:
        return "rate_limited"
    if status in PASSING_4XX or 500 <= status < 600:
        return "server"
    return "bad_request" if 400 <= status < 500 else "protocol"


def find_passing_fault(
    kind: str,
    status: int,
    text: str,
    body: str,
    *,
    wait_s: float | None = None,
    lasting: bool = False,
    refused: bool = False,
) -> PassingFault | None:
    """The state of the endpoint that explains a failure, if it says so; None: it says nothing of that.

    Parameters
    ----------
    kind : str
        By status and words.
    status : int
    text : str
        The message of the error.
    body : str
        All of the answer, for what is beside the message.
    wait_s : float or None
        How long it asks to wait: a quota of the day that lets a request go soon is no reason to stop.
    lasting : bool
        Its code says that waiting does not help.
    refused : bool
        Its text says what the request is refused for: waiting does not help either.
    """
    if kind in ("server", "bad_request", "not_found") and not refused and _says_loading(kind, status, text, body):
        return PassingFault(
            LOADING,
            "server",
            "is still loading its model",
            "Send requests once it has loaded: --wait-ready SECONDS waits for that before the first one.",
        )
    soon = wait_s is not None and wait_s <= _SOON_S and "PerDay" not in body  # Google states a wait that is too short
    if kind == "rate_limited" and not lasting and not soon and names_daily_quota(body):
        return PassingFault(
            DAILY_QUOTA,
            kind,
            "reports that a quota counted by the day or longer is used up",
            "It renews tomorrow or later: continue then, or use a plan with a higher quota.",
        )
    if kind == "server" and status in (503, 529):
        if _AT_CAPACITY.search(text):
            return PassingFault(AT_CAPACITY, kind, "takes no more requests at a time", _FEWER)
        if status == 503 and any(page in body.lower() for page in _LIMITER_PAGES):
            return PassingFault(
                AT_CAPACITY, kind, "was not reached: a limit in front of it was exceeded, or no server is up", _FEWER
            )
    return None


def _says_loading(kind: str, status: int, text: str, body: str) -> bool:
    if status in (502, 503) and re.search(r"[\"']estimated_time\\*[\"']", body):
        return True
    words = _MODEL_LOADING if kind != "server" or 400 <= status < 500 else _LOADING
    found = words.search(text)
    if found is None or _CANNOT_LOAD.search(text):
        return False
    sentence = _SENTENCE_END.split(text[: found.end()])[-1]
    return _OTHERS.search(sentence) is None
