"""A long run in which every fault happens: is each recorded as what it was, is nothing lost, is memory flat?

    python tests/benchmarks/bench_soak.py [--turns 20000] [--whole] [--concurrency 64] [--share 0.01]

Conversations of four turns, streams unless ``--whole``, against the scripted server in a process of its own. It draws
for each request and each fault whether it is hit, and logs what it did; every attempt of the run file is then
compared with the log entry of the same prompt that was received during the attempt. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import evalkit as ek
from evalkit.engine.pacing.retries import BUDGET_EXHAUSTED
from evalkit.scripted.request_log import LogEntry
from evalkit.scripted.server import Fault, Law, Script, serve

TURNS = 4  # a conversation
RETRIES = 2
LIMITS = {"ttft_timeout_s": 1.5, "timeout_s": 2.5, "connect_timeout_s": 5.0}
LAW = Law(ttft_ms=5, itl_ms=1, tokens=20)
ELSEWHERE = "http://127.0.0.2:9/v1/chat/completions"
NOT_ASKED_AGAIN = {"protocol", "timeout"}
ANSWERED = "answered"
RARE = ("rate_limited", "huge")
SAMPLE_S = 0.25
FEWEST_SAMPLES = 40
GROWTH, SLACK_MB = 1.1, 8.0
# Blocks above this go back to the system when they are freed, so that what is resident is what is in use. Else the
# allocator keeps the memory of the most 100 MB answers that ever came at once.
MMAP_THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": "32768"}

# name in the log: kind of fault, its options, what must be recorded for the attempt that meets it
FAULTS: dict[str, tuple[str, dict[str, object], str]] = {
    "port closed for 20 ms": ("refuse", {"seconds": 0.02}, "connection"),
    "reset before headers": ("reset_before_headers", {}, "connection"),
    "reset after headers": ("reset_after_headers", {}, "connection"),
    "reset in the middle": ("reset_midway", {}, "truncated"),
    "closed in the middle": ("eof_midway", {}, "truncated"),
    "closed after a good answer": ("close_after", {}, ANSWERED),
    "closed as it is used again": ("close_on_reuse", {}, "connection"),
    "429": ("rate_limited", {}, "rate_limited"),
    "429, Retry-After": ("rate_limited", {"retry_after": 0.05}, "rate_limited"),
    "429, Retry-After a date": ("rate_limited", {"retry_after": 1, "form": "date"}, "rate_limited"),
    "429, retry-after-ms": ("rate_limited", {"retry_after": 0.05, "form": "ms"}, "rate_limited"),
    "429, x-ratelimit-reset": ("rate_limited", {"retry_after": 0.05, "form": "limit"}, "rate_limited"),
    "500": ("server_error", {}, "server"),
    "502 in HTML": ("html_error", {}, "server"),
    "503, Retry-After": ("server_error", {"status": 503, "retry_after": 0.05}, "server"),
    "redirect to another host": ("redirect", {"to": ELSEWHERE}, "protocol"),
    "wrong content type": ("wrong_type", {}, ANSWERED),
    "whole answer for a stream": ("json_for_stream", {}, ANSWERED),
    "broken JSON": ("broken_json", {}, "protocol"),
    "cut UTF-8": ("cut_utf8", {}, ANSWERED),
    "error event first": ("error_event", {}, "server"),
    "error event later": ("error_event", {"after": 3}, "server"),
    "no text": ("empty", {}, "empty"),
    "no [DONE]": ("no_done", {}, ANSWERED),
    "no [DONE], no finish": ("no_done", {"finish": False}, "truncated"),
    "silence, no headers": ("silence", {"headers": False}, "timeout"),
    "silence before a token": ("silence", {}, "timeout"),
    "silence in the middle": ("silence", {"after": 3}, "timeout"),
    "signs of life alone": ("comments_only", {}, "timeout"),
    "endless stream": ("endless", {"itl_ms": 5}, "timeout"),
    "headers byte by byte": ("slow_headers", {"byte_ms": 50}, "timeout"),
    "100 MB": ("huge", {"size": 100_000_000}, "protocol or timeout"),  # whichever bound is reached first
}
# in the message of an attempt that requests a whole answer, since a stream has ended without a cause
FOR_A_CAUSE = "The same request without a stream"
# the request never reached the server: the message says why
UNSEEN = {
    "Nothing listens on": "(not seen: refused)",
    "An idle connection was closed": "(not seen: kept connection gone)",
    "The connection was closed by": "(not seen: reset while the port closed)",
    "No connection to": "(not seen: reset while the port closed)",
}


@dataclass(slots=True)
class Attempt:
    """One attempt of the run file; ``kind``: of its failure, or ``answered``."""

    prompt: str
    sent_ns: int
    end_ns: int
    kind: str
    message: str


@dataclass
class Memory:
    """Resident memory of this process and of what it started, the server left out; MB."""

    without: set[int]
    samples: list[float] = field(default_factory=list)
    taken: float = 0.0

    def __call__(self, progress: object) -> None:
        now = time.perf_counter()
        if now - self.taken < SAMPLE_S:
            return
        self.taken, total = now, 0
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            if process.pid not in self.without:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        self.samples.append(total / 1e6)

    def quarters(self) -> list[list[float]]:
        n = len(self.samples)
        return [self.samples[n * i // 4 : n * (i + 1) // 4] for i in range(4)]


def prompt(conversation: int, turn: int) -> str:
    return f"conversation {conversation}, turn {turn}"


def write_dataset(path: Path, turns: int) -> None:
    """Golden answers, so that every turn is asked whatever came of those before it."""
    with path.open("w", encoding="utf-8") as file:
        for conversation in range(turns // TURNS):
            asked = [{"user": prompt(conversation, turn), "assistant": "yes"} for turn in range(1, TURNS + 1)]
            file.write(json.dumps({"id": str(conversation), "turns": asked}) + "\n")


def faults(share: float) -> list[Fault]:
    """Each refusal holds all requests back for up to two seconds, and 100 MB take one: there are fewer of these."""
    return [
        Fault(kind, share / 10 if kind in RARE else share, name=name, options=options)
        for name, (kind, options, _) in FAULTS.items()
    ]


def attempts_of(path: Path) -> list[Attempt]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT c.id, turn, sent_ns, end_ns, error_kind, error_message "
            "FROM attempt JOIN conversation c ON position = conversation ORDER BY attempt.id"
        )
        return [
            Attempt(prompt(int(id), turn), sent, end, kind or ANSWERED, message or "")
            for id, turn, sent, end, kind, message in rows
        ]


def agreement(attempts: list[Attempt], log: list[LogEntry]) -> tuple[dict[str, Counter[str]], int]:
    """What was recorded for each fault, and how many log entries belong to no attempt."""
    entries: dict[str, list[LogEntry]] = defaultdict(list)
    for entry in log:
        entries[entry.prompt].append(entry)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for attempt in attempts:
        of_prompt = entries[attempt.prompt]
        mine = next((e for e in of_prompt if attempt.sent_ns <= e.received_ns <= attempt.end_ns), None)
        if mine is not None:
            of_prompt.remove(mine)
            name = "(whole answer, for a cause)" if FOR_A_CAUSE in attempt.message else mine.fault or "(none)"
        else:
            name = next((name for begin, name in UNSEEN.items() if attempt.message.startswith(begin)), "(not seen)")
        found[name][attempt.kind] += 1
    return found, sum(map(len, entries.values()))


def expected(name: str) -> list[str]:
    """What may be recorded."""
    if name in FAULTS:
        return FAULTS[name][2].split(" or ")
    if name == "(whole answer, for a cause)":
        return ["empty", "connection", "server", "rate_limited", "protocol"]  # of the stream, or of the cause
    return [ANSWERED] if name == "(none)" else ["connection"] if name in UNSEEN.values() else []


def unlike(found: dict[str, Counter[str]]) -> int:
    """Attempts recorded as something else than what the server did."""
    return sum(n for name, kinds in found.items() for kind, n in kinds.items() if kind not in expected(name))


def table(found: dict[str, Counter[str]]) -> str:
    lines = ["| fault | met | recorded | |", "|---|---|---|---|"]
    order = [*FAULTS, *UNSEEN.values(), "(whole answer, for a cause)", "(not seen)", "(none)"]
    for name in sorted(found, key=order.index):
        kinds = found[name]
        counts = ", ".join(f"{kind} {n:,}" for kind, n in kinds.most_common())
        mark = "" if set(kinds) <= set(expected(name)) else f"expected: {' or '.join(expected(name))}"
        lines.append(f"| {name} | {kinds.total():,} | {counts} | {mark} |")
    return "\n".join(lines)


def turn_problems(path: Path, attempts: list[Attempt], planned: int) -> list[str]:
    """Turns that are missing, or whose end is not that of their attempts."""
    tried: dict[str, list[str]] = defaultdict(list)
    for attempt in attempts:
        tried[attempt.prompt].append(attempt.kind)
    with closing(sqlite3.connect(path)) as connection:
        turns = connection.execute(
            "SELECT c.id, turn, status, error_kind, attempts, error_message LIKE ? "
            "FROM turn JOIN conversation c ON position = conversation",
            (f"%{BUDGET_EXHAUSTED}%",),
        ).fetchall()
    answered, saved = (sum(which) for which in zip(*((row[2] == ANSWERED, row[5] == 1) for row in turns), strict=True))
    print(
        f"turns: {len(turns):,} of {planned:,}, answered {answered:,}, errors {len(turns) - answered:,}, of them "
        f"{saved:,} not tried again because retries were a fifth of the requests of a minute"
    )
    wrong = Counter(
        f"a turn ended as {kind or status} after {', '.join(kinds)}"
        for id, turn, status, kind, count, saved in turns
        if not _fits(kind or status, count, kinds := tried[prompt(int(id), turn)], may_end=saved == 1)
    )
    problems = [f"{text} ({n} times)" for text, n in wrong.most_common(10)]
    if len(turns) != planned or len(tried) != planned:
        problems.append(f"{len(turns):,} turns are in the run file and {len(tried):,} asked, {planned:,} were planned")
    return problems


def _fits(end: str, attempts: int, kinds: list[str], *, may_end: bool) -> bool:
    """Whether the last attempt decided, and tries were made as long as they were worth it and no longer.

    ``may_end``: the turn says that the budget of retries was used up.
    """
    *earlier, last = kinds
    if end != last or attempts != len(kinds) or set(earlier) & {*NOT_ASKED_AGAIN, ANSWERED}:
        return False
    # a kept connection that was gone costs one try more
    spent = len(kinds) in (RETRIES + 1, RETRIES + 2)
    return ((may_end or end in (ANSWERED, *NOT_ASKED_AGAIN)) and len(kinds) <= RETRIES + 2) or spent


def memory_problems(memory: Memory) -> list[str]:
    if len(memory.samples) < FEWEST_SAMPLES:
        print(f"memory: {len(memory.samples)} samples are too few to tell")
        return []
    # of each quarter the lower quartile, which answers of 100 MB under way do not reach
    levels = [statistics.quantiles(part)[0] for part in memory.quarters()]
    most = max(memory.samples)
    print(f"memory, MB: {' → '.join(f'{level:.1f}' for level in levels)} by quarter of the run, at most {most:.1f}")
    if levels[3] > levels[1] * GROWTH + SLACK_MB:
        return [f"memory grew from {levels[1]:.1f} to {levels[3]:.1f} MB between second and last quarter"]
    return []


def soak(turns: int, concurrency: int, share: float, stream: bool) -> list[str]:
    """Run, print, and tell what is wrong."""
    planned = turns // TURNS * TURNS
    with tempfile.TemporaryDirectory() as folder, serve(Script(law=LAW, faults=faults(share)), process=True) as server:
        data, out = Path(folder, "soak.jsonl"), Path(folder, "soak.evalkit")
        write_dataset(data, planned)
        memory = Memory({child.pid for child in psutil.Process().children(recursive=True)})
        start = time.perf_counter()
        ek.evaluate(
            data, ek.Endpoint(server.base_url, server.model, **LIMITS), out=out, watch=memory,
            history="golden", concurrency=concurrency, retries=RETRIES, stream=stream,
        )  # fmt: skip
        wall = time.perf_counter() - start
        log, attempts, size = server.log(), attempts_of(out), out.stat().st_size
        found, left = agreement(attempts, log)
        print(table(found))
        print(f"\n{wall:.1f} s, {planned / wall:,.0f} turns/s; run file {size / 1e6:.1f} MB")
        problems = turn_problems(out, attempts, planned) + memory_problems(memory)
    unseen = sum(kinds.total() for name, kinds in found.items() if name.startswith("(not seen"))
    print(f"attempts: {len(attempts):,}, of them {unseen:,} that never reached the server; requests seen: {len(log):,}")
    if left or len(attempts) - unseen != len(log):
        problems.append(f"{left:,} requests that the server saw belong to no attempt of the run file")
    if wrong := unlike(found):
        problems.append(f"{wrong:,} attempts are recorded as something else than what the server did")
    return problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.01, help="of the requests that each fault hits (0.01)")
    parser.add_argument("--whole", action="store_true", help="ask for whole answers instead of streams")
    options = parser.parse_args()
    if not os.environ.keys() >= MMAP_THRESHOLD.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MMAP_THRESHOLD})  # read at its start
    found_wrong = soak(options.turns, options.concurrency, options.share, not options.whole)
    print("\n".join(f"WRONG: {problem}" for problem in found_wrong) or "all checks passed")
    sys.exit(bool(found_wrong))
