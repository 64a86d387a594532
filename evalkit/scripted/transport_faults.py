"""Faults of the connection, and of when bytes are sent; the content of the answer is unchanged.

``faults`` describes what a fault accepts and returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, count

from evalkit.scripted.http_messages import Piece, Reply, Request
from evalkit.scripted.reply_parts import body_length, delayed, parts, up_to_token

# ---- the connection


def reset_before_headers(reply: Reply, request: Request) -> Reply:
    """Reset the connection before any byte is sent."""
    return replace(reply, status=0, pieces=(), streamed=False, ending="reset")


def reset_after_headers(reply: Reply, request: Request) -> Reply:
    """Send the head, then reset the connection."""
    return replace(reply, pieces=(), length=body_length(reply), ending="reset")


def reset_midway(reply: Reply, request: Request, after: int = 3) -> Reply:
    """Send some tokens, then reset the connection."""
    return _cut(reply, after, "reset")


def eof_midway(reply: Reply, request: Request, after: int = 3, clean: bool = False) -> Reply:
    """Send some tokens, then close the connection; ``clean``: end the HTTP message as if it were complete."""
    return _cut(reply, after, "close" if clean else "eof")


def close_after(reply: Reply, request: Request) -> Reply:
    """Close the connection after a complete answer whose head promises to keep it open."""
    return replace(reply, ending="close")


def close_on_reuse(reply: Reply, request: Request) -> Reply | None:
    """Close a connection that is used again, without an answer."""
    return replace(reply, status=0, pieces=(), streamed=False, ending="eof") if request.reused else None


def refuse(reply: Reply, request: Request, seconds: float = 0.05) -> Reply:
    """Close the connection before any byte is sent and refuse new ones for some seconds, like a restarting server."""
    return replace(reply, status=0, pieces=(), streamed=False, ending="eof", refuse_s=seconds)


# ---- when bytes are sent


def silence(
    reply: Reply, request: Request, after: int = 0, seconds: float | None = None, headers: bool = True
) -> Reply:
    """Send nothing for some seconds (None: forever); ``headers`` false and ``after`` 0: no head either."""
    before = up_to_token(reply, after) if reply.streamed else []
    head_at = 0 if reply.streamed and headers else None
    if seconds is None:
        status = reply.status if before or head_at == 0 else 0
        return replace(reply, status=status, pieces=before, head_at=head_at, ending="hang", streamed=status > 0)
    rest = list(reply.pieces)[len(before) :]
    return replace(reply, pieces=[*before, *[delayed(piece, seconds * 1e9) for piece in rest]], head_at=head_at)


def left_open(reply: Reply, request: Request) -> Reply | None:
    """Send all of a stream but ``[DONE]``, and leave stream and connection open."""
    if not reply.streamed:
        return None
    return replace(reply, pieces=[piece for piece in reply.pieces if piece.kind != "done"], ending="hang")


def comments_only(reply: Reply, request: Request, every_ms: float = 50, seconds: float | None = None) -> Reply | None:
    """Send keep-alive comments before the first token, for some seconds (None: forever)."""
    if not reply.streamed:
        return None
    times = (
        count(0, round(every_ms * 1e6)) if seconds is None else range(0, round(seconds * 1e9), round(every_ms * 1e6))
    )
    comments = (Piece(at, "other", b": keep-alive\n\n") for at in times)
    rest = [] if seconds is None else [delayed(piece, seconds * 1e9) for piece in reply.pieces]
    return replace(reply, pieces=chain(comments, rest), head_at=0)


def endless(reply: Reply, request: Request, itl_ms: float = 1.0) -> Reply | None:
    """Repeat the last token without end."""
    if not reply.streamed:
        return None
    before, tokens, _ = parts(reply)
    repeated = (delayed(tokens[-1], i * itl_ms * 1e6) for i in count(1))
    return replace(reply, pieces=chain(before, tokens, repeated))


def slow_headers(reply: Reply, request: Request, byte_ms: float = 5.0) -> Reply:
    """Send the head byte by byte."""
    step, head = byte_ms * 1e6, reply.head()
    head_bytes = [Piece(round(i * step), "other", head[i : i + 1], raw=True) for i in range(len(head))]
    rest = [delayed(piece, len(head) * step) for piece in reply.pieces]
    return replace(reply, pieces=[*head_bytes, *rest], bare=True)


def buffered(reply: Reply, request: Request) -> Reply | None:
    """Send the whole stream in one write when its last token is due."""
    return batch_writes(reply, request, size=len(list(reply.pieces)))


def batch_writes(reply: Reply, request: Request, size: int = 4) -> Reply | None:
    """Send several events in one write when the last of them is due."""
    if not reply.streamed:
        return None
    pieces = list(reply.pieces)
    groups = [pieces[i : i + size] for i in range(0, len(pieces), size)]

    def merged(group: Sequence[Piece]) -> Piece:
        kind = "token" if any(piece.kind == "token" for piece in group) else "other"
        return Piece(group[-1].at, kind, b"".join(map(reply.wire, group)), raw=True)

    return replace(reply, pieces=list(map(merged, groups)))


def split_writes(reply: Reply, request: Request, size: int = 7, gap_ms: float = 0.1) -> Reply:
    """Write a few bytes at a time, so that reads end in the middle of lines and characters."""
    return replace(reply, pieces=list(_split(reply, size, round(gap_ms * 1e6))), length=body_length(reply))


def _split(reply: Reply, size: int, gap: int) -> Iterator[Piece]:
    late = 0
    for piece in reply.pieces:
        wire = reply.wire(piece)
        for i in range(0, len(wire), size):
            late = max(late + gap, piece.at)
            kind = piece.kind if i + size >= len(wire) else "other"
            yield Piece(late, kind, wire[i : i + size], raw=True)


def _cut(reply: Reply, after: int, ending: str) -> Reply:
    if reply.streamed:
        return replace(reply, pieces=up_to_token(reply, after), ending=ending)
    (body,) = reply.pieces
    half = body._replace(kind="other", data=body.data[: len(body.data) // 2])
    return replace(reply, pieces=[half], length=body_length(reply), ending=ending)
