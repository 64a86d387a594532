"""evalkit side by side with other runners: the same questions, the same server, whole processes, in one run.

    python tests/benchmarks/bench_others.py [--quick] [--samples N] [--slow-samples N] [--tool NAME ...] [--cache DIR]

Each uses a server without delay, 64 requests in parallel, and stores and scores (evalscope: only times) every answer.
Samples a second are over the whole process, start-up included. What is added by a sample, processor time and memory, is
the difference to a run of 50. Memory is the most that the whole process tree held at a sample (PSS on Linux). The
others are installed by this benchmark, each into a virtual environment of its own under the cache folder; one that
cannot be installed is left out.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import processes
import questions
import report
from servers import AT_ONCE, Server, serving
from tools import TOOLS, Asking, Tool, environment, installed

FEW = 50
SAMPLE_S = 0.2
TIMES_FASTER = {False: 10, True: 5}
CPU_SHARE = 1 / 6
EVALKIT = "**evalkit**"
T = TypeVar("T")


@dataclass
class Found:
    """What one tool took in one round."""

    samples: int
    per_s: float
    added_per_s: float
    cpu_ms: float
    added_kb: float
    peak_mb: float


def evalkit(asking: Asking, scripts: Path) -> list[object]:
    data = questions.write(asking.folder / "sums.jsonl", asking.samples)
    words = processes.evalkit("run", data, "--base-url", asking.base_url, "--model", asking.model, "--json")
    words += ["--concurrency", asking.concurrency, "--out", asking.folder / "sums.evalkit"]
    return words if asking.stream else [*words, "--no-stream"]


def once(server: Server, tool: Tool, scripts: Path, samples: int, concurrency: int, stream: bool) -> processes.Finished:
    """One run; it counts only if the server has answered as many requests as there are samples."""
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as name:
        folder = Path(name)
        asking = Asking(server.base_url, AT_ONCE, samples, concurrency, stream, folder)
        command = tool.command(asking, scripts)
        more = {} if tool.name == EVALKIT else {"env": environment(folder, server.base_url)}
        server.stats(reset=True)
        finished = processes.run(command, memory_s=SAMPLE_S, cwd=folder, **more)
        answered = server.stats()["completed"]
    if answered < samples:
        raise processes.Failed(f"{tool.name} had {answered} answers to {samples} samples:\n{finished.errors[-2000:]}")
    return finished


def measure(server: Server, tool: Tool, scripts: Path, samples: int, concurrency: int, stream: bool) -> Found:
    few = once(server, tool, scripts, FEW, concurrency, stream)
    many = once(server, tool, scripts, samples, concurrency, stream)
    added = samples - FEW
    return Found(
        samples,
        samples / many.wall_s,
        added / (many.wall_s - few.wall_s),
        (many.cpu_s - few.cpu_s) / added * 1e3,
        (many.peak_mb() - few.peak_mb()) / added * 1e3,
        many.peak_mb(),
    )


def middle(rounds: list[Found], what: str) -> float:
    return median(getattr(one, what) for one in rounds)


def figures(kind: str, found: dict[str, list[Found]]) -> list[list[object]]:
    lines = []
    for name, rounds in found.items():
        faster = middle(found[EVALKIT], "per_s") / middle(rounds, "per_s")
        cpu = middle(found[EVALKIT], "cpu_ms") / middle(rounds, "cpu_ms")
        line = [name, kind, f"{rounds[0].samples:,}", f"{middle(rounds, 'per_s'):,.0f}"]
        line += [f"{middle(rounds, 'added_per_s'):,.0f}", f"{middle(rounds, 'cpu_ms'):.2f}"]
        line += [f"{middle(rounds, 'added_kb'):.1f}", f"{middle(rounds, 'peak_mb'):,.0f}"]
        lines.append([*line, *(("–", "–") if name == EVALKIT else (f"{faster:.1f}", f"1/{1 / cpu:.1f}"))])
    return lines


def goals(kind: str, found: dict[str, list[Found]], stream: bool) -> list[list[object]]:
    # who only times is judged where nobody else is there; elsewhere it stands in the table
    scoring = {tool.name for tool in TOOLS if tool.scores}
    others = [rounds for name, rounds in found.items() if name in scoring]
    others = others or [rounds for name, rounds in found.items() if name != EVALKIT]
    if not others:
        return []
    mine = found[EVALKIT]
    faster = middle(mine, "per_s") / max(middle(rounds, "per_s") for rounds in others)
    cpu = middle(mine, "cpu_ms") / min(middle(rounds, "cpu_ms") for rounds in others)
    peak, least = middle(mine, "peak_mb"), min(middle(rounds, "peak_mb") for rounds in others)
    times = TIMES_FASTER[stream]
    return [
        [f"{kind}: times as fast as the best of them", f"{faster:.1f}", f"≥ {times}", report.met(faster >= times)],
        [f"{kind}: of the least added CPU a sample", f"1/{1 / cpu:.1f}", "≤ 1/6", report.met(cpu <= CPU_SHARE)],
        [f"{kind}: peak memory", f"{peak:.0f} MB", f"< {least:.0f} MB", report.met(peak < least)],
    ]


HEAD = (
    "tool",
    "asked",
    "samples",
    "samples/s, whole process",
    "samples/s beyond start-up",
    "added CPU ms a sample",
    "added kB a sample",
    "peak MB",
    "evalkit: times as fast",
    "evalkit: of its added CPU",
)


def usable(server: Server, options: argparse.Namespace) -> list[tuple[Tool, Path]]:
    """The tools that can be had, each run once for nothing, so that no start that counts is a cold one."""
    tools = [(Tool(EVALKIT, (), (False, True), evalkit), Path())]
    for tool in TOOLS:
        wanted = options.tool is None or tool.name in options.tool
        if wanted and (scripts := installed(tool, options.cache)) is not None:
            tools.append((tool, scripts))
    return [one for one in tools if attempted(once, server, *one, FEW, options.concurrency, one[0].streams[0])]


def attempted(what: Callable[..., T], server: Server, tool: Tool, *more: object) -> T | None:
    """None, with a word, when another tool fails."""
    try:
        return what(server, tool, *more)
    except processes.Failed as error:
        if tool.name == EVALKIT:
            raise
        report.say(f"{tool.name} is left out: {error}")
        return None


def compare(server: Server, options: argparse.Namespace) -> tuple[list, list]:
    lines, judged = [], []
    tools = usable(server, options)
    for stream, kind in ((False, "whole answers"), (True, "streams")):
        found: dict[str, list[Found]] = {}
        for number, (tool, scripts) in itertools.product(range(options.rounds), tools):
            if stream in tool.streams:
                report.say(f"round {number + 1} of {options.rounds}, {kind}: {tool.name}")
                samples = options.slow_samples if tool.slow else options.samples
                one = attempted(measure, server, tool, scripts, samples, options.concurrency, stream)
                if one is not None:
                    found.setdefault(tool.name, []).append(one)
        lines += figures(kind, found)
        judged += goals(kind, found, stream)
    return lines, judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 samples, 300 of the slow ones")
    parser.add_argument("--samples", type=int, help="default: 10,000")
    parser.add_argument(
        "--slow-samples", type=int, help="for a tool that needs minutes (default: as many as --samples)"
    )
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--tool", action="append", choices=[tool.name for tool in TOOLS], help="only this one; repeatable"
    )
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=caches / "evalkit-benchmarks", help="where they are installed")
    options = parser.parse_args()
    options.samples = options.samples or (1_000 if options.quick else 10_000)
    options.slow_samples = options.slow_samples or (300 if options.quick else options.samples)
    print(f"{options.samples:,} samples, {options.concurrency} at once; {report.machine()}\n")
    with serving() as server:
        lines, judged = compare(server, options)
    print(report.table(HEAD, lines))
    if judged:
        print("\n" + report.table(("goal", "found", "asked for", "met"), judged))
    else:
        sys.exit("no other tool could be installed: there is nothing to compare with")


if __name__ == "__main__":
    main()
