"""What a scripted server saw: one entry a request, with true stamps, and the counts over all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson


@dataclass(slots=True)
class Entry:
    """One chat-completion request; all stamps are ns of CLOCK_MONOTONIC, which ``time.perf_counter_ns`` reads on Linux.

    Parameters
    ----------
    number : int
        Counted from 1 since the server started.
    id : str
        Of the answer, as the client saw it; empty when none was made.
    received_ns : int
        The read that completed the request came back.
    begun_ns : int or None
        It had a slot: with no end of slots, when it was received. None: its client left before that.
    due_ns : int or None
        When the law wanted the first token, or the whole answer.
    first_ns, last_ns : int or None
        Taken just before the write of the first and of the last token; a whole answer has ``last_ns`` only.
    end_ns : int or None
        The last write of a complete answer; None: it was cut, or is under way.
    late_ns : int
        How late the latest of its writes was, against the law: the server's own honesty.
    tokens : int
        Tokens in the answer as planned.
    prompt : str
        How the last user message begins; empty when the request was refused.
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


class Stats:
    """Counts and entries since the server started or was set back."""

    def __init__(self) -> None:
        self.open = 0
        self.active = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was seen; connections and requests under way stay counted as such."""
        self.connections = 0
        self.max_open = self.open
        self.max_active = self.active
        self.entries: list[Entry] = []
        self.asked: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()

    def connected(self) -> None:
        """A connection was accepted."""
        self.connections += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)

    def begin(self, entry: Entry, messages: Any) -> int:
        """A request was received; its prompt's fingerprint is returned, for ``finish``. None: it was refused."""
        self.entries.append(entry)
        prompt = 0
        if messages is not None:
            prompt = hash(orjson.dumps(messages))
            self.asked[prompt] += 1
        self.active += 1
        self.max_active = max(self.max_active, self.active)
        return prompt

    def finish(self, entry: Entry, prompt: int) -> None:
        """A request came to its end, whole or not."""
        self.active -= 1
        if entry.end_ns is not None and entry.status == 200:
            self.answered[prompt] += 1

    def to_json(self, log: bool = False) -> dict[str, Any]:
        """All counts, percentiles in ms, and with ``log`` every entry."""
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
            "distinct_prompts": len(self.asked),
            "repeated_prompts": sum(n > 1 for n in self.asked.values()),
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
    """Nearest-rank percentiles, ns to ms; None for no values."""
    if not values:
        return None
    ordered = sorted(values)
    return {f"p{p}": ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)] / 1e6 for p in (50, 90, 99)}
