"""The parts of a planned reply, and copies with an event changed or delayed; the faults are built from these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from evalkit.scripted.http_messages import Piece, Reply


def parts(reply: Reply) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """The pieces before the first token, the tokens, and the pieces after the last."""
    pieces = list(reply.pieces)
    places = [i for i, piece in enumerate(pieces) if piece.kind == "token"]
    if not places:
        return pieces, [], []
    return pieces[: places[0]], pieces[places[0] : places[-1] + 1], pieces[places[-1] + 1 :]


def up_to_token(reply: Reply, after: int) -> list[Piece]:
    """The pieces up to and including token number ``after``; 0: none."""
    before, tokens, _ = parts(reply)
    return [*before, *tokens[:after]] if after else []


def body_length(reply: Reply) -> int | None:
    """Bytes of a whole body; None: the reply is streamed."""
    return None if reply.streamed else sum(len(piece.data) for piece in reply.pieces)


def delayed(piece: Piece, by_ns: float) -> Piece:
    """The piece, due later."""
    return piece._replace(at=piece.at + round(by_ns))


def event(body: Mapping[str, Any]) -> bytes:
    """A server-sent event with a JSON object."""
    return b"data: " + orjson.dumps(body) + b"\n\n"


def read_event(piece: Piece) -> Any:
    """The JSON value in a server-sent event."""
    return orjson.loads(piece.data.removeprefix(b"data: "))


def content_of(piece: Piece) -> str:
    """The text in a token's event; empty when it has none."""
    return str(read_event(piece)["choices"][0]["delta"].get("content") or "")


def edited_event(piece: Piece, change: Callable[[Any], None]) -> Piece:
    """The event after ``change`` has modified its JSON value in place."""
    body = read_event(piece)
    change(body)
    return piece._replace(data=event(body))
