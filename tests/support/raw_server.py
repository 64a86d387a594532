"""A server that does exactly what a test says, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint

BODY = b'{"model": "m", "messages": [], "stream": true}'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Request:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    raw_head: bytes


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """Calls ``handler`` for every request, or ``converse`` for every connection.

    A handler that closes its writer ends the connection.
    """

    handler: Handler | None = None
    tls: ssl.SSLContext | None = None
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    serving: dict[asyncio.Task, asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> RawServer:
        self.server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        for task, writer in self.serving.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving[asyncio.current_task()] = writer
        try:
            if self.converse is not None:
                await self.converse(reader, writer)
            while self.handler is not None and not writer.is_closing():
                request = await read_request(reader)
                if request is None:
                    break
                self.requests.append(request)
                await self.handler(request, writer)
                await writer.drain()
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass  # cancelled only when the server ends; the task must end well, or the loop logs it
        finally:
            del self.serving[asyncio.current_task()]
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in fields)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(line, headers, body, head)


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(content: str | None = None, **more: object) -> bytes:
    """One event of a stream, without its HTTP chunk."""
    delta = more.pop("delta", {"content": content} if content is not None else {})
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def answer(status: str, body: bytes = b"", content_type: str = "application/json", **headers: str) -> bytes:
    """A whole answer with a Content-Length."""
    fields = {"Content-Type": content_type, "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def completion(text: str = "35", **message: object) -> bytes:
    """The body of a whole answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def send(transport, *, stream=True, body=BODY, **more):
    now = time.perf_counter_ns()
    return transport.send(body, stream=stream, due=now, slot=now, **more)


@asynccontextmanager
async def serving(handler, *, tls=None, transport=None, **endpoint):
    """A raw server and a transport to it."""
    async with (
        RawServer(handler, tls) as server,
        Transport(Endpoint(server.url, "m", **endpoint), **(transport or {})) as client,
    ):
        yield server, client


def ask(run, handler, *, stream=True, times=1, tls=None, **endpoint):
    """Ask a handler's server a few times, one after the other; the attempts and the server."""

    async def go():
        async with serving(handler, tls=tls, **endpoint) as (server, transport):
            return [await send(transport, stream=stream) for _ in range(times)], server

    return run(go())


async def answers(request, writer):
    writer.write(answer("200 OK", completion()))


async def streams(request, writer):
    writer.write(STREAM_HEAD + chunk(event("3")) + chunk(event("5")) + chunk(event(finish_reason="stop")))
    writer.write(chunk(DONE) + LAST_CHUNK)


def writes(*pieces, close=False, pause=0.0):
    """A handler that writes these bytes, each in a read of its own if there is a pause."""

    async def handler(request, writer):
        for piece in pieces:
            writer.write(piece)
            if pause:
                await asyncio.sleep(pause)
        if close:
            writer.close()

    return handler
