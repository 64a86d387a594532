"""What a million conversations take: memory, the time to the first request, resuming, and reading them back.

    python tests/benchmarks/bench_scale.py [--quick] [--conversations N] [--folder DIR]

Single-turn conversations from a generated file, whole answers, a server without delay, 64 in parallel, ``--no-check``.
Memory is the most that the whole process tree held at a sample (PSS on Linux), also without what the result takes once
all answers are there. The time to the first request is from starting the command until the server has it, for the run,
and for ``evalkit resume`` of a run that lacks only its last turn. Then ``Run(...).turns()`` in a fresh process, imports
included.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import processes
import questions
import report
from servers import AT_ONCE, Server, serving

MB = 1e6
SAMPLE_S = 0.1
GOAL_MB, GOAL_GROWTH, GOAL_FIRST_S, GOAL_RESUME_S, GOAL_FRAME_S = 200, 0.20, 2.0, 5.0, 10.0
READ_BACK = """
import sys, time
began = time.perf_counter()
import evalkit as ek
frame = ek.Run(sys.argv[1]).turns()
print(len(frame), time.perf_counter() - began)
"""


@dataclass
class Asked:
    """A command that asked: its most memory, also up to its last request, and how long its first one was on its way."""

    peak_mb: float
    asking_mb: float
    first_s: float
    wall_s: float
    turns: int


def asked(server: Server, command: list[object]) -> Asked:
    server.stats(reset=True)
    finished = processes.run(command, memory_s=SAMPLE_S)
    seen = server.stats()
    first_s = (seen["first_ns"] - finished.began_ns) / 1e9
    answered = json.loads(finished.output)["answered"]
    return Asked(finished.peak_mb(), finished.peak_mb(seen["last_ns"]), first_s, finished.wall_s, answered)


def run(server: Server, data: Path, file: Path, concurrency: int) -> Asked:
    command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", AT_ONCE, "--out", file)
    return asked(server, [*command, "--concurrency", concurrency, "--no-stream", "--no-check", "--json"])


def drop_last_turn(file: Path) -> None:
    """As if the process had ended just before it."""
    with closing(sqlite3.connect(file)) as connection, connection:
        (last,) = connection.execute("SELECT max(conversation) FROM turn").fetchone()
        for name in ("score", "attempt", "turn"):
            connection.execute(f"DELETE FROM {name} WHERE conversation = ?", (last,))


def measure(server: Server, folder: Path, conversations: int, few: int, concurrency: int) -> list[list[object]]:
    data, file = folder / "questions.jsonl", folder / "scale.evalkit"
    report.say(f"{few:,} conversations")
    small = run(server, questions.write(data, few), file, concurrency)
    processes.removed(file)
    report.say(f"{conversations:,} conversations")
    large = run(server, questions.write(data, conversations), file, concurrency)
    report.say("resuming what lacks its last turn")
    drop_last_turn(file)
    resumed = asked(server, processes.evalkit("resume", file, "--json"))
    seen = server.stats()["requests"]
    report.say("reading it back")
    rows, frame_s = processes.run([sys.executable, "-c", READ_BACK, file]).output.split()
    if not (large.turns == resumed.turns == int(rows) == conversations and seen == 1):
        sys.exit(f"of {conversations} turns {large.turns} were answered, {seen} asked again, and {rows} read back")
    size = file.stat().st_size / MB
    growth = large.peak_mb / small.peak_mb - 1
    return [
        [f"peak memory, {few:,} conversations", f"{small.peak_mb:.0f} MB", "–", "–"],
        [f"up to the last request, {few:,}", f"{small.asking_mb:.0f} MB", "–", "–"],
        [f"up to the last request, {conversations:,}", f"{large.asking_mb:.0f} MB", "–", "–"],
        [f"peak memory, {conversations:,}", f"{large.peak_mb:.0f} MB", *goal(large.peak_mb, GOAL_MB, "{:.0f} MB")],
        ["growth", f"{growth:+.0%}", *goal(growth, GOAL_GROWTH, "{:+.0%}")],
        ["start to first request", f"{large.first_s:.2f} s", *goal(large.first_s, GOAL_FIRST_S, "{:.0f} s")],
        ["resume to first request", f"{resumed.first_s:.2f} s", *goal(resumed.first_s, GOAL_RESUME_S, "{:.0f} s")],
        ["peak memory of the resume", f"{resumed.peak_mb:.0f} MB", "–", "–"],
        ["turns in a DataFrame", f"{float(frame_s):.2f} s", *goal(float(frame_s), GOAL_FRAME_S, "{:.0f} s")],
        ["whole run", f"{large.wall_s:.0f} s, {large.turns / large.wall_s:,.0f} turns/s", "–", "–"],
        ["run file", f"{size:,.0f} MB, {size * 1e3 / conversations:.2f} kB a turn", "–", "–"],
    ]


def goal(value: float, most: float, form: str) -> tuple[str, str]:
    """Its two cells."""
    return f"≤ {form.format(most)}", report.met(value <= most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 conversations beside 2,000")
    parser.add_argument("--conversations", type=int, help="default: 1,000,000")
    parser.add_argument("--few", type=int, help="conversations of the run it is compared with (default: 10,000)")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where its files lie meanwhile (default: the system's own)")
    options = parser.parse_args()
    conversations = options.conversations or (20_000 if options.quick else 1_000_000)
    few = options.few or (2_000 if options.quick else 10_000)
    print(f"{conversations:,} conversations, {options.concurrency} at once; {report.machine()}\n")
    with serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-", dir=options.folder) as folder:
        rows = measure(server, Path(folder), conversations, few, options.concurrency)
    print(report.table(("what", "found", "goal", "met"), rows))


if __name__ == "__main__":
    main()
