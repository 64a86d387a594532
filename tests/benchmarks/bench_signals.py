"""What a signal leaves behind: commands that are killed, stopped, frozen or starved of memory, with forks alive.

    python tests/benchmarks/bench_signals.py [--trials N] [--seed N]

Each trial starts ``run``, ``resume``, ``score``, ``judge`` or ``load`` with a scorer that has made a fork of the
process, and at a random moment does one thing to the command, its asking process or both: KILL, TERM, HUP, INT, STOP
(for a second and a half, then INT) or a memory limit that is used up already. After that no process of evalkit may be
left after 3 s, no lock may be held, the exit code is 0 only if all was done, and the same command, or ``resume``, ends
the work with every turn answered once.
"""

from __future__ import annotations

import argparse
import fcntl
import random
import resource
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path

import processes
import psutil
import questions
import report
from servers import Server, serving

MODEL = "ttft=20,itl=0,tokens=5"
COMMANDS = ("run", "resume", "score", "judge", "load")
FAULTS = ("kill", "term", "hup", "int", "stop", "memory")
TARGETS = ("parent", "child", "both")
CONVERSATIONS, TURNS = 300, 2
GONE_S = 3.0
ENDS_S = 25.0
OWN = """
import multiprocessing, time
pool = []
def forked(text, target):
    if not pool:
        pool.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,), daemon=True))
        pool[0].start()
    time.sleep(0.001)
    return target in text
"""
TWICE = """
    SELECT count(*) FROM (SELECT 1 FROM attempt WHERE error_kind IS NULL
      GROUP BY conversation, repeat, turn HAVING count(*) > 1)"""


@dataclass
class Trial:
    """What was done to which command, and what is wrong after it."""

    command: str
    fault: str
    target: str
    code: int | None = None
    wrong: list[str] = field(default_factory=list)


def arguments(command: str, folder: Path, server: Server) -> tuple[list[object], list[Path]]:
    """The command, and the run files it writes; what it needs is there."""
    data, file = folder / "d.jsonl", folder / "r.evalkit"
    asked = ("--base-url", server.base_url, "--model", MODEL)
    first = processes.evalkit("run", data, *asked, "--out", file, "--scorer", "own:forked", "--concurrency", 8)
    if command == "run":
        return first, [file]
    if command == "load":
        steps = folder / "steps"
        more = ("--concurrency", "2,4,8", "--max-tokens", 8, "--out", steps)
        return processes.evalkit("load", data, *asked, *more), [steps / f"concurrency-{n}.evalkit" for n in (2, 4, 8)]
    limit = () if command != "resume" else ("--max-time", 2)
    processes.run([*first, *limit], timeout_s=120, codes=(0, 1), cwd=folder)
    if command == "resume":
        return processes.evalkit("resume", file, "--scorer", "own:forked"), [file]
    if command == "score":
        return processes.evalkit("score", file, "--scorer", "own:forked"), [file]
    return processes.evalkit("judge", file, *asked, "--concurrency", 8), [folder / "r.judge-1.evalkit"]


def family(process: subprocess.Popen) -> tuple[psutil.Process, list[psutil.Process]]:
    """The command, and the processes of evalkit's own that it has started."""
    parent = psutil.Process(process.pid)
    with suppress(psutil.Error):
        return parent, [
            child for child in parent.children() if "evalkit.engine.asking.asking_process" in " ".join(child.cmdline())
        ]
    return parent, []


def do(fault: str, hit: list[psutil.Process]) -> None:
    for process in hit:
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if fault == "memory":
                resource.prlimit(process.pid, resource.RLIMIT_AS, (2**20, 2**20))
            else:
                process.send_signal(getattr(signal, f"SIG{fault.upper()}"))


