"""What an open loop shows that a closed one hides: the queue before a server that is slower than its callers.

    python tests/benchmarks/bench_open_loop.py [--quick] [--requests N] [--rate R]

The server takes 500 ms for a request and has one slot; 100 requests a second are due. Latency counts from sending,
schedule latency from when the schedule wanted the request sent. With one request at a time the server looks as fast as
ever, while the last caller has waited for all earlier ones. The schedule gives how long each should have waited:
request k is due after k / R s and done after (k + 1) · 500 ms.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import processes
import questions
import report
from servers import Server, serving

SERVICE_S = 0.5
MODEL = "ttft=500,itl=0,tokens=5,slots=1"


@dataclass
class Case:
    """One way of asking."""

    name: str
    flags: tuple[object, ...]
    even: bool = True  # due evenly, so that the schedule latencies are known


def cases(rate: float, requests: int) -> list[Case]:
    return [
        Case("closed loop, 1 at a time", ("--concurrency", 1), even=False),
        Case(f"open loop, {rate:g}/s, 1 at a time", ("--rate", rate, "--concurrency", 1)),
        Case(f"open loop, {rate:g}/s, all at once", ("--rate", rate, "--concurrency", requests)),
        Case(
            f"open loop, {rate:g}/s, Poisson, all at once",
            ("--rate", rate, "--arrivals", "poisson", "--concurrency", requests),
            even=False,
        ),
    ]


def measure(server: Server, case: Case, folder: Path, requests: int) -> tuple[dict, int]:
    """The result of a run, and the most requests that the server held at a time."""
    server.stats(reset=True)
    data, file = questions.write(folder / "queue.jsonl", requests), folder / "queue.evalkit"
    command = processes.evalkit("run", data, "--base-url", server.base_url, "--model", MODEL, "--no-stream")
    finished = processes.run([*command, *case.flags, "--out", file, "--json"])
    processes.removed(file)
    return json.loads(finished.output), server.stats()["most_in_flight"]


def due_to_done_ms(requests: int, rate: float) -> dict[str, float]:
    """What the schedule latency must be when requests are due evenly."""
    waits = [((number + 1) * SERVICE_S - number / rate) * 1e3 for number in range(requests)]
    return {name: report.quantile(waits, share) for name, share in (("p50", 0.5), ("p95", 0.95))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="24 requests")
    parser.add_argument("--requests", type=int, help="default: 60, half a minute for each row")
    parser.add_argument("--rate", type=float, default=100.0, help="requests due a second (default: 100)")
    options = parser.parse_args()
    requests = options.requests or (24 if options.quick else 60)
    truth = due_to_done_ms(requests, options.rate)
    rows = []
    print(f"{requests} requests; {report.machine()}\n")
    with serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
        for case in cases(options.rate, requests):
            report.say(case.name)
            result, most = measure(server, case, Path(folder), requests)
            rows.append(row(case, result, most, truth))
    head = (
        "asked",
        "latency, p50 / p95 ms",
        "schedule latency, p50 / p95 ms",
        "by the schedule",
        "error",
        "at the server",
    )
    print(report.table(head, rows))


def row(case: Case, result: dict, most: int, truth: dict[str, float]) -> list[object]:
    latency, schedule = (result.get(name) or {} for name in ("latency_ms", "schedule_latency_ms"))
    found = {name: schedule.get(name) for name in truth}
    cells = [case.name, pair(latency.get(name) for name in truth), pair(found.values())]
    if not case.even or None in found.values():
        return [*cells, "–", "–", most]
    error = " / ".join(f"{value / truth[name] - 1:+.1%}" for name, value in found.items())
    return [*cells, pair(truth.values()), error, most]


def pair(values: Iterable[float | None]) -> str:
    """A quantile is missing when there are too few requests for it."""
    return " / ".join("–" if value is None else f"{value:,.0f}" for value in values)


if __name__ == "__main__":
    main()
