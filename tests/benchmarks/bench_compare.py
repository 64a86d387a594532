"""How long two runs of many turns take to compare, and how much memory that takes.

    python tests/benchmarks/bench_compare.py [--turns 1000000] [--folder /tmp]

The files are created first: a thousand conversations of four turns, written by the store and then copied inside SQLite,
2 % of the turns failed, one of twenty tags a conversation. In ``checked`` both runs are of one checked dataset and are
paired by position; in ``unchecked`` they are paired by id and content hash; in ``repeats`` the second run has two
repeats of half as many conversations, so that means over repeats are compared. Every case is the command, in a process
of its own, imports included. Wall-clock time means something only on an idle machine; CPU time is shown next to it.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import processes
import report
from records import finished

SEED, TURNS, TAGS = 1_000, 4, 20  # conversations that the store writes, the others are copies; turns of each; tags
MS = 1_000_000
GOAL_S, GOAL_MB = 30, 600
SAMPLE_S = 0.1
FEW = 8_000
_PLACE = {"conversation": f"conversation + {SEED} * copy"}
_COPIED: dict[str, dict[str, str]] = {
    "conversation": {
        "position": f"position + {SEED} * copy",
        "id": "id || '-' || copy",
        "hash": "hash || '-' || copy",
    },
    "turn": _PLACE,
    "attempt": _PLACE | {"id": "NULL"},
    "score": _PLACE,
}


def make(path: Path, turns: int, seed: int, repeats: int, *, checked: bool) -> None:
    """A run file of so many turns; the seed says which are right and how long they took."""
    from evalkit.runfile.store import RunFile

    settings = {"history": "own", "repeats": repeats, "concurrency": 64, "stream": True}
    endpoint = {"model": f"m{seed}", "base_url": "http://127.0.0.1:9/v1", "params": {}}
    dataset = {"path": "sums.jsonl", "turns": turns // repeats, "hash": "of the sums" if checked else None}
    with RunFile.create(path, name=path.stem, settings=settings, dataset=dataset, endpoint=endpoint) as file:
        file.begin_session(0, {})
        _seed(file, random.Random(seed), repeats)
        with file.connection as connection:
            for table, changed in _COPIED.items():
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                values = ", ".join(changed.get(name, name) for name in names)
                connection.execute(
                    "WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies LIMIT ?) "
                    f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM copies CROSS JOIN {table}",
                    (max(turns // (SEED * TURNS * repeats) - 1, 0),),
                )
        file.end_session(1000 * 1000 * MS, "done", {"loop_lag_p99_ms": 1.0})


def _seed(file: Any, rng: random.Random, repeats: int) -> None:
    from evalkit.conversation import Conversation, Turn
    from evalkit.errors import Failure
    from evalkit.record import Answer, Attempt, Score, Timing, TurnRecord

    done, scores = [], []
    for n in range(SEED):
        turns = tuple(Turn(f"What is the sum of {n} + {t}?", target=n + t) for t in range(1, TURNS + 1))
        asked = Conversation(f"c{n:03}", turns, tags=(f"tag-{n % TAGS}",))
        for repeat in range(1, repeats + 1):
            for turn in range(1, TURNS + 1):
                failure = Failure("server", "the server message", 500) if rng.random() < 0.02 else None
                ttft = int(rng.gammavariate(4, 20) * MS)
                arrivals = () if failure else (ttft, ttft + 10 * MS)
                attempt = Attempt(
                    Timing(0, 0, 0, MS, arrivals, (1,) * len(arrivals), end=ttft + 200 * MS),
                    streamed=True,
                    http_status=200,
                    answer=Answer(f"The sum of {n} and {turn} is {n + turn}.", finish_reason="stop"),
                    failure=failure,
                )
                done.append(finished(n, asked, TurnRecord(asked.id, repeat, turn, (attempt,), (), failure)))
                if not failure:
                    scores.append((n, repeat, turn, Score("number", float(rng.random() < 0.7), "as wanted", n + turn)))
    file.add(done, scores)


def made(folder: Path, turns: int, case: str) -> tuple[Path, Path]:
    """The two run files of a case."""
    files = []
    for seed in (1, 2):
        repeats = 2 if case == "repeats" and seed == 2 else 1
        turns_of_it = turns // 2 if case == "repeats" and seed == 1 else turns
        path = folder / f"{case}-{turns}-{seed}.evalkit"
        # not here: a process takes its peak memory over from the one that started it
        values = f"{turns_of_it}, {seed}, {repeats}, checked={case != 'unchecked'}"
        code = f"import bench_compare, pathlib; bench_compare.make(pathlib.Path({str(path)!r}), {values})"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
        files.append(path)
    return files[0], files[1]


def measured(folder: Path, turns: int, case: str) -> tuple[float, float, float, int]:
    """Seconds, seconds of CPU, MB and pairs of one comparison."""
    files = made(folder, turns, case)
    with closing(sqlite3.connect(files[1])) as connection:
        (held,) = connection.execute("SELECT count(*) FROM turn").fetchone()
    report.say(f"{case}: {held:,} turns a run")
    done = processes.run(processes.evalkit("compare", *files, "--json"), memory_s=SAMPLE_S)
    for file in files:
        processes.removed(file)
    return done.wall_s, done.cpu_s, done.peak_mb(), json.loads(done.output)["pairs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where its files lie meanwhile (default: the system's own)")
    options = parser.parse_args()
    print(f"two runs of {options.turns:,} turns; {report.machine()}\n")
    rows = []
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-", dir=options.folder) as folder:
        small = measured(Path(folder), FEW, "checked")[2]
        for case in ("checked", "unchecked", "repeats"):
            seconds, cpu, memory, pairs = measured(Path(folder), options.turns, case)
            rows += [
                [
                    f"{case}: {pairs:,} pairs compared",
                    f"{seconds:.1f} s",
                    f"≤ {GOAL_S} s",
                    report.met(seconds <= GOAL_S),
                ],
                [f"{case}: CPU", f"{cpu:.1f} s", "–", "–"],
                [f"{case}: peak memory", f"{memory:.0f} MB", f"≤ {GOAL_MB} MB", report.met(memory <= GOAL_MB)],
            ]
    rows.append([f"peak memory at {FEW:,} turns", f"{small:.0f} MB", "–", "–"])
    print(report.table(("what", "found", "goal", "met"), rows))


if __name__ == "__main__":
    main()
