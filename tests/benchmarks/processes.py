"""Commands as their user runs them, measured from outside: time, processor time and memory of a whole process tree."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ENDPOINT_VARIABLES = (
    "SERVICE_HOST",
    "TASKINGAI_API_KEY",
    "ASSISTANT_ID",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_MODEL",
)


class Failed(SystemExit):
    """A command that ended as it must not; it ends the benchmark too, unless that can do without."""


@dataclass
class Finished:
    """What a command took.

    ``cpu_s`` is user and system time of the command and of every process it started and waited for. ``memory`` is what
    the whole tree held at each sample, time in ns to bytes: proportional set size (PSS) on Linux, resident set size
    elsewhere; empty when memory was not asked for.
    """

    code: int
    began_ns: int
    wall_s: float
    cpu_s: float
    memory: dict[int, int]
    output: str
    errors: str

    def peak_mb(self, until_ns: float = math.inf) -> float:
        """The most of it, in MB; with ``until_ns`` up to that reading of the monotonic clock."""
        return max((held for at, held in self.memory.items() if at <= until_ns), default=math.nan) / 1e6


class Memory(threading.Thread):
    """Samples the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self.process, self.every_s, self.held = psutil.Process(pid), every_s, {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.every_s):
            with contextlib.suppress(psutil.Error):
                tree = [self.process, *self.process.children(recursive=True)]
                self.held[time.perf_counter_ns()] = sum(map(held, tree))


def held(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return getattr(memory, "pss", memory.rss)
    except psutil.Error:
        return 0


def run(
    command: Sequence[object], *, memory_s: float = 0, timeout_s: float = 3600, codes: Sequence[int] = (0,), **more
) -> Finished:
    """Run a command to its end, its memory looked at every ``memory_s`` seconds; a wrong exit code is a ``Failed``."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter_ns()
        process = start(command, stdout=output, stderr=errors, **more)
        sampler = Memory(process.pid, memory_s) if memory_s else None
        if sampler is not None:
            sampler.start()
        late = threading.Timer(timeout_s, kill, [process])
        late.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            kill(process)
            raise
        finally:
            late.cancel()
        wall = (time.perf_counter_ns() - began) / 1e9
        process.returncode = os.waitstatus_to_exitcode(status)
        if sampler is not None:
            sampler.ended.set()
            sampler.join()
        texts = [file.read() for file in (output, errors) if file.seek(0) == 0]
    if process.returncode not in codes:
        said = texts[1] or texts[0]
        raise Failed(f"{' '.join(map(str, command))}\nended with {process.returncode}:\n{said[-4000:]}")
    cpu = used.ru_utime + used.ru_stime
    return Finished(process.returncode, began, wall, cpu, sampler.held if sampler else {}, *texts)


def start(command: Sequence[object], *, env: Mapping[str, str] | None = None, **more) -> subprocess.Popen:
    """Start a command in a process group of its own; only ``env`` can name an endpoint to it."""
    kept = {name: value for name, value in os.environ.items() if name not in ENDPOINT_VARIABLES}
    words = [str(part) for part in command]
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, env={**kept, **(env or {})}, start_new_session=True, **more
    )


def kill(process: subprocess.Popen) -> None:
    """``kill -9`` of the whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def many_files() -> None:
    """Let this process and its children open as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def evalkit(*arguments: object) -> list[object]:
    """The command, run by this very Python."""
    return [sys.executable, "-P", "-m", "evalkit.cli", *arguments]  # -P: not a copy that lies in the current folder


def removed(file: Path) -> None:
    """A run file, and whatever lies beside it under its name."""
    for part in file.parent.glob(file.name + "*"):
        part.unlink(missing_ok=True)
