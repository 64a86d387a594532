"""What a cluster adds to a run: processor time a turn, and what killed workers and shared budgets do to its counts.

    python tests/benchmarks/bench_cluster.py [--quick] [--part overhead|kill|costs|budget] [--turns N] [--rounds N]

- overhead: the same run by one process and by two local workers, against a server without delay. Processor time is that
  of the whole process tree, scheduler included, minus that of a run of one conversation.
- kill: one of four workers gets SIGKILL every three seconds, and one is added. Every turn must be there once, and
  the server must have seen no more requests than attempts stored and turns reported as sent again.
- costs: processor times, bytes, commits and messages of each process, per turn and per exchange; ``--write FILE`` keeps
  them for ``cluster_model.py --costs FILE``.
- budget: 600 requests a minute on four workers; the fullest window of 60 seconds, as the server counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import cluster_costs
import processes
import questions
import report
from servers import AT_ONCE, Server, serving

GOAL_OVERHEAD = 0.25
TURNS_EACH = 3
SLOW = "ttft=40,itl=2,tokens=10"


def ask(server: Server, data: Path, concurrency: int, *more: object) -> tuple[processes.Finished, dict]:
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", AT_ONCE, "--no-stream")
        command += ["--concurrency", concurrency, "--out", Path(folder) / "bench.evalkit", "--json", *more]
        finished = processes.run(command)
    return finished, json.loads(finished.output)


def overhead(turns: int, rounds: int, concurrency: int) -> None:
    ways: dict[str, tuple[object, ...]] = {"one process": (), "two local workers": ("--dask", "local:2")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        one = questions.write(Path(folder) / "one.jsonl", 1)
        data = questions.write(Path(folder) / "all.jsonl", turns // TURNS_EACH, TURNS_EACH)
        asked = turns // TURNS_EACH * TURNS_EACH
        for number in range(rounds):
            for name, flags in ways.items():
                report.say(f"round {number + 1} of {rounds}: {name}")
                start_up, _ = ask(server, one, concurrency, *flags)
                finished, result = ask(server, data, concurrency, *flags)
                if result["answered"] != asked:
                    sys.exit(f"{name}: {result['answered']} of {asked} answered: {result['errors']}")
                found[name].append((result["turns_per_s"], (finished.cpu_s - start_up.cpu_s) / asked * 1e3))
    ratio = median(two[1] / one[1] for one, two in zip(*found.values(), strict=True)) - 1
    lines = [
        [name, f"{median(per_s for per_s, _ in each):,.0f}", f"{median(cpu for _, cpu in each):.3f}"]
        for name, each in found.items()
    ]
    print(report.table(("way", "turns/s", "CPU ms a turn"), lines))
    print(f"\noverhead {ratio:.0%} of the processor time a turn; goal ≤ {GOAL_OVERHEAD:.0%}; "
          f"{report.met(ratio <= GOAL_OVERHEAD)}\n")  # fmt: skip


def kill(turns: int, every_s: float, seed: int) -> None:
    import distributed

    import evalkit

    draw, kills, due = random.Random(seed), 0, 0.0
    with (
        serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder,
        distributed.LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        data = questions.write(Path(folder) / "all.jsonl", turns // TURNS_EACH, TURNS_EACH)

        def harm(progress: object) -> None:
            nonlocal kills, due
            due = due or time.monotonic() + every_s
            if progress.answered and time.monotonic() > due:
                kills, due = kills + 1, time.monotonic() + every_s
                if pids := [nanny.pid for nanny in cluster.workers.values() if nanny.pid]:
                    os.kill(draw.choice(pids), signal.SIGKILL)
                if kills == 2:
                    cluster.scale(5)

        run = evalkit.evaluate(
            data, evalkit.Endpoint(server.base_url, SLOW), out=Path(folder) / "bench.evalkit", concurrency=32,
            cluster=client, watch=harm,
        )  # fmt: skip
        with closing(sqlite3.connect(run.path)) as connection:
            stored, answered = connection.execute("SELECT count(*), total(status = 'answered') FROM turn").fetchone()
            (attempts,) = connection.execute("SELECT count(*) FROM attempt").fetchone()
            (trust,) = connection.execute("SELECT trust FROM session").fetchone()
        seen, counted = server.stats(), json.loads(trust)["cluster"]
    asked = turns // TURNS_EACH * TURNS_EACH
    good = stored == answered == asked and attempts <= seen["requests"] <= attempts + counted["turns_sent_again"]
    lines = [[
        f"{asked:,}", kills, f"{stored:,}", f"{answered:,.0f}", f"{attempts:,}", f"{seen['requests']:,}",
        counted["workers_lost"], f"{counted['turns_sent_again']:,}", report.met(good),
    ]]  # fmt: skip
    head = (
        "turns",
        "kills",
        "stored",
        "answered",
        "attempts",
        "server saw",
        "workers lost",
        "sent again, at most",
        "met",
    )
    print(report.table(head, lines) + "\n")


def budget(rpm: int, seconds: float) -> None:
    with serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        data = questions.write(Path(folder) / "all.jsonl", int(rpm * seconds / 60))
        out = Path(folder) / "bench.evalkit"
        command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", AT_ONCE, "--no-stream")
        processes.run([*command, "--concurrency", 16, "--rpm", rpm, "--dask", "local:4", "--out", out])
        with closing(sqlite3.connect(out)) as connection:
            sent = [ns / 1e9 for (ns,) in connection.execute("SELECT sent_ns FROM attempt ORDER BY sent_ns")]
    fullest = max(sum(start <= at < start + 60 for at in sent) for start in sent)
    lines = [[rpm, len(sent), f"{sent[-1] - sent[0]:.0f}", fullest, report.met(fullest <= rpm)]]
    print(report.table(("limit a minute", "requests", "seconds", "fullest window of 60 s", "met"), lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns, one round")
    parser.add_argument("--part", choices=("overhead", "kill", "costs", "budget"))
    parser.add_argument("--turns", type=int, help="default: 100,000 and 20,000")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the costs in this file")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between kills (default: 3)")
    options = parser.parse_args()
    print(f"{report.machine()}\n")
    if options.part in (None, "overhead"):
        turns = options.turns or (9_999 if options.quick else 100_000)
        overhead(turns, options.rounds or (1 if options.quick else 3), options.concurrency)
    if options.part in (None, "kill"):
        kill(options.turns or (4_000 if options.quick else 20_000), options.every, 7)
    if options.part in (None, "costs"):
        turns = options.turns or (9_999 if options.quick else 60_000)
        cluster_costs.measure(turns, options.rounds or (1 if options.quick else 3), options.write)
    if options.part in (None, "budget"):
        budget(600, 75 if options.quick else 150)


if __name__ == "__main__":
    main()
