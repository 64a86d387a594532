"""The server that is asked: ``known_schedule.py`` in a process of its own, or another one at a given address."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AT_ONCE = "ttft=0,itl=0,tokens=20"


@dataclass(frozen=True)
class Server:
    """An address, and what the server there has seen."""

    base_url: str
    known: bool

    def stats(self, *, reset: bool = False) -> dict[str, int]:
        """Its counts, as ``known_schedule.py`` returns them; ``reset`` sets them to zero afterwards."""
        url = self.base_url.removesuffix("/v1") + "/stats" + ("?reset" if reset else "")
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def serving(base_url: str | None = None, *, apart: bool = False, script: str = "known_schedule.py") -> Iterator[Server]:
    """A server of our own, ended with the block; or, if an address is given, the one there.

    With ``apart`` it has a processor to itself, which this process and those it starts leave to it; see ``can_part``.
    """
    if base_url is not None:
        yield Server(base_url.rstrip("/").removesuffix("/v1") + "/v1", known=False)
        return
    command = [sys.executable, Path(__file__).with_name(script)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    before = None
    try:
        before = part(process.pid) if apart else None
        yield Server(f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", known=True)
    finally:
        if before:
            os.sched_setaffinity(0, before)
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def can_part() -> bool:
    """Whether a server can have a processor to itself here."""
    return hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1


def part(pid: int) -> set[int]:
    """Give a process a processor to itself, and this one the others; tell which it had before."""
    all_of_them = os.sched_getaffinity(0)
    its = max(all_of_them)
    os.sched_setaffinity(pid, {its})
    os.sched_setaffinity(0, all_of_them - {its})
    return all_of_them
