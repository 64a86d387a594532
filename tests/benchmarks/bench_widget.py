"""What the widget of a live run costs: the same run with and without it, in a Jupyter kernel.

    python tests/benchmarks/bench_widget.py [--quick] [--rounds N] [--streams N] [--turns N]

Each round makes four runs: in a kernel alone, and in JupyterLab in a browser on the same machine, each
without the widget and with it. Errors are the client's times minus the server's own, of streams of 20 tokens, the first
after 50 ms and then one every 10 ms (as in ``bench_truth.py``); turns a second are those of answers without
delay. Medians of the rounds are shown, and for runs without the widget their range too: it adds nothing if its median
is in that range or better.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import questions
import report
from bench_truth import STREAM, WARM_ROUNDS, errors_ms, spread
from servers import AT_ONCE, Server, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import lab

WAYS = ("kernel alone", "kernel alone, widget", "JupyterLab and browser here", "JupyterLab and browser here, widget")
METRICS = ("TTFT error p50, ms", "p99", "latency error p50, ms", "p99", "turns/s")
Execute = Callable[[str, float], None]


@dataclass(frozen=True)
class Case:
    """What is asked."""

    model: str
    data: Path
    concurrency: int


def code(server: Server, case: Case, out: Path, *, widget: bool) -> str:
    watch = "'widget'" if widget else "None"
    return (
        f"import evalkit as ek\nendpoint = ek.Endpoint({server.base_url!r}, {case.model!r})\n"
        f"run = ek.evaluate({str(case.data)!r}, endpoint, out={str(out)!r}, concurrency={case.concurrency}, "
        f"watch={watch})\nassert run.outcome == 'done'"
    )


@contextmanager
def kernel(folder: Path) -> Iterator[Execute]:
    """A kernel of its own, with nobody to look at it."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(env=lab.environment(folder), cwd=str(folder), stderr=subprocess.DEVNULL)

    def execute(text: str, timeout_s: float) -> None:
        reply = client.execute_interactive(text, timeout=timeout_s, output_hook=lambda message: None)
        if reply["content"]["status"] != "ok":
            sys.exit("\n".join(reply["content"]["traceback"]))

    try:
        yield execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@contextmanager
def page(folder: Path, cells: list[str]) -> Iterator[Execute]:
    """A notebook in JupyterLab, looked at; its cells are run one by one."""
    lab.notebook(folder / "bench.ipynb", *(f"{text}\nprint('cell', {n}, 'done')" for n, text in enumerate(cells)))
    with lab.jupyterlab(folder) as address, lab.browser() as browser:
        opened = browser.new_page(viewport={"width": 1300, "height": 1000})
        opened.goto(address.format("bench.ipynb"))
        lab.ready(opened)

        def execute(text: str, timeout_s: float) -> None:
            opened.keyboard.press("Shift+Enter")
            done = opened.get_by_text(f"cell {cells.index(text)} done", exact=True)
            done.wait_for(timeout=timeout_s * 1e3)

        yield execute


def measure(server: Server, cases: tuple[Case, Case], folder: Path, way: str) -> list[float]:
    """The metrics of one way in one round."""
    files = [folder / "true.evalkit", folder / "fast.evalkit"]
    cells = [code(server, case, file, widget=way.endswith("widget")) for case, file in zip(cases, files, strict=True)]
    with page(folder, cells) if way in WAYS[2:] else kernel(folder) as execute:
        for text in cells:
            execute(text, 120)
    import evalkit as ek

    ttft, latency = errors_ms(files[0], cases[0].concurrency * WARM_ROUNDS)
    return [*spread(ttft), *spread(latency), ek.Run(files[1]).summary_json()["turns_per_s"]]


def rows(found: dict[str, list[list[float]]]) -> Iterator[list[str]]:
    for way, rounds in found.items():
        line, nothing_added = [way], True
        without = way.removesuffix(", widget")
        for n, metric in enumerate(METRICS):
            own, bare = [one[n] for one in rounds], [one[n] for one in found[without]]
            middle, form = median(own), ",.0f" if metric == "turns/s" else ".2f"
            line.append(f"{middle:{form}}" + (f" ({min(own):{form}} to {max(own):{form}})" if way == without else ""))
            nothing_added &= middle >= min(bare) if metric == "turns/s" else middle <= max(bare)
        yield [*line, "–" if way == without else report.met(nothing_added)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=64, help="asked at once")
    parser.add_argument("--turns", type=int, default=20_000, help="of answers without delay")
    parsed = parser.parse_args()
    rounds, turns, asked = (2, 2_000, 4) if parsed.quick else (parsed.rounds, parsed.turns, 20)
    if reason := lab.missing():
        sys.exit(f"this needs a browser and JupyterLab: {reason}")
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    print(report.machine())
    with serving() as server, tempfile.TemporaryDirectory(prefix="evalkit-bench-") as name:
        data = questions.write(Path(name) / "true.jsonl", parsed.streams * (WARM_ROUNDS + asked))
        fast = questions.write(Path(name) / "fast.jsonl", turns)
        cases = Case(STREAM, data, parsed.streams), Case(AT_ONCE, fast, parsed.streams)
        for number in range(rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                report.say(f"round {number + 1} of {rounds}: {way}")
                folder = Path(name) / f"{number}-{WAYS.index(way)}"
                folder.mkdir()
                found[way].append(measure(server, cases, folder, way))
    print()
    print(report.table(("asked in", *METRICS, "adds nothing"), list(rows(found))))


if __name__ == "__main__":
    main()
