"""How true the times of a whole run are: every turn of ``evalkit run`` compared with the server's own clock.

    python tests/benchmarks/bench_truth.py [--quick] [--streams N ...] [--beyond N] [--rounds N] [--together]

First token after 50 ms, then one every 10 ms, 20 in all. The server puts into each answer when it had the request, when
it wrote the first token and when it wrote the last. Left out are turns that opened a connection and the first two of
every slot, so that connections are warm. The server has a processor of its own, as a remote endpoint has. With
``--together`` both share them all: then, where there are two, a request often waits a millisecond or two because the
scheduler keeps the server that it wakes behind the client, and that counts as the client's error. The last row is
more than the machine can do: what counts there is that the run says so itself.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import processes
import questions
import report
from servers import Server, can_part, serving

STREAM = "ttft=50,itl=10,tokens=20"
GOALS_MS = {64: (0.5, 2.0), 256: (2.0, 5.0)}  # p50, p99, of TTFT and of latency alike
WARM_ROUNDS = 2
STAMPS = re.compile(r"r(\d{20})w(\d{20}) .*l(\d{20}) ", re.DOTALL)
TURNS = """
    SELECT turn.ttft_ns, turn.latency_ns, turn.answer, attempt.connection_opened FROM turn
      JOIN attempt USING (conversation, repeat, turn)
    WHERE turn.status = 'answered' AND turn.attempts = 1 ORDER BY turn.sent_ns"""


@dataclass
class Row:
    """One run: p50 and p99 of the errors in ms, and what it says of itself."""

    ttft: tuple[float, float]
    latency: tuple[float, float]
    lag_p99_ms: float
    client_bound: bool
    turns: int


def truth(server: Server, streams: int, rounds: int, folder: Path) -> Row:
    data = questions.write(folder / "truth.jsonl", streams * (WARM_ROUNDS + rounds))
    file = folder / "truth.evalkit"
    command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", STREAM)
    finished = processes.run([*command, "--concurrency", streams, "--out", file, "--json"], codes=(0, 1))
    result = json.loads(finished.output)
    ttft, latency = errors_ms(file, streams * WARM_ROUNDS)
    processes.removed(file)
    trust = result["trust"]
    return Row(spread(ttft), spread(latency), trust["loop_lag_p99_ms"], trust["client_bound"], len(ttft))


def errors_ms(file: Path, cold: int) -> tuple[list[float], list[float]]:
    """The client's TTFT and latency less the server's, of every turn but the cold ones."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(TURNS).fetchall()[cold:]
    ttft, latency = [], []
    for first_ns, last_ns, answer, opened in rows:
        if opened:
            continue
        received, first, last = map(int, STAMPS.match(answer).groups())
        ttft.append((first_ns - (first - received)) / 1e6)
        latency.append((last_ns - (last - received)) / 1e6)
    if not ttft:
        sys.exit("no turn was left to judge: ask more rounds")
    return ttft, latency


def spread(errors: list[float]) -> tuple[float, float]:
    return report.quantile(errors, 0.5), report.quantile(errors, 0.99)


def cells(streams: int, rows: list[Row], beyond: bool) -> list[str]:
    ttft, latency = (
        tuple(median(getattr(row, name)[at] for row in rows) for at in (0, 1)) for name in ("ttft", "latency")
    )
    bound = sum(row.client_bound for row in rows)
    said = "no" if not bound else "yes" if bound == len(rows) else f"in {bound} of {len(rows)} runs"
    goal, good = "–", "–"
    if beyond:
        goal, good = "client-bound", report.met(bound == len(rows))
    elif streams in GOALS_MS:
        p50, p99 = GOALS_MS[streams]
        goal = f"p50 ≤ {p50}, p99 ≤ {p99}"
        good = report.met(max(ttft[0], latency[0]) <= p50 and max(ttft[1], latency[1]) <= p99)
    shown = [f"{pair[0]:+.2f} / {pair[1]:+.2f}" for pair in (ttft, latency)]
    lag = median(row.lag_p99_ms for row in rows)
    return [f"{streams:,}", f"{sum(row.turns for row in rows):,}", *shown, goal, good, f"{lag:.1f}", said]


HEAD = (
    "streams",
    "turns judged",
    "TTFT error, p50 / p99 ms",
    "latency error, p50 / p99 ms",
    "goal",
    "met",
    "loop lag p99, ms",
    "client-bound",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 64, 256])
    parser.add_argument("--beyond", type=int, default=2_000, help="streams of the last row; 0: none (default: 2,000)")
    parser.add_argument("--rounds", type=int, help="runs of each, of which the median is shown (default: 3)")
    parser.add_argument("--together", action="store_true", help="client and server share the processors")
    options = parser.parse_args()
    apart = can_part() and not options.together
    runs = options.rounds or (1 if options.quick else 3)
    each = 4 if options.quick else 20
    processes.many_files()
    asked = [(streams, False) for streams in options.streams] + [(options.beyond, True)] * bool(options.beyond)
    found: dict[tuple[int, bool], list[Row]] = {one: [] for one in asked}
    where = "a processor to itself" if apart else "processors shared with evalkit"
    print(f"{STREAM}, median of {runs} runs; the server has {where}; {report.machine()}\n")
    with serving(apart=apart) as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        for number in range(runs):
            for streams, beyond in asked:
                report.say(f"run {number + 1} of {runs}: {streams} streams")
                # a p99 needs a hundred turns or so, and one stream alone is slow
                rounds = (20 if options.quick else 100) if streams == 1 else 3 if beyond else each
                found[streams, beyond].append(truth(server, streams, rounds, Path(folder)))
    print(report.table(HEAD, [cells(streams, rows, beyond) for (streams, beyond), rows in found.items()]))


if __name__ == "__main__":
    main()
