"""The log of a scripted server: one entry per request, with true stamps, and counts over all entries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson


@dataclass(slots=True)
class LogEntry:
    """One chat-completion request; stamps are ns of CLOCK_MONOTONIC, the clock of ``time.perf_counter_ns`` on Linux.

    Parameters
    ----------
    number : int
        Counted from 1 since the server started.
    id : str
        The answer's id, as the client receives it; empty when there is no answer.
    received_ns : int
        When the read that completed the request returned.
    begun_ns : int or None
        When it got a slot; without a limit of slots, when it was received. None: its client left before that.
    due_ns : int or None
        When the first token, or the whole answer, was due by the latency law.
    first_ns, last_ns : int or None
        Taken just before the first and the last token are written; a whole answer has only ``last_ns``.
    end_ns : int or None
        The last write of a complete answer; None: it was cut or is in progress.
    late_ns : int
        The largest delay of a write behind its due time: how accurate the server itself is.
    tokens : int
        Tokens in the planned answer.
    prompt : str
        The beginning of the last user message; empty when the request was refused.
    aborted : bool
        The client left before the end.
    """

    number: int
    received_ns: int
    id: str = ""
    begun_ns: int | None = None
    due_ns: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    end_ns: int | None = None
    late_ns: int = 0
    status: int = 0
    streamed: bool = False
    tokens: int = 0
    fault: str | None = None
    prompt: str = ""
    aborted: bool = False


class RequestLog:
    """Counts and entries since the server started or since the last reset."""

    def __init__(self) -> None:
        self.open = 0
        self.active = 0
        self.reset()

    def reset(self) -> None:
        """Drop all entries and counts; open connections and requests in progress stay counted."""
        self.connections = 0
        self.max_open = self.open
        self.max_active = self.active
        self.entries: list[LogEntry] = []
        self.received: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()

    def connected(self) -> None:
        """Count an accepted connection."""
        self.connections += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)

    def begin(self, entry: LogEntry, messages: Any) -> int:
        """Add a received request and return its prompt's fingerprint for ``finish``; ``messages`` None: refused."""
        self.entries.append(entry)
        prompt = 0
        if messages is not None:
            prompt = hash(orjson.dumps(messages))
            self.received[prompt] += 1
        self.active += 1
        self.max_active = max(self.max_active, self.active)
        return prompt

    def finish(self, entry: LogEntry, prompt: int) -> None:
        """Count a request as ended, whether its answer is complete or not."""
        self.active -= 1
        if entry.end_ns is not None and entry.status == 200:
            self.answered[prompt] += 1

    def to_json(self, log: bool = False) -> dict[str, Any]:
        """All counts, percentiles in ms, and with ``log`` every entry as well."""
        entries = self.entries
        counts: dict[str, Any] = {
            "requests": len(entries),
            "streamed": sum(entry.streamed for entry in entries),
            "aborted": sum(entry.aborted for entry in entries),
            "status": _tally(str(entry.status) for entry in entries if entry.status),
            "faults": _tally(entry.fault for entry in entries if entry.fault),
            "active": self.active,
            "max_active": self.max_active,
            "connections": self.connections,
            "open": self.open,
            "max_open": self.max_open,
            "distinct_prompts": len(self.received),
            "repeated_prompts": sum(n > 1 for n in self.received.values()),
            "answered_prompts": len(self.answered),
            "answered_twice": sum(n > 1 for n in self.answered.values()),
            "ttft_ms": _percentiles([e.first_ns - e.received_ns for e in entries if e.first_ns is not None]),
            "latency_ms": _percentiles([e.last_ns - e.received_ns for e in entries if e.last_ns is not None]),
            "late_ms": _percentiles([e.late_ns for e in entries if e.end_ns is not None]),
        }
        if log:
            counts["log"] = [asdict(entry) for entry in entries]
        return counts


def _tally(values: Any) -> Mapping[str, int]:
    return dict(sorted(Counter(values).items()))


def _percentiles(values: Sequence[int]) -> dict[str, float] | None:
    """Nearest-rank percentiles of times in ns, in ms; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return {f"p{p}": ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)] / 1e6 for p in (50, 90, 99)}
