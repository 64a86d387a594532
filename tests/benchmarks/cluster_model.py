"""A discrete-event model of a run on a cluster: where writer, scheduler, workers or budget become the limit.

    python tests/benchmarks/cluster_model.py [--costs FILE] [--chart FILE.svg]

Every worker answers turns at the rate that its slots and the endpoint's latency allow, up to what its processor does.
Five times a second it hands over what it has: first the scheduler handles the exchange, then the client, which commits
the turns before it asks again. Scheduler and client serve one exchange at a time. The costs are processor times, as
``bench_cluster.py --part costs --write FILE`` measures them on one machine; the network adds none here, and the
processors are not shared.
"""

from __future__ import annotations

import argparse
import heapq
import io
import json
from dataclasses import dataclass
from pathlib import Path

import report

COSTS = Path(__file__).with_name("cluster_costs.json")
EXCHANGE_S = 0.2
SECONDS = 20.0
AHEAD_S = 0.6  # conversations that a worker has beyond its slots: it sends on for so long without an exchange
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200)
SHOWN = (1, 10, 100)
CASES = (  # name, slots of each worker, seconds a turn, turns a second of the budget
    ("64 slots, 5 s a turn", 64, 5.0, float("inf")),
    ("256 slots, 1 s a turn", 256, 1.0, float("inf")),
    ("256 slots, 0.05 s a turn", 256, 0.05, float("inf")),
    ("256 slots, 1 s a turn, rpm 60,000", 256, 1.0, 1_000.0),
)
LIMITS = {"slots": "o", "workers": "v", "scheduler": "^", "writer": "s", "budget": "D"}


@dataclass(frozen=True)
class Costs:
    """Processor times in seconds, of a turn and of an exchange, in client, scheduler and worker."""

    client: tuple[float, float]
    scheduler: tuple[float, float]
    worker: tuple[float, float]

    @classmethod
    def read(cls, file: Path) -> Costs:
        """As ``cluster_costs.py`` has written them; on a worker, two processes share a processor."""
        found = json.loads(file.read_text())

        def of(*parts: str) -> tuple[float, float]:
            return sum(found["turn"][part] for part in parts), sum(found["exchange"][part] for part in parts)

        return cls(of("client"), of("scheduler"), of("worker", "asking process"))

    @property
    def worker_per_s(self) -> float:
        """The most turns a second of one worker."""
        return max(1 - self.worker[1] / EXCHANGE_S, 0.0) / self.worker[0]


def simulate(workers: int, slots: int, latency_s: float, costs: Costs, budget_per_s: float = float("inf")) -> dict:
    """Turns and exchanges a second, and how busy scheduler and client are."""
    rate = min(slots / latency_s, costs.worker_per_s, budget_per_s / workers)
    events = [(EXCHANGE_S * (1 + index / workers), index) for index in range(workers)]
    heapq.heapify(events)
    last = [0.0] * workers
    scheduler_free = client_free = scheduler_busy = client_busy = 0.0
    stored, exchanges = 0.0, 0
    while events and events[0][0] < SECONDS:
        ready, index = heapq.heappop(events)
        turns = rate * min(ready - last[index], EXCHANGE_S + AHEAD_S)  # then it has nothing left to send
        last[index] = ready
        work = costs.scheduler[1] + costs.scheduler[0] * turns
        scheduler_free = max(ready, scheduler_free) + work
        scheduler_busy += work
        work = costs.client[1] + costs.client[0] * turns
        client_free = max(scheduler_free, client_free) + work
        client_busy += work
        if client_free < SECONDS:
            stored += turns
            exchanges += 1
        heapq.heappush(events, (client_free + EXCHANGE_S, index))
    return {
        "turns_per_s": stored / SECONDS, "wanted": rate * workers, "exchanges_per_s": exchanges / SECONDS,
        "scheduler": min(scheduler_busy / SECONDS, 1), "client": min(client_busy / SECONDS, 1),
    }  # fmt: skip


def limit(found: dict, slots: int, latency_s: float, costs: Costs, budget_per_s: float, workers: int) -> str:
    """What keeps the run from being faster: a key of ``LIMITS``."""
    if found["turns_per_s"] < 0.9 * found["wanted"]:
        return "scheduler" if found["scheduler"] > found["client"] else "writer"
    if budget_per_s < workers * min(slots / latency_s, costs.worker_per_s):
        return "budget"
    return "slots" if slots / latency_s < costs.worker_per_s else "workers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=COSTS, help="default: those measured last, in this folder")
    parser.add_argument("--chart", type=Path, help="write an SVG image to this file")
    options = parser.parse_args()
    costs = Costs.read(options.costs)
    lines, curves = [], {}
    for name, slots, latency_s, budget in CASES:
        for workers in WORKERS:
            found = simulate(workers, slots, latency_s, costs, budget)
            why = limit(found, slots, latency_s, costs, budget, workers)
            curves.setdefault(name, []).append((workers, found["turns_per_s"], why))
            if workers in SHOWN:
                busy = (f"{found[part]:.0%}" for part in ("scheduler", "client"))
                rates = (f"{found[each]:,.0f}" for each in ("turns_per_s", "exchanges_per_s"))
                lines.append([name, workers, *rates, *busy, why])
    print(
        report.table(
            ("each worker", "workers", "turns/s", "exchanges/s", "scheduler busy", "client busy", "limited by"), lines
        )
    )
    if options.chart:
        options.chart.write_bytes(drawn(curves, costs))


def drawn(curves: dict[str, list[tuple[int, float, str]]], costs: Costs) -> bytes:
    """An SVG image that follows the reader's light or dark colour scheme."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from evalkit.charts import dark_scheme, style

    written = io.BytesIO()
    with style.styled(), rc_context({"svg.hashsalt": "evalkit", "svg.fonttype": "none"}):
        figure = Figure(figsize=(style.WIDTH, style.HEIGHT + 0.6), layout="constrained")
        axes = figure.subplots()
        for (name, points), (colour, _, dashes) in zip(curves.items(), style.SERIES, strict=False):
            workers, rates, _ = zip(*points, strict=True)
            axes.plot(workers, rates, color=colour, linestyle=dashes, label=name)
            for worker, rate, why in points:
                axes.plot(worker, rate, LIMITS[why], color=colour, markersize=6.5)
        axes.axhline(1 / costs.client[0], color=style.FAINT, linewidth=1)
        axes.annotate(
            f"one writer, {1 / costs.client[0]:,.0f} turns/s", (1, 1 / costs.client[0]), (0, 4),
            textcoords="offset points", color=style.FAINT, fontsize=8.3,
        )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="turns a second", ylim=(8, 40_000))
        axes.set_xticks(WORKERS, map(str, WORKERS))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.minorticks_off()
        axes.grid(color=style.RULE, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title("Turns a second on a cluster, modelled with measured costs", loc="left", fontsize=11)
        shown = {why for points in curves.values() for _, _, why in points}
        marks = [
            Line2D([], [], color=style.FAINT, marker=mark, linestyle="", label=f"limited by {why}")
            for why, mark in LIMITS.items() if why in shown
        ]  # fmt: skip
        lines = axes.get_legend_handles_labels()[0]
        figure.legend(handles=[*lines, *marks], loc="outside lower left", ncols=2, fontsize=8.3, frameon=False)
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return dark_scheme.following(written.getvalue())


if __name__ == "__main__":
    main()