def attempt(trial: Trial, folder: Path, server: Server, moment_s: float) -> None:
    questions.write(folder / "d.jsonl", CONVERSATIONS, TURNS)
    (folder / "own.py").write_text(OWN)
    command, files = arguments(trial.command, folder, server)
    process = processes.start(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moment_s)
    parent, children = family(process)
    hit = {"parent": [parent], "child": children, "both": [parent, *children]}[trial.target]
    do(trial.fault, hit)
    if trial.fault == "stop":
        time.sleep(1.5)
        do("cont", [parent])
        do("int", [parent])
    try:
        trial.code = process.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        if trial.fault == "memory" or trial.target == "child":  # starved, or done to a process that was not there
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            trial.code = process.wait(8)
        if process.poll() is None:
            trial.wrong.append("it did not end")
            processes.kill(process)
    _, alive = psutil.wait_procs(children, timeout=GONE_S)
    if alive:
        trial.wrong.append(f"{len(alive)} processes left")
    trial.wrong += [f"the lock of {file.name} is held" for file in files if locked(file)]
    finished = all_done(trial.command, files)
    if trial.code == 0 and not finished:
        trial.wrong.append("exit code 0, and not done")
    go_on(trial, command, files, folder)


def locked(file: Path) -> bool:
    try:
        with Path(f"{file}-lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def all_done(command: str, files: list[Path]) -> bool:
    if command == "load":
        return files[0].exists()  # it may end at any step
    if command == "score":
        return bool(query(files[0], "SELECT count(*) FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL"))
    return files[0].exists() and query(files[0], "SELECT count(*) FROM turn WHERE status = 'answered'") == asked(files)


def asked(files: list[Path]) -> int:
    return CONVERSATIONS * TURNS


def query(file: Path, text: str) -> int:
    with closing(sqlite3.connect(file)) as connection:
        (found,) = connection.execute(text).fetchone()
        return int(found)


def go_on(trial: Trial, command: list[object], files: list[Path], folder: Path) -> None:
    """End the work, and look at the turns."""
    if trial.command in ("run", "resume") and files[0].exists():
        command = processes.evalkit("resume", files[0], "--scorer", "own:forked")
    if trial.command != "load":
        done = processes.run(command, timeout_s=120, codes=(0, 1, 2), cwd=folder)
        if done.code == 2:
            trial.wrong.append(f"it could not go on: {done.errors.strip()[-300:]}")
            return
        if not all_done(trial.command, files):
            trial.wrong.append("turns are missing after it went on")
    for file in filter(Path.exists, files):
        if query(file, TWICE):
            trial.wrong.append(f"turns of {file.name} are answered twice")


def trials(count: int, dice: random.Random) -> list[Trial]:
    """Every command and fault in turn, on targets drawn by lot."""
    pairs = list(product(COMMANDS, FAULTS))
    dice.shuffle(pairs)
    chosen = list(islice((pair for _ in range(count // len(pairs) + 1) for pair in pairs), count))
    return [Trial(command, fault, dice.choice(TARGETS)) for command, fault in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=30)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    print(f"{options.trials} trials, seed {options.seed}; {report.machine()}\n")
    done = trials(options.trials, dice)
    with serving() as server:
        for number, trial in enumerate(done, 1):
            report.say(f"trial {number} of {len(done)}: {trial.fault} to {trial.target} of {trial.command}")
            with tempfile.TemporaryDirectory(prefix="evalkit-bench-") as folder:
                attempt(trial, Path(folder), server, dice.uniform(0.3, 2.5))
            for wrong in trial.wrong:
                report.say(f"  {wrong}")
    rows = []
    for fault in FAULTS:
        of_fault = [trial for trial in done if trial.fault == fault]
        codes = Counter(str(trial.code) for trial in of_fault)
        wrong = sum(bool(trial.wrong) for trial in of_fault)
        told = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        rows.append([fault, len(of_fault), told, wrong, report.met(not wrong)])
    print(report.table(("what was done", "trials", "exit codes", "with something wrong", "met"), rows))


if __name__ == "__main__":
    main()
