"""What ``kill -9`` costs: a run that is killed again and again, and resumed each time.

    python tests/benchmarks/bench_kill.py [--quick] [--kills N] [--seed N]

10,000 turns in conversations of four, about 20 ms each, 16 in parallel. At random moments (from a seed) the whole
process group gets SIGKILL and ``evalkit resume`` continues. In the end every turn must be there exactly once, and the
server must have seen no more requests beyond the turns than were in flight at the kills. A request is in flight for the
client from being sent until its answer is committed: at most one for each parallel conversation. For the server it ends
with the last byte written.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import processes
import psutil
import questions
import report
from servers import Server, serving

MODEL = "ttft=20,itl=0,tokens=5"
TURNS_EACH = 4
JITTER_S = 0.25
POLL_S = 0.005
DEADLINE_S = 300
TWICE = """
    SELECT count(*) FROM (SELECT 1 FROM attempt WHERE error_kind IS NULL
      GROUP BY conversation, repeat, turn HAVING count(*) > 1)"""


@dataclass
class Kill:
    """One of them: what the server saw of it, and whether any process outlived it."""

    requests: int
    completed: int
    abandoned: int
    survivors: int


def session(command: list[object], server: Server, threshold: int, wait_s: float) -> Kill | None:
    """Start or resume, kill at a moment; None: it was done before that."""
    before = server.stats()
    process = processes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    tree = psutil.Process(process.pid)
    try:
        while server.stats()["requests"] < threshold:
            if process.poll() is not None:
                return None
            if time.monotonic() > deadline:
                sys.exit(f"no {threshold} requests within {DEADLINE_S} s")
            time.sleep(POLL_S)
        time.sleep(wait_s)
        family = [tree, *tree.children(recursive=True)]
    finally:
        processes.kill(process)
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=2)
    for left in alive:
        left.kill()
    after = settled(server)
    return Kill(after["requests"], after["completed"], after["abandoned"] - before["abandoned"], len(alive))


def settled(server: Server) -> dict[str, int]:
    """The server's counts once it has noticed that everybody has gone."""
    while (stats := server.stats())["in_flight"]:
        time.sleep(POLL_S)
    return stats


def run(server: Server, folder: Path, conversations: int, concurrency: int, kills: int, seed: int) -> str:
    turns = conversations * TURNS_EACH
    data, file = questions.write(folder / "kill.jsonl", conversations, TURNS_EACH), folder / "kill.evalkit"
    command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", MODEL, "--out", file)
    command += ["--concurrency", concurrency, "--no-stream", "--json"]
    moments, done = random.Random(seed), []
    for number in range(kills):  # one in every stretch of the run, anywhere in it
        threshold = int((number + moments.random()) * turns / kills)
        report.say(f"kill {len(done) + 1} of {kills}, at {threshold} requests or soon after")
        kill = session(command, server, threshold, moments.uniform(0, JITTER_S))
        if kill is None:
            report.say("the run had ended before this moment")
            break
        done.append(kill)
        if file.exists():
            command = processes.evalkit("resume", file, "--json")
    finished = processes.run(command, timeout_s=DEADLINE_S, codes=(0, 1))
    return verdict(file, json.loads(finished.output), turns, concurrency, done, server.stats())


def verdict(file: Path, result: dict, turns: int, concurrency: int, kills: list[Kill], seen: dict[str, int]) -> str:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
        (answered,) = connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()
        (kept,) = connection.execute("SELECT count(*) FROM turn").fetchone()
        (twice,) = connection.execute(TWICE).fetchone()
    excess = seen["requests"] - turns
    abandoned, most = sum(kill.abandoned for kill in kills), concurrency * len(kills)
    survivors = sum(kill.survivors for kill in kills)
    rows = [
        ["kills", len(kills), "–", "–"],
        ["turns answered", f"{answered:,} of {turns:,}", "all", report.met(answered == kept == turns)],
        ["turns in the result", f"{result['answered']:,}", "all", report.met(result["answered"] == turns)],
        ["turns answered twice", twice, "0", report.met(twice == 0)],
        ["the run file's integrity", whole, "ok", report.met(whole == "ok")],
        ["requests beyond the turns", f"{excess:,}", f"≤ {most:,}", report.met(0 <= excess <= most)],
        ["in flight at the kills, client's side, at most", f"{most:,}", "–", "–"],
        ["in flight at the kills, server's side", f"{abandoned:,}", "–", "–"],
        ["answered by the server, lost before they were kept", f"{excess - abandoned:,}", "0 is best", "–"],
        ["requests beyond the turns, a turn", f"{excess / turns:.2%}", "–", "–"],
        ["processes that outlived a kill", survivors, "0", report.met(survivors == 0)],
    ]
    return report.table(("after the last resume", "found", "goal", "met"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 turns and 5 kills")
    parser.add_argument("--conversations", type=int, help="of four turns each (default: 2,500)")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--kills", type=int, help="default: 20")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    conversations = options.conversations or (500 if options.quick else 2_500)
    kills = options.kills or (5 if options.quick else 20)
    asked = f"{conversations * TURNS_EACH:,} turns, {options.concurrency} at once, seed {options.seed}"
    print(f"{asked}; {report.machine()}\n")
    with serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        print(run(server, Path(folder), conversations, options.concurrency, kills, options.seed))


if __name__ == "__main__":
    main()
