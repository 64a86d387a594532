"""Garbage collection is kept out of timed code, and restored afterwards."""

import gc
from contextlib import ExitStack

from evalkit.process.gc_freeze import gc_frozen


def test_the_heap_is_frozen_as_long_as_any_block_runs_and_put_back_after_the_last():
    before = gc.get_threshold()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(gc_frozen())
        second.enter_context(gc_frozen())
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold() > before
        first.close()
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before
