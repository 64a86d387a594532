"""A chat-completion server that keeps a schedule and reports it: the truth that a client's stamps are compared with.

The model's name is the schedule: ``ttft=50,itl=10,tokens=20`` (milliseconds; separated by commas or semicolons). With
``slots=1`` one request is served at a time and the others wait, first come, first served. The first piece of text of a
stream holds two readings of the system-wide monotonic clock, ``r<request received>w<first token written>``, and the
last one ``l<last token written>``, so that the error of every single request can be computed. Written on a raw asyncio
protocol; shares nothing with ``evalkit``.

``GET /stats`` returns what the server has seen since ``GET /stats?reset``: requests, those answered to the last byte,
those whose client went away first, those in flight now and at most, connections, and when the first and the last
request came.

    python known_schedule.py          prints its port, serves on loopback until its standard input is closed
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import deque
from typing import ClassVar

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
STAMP = 20  # characters of a clock reading, always, so that nothing is encoded between stamp and write


class Counts:
    """What the server has seen; a plain object, since counting in class attributes would slow every method call."""

    __slots__ = (
        "abandoned",
        "completed",
        "connections",
        "first_ns",
        "in_flight",
        "last_ns",
        "most_in_flight",
        "requests",
    )

    def __init__(self, in_flight: int = 0) -> None:
        self.requests = self.completed = self.abandoned = self.connections = self.first_ns = self.last_ns = 0
        self.in_flight = self.most_in_flight = in_flight

    def to_json(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


class Schedule:
    """What a model's name asks for, with every byte of it made beforehand."""

    def __init__(self, model: str, include_usage: bool) -> None:
        wanted = {name: float(value) for name, value in (part.split("=") for part in re.split("[,;]", model))}
        self.ttft, self.itl, tokens = wanted["ttft"] / 1e3, wanted["itl"] / 1e3, int(wanted["tokens"])
        self.total = self.ttft + self.itl * (tokens - 1)
        self.free = int(wanted["slots"]) if "slots" in wanted else None
        self.waiting: deque[tuple] = deque()
        first = chunk({"role": "assistant", "content": ""}) + chunk({"content": f"r{'R' * STAMP}w{'W' * STAMP} "})
        self.before, rest = (HEAD + first).split(b"R" * STAMP)
        self.between, self.after = rest.split(b"W" * STAMP)
        last = [chunk({"content": f"l{'L' * STAMP} "})] if tokens > 1 else []
        self.tokens = [chunk({"content": f"tok{number} "}) for number in range(1, tokens - 1)] + last
        self.joined = b"".join(self.tokens)
        counted = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
        done = b"data: [DONE]\n\n"
        self.end = chunk({}, "stop") + (chunk(None, usage=counted) if include_usage else b"")
        self.end += b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done)
        self.whole = whole("".join(f"tok{number} " for number in range(tokens)), counted).split(b"I" * STAMP)


def chunk(delta: dict[str, str] | None, finish_reason: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One event as one HTTP chunk."""
    event = {
        "id": "chatcmpl-known",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "known",
        "choices": [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    data = b"data: " + json.dumps(event | ({"usage": usage} if usage else {})).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(text: str, usage: dict[str, int]) -> bytes:
    """A whole answer, head and body, with a place for its id: the same id and text again would be a cached answer."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": f"chatcmpl-{'I' * STAMP}",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "known",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": usage,
    }
    return json_answer(json.dumps(body).encode())


