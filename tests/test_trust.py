import asyncio
import gc
import time

from evalkit.trust import Watch


def watched(work):
    async def run():
        watch = Watch()
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


def test_a_loop_that_is_held_up_is_late():
    assert watched(hold_up_the_loop)["loop_lag_p99_ms"] > 40


def test_a_loop_that_is_left_alone_is_measured_and_less_late_than_one_held_up():
    quiet = watched(lambda: asyncio.sleep(0.3))
    assert 0 < quiet["loop_lag_p50_ms"] < watched(hold_up_the_loop)["loop_lag_p99_ms"]
    assert quiet["cpu_share"] > 0


def test_no_lag_is_told_before_the_first_timer():
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
