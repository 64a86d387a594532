"""An endpoint on raw sockets in a thread, whose answers a test writes down, for whole runs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from raw_server import DONE, LAST_CHUNK, RawServer, Request, answer, chunk


@contextmanager
def answering(reply: Callable[[dict[str, Any], int], bytes]) -> Iterator[str]:
    """The base URL of a server that gives ``reply`` each request, and which one it is, from 0."""
    loop, begun, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    place: list[str] = []

    async def serve() -> None:
        async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
            writer.write(reply(json.loads(request.body), len(server.requests) - 1))

        async with RawServer(handle) as server:
            place.append(server.url)
            begun.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    begun.wait()
    try:
        yield place[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def whole(
    text: str = "35", *, usage: dict[str, Any] | None = None, finish: str | None = "stop",
    headers: dict[str, str] | None = None, message: dict[str, Any] | None = None, **more: Any,
) -> bytes:  # fmt: skip
    """A whole answer."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **(message or {})}}
    return answer("200 OK", json.dumps({"choices": [choice], "usage": usage, **more}).encode(), **(headers or {}))


def stream(
    pieces: Sequence[str] = ("35",), *, usage: dict[str, Any] | None = None, finish: str | None = "stop",
    headers: dict[str, str] | None = None, field: str = "content", **more: Any,
) -> bytes:  # fmt: skip
    """An answer as a stream, an event for each piece; all events have ``more``."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{lines}\r\n"
    choices = [{"index": 0, "delta": {field: piece}, "finish_reason": None} for piece in pieces]
    if finish is not None:
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    events = [{"choices": [choice], **more} for choice in choices]
    if usage is not None:
        events.append({"choices": [], "usage": usage, **more})
    sent = b"".join(chunk(b"data: " + json.dumps(event).encode() + b"\n\n") for event in events)
    return head.encode() + sent + chunk(DONE) + LAST_CHUNK


def rows(path: Any, count: int, **more: Any) -> Any:
    """A dataset of so many conversations of one turn."""
    lines = (
        json.dumps({"id": f"c{n}", "turns": [{"user": f"question {n}", "target": 35}], **more}) for n in range(count)
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
