"""The lag of the event loop: measured, weighted by its length, and reported with the run."""

import asyncio
import gc
import os
import signal
import threading
import time

import pytest

from evalkit.analysis.summary_json import summary_json
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.loop_lag import LoopLagMonitor
from evalkit.engine.child_process import ChildProcess
from evalkit.evaluation import evaluate
from evalkit.scripted.server import Arithmetic, Law, Script, serve
from evalkit.wording import numbers
from evalkit.wording.times_trust import times_trust


def watched(work):
    async def run():
        watch = LoopLagMonitor()
        watch.start()
        try:
            await work()
        finally:
            result = watch.stop()
        return result

    return asyncio.run(run())


async def hold_up_the_loop():
    for _ in range(5):
        await asyncio.sleep(0.03)
        time.sleep(0.06)  # noqa: ASYNC251 - this is what holds a loop up


def test_a_blocked_loop_is_late():
    assert watched(hold_up_the_loop)["loop_lag_p99_ms"] > 40


async def stall(every_s, for_s, times):
    for _ in range(times):
        await asyncio.sleep(every_s)
        time.sleep(for_s)  # noqa: ASYNC251


def test_a_stall_weighs_in_proportion_to_its_length():
    # 200 ms in every 2 s: one sample in 180, and a tenth of the time
    told = watched(lambda: stall(1.8, 0.2, 1))
    assert told["loop_lag_p99_ms"] > 100
    assert told["loop_stall_max_ms"] > 180
    begin, end = max(told["stalls"], key=lambda stretch: stretch[1] - stretch[0])
    assert end - begin == pytest.approx(told["loop_stall_max_ms"] * 1e6)


def test_many_short_lags_are_not_stalls():
    watch = LoopLagMonitor()
    for n in range(400):
        watch._note(n, 5_000_000)
    told = watch.stop()
    assert told["loop_lag_p50_ms"] == told["loop_lag_p99_ms"] == pytest.approx(5.1)
    assert (told["loop_stall_max_ms"], told["stalls"]) == (5.0, [])


def test_one_long_stall_shows_however_long_the_run():
    watch = LoopLagMonitor()
    for n in range(100_000):
        watch._note(n, 100_000)
    watch._note(100_000, 2_500_000_000)
    told = watch.stop()
    assert told["loop_lag_p99_ms"] < 1  # 2.5 s of 1,000
    assert (told["loop_stall_max_ms"], told["stalls"]) == (2500.0, [(100_000, 2_500_100_000)])
    for n in range(20_000):
        watch._note(n, 2_500_000_000)
    assert watch.stop()["loop_lag_p99_ms"] == 2000.0  # or more: the last bin


def test_the_longest_stalls_are_kept_and_no_more():
    watch = LoopLagMonitor()
    for n in range(3000):
        watch._note(n * 10**9, (20 + n) * 1_000_000)
    stalls = watch.stop()["stalls"]
    assert len(stalls) == 500
    assert stalls == sorted(stalls)
    assert min(end - begin for begin, end in stalls) == 2520_000_000


def test_a_stopped_asking_process_is_reported(sums, tmp_path, monkeypatch):
    """The real thing: the kernel does not run it for 200 ms, again and again."""
    started, over = threading.Event(), threading.Event()
    start = ChildProcess.start

    def given(self, task):
        start(self, task)
        stopped.append(self._process.pid)
        started.set()

    def stop_it():
        started.wait(30)
        while not over.wait(0.35):
            os.kill(stopped[0], signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(stopped[0], signal.SIGCONT)

    stopped: list[int] = []
    monkeypatch.setattr(ChildProcess, "start", given)
    hand = threading.Thread(target=stop_it)
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=150, itl_ms=2))) as server:
        hand.start()
        try:
            run = evaluate(
                sums(16, 1), Endpoint(server.base_url, "scripted"), out=tmp_path / "run.evalkit", concurrency=2,
                watch=lambda progress: over.set() if progress.answered >= 14 else None,
            )  # fmt: skip
        finally:
            started.set()
            over.set()
            hand.join()
    told = summary_json(run.path)["trust"]
    assert told["loop_stall_max_ms"] > 120
    assert told["loop_lag_p99_ms"] > 50
    assert told["stalled_share"] > 0.2
    assert told["client_bound"] is True
    assert "ttft" in told["client_bound_metrics"]
    sentences = dict(times_trust(told, 2))
    stalled = f"the client stalled for up to {numbers.number(told['loop_stall_max_ms'], ' ms')}, during "
    for start in ("the times may be this client's own", stalled):
        assert [warning for text, warning in sentences.items() if text.startswith(start)] == [True]


def test_an_idle_loop_is_measured_and_less_late_than_a_blocked_one():
    quiet = watched(lambda: asyncio.sleep(0.3))
    assert 0 < quiet["loop_lag_p50_ms"] < watched(hold_up_the_loop)["loop_lag_p99_ms"]
    assert quiet["cpu_share"] > 0


def test_there_is_no_lag_before_the_first_timer():
    assert watched(lambda: asyncio.sleep(0))["loop_lag_p99_ms"] is None


def test_garbage_collections_are_counted_and_everything_is_put_back():
    before = gc.get_threshold()

    async def collect():
        assert gc.get_threshold() > before
        assert gc.get_freeze_count() > 1000
        gc.collect()

    result = watched(collect)
    assert result["gc_pauses"] >= 1
    assert result["gc_pause_max_ms"] > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
