"""How much of its own transport's speed a whole ``evalkit run`` keeps, and what a turn costs.

    python tests/benchmarks/bench_run.py [--quick] [--turns N] [--concurrency N] [--rounds N] [--base-url URL]

Against a server without delay. In each round every kind of answer is requested twice: by the command, which reads,
sends, stamps, scores and commits every turn, and by a bare loop over the same transport, in a process of its own, which
makes the request's body, sends it and forgets the answer. Processor time is that of the whole process tree, minus that
of a run of one conversation. Medians of the rounds are shown, ratios within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import processes
import questions
import report
import uvloop
from servers import AT_ONCE, Server, serving

GOAL_SHARE = 0.5
GOAL_CPU_MS = {"whole answers": 0.25, "streams of 20 chunks": 0.5}
FOUR = 4


@dataclass
class Case:
    """One way of asking."""

    name: str
    stream: bool
    turns_each: int = 1


@dataclass
class Round:
    """What one case took in one round; ``per_s`` while it asks, ``whole_per_s`` of the whole process."""

    per_s: float
    whole_per_s: float
    cpu_ms: float
    bare_per_s: float = float("nan")
    bare_cpu_ms: float = float("nan")


WHOLE, STREAMS = Case("whole answers", stream=False), Case("streams of 20 chunks", stream=True)
CASES = (  # cases that are compared are neighbours: machines drift
    WHOLE,
    Case("whole answers, four turns", stream=False, turns_each=FOUR),
    STREAMS,
    Case("streams, four turns", stream=True, turns_each=FOUR),
)


async def bare_loop(base_url: str, turns: int, concurrency: int, stream: bool) -> float:
    """Turns a second."""
    from evalkit.client.request_body import request_body
    from evalkit.client.transport import Transport
    from evalkit.conversation import Message
    from evalkit.endpoint import Endpoint

    numbers = iter(range(turns))
    async with Transport(Endpoint(base_url, AT_ONCE)) as transport:

        async def worker() -> None:
            for number in numbers:
                body = request_body((Message("user", questions.question(number)),), model=AT_ONCE, stream=stream)
                now = time.perf_counter_ns()
                attempt = await transport.send(body, stream=stream, due=now, slot=now)
                if attempt.failure is not None:
                    sys.exit(attempt.failure.message)

        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return turns / (time.perf_counter() - began)


def ask(server: Server, case: Case, data: Path, concurrency: int) -> tuple[processes.Finished, dict]:
    """One run of the command, and the result it prints."""
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", AT_ONCE)
        command += ["--concurrency", concurrency, "--out", Path(folder) / "bench.evalkit", "--json"]
        finished = processes.run(command + ([] if case.stream else ["--no-stream"]))
    return finished, json.loads(finished.output)


def ask_bare(server: Server, case: Case, turns: int, concurrency: int) -> processes.Finished:
    command = [sys.executable, __file__, "--bare", "--base-url", server.base_url]
    command += ["--turns", turns, "--concurrency", concurrency]
    return processes.run(command + (["--stream"] if case.stream else []))


def measure(server: Server, case: Case, folder: Path, turns: int, concurrency: int) -> Round:
    data = questions.write(folder / "all.jsonl", turns // case.turns_each, case.turns_each)
    one = questions.write(folder / "one.jsonl", 1)
    start_up, _ = ask(server, case, one, concurrency)
    finished, result = ask(server, case, data, concurrency)
    if result["answered"] != turns:
        sys.exit(f"{case.name}: {result['answered']} of {turns} turns were answered: {result['errors']}")
    cpu_ms = (finished.cpu_s - start_up.cpu_s) / turns * 1e3
    found = Round(result["turns_per_s"], turns / finished.wall_s, cpu_ms)
    if case.turns_each == 1:
        bare_start = ask_bare(server, case, 1, 1)
        bare = ask_bare(server, case, turns, concurrency)
        found.bare_per_s, found.bare_cpu_ms = float(bare.output), (bare.cpu_s - bare_start.cpu_s) / turns * 1e3
    return found


def rows(found: dict[str, list[Round]]) -> list[list[str]]:
    lines = []
    for case in CASES:
        rounds = found[case.name]
        cpu = median(one.cpu_ms for one in rounds)
        per_s = median(one.per_s for one in rounds)
        line = [case.name, f"{per_s:,.0f}", f"{median(one.whole_per_s for one in rounds):,.0f}"]
        if case.turns_each == 1:
            share = median(one.per_s / one.bare_per_s for one in rounds)
            goal = GOAL_CPU_MS[case.name]
            line += [f"{median(one.bare_per_s for one in rounds):,.0f}", f"{share:.0%}", f"≥ {GOAL_SHARE:.0%}"]
            line += [f"{cpu:.3f}", f"≤ {goal}", f"{median(one.bare_cpu_ms for one in rounds):.3f}"]
            line += [report.met(share >= GOAL_SHARE and cpu <= goal)]
        else:
            single = found[(STREAMS if case.stream else WHOLE).name]
            ratio = median(one.cpu_ms / other.cpu_ms for one, other in zip(rounds, single, strict=True))
            slower = median(other.per_s / one.per_s for one, other in zip(rounds, single, strict=True))
            line += [
                "–",
                f"time a turn {slower:.2f} of single",
                "≤ 1",
                f"{cpu:.3f}",
                f"{ratio:.2f} of single, ≤ 1",
                "–",
            ]
            line += [report.met(ratio <= 1 and slower <= 1)]
        lines.append(line)
    return lines


HEAD = (
    "asked",
    "turns/s while asking",
    "turns/s, whole process",
    "bare loop, turns/s",
    "ratio",
    "goal",
    "CPU ms a turn",
    "goal",
    "bare loop, CPU ms",
    "met",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 turns, one round")
    parser.add_argument("--turns", type=int, help="default: 20,000")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, help="default: 15")
    parser.add_argument("--base-url", help="another server in place of known_schedule.py")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--stream", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    turns = options.turns or (2_000 if options.quick else 20_000)
    if options.bare:
        print(uvloop.run(bare_loop(options.base_url, turns, options.concurrency, options.stream)))
        return
    found: dict[str, list[Round]] = {case.name: [] for case in CASES}
    rounds = options.rounds or (1 if options.quick else 15)
    print(f"{turns:,} turns, {options.concurrency} at once, {rounds} rounds; {report.machine()}\n")
    with serving(options.base_url) as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        for number, case in itertools.product(range(rounds), CASES):
            report.say(f"round {number + 1} of {rounds}: {case.name}")
            found[case.name].append(measure(server, case, Path(folder), turns, options.concurrency))
    print(report.table(HEAD, rows(found)))


if __name__ == "__main__":
    main()
