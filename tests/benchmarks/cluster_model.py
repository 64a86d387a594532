"""A discrete-event model of a run on a cluster: where writer, scheduler, workers or budget become the limit.

    python tests/benchmarks/cluster_model.py [--chart FILE] [--writer-us N] [--exchange-us N] [--scheduler-us N]

Every worker answers turns at the rate that its slots and the endpoint's latency allow, up to what its processor does.
Five times a second it hands over what it has: first the scheduler handles the exchange, then the client, which commits
the turns before it asks again. Scheduler and client serve one exchange at a time. The costs are processor times,
measured by ``bench_cluster.py --part costs`` on one machine; the network adds none here.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass

import report

EXCHANGE_S = 0.2
SECONDS = 20.0
AHEAD_S = 0.6  # conversations that a worker has beyond its slots: it sends on for so long without an exchange


@dataclass(frozen=True)
class Costs:
    """Processor times in seconds: of the writer a turn, of client and scheduler an exchange; of a worker a turn."""

    writer: float
    exchange: float
    scheduler: float
    worker: float


def simulate(workers: int, slots: int, latency_s: float, costs: Costs, budget_per_s: float = float("inf")) -> dict:
    """Turns a second, and how busy scheduler and client are."""
    rate = min(slots / latency_s, 1 / costs.worker, budget_per_s / workers)
    events = [(EXCHANGE_S * (1 + index / workers), index) for index in range(workers)]
    heapq.heapify(events)
    last = [0.0] * workers
    scheduler_free = client_free = scheduler_busy = client_busy = 0.0
    stored = 0.0
    while events and events[0][0] < SECONDS:
        ready, index = heapq.heappop(events)
        start = max(ready, scheduler_free)
        scheduler_free = start + costs.scheduler
        scheduler_busy += costs.scheduler
        turns = rate * min(ready - last[index], EXCHANGE_S + AHEAD_S)  # then it has nothing left to send
        last[index] = ready
        start = max(scheduler_free, client_free)
        work = costs.exchange + costs.writer * turns
        client_free = start + work
        client_busy += work
        if client_free < SECONDS:
            stored += turns
        heapq.heappush(events, (client_free + EXCHANGE_S, index))
    return {
        "turns_per_s": stored / SECONDS, "wanted": rate * workers,
        "scheduler": min(scheduler_busy / SECONDS, 1), "client": min(client_busy / SECONDS, 1),
    }  # fmt: skip


def limit(found: dict, slots: int, latency_s: float, costs: Costs, budget_per_s: float, workers: int) -> str:
    """What keeps the run from being faster."""
    if found["turns_per_s"] < 0.95 * found["wanted"]:
        return "scheduler" if found["scheduler"] > found["client"] else "client, which has the writer"
    if budget_per_s < workers * min(slots / latency_s, 1 / costs.worker):
        return "budget"
    return "slots" if slots / latency_s < 1 / costs.worker else "workers' processors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chart", help="write a picture to this file")
    parser.add_argument("--writer-us", type=float, default=100)
    parser.add_argument("--exchange-us", type=float, default=2_000)
    parser.add_argument("--scheduler-us", type=float, default=2_000)
    parser.add_argument("--worker-us", type=float, default=150)
    options = parser.parse_args()
    costs = Costs(*(each / 1e6 for each in (
        options.writer_us, options.exchange_us, options.scheduler_us, options.worker_us,
    )))  # fmt: skip
    cases = (
        ("64 slots, 5 s a turn", 64, 5.0, float("inf")), ("256 slots, 1 s a turn", 256, 1.0, float("inf")),
        ("256 slots, 0.05 s a turn", 256, 0.05, float("inf")), ("the same, rpm 60,000", 256, 0.05, 1_000.0),
    )  # fmt: skip
    lines, curves = [], {}
    for name, slots, latency_s, budget in cases:
        for workers in (1, 3, 10, 30, 100):
            found = simulate(workers, slots, latency_s, costs, budget)
            curves.setdefault(name, []).append((workers, found["turns_per_s"]))
            if workers in (1, 10, 100):
                lines.append([
                    name, workers, f"{found['turns_per_s']:,.0f}",
                    f"{found['scheduler']:.0%}", f"{found['client']:.0%}",
                    limit(found, slots, latency_s, costs, budget, workers),
                ])  # fmt: skip
    head = ("each worker", "workers", "turns/s", "scheduler busy", "client busy", "limited by")
    print(report.table(head, lines))
    if options.chart:
        draw(curves, options.chart, 1 / costs.writer)


def draw(curves: dict[str, list[tuple[int, float]]], path: str, writer_per_s: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.axhline(writer_per_s, color="gray", linestyle="--", label="the one writer")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="turns per second", title="Modelled, not measured")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
