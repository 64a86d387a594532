"""What a copy of this process, made by ``fork``, must not hold: locks and sockets of runs that are going on.

A pool of processes that a scorer makes, for one, copies every descriptor. Held there, a lock would outlive the run and
its process, and a socket would never be seen to be closed.
"""

from __future__ import annotations

import os
from contextlib import suppress

_ours: set[int] = set()


def close_in_forks(descriptor: int) -> None:
    """Close a descriptor in every copy of this process that is made from now on."""
    _ours.add(descriptor)


def forget(descriptor: int) -> None:
    """It is about to be closed here: its number may be another file's soon."""
    _ours.discard(descriptor)


def _close_all() -> None:
    for descriptor in _ours:
        with suppress(OSError):
            os.close(descriptor)
    _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
