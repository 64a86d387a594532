"""How long a run file of many turns takes to read, summarise and export, and how much memory that takes.

    python tests/benchmarks/bench_tables.py [--turns 1000000] [--folder /tmp]

The file is created first: a thousand conversations of one turn, written by the store and then copied inside SQLite.
Every case has a fresh process and reads the file once. All are compared with the same SELECT, fetched row by row in a
bare loop in the same run. Another reader, adbc-driver-sqlite, is measured if it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from records import finished

from evalkit.analysis import summary_json

SEED = 1_000  # conversations that the store writes; the others are copies
FEW = 10_000
MS = 1_000_000


def make(path: Path, turns: int) -> None:
    """A run file of so many turns, streams of 20 chunks, 2 % of them failed."""
    from evalkit.runfile.store import RunFile

    settings = {"history": "own", "repeats": 1, "concurrency": 64, "stream": True}
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
    dataset = {"path": "sums.jsonl", "turns": turns}
    with RunFile.create(path, name="bench", settings=settings, dataset=dataset, endpoint=endpoint) as file:
        file.begin_session(0, {})
        _seed(file, min(turns, SEED))
        with file.connection as connection:
            for table, changed in _COPIED.items():
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                values = ", ".join(changed.get(name, name) for name in names)
                connection.execute(
                    "WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies LIMIT ?) "
                    f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM copies CROSS JOIN {table}",
                    (max(turns // SEED - 1, 0),),
                )
        file.end_session(
            1000 * 1000 * MS, "done", {"loop_lag_p99_ms": 1.0, "reads": 20, "reads_with_several_events": 1}
        )


_PLACE = {"conversation": f"conversation + {SEED} * copy"}
_COPIED: dict[str, dict[str, str]] = {
    "conversation": {"position": f"position + {SEED} * copy", "id": "id || '-' || copy"},
    "turn": _PLACE,
    "attempt": _PLACE | {"id": "NULL"},
    "score": _PLACE,
}


def _seed(file: Any, turns: int) -> None:
    from evalkit.conversation import Conversation, Turn
    from evalkit.errors import Failure
    from evalkit.record import Answer, Attempt, Score, Timing, TurnRecord, Usage

    rng = random.Random(1)
    done, scores = [], []
    for n in range(turns):
        kind = rng.choice(["timeout", "server", "truncated"]) if rng.random() < 0.02 else None
        failure = Failure(kind, f"the {kind} message", 500) if kind else None
        sent, ttft = 3 * n * MS, int(rng.gammavariate(4, 20) * MS)
        arrivals = tuple(sent + ttft + 10 * chunk * MS for chunk in range(20)) if kind != "server" else ()
        attempt = Attempt(
            Timing(sent, sent, sent, sent + MS, arrivals, (1,) * len(arrivals), end=sent + ttft + 200 * MS),
            streamed=True,
            http_status=200,
            answer=Answer(f"The sum of {n} and {n + 1} is {2 * n + 1}.", finish_reason=None if kind else "stop"),
            usage=Usage(20, 20),
            failure=failure,
        )
        asked = Conversation(f"c{n:03}", (Turn(f"What is the sum of {n} + {n + 1}?", target=2 * n + 1),))
        done.append(finished(n, asked, TurnRecord(asked.id, 1, 1, (attempt,), (), failure)))
        if not kind:
            scores.append((n, 1, 1, Score("number", float(rng.random() < 0.7), "as wanted", 2 * n + 1)))
    file.add(done, scores)


# --- cases; each in a process of its own


def bare(path: Path) -> None:
    """The SELECT of the table, row by row."""
    from evalkit.runfile.turn_columns import TURNS

    with contextlib.closing(sqlite3.connect(path)) as connection:
        for _ in connection.execute(TURNS):
            pass


def frame(path: Path) -> None:
    from evalkit.analysis import tables

    tables.turns(path)


def summary(path: Path) -> None:

    summary_json.summary_json(path)


def show(path: Path) -> None:
    from evalkit.cli.main import main as run_command

    with contextlib.redirect_stdout(io.StringIO()):
        run_command(["show", str(path), "--json"])


def export(form: str) -> Callable[[Path], None]:
    def case(path: Path) -> None:
        from evalkit.analysis import tables

        tables.export(path, form, path.with_suffix(f".{form}"))
        path.with_suffix(f".{form}").unlink()

    return case


def adbc(path: Path) -> None:
    from adbc_driver_sqlite import dbapi

    from evalkit.runfile.turn_columns import TURNS

    with dbapi.connect(f"file:{path}?mode=ro") as connection, connection.cursor() as cursor:
        cursor.execute(TURNS)
        cursor.fetch_arrow_table()


CASES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "bare": ("bare SELECT, row by row", bare),
    "turns": ("**`tables.turns`**, a DataFrame", frame),
    "summary": ("**`summary_json`**", summary),
    "show": ("**`evalkit show --json`**, imports included", show),
    **{form: (f"**`tables.export`**, {form}", export(form)) for form in ("jsonl", "csv", "parquet")},
    "adbc_driver_sqlite": ("adbc-driver-sqlite, into Arrow only", adbc),
}


def run_case(name: str, path: Path) -> None:
    """Time one case here, and print seconds by the clock, seconds of CPU and MB at most."""
    if name in ("turns", "summary", "jsonl", "csv", "parquet"):
        import evalkit.analysis.tables  # noqa: F401 - imports are timed with the command only
    if name in ("turns", "parquet"):
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401
    clock, cpu = time.perf_counter(), time.process_time()
    CASES[name][1](path)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    print(clock, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(name: str, path: Path) -> tuple[float, float, float]:
    command = [sys.executable, __file__, "--case", name, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, cpu, memory = map(float, done.stdout.split())
    return seconds, cpu, memory


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        run_case(given.case[0], Path(given.case[1]))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        many, few = Path(folder) / "many.evalkit", Path(folder) / "few.evalkit"
        for path, turns in ((many, given.turns), (few, FEW)):
            # not here: a process takes its peak memory over from the one that started it
            code = f"import bench_tables, pathlib; bench_tables.make(pathlib.Path({str(path)!r}), {turns})"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
        print(
            f"load of the machine now: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
            f"{given.turns:,} turns in {many.stat().st_size / 1e6:,.0f} MB\n"
        )
        print(f"| case | s | of bare | CPU s | peak MB | peak MB at {FEW:,} turns |\n|---|---|---|---|---|---|")
        base = 0.0
        for name, (title, _) in CASES.items():
            if name == "adbc_driver_sqlite" and find_spec(name) is None:
                print(f"| {title} | not installed | | | | |")
                continue
            seconds, cpu, memory = measured(name, many)
            base = base or seconds
            few_memory = measured(name, few)[2]
            print(f"| {title} | {seconds:.1f} | {seconds / base:.1f} × | {cpu:.1f} | {memory:.0f} | {few_memory:.0f} |")


if __name__ == "__main__":
    main()
