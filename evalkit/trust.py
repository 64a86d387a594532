"""The client's own honesty: how late its event loop was, and what else could have bent the timings."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from evalkit.heap import resting

PERIOD_S = 0.01
BIN_NS = 100_000
BINS = 20_000  # 0.1 ms each, 2 s in all; anything later lies in the last one


class Watch:
    """Watches a running event loop; one at a time a process.

    The lag is how much later than asked a 10 ms timer fires. Meanwhile the heap rests.
    """

    def __init__(self) -> None:
        self._lags = [0] * BINS
        self._gc_began = 0
        self._gc_pauses = 0
        self._gc_longest = 0
        self._task: asyncio.Task[None] | None = None
        self._began = (0, 0)
        self._rest = ExitStack()

    def start(self) -> None:
        """Begin, inside the loop to be watched."""
        self._rest.enter_context(resting())
        gc.callbacks.append(self._on_gc)
        self._began = (time.perf_counter_ns(), time.process_time_ns())
        self._task = asyncio.get_running_loop().create_task(self._measure())

    def stop(self) -> dict[str, Any]:
        """End; milliseconds, shares of 1 and counts. A lag quantile is None before the first 10 ms are over."""
        if self._task is not None:
            self._task.cancel()
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
            self._rest.close()
        wall = time.perf_counter_ns() - self._began[0]
        cpu = time.process_time_ns() - self._began[1]
        return {
            "loop_lag_p50_ms": self._lag_ms(0.5),
            "loop_lag_p99_ms": self._lag_ms(0.99),
            "gc_pauses": self._gc_pauses,
            "gc_pause_max_ms": self._gc_longest / 1e6,
            "cpu_share": cpu / wall if wall else None,
        }

    async def _measure(self) -> None:
        while True:
            before = time.perf_counter_ns()
            await asyncio.sleep(PERIOD_S)
            lag = time.perf_counter_ns() - before - int(PERIOD_S * 1e9)
            self._lags[min(max(lag, 0) // BIN_NS, BINS - 1)] += 1

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
