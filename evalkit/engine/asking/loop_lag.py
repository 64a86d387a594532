"""How late the client's event loop was, and what else in the client could have distorted the times."""

from __future__ import annotations

import asyncio
import gc
import heapq
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from evalkit.process.gc_freeze import gc_frozen

PERIOD_S = 0.01
BIN_NS = 100_000
BINS = 20_000  # 0.1 ms each, 2 s in all; the last bin also counts longer lags
STALL_NS = 20_000_000
MOST_STALLS = 500  # the longest are kept
_PERIOD_NS = int(PERIOD_S * 1e9)
_BINS_PER_PERIOD = _PERIOD_NS // BIN_NS


class LoopLagMonitor:
    """Measures the lag of a running event loop; at most one per process at a time.

    The loop reads the clock every 10 ms; the lag is how late it does so. A loop that blocks for 200 ms misses 20
    readings, and each counts with the time it had to wait: so a lag weighs in proportion to its length, and is not a
    single sample among thousands of good ones. Meanwhile the heap is frozen for the garbage collector.
    """

    def __init__(self) -> None:
        self._lags = [0] * BINS
        self._longest = 0
        self._due: int | None = None
        self._stalls: list[tuple[int, int]] = []  # a heap of (length, start), the shortest on top
        self._gc_started = 0
        self._gc_pauses = 0
        self._gc_longest = 0
        self._task: asyncio.Task[None] | None = None
        self._started = (0, 0)
        self._gc_frozen = ExitStack()

    def start(self) -> None:
        """Start, inside the loop to be measured."""
        self._gc_frozen.enter_context(gc_frozen())
        gc.callbacks.append(self._on_gc)
        self._started = (time.perf_counter_ns(), time.process_time_ns())
        self._task = asyncio.get_running_loop().create_task(self._measure())

    def stop(self) -> dict[str, Any]:
        """Stop; return milliseconds, fractions of 1 and counts. A lag is None before the first 10 ms are over.

        ``stalls`` are start and end, in ns of the monotonic clock, of the 500 longest lags of 20 ms and more.
        """
        if self._task is not None:
            self._task.cancel()
        now = time.perf_counter_ns()
        if self._due is not None and now > self._due:  # the loop is blocked at the end
            self._note(self._due, now - self._due)
            self._due = None
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
            self._gc_frozen.close()
        wall = now - self._started[0]
        cpu = time.process_time_ns() - self._started[1]
        return {
            "loop_lag_p50_ms": self._lag_ms(0.5),
            "loop_lag_p99_ms": self._lag_ms(0.99),
            "gc_pauses": self._gc_pauses,
            "gc_pause_max_ms": self._gc_longest / 1e6,
            "cpu_share": cpu / wall if wall else None,
            "loop_stall_max_ms": self._longest / 1e6 if any(self._lags) else None,
            "stalls": sorted((start, start + length) for length, start in self._stalls),
        }

    async def _measure(self) -> None:
        while True:
            self._due = due = time.perf_counter_ns() + _PERIOD_NS
            await asyncio.sleep(PERIOD_S)
            self._note(due, max(time.perf_counter_ns() - due, 0))

    def _note(self, due: int, lag: int) -> None:
        beyond = max(lag - BINS * BIN_NS, 0) // _PERIOD_NS
        self._lags[-1] += beyond
        for index in range(min(lag // BIN_NS - beyond * _BINS_PER_PERIOD, BINS - 1), -1, -_BINS_PER_PERIOD):
            self._lags[index] += 1
        self._longest = max(self._longest, lag)
        if lag >= STALL_NS:
            heapq.heappush(self._stalls, (lag, due))
            if len(self._stalls) > MOST_STALLS:
                heapq.heappop(self._stalls)

    def _lag_ms(self, quantile: float) -> float | None:
        rank = sum(self._lags) * quantile
        seen = 0
        for index, count in enumerate(self._lags):
            seen += count
            if count and seen >= rank:
                return (index + 1) * BIN_NS / 1e6
        return None

    def _on_gc(self, phase: str, info: Mapping[str, int]) -> None:
        now = time.perf_counter_ns()
        if phase == "start":
            self._gc_started = now
        else:
            self._gc_pauses += 1
            self._gc_longest = max(self._gc_longest, now - self._gc_started)
