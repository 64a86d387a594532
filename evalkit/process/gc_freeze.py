"""Keeps the garbage collector out of the way while something is timed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (50_000, 20, 100)  # collections of what comes new are seldom; little of it is in cycles

_lock = threading.Lock()
_resting = 0
_before = (0, 0, 0)


@contextmanager
def gc_frozen() -> Iterator[None]:
    """What is on the heap now is frozen, and what comes new is collected seldom, as long as any such block runs.

    A large heap, a notebook kernel's for one, takes 20 to 400 ms to go through.
    """
    global _resting, _before
    with _lock:
        _resting += 1
        if _resting == 1:
            _before = gc.get_threshold()
            gc.freeze()  # what is garbage already waits till after
            gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if _resting == 0:
                gc.unfreeze()
                gc.set_threshold(*_before)
