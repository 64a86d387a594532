"""Keeps the garbage collector from distorting times."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (50_000, 20, 100)  # rare collections of new objects: few of them are in cycles

_lock = threading.Lock()
_blocks = 0
_before = (0, 0, 0)


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Freeze the objects on the heap, and collect new ones rarely, while any such block runs.

    Collecting a large heap, such as a notebook kernel's, takes 20 to 400 ms.
    """
    global _blocks, _before
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _before = gc.get_threshold()
            gc.freeze()  # existing garbage is collected afterwards
            gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                gc.unfreeze()
                gc.set_threshold(*_before)
