"""Probes of errors: the status and the form of each, and the wait that comes with a rate limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evalkit.checkup.probes.call import HELLO, Body, Call, Replies, ask, streamed, user
from evalkit.checkup.probes.connection import MODELS, window_of
from evalkit.checkup.probes.probe import (
    Judgement,
    Probe,
    conforms,
    differs,
    ignored,
    not_judged,
    shown,
    without_faults,
)
from evalkit.checkup.probes.reply import Reply, mapping

SUBJECT = "errors"
_LARGEST_WINDOW = 16_384  # tokens that are sent to exceed a window
_REFUSED = (400, 422)


def _too_long_body(replies: Replies) -> Body | None:
    window = window_of(replies[MODELS])
    return None if window is None or window > _LARGEST_WINDOW else ask("word " * int(window * 1.2))


WRONG_KEY = Call("wrong key", ask(HELLO), wrong_key=True, tokens=1)
UNKNOWN_MODEL = Call("unknown model", {**ask(HELLO), "model": "evalkit-no-such-model"}, tokens=1)
BAD_ROLE = Call("unknown role", {"messages": [{"role": "robot", "content": HELLO}]}, tokens=1)
BAD_ROLE_STREAM = Call(
    "unknown role, as a stream", streamed({"messages": [{"role": "robot", "content": HELLO}]}), tokens=1
)
BROKEN = Call("broken body", raw=b'{"model": "m", "messages": [', tokens=0, tokens_sent=0)
EMPTY = Call("no messages", {"messages": []}, tokens=1)
BAD_CONTENT = Call("content that is a number", {"messages": [{"role": "user", "content": 7}, user(HELLO)]}, tokens=1)
TOO_LONG = Call("too long", _too_long_body, after=(MODELS,), tokens=1, tokens_sent=0)
_ALL = (BAD_ROLE, BROKEN, EMPTY, UNKNOWN_MODEL, BAD_CONTENT)


def _wrong_key(reply: Reply) -> Judgement:
    if reply.status == 200:
        return not_judged("any key is accepted, or none is needed")
    if reply.status == 401:
        return conforms("HTTP 401")
    return differs(f"{reply.outcome}; the official client raises AuthenticationError for 401 only")


def _unknown_model(reply: Reply) -> Judgement:
    if reply.status == 200:
        answered = mapping(reply.json).get("model")
        return ignored(f"answered all the same, as {shown(answered)}: a misspelled name goes unnoticed")
    return conforms("HTTP 404") if reply.status == 404 else differs(f"{reply.outcome}; 404 was expected")


def _refused(reply: Reply) -> Judgement:
    if reply.reported is not None:
        return differs(f"{reply.outcome}; HTTP 400 was expected")
    if reply.status == 200:
        return ignored("accepted without an error")
    if reply.status == 400:
        return conforms("HTTP 400")
    again = "; the official client sends such requests again" if (reply.status or 0) >= 500 else ""
    return differs(f"{reply.outcome}; 400 was expected{again}")


def _too_long(reply: Reply) -> Judgement:
    if reply.status == 200:
        return ignored("answered: the messages were shortened without a word")
    if reply.status not in _REFUSED:
        return differs(f"{reply.outcome}; 400 was expected")
    if mapping(reply.error).get("code") != "context_length_exceeded":
        return differs(f"{reply.outcome}; the code is not context_length_exceeded")
    return conforms(reply.outcome)


def _error_shape(*replies: Reply) -> Judgement:
    refused = [reply for reply in replies if reply.status is not None and reply.status >= 400]
    if not refused:
        return not_judged("no error came")
    faults = [fault for reply in refused for fault in _faults_of(reply)]
    return without_faults(faults, f"{len(refused)} errors, each with message, type, param and code")


def _faults_of(reply: Reply) -> Iterator[str]:
    if reply.json is None:
        yield f"no JSON, but {reply.header('content-type') or 'no content type'}"
        return
    error = reply.error
    if not isinstance(error, dict):
        named = ", ".join(map(shown, list(mapping(reply.json))[:3])) or type(reply.json).__name__
        yield f"no error object, but {named}"
        return
    for name in ("message", "type", "param", "code"):
        value: Any = error.get(name)
        if name not in error:
            yield f"no {name}"
        elif not isinstance(value, str) and (value is not None or name == "message"):
            yield f"{name} is {'a number' if isinstance(value, int | float) else type(value).__name__}, not a text"


def _waits(replies: Sequence[Reply]) -> Judgement:
    limited = [each for reply in replies for each in (*reply.refused_before, reply) if each.status == 429]
    if not limited:
        return not_judged("no call was refused with 429")
    named = next((reply for reply in limited if reply.wait_s is not None), None)
    if named is None:
        return differs(f"{len(limited)} calls were refused with 429, none with a time to wait")
    came = f"{len(limited)} calls were refused with 429, to wait {named.wait_s:.3g} s"
    if not (named.header("retry-after") or named.header("retry-after-ms")):
        return differs(f"{came}: not in Retry-After, so the official client does not see it")
    return conforms(came)


def _passing(replies: Sequence[Reply]) -> Judgement:
    passed = [reply for reply in replies if reply.ok and reply.refused_before]
    if not passed:
        return conforms("none")
    words = dict.fromkeys(reply.refused_before[0].outcome for reply in passed)
    return differs(f"{len(passed)} calls failed once and not again: {'; '.join(words)}"[:300])


PROBES = (
    Probe("error_shape", SUBJECT, "the body of five different errors",
          "The official client reads message, type, param and code of the error object.", _ALL, _error_shape, True),
    Probe("wrong_key", SUBJECT, "a key that does not exist",
          "Code that handles a wrong key waits for AuthenticationError.", (WRONG_KEY,), _wrong_key, True),
    Probe("unknown_model", SUBJECT, "a model that does not exist",
          "A misspelled name must not be answered by another model.", (UNKNOWN_MODEL,), _unknown_model, True),
    Probe("unknown_role", SUBJECT, "a message with the role robot",
          "A misspelled role that is accepted reaches the model as something else.", (BAD_ROLE,), _refused, True),
    Probe("unknown_role_stream", SUBJECT, "the same, as a stream",
          "An error inside a stream of status 200 is not raised by every client.", (BAD_ROLE_STREAM,), _refused, True),
    Probe("broken_body", SUBJECT, "a body that is not JSON",
          "A request cut on its way must not be sent again for ever.", (BROKEN,), _refused, True),
    Probe("no_messages", SUBJECT, "an empty list of messages",
          "An empty conversation that is answered gives made-up text a score.", (EMPTY,), _refused, True),
    Probe("content_type", SUBJECT, "a message whose content is a number",
          "Data of a wrong type must not be turned into something else.", (BAD_CONTENT,), _refused, True),
    Probe("too_long", SUBJECT, "more tokens than the context window holds",
          "Silently shortened input is scored as if it were whole.", (TOO_LONG,), _too_long, True),
    Probe("rate_limit_wait", SUBJECT, "the time to wait, in answers with status 429",
          "Clients that do not know it wait too short, and fail, or too long.", (), _waits, over_all=True),
    Probe("passing_faults", SUBJECT, "calls that fail once and not again",
          "A run without retries loses as many turns.", (), _passing, over_all=True),
)  # fmt: skip
