"""How true the times of reasoning models are: TTFT at the first thought, TTFV at the answer's first character.

    python tests/benchmarks/bench_reasoning.py [--quick] [--streams N] [--together]

One row for each form in which endpoints send reasoning, and one without, which shows how noisy the machine is: 64
streams of ``thinking_server.py``, compared with what it says itself. Left out are turns that opened a connection and
the first two of every slot. The server has a processor of its own, unless ``--together`` is given.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import processes
import questions
import report
from servers import can_part, serving
from thinking_server import FORMS

WARM_ROUNDS = 2
GOAL_MS = 2.0  # p99 of the difference, without its sign
STAMPS = re.compile(r"r(\d+)w(\d+)v(\d+) ")
TURNS = """
    SELECT turn.ttft_ns, turn.ttfv_ns, turn.answer, attempt.connection_opened FROM turn
      JOIN attempt USING (conversation, repeat, turn)
    WHERE turn.status = 'answered' AND turn.attempts = 1 ORDER BY turn.sent_ns"""


def errors_ms(file: Path, cold: int) -> tuple[list[float], list[float]]:
    """The client's TTFT and TTFV less the server's, of every turn but the cold ones."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(TURNS).fetchall()[cold:]
    ttft, ttfv = [], []
    for first_ns, visible_ns, answer, opened in rows:
        if opened:
            continue
        received, thought, shown = map(int, STAMPS.search(answer).groups())
        ttft.append((first_ns - (thought - received)) / 1e6)
        ttfv.append((visible_ns - (shown - received)) / 1e6)
    if not ttft:
        sys.exit("no turn was left to judge: ask more rounds")
    return ttft, ttfv


def row(form: str, base_url: str, streams: int, rounds: int, folder: Path) -> list[str]:
    data = questions.write(folder / "questions.jsonl", streams * (WARM_ROUNDS + rounds))
    file = folder / "reasoning.evalkit"
    command = processes.evalkit("run", data, "--base-url", base_url, "--model", form)
    processes.run([*command, "--concurrency", streams, "--out", file, "--no-check"], codes=(0, 1))
    found = errors_ms(file, streams * WARM_ROUNDS)
    processes.removed(file)
    p50 = [report.quantile(errors, 0.5) for errors in found]
    p99 = [report.quantile([abs(error) for error in errors], 0.99) for errors in found]
    cells = [f"{middle:+.2f} / {most:.2f}" for middle, most in zip(p50, p99, strict=True)]
    return [form, f"{len(found[0]):,}", *cells, report.met(max(p99) <= GOAL_MS)]


HEAD = ("form", "turns judged", "TTFT error, p50 / p99 of its size, ms", "TTFV error", f"p99 ≤ {GOAL_MS:g} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns of each form")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--together", action="store_true", help="client and server share the processors")
    options = parser.parse_args()
    apart = can_part() and not options.together
    processes.many_files()
    where = "a processor to itself" if apart else "processors shared with evalkit"
    print(f"{options.streams} streams; the server has {where}; {report.machine()}\n")
    rows = []
    with (
        serving(apart=apart, script="thinking_server.py") as server,
        tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder,
    ):
        for form in FORMS:
            report.say(form)
            rows.append(row(form, server.base_url, options.streams, 4 if options.quick else 20, Path(folder)))
    print(report.table(HEAD, rows))


if __name__ == "__main__":
    main()