def json_answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Server(asyncio.Protocol):
    """One connection: one request at a time."""

    schedules: ClassVar[dict[tuple[bytes, bool, bool], Schedule]] = {}
    counts = Counts()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport | None = transport  # type: ignore[assignment]
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.asked: Schedule | None = None
        self.counts.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.asked is None:
            return
        self.counts.abandoned += 1
        in_line = [one for one in self.asked.waiting if one[0] is self]
        if in_line:
            self.asked.waiting.remove(in_line[0])
            self.asked.free -= 1  # it never had the slot that leaving gives back
        self.left(self.asked)

    def data_received(self, data: bytes) -> None:
        received = time.perf_counter_ns()
        if self.buffer:
            data, self.buffer = self.buffer + data, b""
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end].lower()
            at = head.find(b"content-length:")
            if at >= 0:
                if len(data) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0]):
                    self.answer(data[end + 4 :], received)
                    return
            elif head.startswith(b"get "):
                self.tell(head.split(b" ", 2)[1])
                return
        self.buffer = data

    def tell(self, path: bytes) -> None:
        if path.startswith(b"/stats"):
            self.write(json_answer(self.counts.to_json()))
            if path.endswith(b"?reset"):
                Server.counts = Counts(self.counts.in_flight)
        else:
            self.write(json_answer(b'{"object": "list", "data": []}'))

    def answer(self, body: bytes, received: int) -> None:
        schedule, stream = self.schedule_of(body)
        counts = self.counts
        counts.requests += 1
        counts.in_flight += 1
        if counts.in_flight > counts.most_in_flight:
            counts.most_in_flight = counts.in_flight
        if not counts.first_ns:
            counts.first_ns = received
        counts.last_ns = received
        self.asked = schedule
        if schedule.free is None:
            self.serve(schedule, stream, received)
        elif schedule.free > 0:
            schedule.free -= 1
            self.serve(schedule, stream, received)
        else:
            schedule.waiting.append((self, stream, received))

    def schedule_of(self, body: bytes) -> tuple[Schedule, bool]:
        """Found without parsing when the JSON is compact, as evalkit's is; a quote inside a text is always escaped."""
        at = body.find(b'"model":"')
        if at >= 0:
            model = body[at + 9 : body.index(b'"', at + 9)]
            stream, usage = b'"stream":true' in body, b'"include_usage":true' in body
        else:
            request = json.loads(body)
            model, stream = request["model"].encode(), bool(request.get("stream"))
            usage = bool((request.get("stream_options") or {}).get("include_usage"))
        schedule = self.schedules.get((model, stream, usage))
        if schedule is None:
            schedule = self.schedules[model, stream, usage] = Schedule(model.decode(), usage)
        return schedule, stream

    def serve(self, schedule: Schedule, stream: bool, received: int) -> None:
        if stream:
            self.later(schedule.ttft, self.first, schedule, received)
        else:
            before, after = schedule.whole
            self.later(schedule.total, self.last, schedule, b"%b%020d%b" % (before, self.counts.requests, after))

    def later(self, seconds: float, call, *arguments) -> None:
        if seconds > 0:
            self.loop.call_later(seconds, call, *arguments)
        else:
            call(*arguments)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def first(self, schedule: Schedule, received: int) -> None:
        written = time.perf_counter_ns()
        self.write(b"%b%020d%b%020d%b" % (schedule.before, received, schedule.between, written, schedule.after))
        if schedule.itl > 0 and schedule.tokens:
            self.next(schedule, written, 0)
        else:
            self.last(schedule, stamped(schedule.joined) + schedule.end)

    def next(self, schedule: Schedule, first: int, number: int) -> None:
        wait = schedule.itl * (number + 1) - (time.perf_counter_ns() - first) / 1e9
        self.later(wait, self.token, schedule, first, number)

    def token(self, schedule: Schedule, first: int, number: int) -> None:
        if self.transport is None:
            return
        if number + 1 < len(schedule.tokens):
            self.write(schedule.tokens[number])
            self.next(schedule, first, number + 1)
        else:
            self.last(schedule, stamped(schedule.tokens[number]) + schedule.end)

    def last(self, schedule: Schedule, data: bytes) -> None:
        if self.asked is None or self.transport is None:  # the client went away meanwhile
            return
        self.transport.write(data)
        self.counts.completed += 1
        self.left(schedule)

    def left(self, schedule: Schedule) -> None:
        """One request fewer is in flight, and the next one in line has its turn."""
        self.asked = None
        self.counts.in_flight -= 1
        if schedule.free is None:
            return
        schedule.free += 1
        while schedule.waiting and schedule.free > 0:
            server, stream, received = schedule.waiting.popleft()
            schedule.free -= 1
            server.serve(schedule, stream, received)


def stamped(tokens: bytes) -> bytes:
    """With the clock's reading in the last token."""
    return tokens.replace(b"L" * STAMP, b"%020d" % time.perf_counter_ns())


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
