"""The client's own honesty: how late its event loop was, and what else could have bent the timings."""

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
BINS = 20_000  # 0.1 ms each, 2 s in all; anything later lies in the last one
STALL_NS = 20_000_000
MOST_STALLS = 500  # the longest are kept
_PERIOD_NS = int(PERIOD_S * 1e9)
_BINS_A_PERIOD = _PERIOD_NS // BIN_NS


class LoopLagMonitor:
    """Watches a running event loop; one at a time a process.

    The lag is how late a look at the clock is that is due every 10 ms. A loop that stands still for 200 ms misses 20 of
    them, and each counts with the time that it had to wait: a lag weighs as much as it lasts, and is not one sample
    among thousands of good ones. Meanwhile the heap rests.
    """

    def __init__(self) -> None:
        self._lags = [0] * BINS
        self._longest = 0
        self._due: int | None = None
        self._stalls: list[tuple[int, int]] = []  # a heap of length and begin, the shortest on top
        self._gc_began = 0
        self._gc_pauses = 0
        self._gc_longest = 0
        self._task: asyncio.Task[None] | None = None
        self._began = (0, 0)
        self._rest = ExitStack()

    def start(self) -> None:
        """Begin, inside the loop to be watched."""
        self._rest.enter_context(gc_frozen())
        gc.callbacks.append(self._on_gc)
        self._began = (time.perf_counter_ns(), time.process_time_ns())
        self._task = asyncio.get_running_loop().create_task(self._measure())

    def stop(self) -> dict[str, Any]:
        """End; milliseconds, shares of 1 and counts. A lag is None before the first 10 ms are over.

        ``stalls`` are begin and end, in ns of the monotonic clock, of the 500 longest lags of 20 ms and more.
        """
        if self._task is not None:
            self._task.cancel()
        now = time.perf_counter_ns()
        if self._due is not None and now > self._due:  # it stands still at the end
            self._note(self._due, now - self._due)
            self._due = None
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
            self._rest.close()
        wall = now - self._began[0]
        cpu = time.process_time_ns() - self._began[1]
        return {
            "loop_lag_p50_ms": self._lag_ms(0.5),
            "loop_lag_p99_ms": self._lag_ms(0.99),
            "gc_pauses": self._gc_pauses,
            "gc_pause_max_ms": self._gc_longest / 1e6,
            "cpu_share": cpu / wall if wall else None,
            "loop_stall_max_ms": self._longest / 1e6 if any(self._lags) else None,
            "stalls": sorted((begin, begin + length) for length, begin in self._stalls),
        }

    async def _measure(self) -> None:
        while True:
            self._due = due = time.perf_counter_ns() + _PERIOD_NS
            await asyncio.sleep(PERIOD_S)
            self._note(due, max(time.perf_counter_ns() - due, 0))

    def _note(self, due: int, lag: int) -> None:
        beyond = max(lag - BINS * BIN_NS, 0) // _PERIOD_NS
        self._lags[-1] += beyond
        for place in range(min(lag // BIN_NS - beyond * _BINS_A_PERIOD, BINS - 1), -1, -_BINS_A_PERIOD):
            self._lags[place] += 1
        self._longest = max(self._longest, lag)
        if lag >= STALL_NS:
            heapq.heappush(self._stalls, (lag, due))
            if len(self._stalls) > MOST_STALLS:
                heapq.heappop(self._stalls)

    def _lag_ms(self, quantile: float) -> float | None:
        wanted = sum(self._lags) * quantile
        seen = 0
        for index, count in enumerate(self._lags):
            seen += count
            if count and seen >= wanted:
                return (index + 1) * BIN_NS / 1e6
        return None

    def _on_gc(self, phase: str, info: Mapping[str, int]) -> None:
        now = time.perf_counter_ns()
        if phase == "start":
            self._gc_began = now
        else:
            self._gc_pauses += 1
            self._gc_longest = max(self._gc_longest, now - self._gc_began)
