"""Faults of the scripted server: each a small function from the reply as planned to what is sent instead.

A fault takes the reply, the request and its own options, and returns the changed reply; None: it does not concern
this request (a fault of streams, say, and a whole answer was asked for), and the next fault gets its turn.
``after`` counts tokens that are still sent; of a whole answer half the body is.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from itertools import chain, count, repeat
from typing import Any

import orjson

from evalkit.errors import SettingsError
from evalkit.scripted.http_messages import Piece, Reply, Request, html_reply
from evalkit.scripted.profile_openai import JSON, Refusal, error_reply
from evalkit.scripted.script import Fault, prompt_tokens

MOVED = "/moved"  # where a redirect on the same host leads; faults leave such requests alone

Applied = Callable[[Reply, Request], Reply | None]


# ---- the connection


def reset_before_headers(reply: Reply, request: Request) -> Reply:
    """The connection is reset without one byte."""
    return replace(reply, status=0, pieces=(), streamed=False, ending="reset")


def reset_after_headers(reply: Reply, request: Request) -> Reply:
    """The head comes, then a reset."""
    return replace(reply, pieces=(), length=_length(reply), ending="reset")


def reset_midway(reply: Reply, request: Request, after: int = 3) -> Reply:
    """Some tokens come, then a reset."""
    return _cut(reply, after, "reset")


def eof_midway(reply: Reply, request: Request, after: int = 3, clean: bool = False) -> Reply:
    """Some tokens come, then the connection ends; ``clean``: the HTTP message is ended as if it were whole."""
    return _cut(reply, after, "close" if clean else "eof")


def close_after(reply: Reply, request: Request) -> Reply:
    """A whole answer that promises to keep the connection, which is closed right after it."""
    return replace(reply, ending="close")


def close_on_reuse(reply: Reply, request: Request) -> Reply | None:
    """A connection that is used again is closed instead of answered."""
    return replace(reply, status=0, pieces=(), streamed=False, ending="eof") if request.reused else None


def refuse(reply: Reply, request: Request, seconds: float = 0.05) -> Reply:
    """The connection ends without one byte, and for some seconds new ones are refused, as when a server restarts."""
    return replace(reply, status=0, pieces=(), streamed=False, ending="eof", deaf_s=seconds)


# ---- other answers than the one asked for


def rate_limited(
    reply: Reply, request: Request, retry_after: float | None = None, form: str = "seconds", status: int = 429
) -> Reply:
    """429, with a wish to wait as ``_asking_to_wait`` says it."""
    refusal = Refusal(status, "Rate limit reached: too many requests.", "rate_limit_exceeded", kind="requests")
    return _asking_to_wait(error_reply(refusal, 0), retry_after, form)


def server_error(
    reply: Reply, request: Request, status: int = 500, retry_after: float | None = None, form: str = "seconds"
) -> Reply:
    """An error object with a status of 500 or more, with a wish to wait as ``_asking_to_wait`` says it."""
    refusal = Refusal(status, "The server had an error.", "server_error", kind="server_error")
    return _asking_to_wait(error_reply(refusal, 0), retry_after, form)


def html_error(reply: Reply, request: Request, status: int = 502, title: str = "Bad Gateway") -> Reply:
    """The error page of a proxy in front."""
    return html_reply(status, title)


def redirect(reply: Reply, request: Request, to: str | None = None, status: int = 307) -> Reply:
    """To the address ``to``; None: to another path of this server, where the answer is."""
    return Reply(status, {"location": to or MOVED + request.path})


def reject_stream_options(reply: Reply, request: Request) -> Reply | None:
    """400 for a request with ``stream_options``."""
    if not (reply.ask or {}).get("stream_options"):
        return None
    return error_reply(Refusal(400, "Unrecognized argument: stream_options.", "unknown_parameter", "stream_options"), 0)


def wrong_type(reply: Reply, request: Request, content_type: str = "text/plain") -> Reply:
    """The right body under another content type."""
    return replace(reply, headers={**reply.headers, "content-type": content_type})


def json_for_stream(reply: Reply, request: Request) -> Reply | None:
    """A whole answer although a stream was asked for."""
    if not reply.streamed:
        return None
    pieces = list(reply.pieces)
    text = "".join(_content(piece) for piece in pieces if piece.kind == "token")
    model = (reply.ask or {}).get("model")
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
    """An answer of ``size`` characters."""
    block = 65_536
    if not reply.streamed:
        return _edit_body(reply, lambda body: body["choices"][0]["message"].update(content="x" * size))
    before, tokens, after = _parts(reply)
    long = _edited(tokens[0], lambda event: event["choices"][0]["delta"].update(content="x" * block))
    at = tokens[-1].at
    return replace(reply, pieces=chain(before, repeat(long._replace(at=at), -(-size // block)), after))


# ---- what the text of an answer is like


def empty(reply: Reply, request: Request) -> Reply:
    """A stream of nothing but ``[DONE]``; a whole answer with an empty text, no finish reason and no counts."""

    def drain(body: Any) -> None:
        body["choices"][0]["message"].update(content="")
        body["choices"][0]["finish_reason"] = body["usage"] = None

    if not reply.streamed:
        return _edit_body(reply, drain)
    return replace(reply, pieces=[piece for piece in reply.pieces if piece.kind == "done"], tokens=0)


def nothing_to_say(reply: Reply, request: Request) -> Reply:
    """The model ends its answer itself before any text: a finish reason, and one token counted."""

    def end(body: Any) -> None:
        for choice in body["choices"]:
            if "message" in choice:
                choice["message"].update(content="")
        if body.get("usage"):
            body["usage"] = _usage(reply, 1)

    if not reply.streamed:
        return _edit_body(reply, end)
    pieces = [piece for piece in reply.pieces if piece.kind != "token"]
    return replace(reply, pieces=[_edited(piece, end) if piece.kind != "done" else piece for piece in pieces], tokens=0)


def broken_json(reply: Reply, request: Request, after: int = 1) -> Reply:
    """One event, or the body, stops in the middle of its JSON; all around it is in order."""
    return _change_token(reply, after, lambda data: data[: len(data) // 2] + (b"\n\n" if reply.streamed else b""))


def cut_utf8(reply: Reply, request: Request, after: int = 1) -> Reply:
    """One text begins with two of the three bytes of a character."""
    return _change_token(reply, after, lambda data: re.sub(rb'("content": ?")', b"\\1\xe2\x82", data, count=1))


def error_event(reply: Reply, request: Request, after: int = 0) -> Reply | None:
    """After some tokens an error object, under status 200, ends the stream."""
    if not reply.streamed:
        return None
    error = {"message": "The model is overloaded.", "type": "server_error", "param": None, "code": "overloaded"}
    pieces = _until(reply, after)
    at = _parts(reply)[1][0].at if not pieces else pieces[-1].at
    return replace(reply, pieces=[*pieces, Piece(at, "other", _event({"error": error}))])


def no_done(reply: Reply, request: Request, finish: bool = True) -> Reply | None:
    """No ``[DONE]``; with ``finish`` false no finish reason either."""
    gone = ("done",) if finish else ("done", "finish")
    return _filtered(reply, lambda piece: piece.kind not in gone)


def early_role(reply: Reply, request: Request) -> Reply | None:
    """Head and role-only event come at once, the text when it is due."""
    if not any(piece.kind == "role" for piece in reply.pieces):
        return None
    pieces = [piece._replace(at=0) if piece.kind == "role" else piece for piece in reply.pieces]
    return replace(reply, pieces=pieces, head_at=0)


def blank_chunks(reply: Reply, request: Request) -> Reply | None:
    """Before the text, at once: events without a choice, a delta or a text."""
    if not reply.streamed:
        return None
    before, tokens, after = _parts(reply)

    def blank(choices: Any) -> Piece:
        return _edited(tokens[0], lambda event: event.update(choices=choices))._replace(at=0, kind="other")

    kinds = [
        blank([]),
        blank(None),
        blank([{"index": 0, "delta": None}]),
        blank([{"index": 0, "delta": {"content": ""}}]),
    ]
    return replace(reply, pieces=[*kinds, *before, *tokens, *after], head_at=0)


def reasoning(reply: Reply, request: Request, tokens: int = 5, field: str = "reasoning_content") -> Reply:
    """Reasoning before the text, in ``reasoning_content``, ``reasoning`` or, the same text in both, ``both``."""
    names = ("reasoning_content", "reasoning") if field == "both" else (field,)
    thoughts = [f"think{i} " for i in range(tokens)]
    if not reply.streamed:
        whole = dict.fromkeys(names, "".join(thoughts))
        return _edit_body(reply, lambda body: body["choices"][0]["message"].update(whole))
    before, text, after = _parts(reply)
    step = text[1].at - text[0].at if len(text) > 1 else 0

    def think(i: int, thought: str) -> Piece:
        delta = dict.fromkeys(names, thought)
        return _edited(text[0], lambda event: event["choices"][0].update(delta=delta))._replace(
            at=text[0].at + i * step
        )

    later = [_later(piece, tokens * step) for piece in (*text, *after)]
    counted = [_count_reasoning(piece, tokens) if piece.kind == "usage" else piece for piece in later]
    pieces = [*before, *[think(i, thought) for i, thought in enumerate(thoughts)], *counted]
    return replace(reply, pieces=pieces, tokens=reply.tokens + tokens)


def cumulative_usage(reply: Reply, request: Request) -> Reply | None:
    """A usage in every event, of the tokens so far."""
    if not reply.streamed:
        return None
    before, tokens, after = _parts(reply)
    told = [
        _edited(piece, lambda event, i=i: event.update(usage=_usage(reply, i + 1)))  # type: ignore[misc]
        for i, piece in enumerate(tokens)
    ]
    return replace(reply, pieces=[*before, *told, *[piece for piece in after if piece.kind != "usage"]])


def group_tokens(reply: Reply, request: Request, size: int = 4) -> Reply | None:
    """Several tokens in one event, due with the last of them."""
    if not reply.streamed:
        return None
    before, tokens, after = _parts(reply)
    groups = [tokens[i : i + size] for i in range(0, len(tokens), size)]

    def together(group: Sequence[Piece]) -> Piece:
        text = "".join(map(_content, group))
        return _edited(group[-1], lambda event: event["choices"][0]["delta"].update(content=text))

    return replace(reply, pieces=[*before, *map(together, groups), *after])


# ---- when the bytes come


def silence(
    reply: Reply, request: Request, after: int = 0, seconds: float | None = None, headers: bool = True
) -> Reply:
    """Nothing comes for some seconds (None: for ever); ``headers`` false: not even a head, if ``after`` is 0."""
    before = _until(reply, after) if reply.streamed else []
    head_at = 0 if reply.streamed and headers else None
    if seconds is None:
        status = reply.status if before or head_at == 0 else 0
        return replace(reply, status=status, pieces=before, head_at=head_at, ending="hang", streamed=status > 0)
    rest = list(reply.pieces)[len(before) :]
    return replace(reply, pieces=[*before, *[_later(piece, seconds * 1e9) for piece in rest]], head_at=head_at)


def comments_only(reply: Reply, request: Request, every_ms: float = 50, seconds: float | None = None) -> Reply | None:
    """Keep-alive comments before the first token, for some seconds (None: for ever)."""
    if not reply.streamed:
        return None
    times = (
        count(0, round(every_ms * 1e6)) if seconds is None else range(0, round(seconds * 1e9), round(every_ms * 1e6))
    )
    comments = (Piece(at, "other", b": keep-alive\n\n") for at in times)
    rest = [] if seconds is None else [_later(piece, seconds * 1e9) for piece in reply.pieces]
    return replace(reply, pieces=chain(comments, rest), head_at=0)


def endless(reply: Reply, request: Request, itl_ms: float = 1.0) -> Reply | None:
    """The last token comes again and again."""
    if not reply.streamed:
        return None
    before, tokens, _ = _parts(reply)
    again = (_later(tokens[-1], i * itl_ms * 1e6) for i in count(1))
    return replace(reply, pieces=chain(before, tokens, again))


def slow_headers(reply: Reply, request: Request, byte_ms: float = 5.0) -> Reply:
    """The head comes byte by byte."""
    step, head = byte_ms * 1e6, reply.head()
    letters = [Piece(round(i * step), "other", head[i : i + 1], raw=True) for i in range(len(head))]
    rest = [_later(piece, len(head) * step) for piece in reply.pieces]
    return replace(reply, pieces=[*letters, *rest], bare=True)


def buffered(reply: Reply, request: Request) -> Reply | None:
    """The whole stream is held back and sent in one write, when its last token is due."""
    return batch_writes(reply, request, size=len(list(reply.pieces)))


def batch_writes(reply: Reply, request: Request, size: int = 4) -> Reply | None:
    """Several events in one write, due with the last of them."""
    if not reply.streamed:
        return None
    pieces = list(reply.pieces)
    groups = [pieces[i : i + size] for i in range(0, len(pieces), size)]

    def together(group: Sequence[Piece]) -> Piece:
        kind = "token" if any(piece.kind == "token" for piece in group) else "other"
        return Piece(group[-1].at, kind, b"".join(map(reply.wire, group)), raw=True)

    return replace(reply, pieces=list(map(together, groups)))


def split_writes(reply: Reply, request: Request, size: int = 7, gap_ms: float = 0.1) -> Reply:
    """Writes of a few bytes each, so that reads end in the middle of lines and characters."""
    return replace(reply, pieces=list(_split(reply, size, round(gap_ms * 1e6))), length=_length(reply))


def _split(reply: Reply, size: int, gap: int) -> Iterator[Piece]:
    late = 0
    for piece in reply.pieces:
        wire = reply.wire(piece)
        for i in range(0, len(wire), size):
            late = max(late + gap, piece.at)
            kind = piece.kind if i + size >= len(wire) else "other"
            yield Piece(late, kind, wire[i : i + size], raw=True)


FAULTS: dict[str, Callable[..., Reply | None]] = {
    fault.__name__: fault
    for fault in (
        reset_before_headers, reset_after_headers, reset_midway, eof_midway, close_after, close_on_reuse, refuse,
        rate_limited, server_error, html_error, redirect, reject_stream_options, wrong_type, json_for_stream, huge,
        empty, nothing_to_say, broken_json, cut_utf8, error_event, no_done, early_role, blank_chunks, reasoning,
        cumulative_usage, group_tokens, silence, comments_only, endless, slow_headers, buffered, batch_writes,
        split_writes,
    )
}  # fmt: skip


def bind(faults: Sequence[Fault], own: Mapping[str, Callable[..., Reply | None]]) -> list[tuple[Fault, Applied]]:
    """Pair each fault with its function, options filled in.

    Parameters
    ----------
    faults : sequence of Fault
    own : mapping
        Faults that only the profile in use has.

    Raises
    ------
    SettingsError
        An unknown kind, or an option it does not have.
    """
    known = {**FAULTS, **own}
    return [(fault, _bound(fault, known)) for fault in faults]


def _bound(fault: Fault, known: Mapping[str, Callable[..., Reply | None]]) -> Applied:
    function = known.get(fault.kind)
    if function is None:
        raise SettingsError(f"the fault {fault.kind!r} is not known here: use one of {', '.join(sorted(known))}")
    names = list(inspect.signature(function).parameters)[2:]
    if unknown := fault.options.keys() - set(names):
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise SettingsError(f"the fault {fault.kind!r} has no option {', '.join(sorted(unknown))}: {has}")
    return lambda reply, request: function(reply, request, **fault.options)


# ---- taking replies apart


def _parts(reply: Reply) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """The pieces before the first token, the tokens, and the pieces after the last."""
    pieces = list(reply.pieces)
    places = [i for i, piece in enumerate(pieces) if piece.kind == "token"]
    if not places:
        return pieces, [], []
    return pieces[: places[0]], pieces[places[0] : places[-1] + 1], pieces[places[-1] + 1 :]


def _asking_to_wait(refused: Reply, seconds: float | None, form: str) -> Reply:
    """Retry-After as ``seconds`` or as an HTTP ``date``, ``retry-after-ms`` (``ms``), or the reset of a ``limit``."""
    if seconds is not None:
        refused.headers |= {
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
    return refused


def _until(reply: Reply, after: int) -> list[Piece]:
    """The pieces up to and with the token number ``after``; 0: none."""
    before, tokens, _ = _parts(reply)
    return [*before, *tokens[:after]] if after else []


def _length(reply: Reply) -> int | None:
    return None if reply.streamed else sum(len(piece.data) for piece in reply.pieces)


def _cut(reply: Reply, after: int, ending: str) -> Reply:
    if reply.streamed:
        return replace(reply, pieces=_until(reply, after), ending=ending)
    (body,) = reply.pieces
    half = body._replace(kind="other", data=body.data[: len(body.data) // 2])
    return replace(reply, pieces=[half], length=_length(reply), ending=ending)


def _later(piece: Piece, by_ns: float) -> Piece:
    return piece._replace(at=piece.at + round(by_ns))


def _filtered(reply: Reply, keep: Callable[[Piece], bool]) -> Reply | None:
    return replace(reply, pieces=list(filter(keep, reply.pieces))) if reply.streamed else None


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _read(piece: Piece) -> Any:
    return orjson.loads(piece.data.removeprefix(b"data: "))


def _content(piece: Piece) -> str:
    return str(_read(piece)["choices"][0]["delta"].get("content") or "")


def _edited(piece: Piece, change: Callable[[Any], None]) -> Piece:
    """The event with its JSON changed in place."""
    body = _read(piece)
    change(body)
    return piece._replace(data=_event(body))


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
    told = prompt_tokens((reply.ask or {}).get("messages", ()))
    return {"prompt_tokens": told, "completion_tokens": tokens, "total_tokens": told + tokens}


def _count_reasoning(piece: Piece, tokens: int) -> Piece:
    def change(event: Any) -> None:
        usage = event["usage"]
        usage["completion_tokens"] += tokens
        usage["total_tokens"] += tokens
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens}

    return _edited(piece, change)
