"""Faults of the answer: error statuses, redirects, other forms of answer, and faults in the text and its events.

``faults`` describes what a fault accepts and returns.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from itertools import chain, repeat
from typing import Any

import orjson

from evalkit.scripted.http_messages import Piece, Reply, Request, html_reply
from evalkit.scripted.profile_openai import JSON, ApiError, error_reply
from evalkit.scripted.reply_parts import content_of, delayed, edited_event, event, parts, up_to_token
from evalkit.scripted.script import prompt_tokens

MOVED = "/moved"  # target of a redirect on the same host; no fault is applied to such requests


# ---- another answer than the planned one


def rate_limited(
    reply: Reply, request: Request, retry_after: float | None = None, form: str = "seconds", status: int = 429
) -> Reply:
    """Answer 429, with the time to wait as ``_with_retry_after`` writes it."""
    error = ApiError(status, "Rate limit reached: too many requests.", "rate_limit_exceeded", kind="requests")
    return _with_retry_after(error_reply(error, 0), retry_after, form)


def server_error(
    reply: Reply, request: Request, status: int = 500, retry_after: float | None = None, form: str = "seconds"
) -> Reply:
    """Answer with a status of 500 or more and an error object, with a wait as in ``_with_retry_after``."""
    error = ApiError(status, "The server had an error.", "server_error", kind="server_error")
    return _with_retry_after(error_reply(error, 0), retry_after, form)


def html_error(reply: Reply, request: Request, status: int = 502, title: str = "Bad Gateway") -> Reply:
    """Answer with the error page of a proxy in front of the endpoint."""
    return html_reply(status, title)


def redirect(reply: Reply, request: Request, to: str | None = None, status: int = 307) -> Reply:
    """Redirect to the address ``to``; None: to another path of this server, which answers."""
    return Reply(status, {"location": to or MOVED + request.path})


def reject_stream_options(reply: Reply, request: Request) -> Reply | None:
    """Answer 400 to a request with ``stream_options``."""
    if not (reply.request_json or {}).get("stream_options"):
        return None
    return error_reply(
        ApiError(400, "Unrecognized argument: stream_options.", "unknown_parameter", "stream_options"), 0
    )


def wrong_type(reply: Reply, request: Request, content_type: str = "text/plain") -> Reply:
    """Send the planned body with another content type."""
    return replace(reply, headers={**reply.headers, "content-type": content_type})


def json_for_stream(reply: Reply, request: Request) -> Reply | None:
    """Send a whole answer although a stream was requested."""
    if not reply.streamed:
        return None
    pieces = list(reply.pieces)
    text = "".join(content_of(piece) for piece in pieces if piece.kind == "token")
    model = (reply.request_json or {}).get("model")
    message = {"role": "assistant", "content": text}
    body = {
        "id": reply.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(reply, reply.tokens),
    }
    planned = Piece(pieces[-1].at, "body", orjson.dumps(body))
    return replace(reply, headers={**reply.headers, "content-type": JSON}, pieces=[planned], streamed=False)


def huge(reply: Reply, request: Request, size: int = 50_000_000) -> Reply:
    """Send an answer of ``size`` characters."""
    block = 65_536
    if not reply.streamed:
        return _edit_body(reply, lambda body: body["choices"][0]["message"].update(content="x" * size))
    before, tokens, after = parts(reply)
    long = edited_event(tokens[0], lambda event: event["choices"][0]["delta"].update(content="x" * block))
    at = tokens[-1].at
    return replace(reply, pieces=chain(before, repeat(long._replace(at=at), -(-size // block)), after))


# ---- the text of an answer and its events


def empty(reply: Reply, request: Request) -> Reply:
    """Send only ``[DONE]``; of a whole answer an empty text, without finish reason and token counts."""

    def drain(body: Any) -> None:
        body["choices"][0]["message"].update(content="")
        body["choices"][0]["finish_reason"] = body["usage"] = None

    if not reply.streamed:
        return _edit_body(reply, drain)
    return replace(reply, pieces=[piece for piece in reply.pieces if piece.kind == "done"], tokens=0)


def nothing_to_say(reply: Reply, request: Request) -> Reply:
    """End the answer before any text, as a model may: with a finish reason and one token counted."""

    def end(body: Any) -> None:
        for choice in body["choices"]:
            if "message" in choice:
                choice["message"].update(content="")
        if body.get("usage"):
            body["usage"] = _usage(reply, 1)

    if not reply.streamed:
        return _edit_body(reply, end)
    pieces = [piece for piece in reply.pieces if piece.kind != "token"]
    return replace(
        reply, pieces=[edited_event(piece, end) if piece.kind != "done" else piece for piece in pieces], tokens=0
    )


def broken_json(reply: Reply, request: Request, after: int = 1) -> Reply:
    """Cut one event, or the body, in the middle of its JSON; the rest is valid."""
    return _change_token(reply, after, lambda data: data[: len(data) // 2] + (b"\n\n" if reply.streamed else b""))


def cut_utf8(reply: Reply, request: Request, after: int = 1) -> Reply:
    """Begin one text with two of the three bytes of a character."""
    return _change_token(reply, after, lambda data: re.sub(rb'("content": ?")', b"\\1\xe2\x82", data, count=1))


def error_event(reply: Reply, request: Request, after: int = 0) -> Reply | None:
    """End a stream of status 200 with an error object after some tokens."""
    if not reply.streamed:
        return None
    error = {"message": "The model is overloaded.", "type": "server_error", "param": None, "code": "overloaded"}
    pieces = up_to_token(reply, after)
    at = parts(reply)[1][0].at if not pieces else pieces[-1].at
    return replace(reply, pieces=[*pieces, Piece(at, "other", event({"error": error}))])


def aborted(reply: Reply, request: Request, after: int = 0, reason: str = "abort") -> Reply:
    """End an answer of status 200 after some tokens (a whole answer: after all) with the finish reason of a failure."""

    def abort(body: Any) -> None:
        for choice in body["choices"]:
            if choice.get("finish_reason"):
                choice["finish_reason"] = reason

    if not reply.streamed:
        return _edit_body(reply, abort)
    kept = {id(piece) for piece in up_to_token(reply, after)}
    pieces = [piece for piece in reply.pieces if piece.kind != "token" or id(piece) in kept]
    ended = [edited_event(piece, abort) if piece.kind == "finish" else piece for piece in pieces]
    return replace(reply, pieces=ended, tokens=after)


def no_done(reply: Reply, request: Request, finish: bool = True) -> Reply | None:
    """Leave out ``[DONE]``; with ``finish`` false the finish reason too."""
    left_out = ("done",) if finish else ("done", "finish")
    return _filtered(reply, lambda piece: piece.kind not in left_out)


def early_role(reply: Reply, request: Request) -> Reply | None:
    """Send the head and the role-only event immediately, the text when it is due."""
    if not any(piece.kind == "role" for piece in reply.pieces):
        return None
    pieces = [piece._replace(at=0) if piece.kind == "role" else piece for piece in reply.pieces]
    return replace(reply, pieces=pieces, head_at=0)


def blank_chunks(reply: Reply, request: Request) -> Reply | None:
    """Send events without a choice, a delta or a text immediately, before the text."""
    if not reply.streamed:
        return None
    before, tokens, after = parts(reply)

    def blank(choices: Any) -> Piece:
        return edited_event(tokens[0], lambda event: event.update(choices=choices))._replace(at=0, kind="other")

    kinds = [
        blank([]),
        blank(None),
        blank([{"index": 0, "delta": None}]),
        blank([{"index": 0, "delta": {"content": ""}}]),
    ]
    return replace(reply, pieces=[*kinds, *before, *tokens, *after], head_at=0)


def reasoning(reply: Reply, request: Request, tokens: int = 5, field: str = "reasoning_content") -> Reply:
    """Send reasoning before the text, in ``reasoning_content``, in ``reasoning`` or, the same text, in ``both``."""
    names = ("reasoning_content", "reasoning") if field == "both" else (field,)
    thoughts = [f"think{i} " for i in range(tokens)]
    if not reply.streamed:
        whole = dict.fromkeys(names, "".join(thoughts))
        return _edit_body(reply, lambda body: body["choices"][0]["message"].update(whole))
    before, text, after = parts(reply)
    step = text[1].at - text[0].at if len(text) > 1 else 0

    def think(i: int, thought: str) -> Piece:
        delta = dict.fromkeys(names, thought)
        return edited_event(text[0], lambda event: event["choices"][0].update(delta=delta))._replace(
            at=text[0].at + i * step
        )

    rest = [delayed(piece, tokens * step) for piece in (*text, *after)]
    counted = [_count_reasoning(piece, tokens) if piece.kind == "usage" else piece for piece in rest]
    pieces = [*before, *[think(i, thought) for i, thought in enumerate(thoughts)], *counted]
    return replace(reply, pieces=pieces, tokens=reply.tokens + tokens)


def cumulative_usage(reply: Reply, request: Request) -> Reply | None:
    """Report the usage so far in every event."""
    if not reply.streamed:
        return None
    before, tokens, after = parts(reply)
    counted = [
        edited_event(piece, lambda event, i=i: event.update(usage=_usage(reply, i + 1)))  # type: ignore[misc]
        for i, piece in enumerate(tokens)
    ]
    return replace(reply, pieces=[*before, *counted, *[piece for piece in after if piece.kind != "usage"]])


def group_tokens(reply: Reply, request: Request, size: int = 4) -> Reply | None:
    """Send several tokens in one event when the last of them is due."""
    if not reply.streamed:
        return None
    before, tokens, after = parts(reply)
    groups = [tokens[i : i + size] for i in range(0, len(tokens), size)]

    def merged(group: Sequence[Piece]) -> Piece:
        text = "".join(map(content_of, group))
        return edited_event(group[-1], lambda event: event["choices"][0]["delta"].update(content=text))

    return replace(reply, pieces=[*before, *map(merged, groups), *after])


def _with_retry_after(reply: Reply, seconds: float | None, form: str) -> Reply:
    """Add Retry-After in ``seconds`` or as HTTP ``date``, ``retry-after-ms`` (``ms``), or the reset of a ``limit``."""
    if seconds is not None:
        reply.headers |= {
            "seconds": {"retry-after": f"{seconds:g}"},
            "date": {"retry-after": formatdate(time.time() + seconds, usegmt=True)},
            "ms": {"retry-after-ms": f"{seconds * 1000:g}"},
            "limit": {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": f"{seconds * 1000:g}ms",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "1000",
            },
        }[form]
    return reply


def _filtered(reply: Reply, keep: Callable[[Piece], bool]) -> Reply | None:
    return replace(reply, pieces=list(filter(keep, reply.pieces))) if reply.streamed else None


def _edit_body(reply: Reply, change: Callable[[Any], None]) -> Reply:
    (piece,) = reply.pieces
    body = orjson.loads(piece.data)
    change(body)
    return replace(reply, pieces=[piece._replace(data=orjson.dumps(body))])


def _change_token(reply: Reply, after: int, change: Callable[[bytes], bytes]) -> Reply:
    """Change the bytes of the token that follows the first ``after``, or of the whole body."""
    pieces = list(reply.pieces)
    places = [i for i, piece in enumerate(pieces) if piece.kind in ("token", "body")]
    place = places[min(after, len(places) - 1)]
    pieces[place] = pieces[place]._replace(data=change(pieces[place].data))
    return replace(reply, pieces=pieces)


def _usage(reply: Reply, tokens: int) -> dict[str, int]:
    prompt = prompt_tokens((reply.request_json or {}).get("messages", ()))
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


def _count_reasoning(piece: Piece, tokens: int) -> Piece:
    def change(event: Any) -> None:
        usage = event["usage"]
        usage["completion_tokens"] += tokens
        usage["total_tokens"] += tokens
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens}

    return edited_event(piece, change)
