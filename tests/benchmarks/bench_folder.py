"""A folder of runs: how long ``evalkit list`` takes, and how soon and with how much memory ``evalkit view`` shows it.

    python tests/benchmarks/bench_folder.py [--quick] [--chromium /usr/bin/chromium] [--folder DIR]

One run file is made, as in ``bench_report``, and copied. ``evalkit list`` of 1,000 runs of 40 turns, as a command with
everything it loads, the first time and again. Then ``evalkit view`` of 100 runs of 10,000 turns in a headless Chromium,
if there is one: from opening the address until all files and the first turns are shown, until every row has its
numbers, from a letter typed into the search to the new list, and from a click to a conversation of two runs side by
side; and the most memory that the server held. The same of one run of a million turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import processes
import report
from bench_report import make

GOAL_LIST_S, GOAL_OPEN_S, GOAL_MB = 2.0, 2.0, 300.0
Row = list[object]


def copies(folder: Path, runs: int, turns: int) -> Path:
    """A folder with so many runs of so many turns."""
    folder.mkdir()
    first = folder / "run-0000.evalkit"
    make(first, turns)
    for number in range(1, runs):
        shutil.copyfile(first, folder / f"run-{number:04d}.evalkit")
    return folder


def row(what: str, value: float, unit: str, goal: float | None = None) -> Row:
    met = "–" if goal is None else report.met(value <= goal)
    return [
        what,
        f"{value:.2f} {unit}" if unit == "s" else f"{value:.0f} {unit}",
        "–" if goal is None else f"{goal:g} {unit}",
        met,
    ]


def listed(folder: Path, runs: int) -> list[Row]:
    rows = []
    for which in ("first", "again"):
        done = processes.run(processes.evalkit("list", folder, "--json"))
        found = json.loads(done.output)
        assert (len(found["runs"]), found["unreadable"]) == (runs, [])
        rows.append(row(f"evalkit list, {runs:,} runs, {which}", done.wall_s, "s", GOAL_LIST_S))
        rows.append(row(f"… processor time, {which}", done.cpu_s, "s"))
    return rows


def viewed(folder: Path, runs: int, turns: int, chromium: str) -> list[Row]:
    from playwright.sync_api import sync_playwright

    began = time.perf_counter()
    server = processes.start(processes.evalkit("view", folder, "--json"), stdout=subprocess.PIPE, text=True)
    memory = processes.Memory(server.pid, 0.05)
    memory.start()
    address = json.loads(server.stdout.readline())["address"]
    started_s = time.perf_counter() - began
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            began = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("#space [role=row] span:nth-child(7)")
            assert page.locator("#runrows tr").count() == runs
            shown_s = time.perf_counter() - began
            _until(lambda: "…" not in page.inner_text("#runrows"))
            filled_s = time.perf_counter() - began
            assert f"of {turns:,} turns" in page.inner_text("#count")
            began = time.perf_counter()
            page.fill("#search", "sum-0001")
            _until(lambda: page.inner_text("#count").startswith("400 of"))
            searched_s = time.perf_counter() - began
            if runs > 1:
                page.locator("#runrows input").nth(1).check()
            began = time.perf_counter()
            page.locator("#space [role=row]").first.click()
            page.wait_for_selector("dialog[open] article")
            opened_s = time.perf_counter() - began
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        memory.ended.set()
        memory.join()
    peak_mb = max(memory.held.values()) / 1e6
    return [
        row("evalkit view, from the command to its address", started_s, "s"),
        row(f"{runs:,} run{'s' * (runs > 1)} of {turns:,} turns: files and turns shown", shown_s, "s", GOAL_OPEN_S),
        row("… the numbers of all runs", filled_s, "s"),
        row("… searched", searched_s, "s"),
        row(f"… a conversation of {min(runs, 2)} opened", opened_s, "s"),
        row("… peak memory of the server", peak_mb, "MB", GOAL_MB),
    ]


def _until(true: Callable[[], object]) -> None:
    while not true():
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--folder", type=Path, help="where its files are meanwhile (default: the system's own)")
    options = parser.parse_args()
    many, large = (100, 10) if options.quick else (1_000, 100)
    print(f"{report.machine()}\n")
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-", dir=options.folder) as folder:
        report.say(f"making {many:,} runs")
        rows = listed(copies(Path(folder) / "list", many, 40), many)
        if options.chromium:
            report.say(f"making {large:,} large runs")
            rows += viewed(copies(Path(folder) / "view", large, 10_000), large, 10_000, options.chromium)
            turns = 10_000 * large
            report.say(f"making a run of {turns:,} turns")
            rows += viewed(copies(Path(folder) / "one", 1, turns), 1, turns, options.chromium)
    print(report.table(("what", "found", "goal", "met"), rows))
    sys.exit(any(each[-1] == report.met(False) for each in rows))


if __name__ == "__main__":
    main()
