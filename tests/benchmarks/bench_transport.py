"""Compares clients with a known schedule: are their first-token times true, and what do they cost?

    python tests/benchmarks/bench_transport.py [--quick] [--rounds N] [--client NAME ...]

Every client runs in a fresh process of its own, against the server of ``known_schedule.py`` in another. The truth is
the server's own clock readings for the same request. Clients take turns for several rounds, and the median of the
rounds is shown. Prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import uvloop
from clients import CLIENTS, Streamed, body_for

STREAM = "ttft=50,itl=10,tokens=20"
AT_ONCE = "ttft=0,itl=0,tokens=20"
LONG_RUN_ONLY = ("in-reads", "per-pass", "openai")
TITLES = {
    "bare": "bare asyncio protocol + httptools + orjson",
    "bare-wire": "bare, decoded by `evalkit.client.answer_reader`",
    "evalkit": "**evalkit's transport**",
    "in-reads": "evalkit's, decoded in `data_received`",
    "per-pass": "evalkit's, decoded once per pass of the loop",
    "pyreqwest": "pyreqwest, read buffer 0",
    "aiohttp": "aiohttp",
    "openai": "openai's AsyncOpenAI",
}


async def together(ask: Callable[[], Awaitable[object]], streams: int, rounds: int) -> None:
    """``streams`` workers at once, each asking ``rounds`` times, one after another."""

    async def worker() -> None:
        for _ in range(rounds):
            await ask()

    await asyncio.gather(*(worker() for _ in range(streams)))


def errors_ms(streamed: list[Streamed]) -> dict[str, list[float]]:
    """Quantiles of the error of the TTFT, and of how late the first token was stamped after the server wrote it."""
    ttft, late = [], []
    for one in streamed:
        received, written = map(int, re.match(r"r(\d+)w(\d+) ", one.text).groups())
        ttft.append((one.first - one.sent - (written - received)) / 1e6)
        late.append((one.first - written) / 1e6)
    return {"ttft": quantiles(ttft), "late": quantiles(late)}


def quantiles(values: list[float]) -> list[float]:
    values = sorted(values)
    return [values[min(len(values) - 1, int(len(values) * share))] for share in (0.5, 0.99)]


async def measure(name: str, port: int, quick: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    async with CLIENTS[name](port) as client:
        stream = body_for(STREAM, stream=True)
        for streams, rounds in ((1, 3 if quick else 10), (64, 3 if quick else 10), (256, 2 if quick else 6)):
            seen: list[Streamed] = []

            async def ask(seen: list[Streamed] = seen) -> None:
                seen.append(await client.stream(stream))

            await together(ask, streams, 1)  # opens the connections
            seen.clear()
            gc.collect()
            gc.freeze()
            cpu = time.process_time()
            await together(ask, streams, rounds)
            found[str(streams)] = {**errors_ms(seen), "cpu_ms": (time.process_time() - cpu) / len(seen) * 1e3}
        found["whole"] = await whole_answers(client, 0.5 if quick else 1.5)
    return found


async def whole_answers(client, seconds: float) -> dict[str, float]:
    body, answered = body_for(AT_ONCE, stream=False), 0

    async def worker(until: float) -> None:
        nonlocal answered
        while time.perf_counter() < until:
            await client.whole(body)
            answered += 1

    await together(lambda: client.whole(body), 64, 2)
    cpu, start = time.process_time(), time.perf_counter()
    answered = 0
    await asyncio.gather(*(worker(start + seconds) for _ in range(64)))
    return {
        "per_s": answered / (time.perf_counter() - start),
        "cpu_us": (time.process_time() - cpu) / answered * 1e6,
    }


def run(names: list[str], rounds: int, quick: bool) -> dict[str, list[dict]]:
    """What each client found in each round."""
    here = Path(__file__)
    server = subprocess.Popen(
        [sys.executable, here.with_name("known_schedule.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, list[dict]] = {name: [] for name in names}
    try:
        port = server.stdout.readline().strip()
        for number in range(rounds):
            for name in names:
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                command = [sys.executable, here, "--port", port, "--client", name, *(["--quick"] if quick else [])]
                one = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
                found[name].append(json.loads(one.stdout))
        return found
    finally:
        server.stdin.close()
        server.wait(10)


def share(per_s: list[float], limits: list[dict]) -> str:
    """Of what another client reached in the same round; missing when it was not measured."""
    pairs = [mine / limit["whole"]["per_s"] for mine, limit in zip(per_s, limits, strict=False)]
    return f"{median(pairs):.0%}" if pairs else "–"


def table(found: dict[str, list[dict]]) -> str:
    """Two tables in Markdown."""

    def quantiles_of(rounds: list[dict], streams: str, what: str) -> str:
        pairs = zip(*(one[streams][what] for one in rounds), strict=True)
        return " / ".join(f"{median(values):+.1f}" for values in pairs)

    lines = [
        "| client | TTFT error, 1 stream | 64 streams | 256 streams | stamped after writing, 64 | 256 |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds in found.items():
        cells = [quantiles_of(rounds, streams, "ttft") for streams in ("1", "64", "256")]
        cells += [quantiles_of(rounds, streams, "late") for streams in ("64", "256")]
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    lines += ["", "| client | CPU ms a stream | whole answers /s | of bare | of bare with wire | CPU µs each |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, rounds in found.items():
        per_s = [one["whole"]["per_s"] for one in rounds]
        shares = " | ".join(share(per_s, found.get(limit, [])) for limit in ("bare", "bare-wire"))
        stream_ms = median(one["64"]["cpu_ms"] for one in rounds)
        whole_us = median(one["whole"]["cpu_us"] for one in rounds)
        lines.append(f"| {TITLES[name]} | {stream_ms:.2f} | {median(per_s):,.0f} | {shares} | {whole_us:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough look in under 20 s, at fewer clients")
    parser.add_argument("--rounds", type=int, default=2, help="how often each client takes its turn")
    parser.add_argument("--client", action="append", choices=list(CLIENTS), help="only this one; may be repeated")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.port:
        print(json.dumps(uvloop.run(measure(options.client[0], options.port, options.quick))))
    else:
        names = options.client or [name for name in CLIENTS if not (options.quick and name in LONG_RUN_ONLY)]
        print(table(run(names, 1 if options.quick else options.rounds, options.quick)))
