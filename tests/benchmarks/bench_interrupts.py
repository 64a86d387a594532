"""How soon Ctrl-C takes effect and the command ends, whatever delays it.

    python tests/benchmarks/bench_interrupts.py [--rounds N]

A run, or the resuming of one, is interrupted once while a scorer is slow, a scorer never returns, a function that
the model calls never returns, the asking process is frozen, the disk is full, or earlier answers are scored to
see whether ``--until`` is reached. Seconds until the first message on standard error, and until the command has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import processes
import psutil
import questions
import report
from servers import Server, serving

MODEL = "ttft=20,itl=0,tokens=5"
WORDS_S, ENDED_S = 0.5, 8.0
OWN = """
import threading, time
def slow(text, target):
    time.sleep(0.2)
    return target in text
def never(text, target):
    threading.Event().wait()
"""
CALLS = """
import sys, threading, evalkit as ek
data, url, out = sys.argv[1:]
def f():
    threading.Event().wait()
ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out, functions={"f": f}, concurrency=4)
"""
SERVES_CALLS = """
import sys, time
from evalkit.scripted.server import Calling, Script, serve
with serve(Script(answer=Calling())) as server:
    print(server.base_url, flush=True)
    sys.stdin.read()
"""


@dataclass
class Found:
    """Seconds until the first words, and until the end; the exit code."""

    words_s: float
    ended_s: float
    code: int


def run(server: Server, folder: Path, *more: object, rows: int = 400) -> list[object]:
    data = questions.write(folder / "d.jsonl", rows)
    (folder / "own.py").write_text(OWN)
    asked = ("--base-url", server.base_url, "--model", MODEL, "--out", folder / "r.evalkit", "--concurrency", 8)
    return processes.evalkit("run", data, *asked, *more)


def interrupted(command: list[object], folder: Path, ready: Callable[[subprocess.Popen], None], **more) -> Found:
    """Start a command, interrupt it once it is where it is wanted, and wait for the end."""
    process = processes.start(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    try:
        ready(process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        select.select([process.stderr], [], [], 30)
        words_s = time.monotonic() - began
        process.communicate(timeout=60)
        return Found(words_s, time.monotonic() - began, process.returncode)
    finally:
        processes.kill(process)
        process.wait()


def until_all_asked(server: Server, count: int) -> Callable[[subprocess.Popen], None]:
    before = server.stats()["requests"]

    def ready(_process: subprocess.Popen) -> None:
        deadline = time.monotonic() + 60
        while server.stats()["requests"] - before < count and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)

    return ready


def slow_scorer(server: Server, folder: Path) -> Found:
    return interrupted(run(server, folder, "--scorer", "own:slow"), folder, until_all_asked(server, 400))


def scorer_that_never_returns(server: Server, folder: Path) -> Found:
    return interrupted(run(server, folder, "--scorer", "own:never"), folder, until_all_asked(server, 400))


def function_that_never_returns(_server: Server, folder: Path) -> Found:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    rows = [json.dumps({"id": f"c{n}", "turns": [{"user": "go"}], "tools": [tool]}) + "\n" for n in range(20)]
    (folder / "d.jsonl").write_text("".join(rows))
    serve = subprocess.Popen(
        [sys.executable, "-c", SERVES_CALLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        url = serve.stdout.readline().strip()
        command = [sys.executable, "-c", CALLS, folder / "d.jsonl", url, folder / "r.evalkit"]
        return interrupted(command, folder, lambda _process: time.sleep(3))
    finally:
        serve.stdin.close()
        serve.wait(10)


def frozen_process(server: Server, folder: Path) -> Found:
    asked = until_all_asked(server, 50)

    def ready(process: subprocess.Popen) -> None:
        asked(process)
        for child in psutil.Process(process.pid).children():
            child.suspend()

    return interrupted(run(server, folder, rows=20_000), folder, ready)


def full_disk(server: Server, folder: Path) -> Found:
    """No file may grow any further, as on a disk that is full, from when the run is under way."""
    asked = until_all_asked(server, 200)

    def ready(process: subprocess.Popen) -> None:
        asked(process)
        for each in [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]:
            resource.prlimit(each, resource.RLIMIT_FSIZE, (4096, 4096))

    return interrupted(run(server, folder, rows=20_000), folder, ready)


def until_replayed(server: Server, folder: Path) -> Found:
    asked = until_all_asked(server, 200)
    first = run(server, folder, "--scorer", "own:slow", "--until", "ci=0.01", rows=200)
    process = processes.start(first, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked(process)
    processes.kill(process)
    process.wait()
    again = processes.evalkit("resume", folder / "r.evalkit", "--scorer", "own:slow")
    return interrupted(again, folder, lambda _process: time.sleep(3))


CAUSES = {
    "a slow scorer": slow_scorer,
    "a scorer that never returns": scorer_that_never_returns,
    "a function that never returns": function_that_never_returns,
    "a frozen asking process": frozen_process,
    "a disk that takes no more": full_disk,
    "--until is being replayed": until_replayed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["PYTHONUNBUFFERED"] = "1"
    print(f"{options.rounds} rounds; {report.machine()}\n")
    rows = []
    with serving() as server:
        for cause, make in CAUSES.items():
            found = []
            for number in range(options.rounds):
                report.say(f"{cause}, round {number + 1} of {options.rounds}")
                with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
                    found.append(make(server, Path(folder)))
            words_s, ended_s = max(each.words_s for each in found), max(each.ended_s for each in found)
            codes = ", ".join(sorted({str(each.code) for each in found}))
            good = words_s <= WORDS_S and ended_s <= ENDED_S and "0" not in codes.split(", ")
            rows.append([cause, f"{words_s:.2f} s", f"{ended_s:.1f} s", codes, report.met(good)])
    head = ("in the way", "first words, longest", f"ended, longest (≤ {ENDED_S:.0f} s)", "exit codes", "met")
    print(report.table(head, rows))


if __name__ == "__main__":
    main()
