"""How fast the scripted server is, and how well it keeps its own schedule.

    python tests/benchmarks/bench_scripted.py [--seconds 3] [--connections 64] [--profile openai]

The client is as bare as one can be: an asyncio protocol over httptools, keep-alive, one request under way on each
connection. Client and server each have a process; the server's rate per core is also computed from its own CPU time,
since a rate by the clock depends on what else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import time

import httptools
import orjson
import psutil
import uvloop

from evalkit.scripted.request_log import LogEntry
from evalkit.scripted.server import Law, Script, ScriptedHandle, serve


class Client(asyncio.Protocol):
    """Sends the next request as soon as an answer is complete, until it is stopped."""

    def __init__(self, request: bytes, until: float) -> None:
        self.request, self.until = request, until
        self.answers = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.answers += 1
        if time.perf_counter() < self.until:
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set_result(self.answers)


async def load(server: ScriptedHandle, connections: int, seconds: float, stream: bool) -> int:
    """Answers had in that time."""
    asked = {"model": server.model, "messages": [{"role": "user", "content": "What is the sum of 12 + 23?"}]}
    body = orjson.dumps({**asked, "stream": stream})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer none\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Client(head.encode() + body, until), "127.0.0.1", server.port)
        for _ in range(connections)
    ]
    return sum(await asyncio.gather(*(client.done for _, client in opened)))


def rate(script: Script, connections: int, seconds: float, stream: bool) -> str:
    with serve(script, process=True) as server:
        (child,) = psutil.Process().children()
        uvloop.run(load(server, connections, 0.3, stream))
        before, start = child.cpu_times(), time.perf_counter()
        answers = uvloop.run(load(server, connections, seconds, stream))
        wall, after = time.perf_counter() - start, child.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        each = cpu / answers
        return f"{answers / wall:9,.0f} /s   server CPU {each * 1e6:5.0f} µs each = {1 / each:8,.0f} /s a core"


def schedule(script: Script, connections: int, seconds: float) -> list[str]:
    """How late the server was against its own law, true stamps."""
    with serve(script, process=True) as server:
        uvloop.run(load(server, connections, seconds, True))
        log = [entry for entry in server.log() if entry.end_ns is not None]
    span = (script.law.tokens - 1) * script.law.itl_ms
    return [
        f"first token late      {quantiles([first_late(e) for e in log])}",
        f"any write late at most {quantiles([e.late_ns / 1e6 for e in log])}",
        f"first to last − law   {quantiles([(e.last_ns - e.first_ns) / 1e6 - span for e in log])}   n = {len(log)}",
    ]


def first_late(entry: LogEntry) -> float:
    return (entry.first_ns - entry.due_ns) / 1e6


def quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    at = {p: ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)] for p in (50, 90, 99)}
    return "   ".join(f"p{p} {value:+7.3f} ms" for p, value in at.items())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--profile", default="openai")
    given = parser.parse_args()
    fast = Script(profile=given.profile)
    print(
        f"load of the machine now: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {given.connections} connections"
    )
    print("whole answers        ", rate(fast, given.connections, given.seconds, False))
    print("streams of 20 tokens ", rate(fast, given.connections, given.seconds, True))
    timed = Script(profile=given.profile, law=Law(ttft_ms=50, itl_ms=10, tokens=20))
    for connections in (1, given.connections):
        print(f"own schedule, 50 ms then 10 ms a token, {connections} streams at once")
        for line in schedule(timed, connections, given.seconds):
            print("  ", line)


if __name__ == "__main__":
    main()
