"""What a run on a cluster costs each process, per turn and per exchange with a worker: for ``cluster_model.py``.

Scheduler and workers are processes of their own, and this process is the client, which reads the dataset, commits and
scores. Three kinds of runs are measured: one conversation, turns without a delay, and a few turns a second. Processor
times are fitted as start + turns x a turn + exchanges x an exchange, none below 0, by least squares; what the processes
take while nothing runs is measured before, and subtracted.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import questions
import report
from servers import AT_ONCE, Server, serving

WORKERS = 2
SLOW = "ttft=400,itl=0,tokens=20"
TURNS_EACH = 3
IDLE_S = 5.0
PARTS = ("client", "scheduler", "worker", "asking process")


@dataclass
class Counts:
    """What one run did, and the processor seconds of each part of the cluster."""

    turns: int = 0
    exchanges: int = 0
    commits: int = 0
    bytes_to_workers: int = 0
    bytes_from_workers: int = 0
    messages: int = 0
    seconds: float = 0.0
    file_bytes: int = 0
    cpu: tuple[float, ...] = ()


def measure(turns: int, rounds: int, found: Path | None) -> None:
    """Print the costs, and write them to a file for ``cluster_model.py --costs``."""
    with cluster() as (client, parts), serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as at:
        kinds = {"one conversation": (1, AT_ONCE, 1), "no delay": (turns, AT_ONCE, 64), "slow": (600, SLOW, 20)}
        runs: dict[str, list[Counts]] = {name: [] for name in kinds}
        one_run(client, parts, server, Path(at), *kinds["one conversation"])  # everything is imported then
        idle = idle_share(parts)
        for number in range(rounds):
            for name, kind in kinds.items():
                report.say(f"round {number + 1} of {rounds}: {name}")
                counts = one_run(client, parts, server, Path(at), *kind)
                used = zip(counts.cpu, idle, strict=True)
                counts.cpu = tuple(max(cpu - share * counts.seconds, 0.0) for cpu, share in used)
                runs[name].append(counts)
    per_turn, per_exchange = fitted([counts for each in runs.values() for counts in each])
    fast, slow = runs["no delay"][-1], runs["slow"][-1]
    print(report.table(
        ("processor time, µs", *PARTS),
        [["a turn", *(f"{cost * 1e6:,.0f}" for cost in per_turn)],
         ["an exchange", *(f"{cost * 1e6:,.0f}" for cost in per_exchange)],
         ["a second without a run", *(f"{share * 1e6:,.0f}" for share in idle)]],
    ))  # fmt: skip
    print("\n" + report.table(
        ("run", "turns/s", "exchanges/s", "turns an exchange", "commits/s", "messages/s of Dask",
         "bytes a turn to workers", "from workers", "in the run file"),
        [line("no delay", fast), line("slow", slow)],
    ) + "\n")  # fmt: skip
    if found is not None:
        costs = {
            "turn": dict(zip(PARTS, per_turn, strict=True)),
            "exchange": dict(zip(PARTS, per_exchange, strict=True)),
        }
        found.write_text(json.dumps({**costs, "no delay": asdict(fast), "slow": asdict(slow)}, indent=1) + "\n")


def line(name: str, counts: Counts) -> list[str]:
    rates = (
        counts.turns,
        counts.exchanges,
        counts.turns / counts.exchanges * counts.seconds,
        counts.commits,
        counts.messages,
    )
    sizes = (counts.bytes_to_workers, counts.bytes_from_workers, counts.file_bytes)
    per_s = [f"{value / counts.seconds:,.1f}" if value < 1_000 else f"{value / counts.seconds:,.0f}" for value in rates]
    return [name, *per_s, *(f"{size / counts.turns:,.0f}" for size in sizes)]


def fitted(runs: list[Counts]) -> tuple[list[float], list[float]]:
    """Seconds a turn and an exchange, of each part."""
    import numpy as np
    from scipy.optimize import nnls

    known = np.array([[1, counts.turns, counts.exchanges] for counts in runs], float)
    weights = 1 / np.maximum([sum(counts.cpu) for counts in runs], 0.1)
    solved = [
        nnls(known * weights[:, None], np.array(cpu) * weights)[0] for cpu in zip(*(c.cpu for c in runs), strict=True)
    ]
    return [costs[1] for costs in solved], [costs[2] for costs in solved]


def one_run(
    client: Any, parts: list[psutil.Process], server: Server, folder: Path, turns: int, model: str, slots: int
) -> Counts:
    """Run a dataset on the cluster, and count."""
    import evalkit
    from evalkit.cluster.cluster_worker import ClusterWorker
    from evalkit.cluster.worker_pool import WorkerPool
    from evalkit.runfile.store import RunFile

    conversations = max(turns // TURNS_EACH, 1)
    data = questions.write(folder / "data.jsonl", conversations, TURNS_EACH)
    counts = Counts(turns=conversations * TURNS_EACH)

    def note_submitted(_: Any, __: Any, ___: Any, *arguments: Any) -> None:
        counts.exchanges += 1
        counts.bytes_to_workers += sum(len(each) for each in arguments if isinstance(each, bytes))

    def note_received(_: Any, data: bytes) -> None:
        counts.bytes_from_workers += len(data)

    def note_commit(*_: Any, **__: Any) -> None:
        counts.commits += 1

    out = folder / "run.evalkit"
    with (
        noting(WorkerPool, "submit", note_submitted), noting(ClusterWorker, "receive", note_received),
        noting(RunFile, "add", note_commit),
    ):  # fmt: skip
        before, messages = processor_s(parts), dask_messages(client)
        endpoint, began = evalkit.Endpoint(server.base_url, model), time.perf_counter()
        evalkit.evaluate(data, endpoint, out=out, concurrency=slots, cluster=client, stream=False)
        counts.seconds = time.perf_counter() - began
    time.sleep(1.0)  # a worker still ends its asking process
    counts.messages = dask_messages(client) - messages
    counts.cpu = tuple(after - at for at, after in zip(before, processor_s(parts), strict=True))
    counts.file_bytes = out.stat().st_size
    for file in folder.iterdir():
        file.unlink()
    return counts


@contextlib.contextmanager
def noting(owner: type, name: str, note: Any) -> Iterator[None]:
    """Call a function before each call of a method."""
    method = getattr(owner, name)

    def noted(*arguments: Any, **more: Any) -> Any:
        note(*arguments, **more)
        return method(*arguments, **more)

    setattr(owner, name, noted)
    try:
        yield
    finally:
        setattr(owner, name, method)


def idle_share(parts: list[psutil.Process]) -> list[float]:
    """The share of a processor that each part takes while nothing runs."""
    time.sleep(1.0)
    before, began = processor_s(parts), time.perf_counter()
    time.sleep(IDLE_S)
    passed = time.perf_counter() - began
    return [(after - at) / passed for at, after in zip(before, processor_s(parts), strict=True)]


def processor_s(parts: list[psutil.Process]) -> tuple[float, ...]:
    """Of client, scheduler, workers, and of the asking processes that have ended."""
    own = [each.cpu_times() for each in parts]
    used = [each.user + each.system for each in own]
    return used[0], used[1], sum(used[2:]), sum(each.children_user + each.children_system for each in own[2:])


def dask_messages(client: Any) -> int:
    """Messages in the streams between scheduler, workers and client so far."""

    def of_scheduler(dask_scheduler: Any) -> int:
        streams = [*dask_scheduler.stream_comms.values(), *dask_scheduler.client_comms.values()]
        return sum(stream.message_count for stream in streams)

    def of_worker(dask_worker: Any) -> int:
        return dask_worker.batched_stream.message_count

    there = client.run_on_scheduler(of_scheduler) + sum(client.run(of_worker).values())
    return int(there + client.scheduler_comm.message_count)


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Any, list[psutil.Process]]]:
    """A client of a scheduler and workers, and the processes: this one, the scheduler, the workers."""
    import distributed

    with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder, contextlib.ExitStack() as stack:
        file, at = Path(folder) / "scheduler.json", ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        commands = [["scheduler", "--port", "0", "--scheduler-file", file, *at]]
        commands += [["worker", "--scheduler-file", file, "--no-nanny", "--nthreads", "1", *at]] * WORKERS
        processes = [psutil.Process()]
        for command in commands:
            words = [sys.executable, "-m", "dask", *map(str, command)]
            process = stack.enter_context(subprocess.Popen(words, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
            processes.append(psutil.Process(process.pid))
        client = stack.enter_context(distributed.Client(scheduler_file=str(file)))
        client.wait_for_workers(WORKERS, timeout=60)
        yield client, processes
