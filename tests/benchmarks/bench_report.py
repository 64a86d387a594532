"""How long a report takes to write, how large it is, and how soon its transcripts can be used in a browser.

    python tests/benchmarks/bench_report.py [--turns 10000 50000 1000000] [--chromium /usr/bin/chromium] [--folder DIR]

The files are created first: conversations of four turns, answers of 10 to 60 of 5,000 words, drawn by Zipf's law, one
turn in fifty failed. Then ``evalkit report FILE`` in a process of its own, and the page in a headless Chromium, if
there is one: from opening it to the first row of the list, and from a letter typed into the search to the new list.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import processes
import report
from records import finished

TURNS = 4  # of a conversation
GROUP = 2_000
GOALS = {10_000: 5.0, 1_000_000: 60.0}
GOAL_MB = {10_000: 2.0}
GOAL_OPEN_S = 2.0


def make(file: Path, turns: int) -> None:
    """A run file of so many turns."""
    from evalkit.runfile.store import RunFile

    settings = {"history": "own", "repeats": 1, "concurrency": 64, "stream": True}
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}, "key_env": None}
    dataset = {"path": "sums.jsonl", "turns": turns}
    with RunFile.create(file, name="bench", settings=settings, dataset=dataset, endpoint=endpoint) as made:
        made.begin_session(0, {})
        group, scores = [], []
        for done, score in _turns(turns):
            group.append(done)
            scores += score
            if len(group) == GROUP:
                made.add(group, scores)
                group, scores = [], []
        made.add(group, scores)
        made.end_session(10**9, "done", {"loop_lag_p99_ms": 1.0})


def _turns(turns: int) -> Iterator[tuple]:
    from evalkit.conversation import Conversation, Turn
    from evalkit.errors import Failure
    from evalkit.record import Answer, Attempt, Score, Timing, TurnRecord, Usage

    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(5_000)]
    frequency = 1 / np.arange(1, len(words) + 1)
    drawn = iter(())
    for number in range(turns // TURNS):
        asked = tuple(Turn(f"What is {number} + {n}?", target=number + n) for n in range(TURNS))
        conversation = Conversation(f"sum-{number:06d}", asked, tags=(f"grade-{number % 5}",))
        for turn in range(1, TURNS + 1):
            text = []
            for _ in range(int(rng.integers(10, 60))):
                word = next(drawn, None)
                if word is None:
                    drawn = iter(rng.choice(words, 400_000, p=frequency / frequency.sum()).tolist())
                    word = next(drawn)
                text.append(word)
            sent, took = number * 10**7, int(rng.lognormal(19.5, 0.5))
            failure = Failure("server", "The endpoint failed.", 500) if rng.random() < 0.02 else None
            attempt = Attempt(
                Timing(sent, sent, sent, sent, (sent + took // 4, sent + took), (1, 1), end=sent + took),
                streamed=True, http_status=200, answer=Answer(" ".join(text), finish_reason="stop"),
                usage=Usage(40, 30), failure=failure,
            )  # fmt: skip
            record = TurnRecord(conversation.id, 1, turn, (attempt,), failure=failure)
            scored = Score("number", float(rng.random() < 0.6), "the final number is 7, not 9", 7)
            yield finished(number, conversation, record), [] if failure else [(number, 1, turn, scored)]


def opened(page_file: Path, chromium: str) -> tuple[float, float]:
    """Seconds to the first row, and from a search to what it leaves."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(page_file.as_uri())
        page.wait_for_selector("#browser:not([aria-busy])")
        shown_s = time.perf_counter() - began
        before = page.inner_text("#count")
        began = time.perf_counter()
        page.fill("#search", "sum-0001")
        while page.inner_text("#count") == before:
            time.sleep(0.005)
        searched_s = time.perf_counter() - began
        browser.close()
    return shown_s, searched_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, nargs="+", default=[10_000, 50_000, 1_000_000])
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--folder", type=Path, help="where its files lie meanwhile (default: the system's own)")
    options = parser.parse_args()
    print(f"{report.machine()}\n")
    rows, good = [], True
    with tempfile.TemporaryDirectory(prefix="evalkit-bench-", dir=options.folder) as folder:
        for turns in options.turns:
            file, page = Path(folder) / f"{turns}.evalkit", Path(folder) / f"{turns}.html"
            report.say(f"making {turns:,} turns")
            make(file, turns)
            report.say("writing the report")
            done = processes.run(processes.evalkit("report", file, "-o", page), memory_s=0.1)
            size_mb = page.stat().st_size / 1e6
            shown_s, searched_s = opened(page, options.chromium) if options.chromium else (float("nan"),) * 2
            met = done.wall_s <= GOALS.get(turns, np.inf) and size_mb <= GOAL_MB.get(turns, np.inf)
            met = met and not shown_s > GOAL_OPEN_S
            good = good and met
            rows.append([
                f"{turns:,}", f"{done.wall_s:.1f}", f"{done.cpu_s:.1f}", f"{done.peak_mb():.0f}", f"{size_mb:.2f}",
                f"{shown_s:.2f}", f"{searched_s:.2f}", report.met(met),
            ])  # fmt: skip
            file.unlink()
    heads = ["turns", "written s", "CPU s", "peak MB", "size MB", "list shown s", "searched s", "goal"]
    print(report.table(heads, rows))
    print(
        "\ngoals: 10,000 turns written in 5 s, 2 MB at most; 1,000,000 in 60 s; the list shown within 2 s of opening.\n"
        "Above 50,000 turns a report holds a sample. A search waits 0.15 s for the next letter."
    )
    sys.exit(not good)


if __name__ == "__main__":
    main()
