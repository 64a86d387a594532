"""Closes locks and sockets of running sessions in copies of this process made by ``fork``.

A process pool in a scorer, for example, inherits every descriptor. There a lock would outlive the run and its process,
and the other end of a socket would never see it closed.
"""

from __future__ import annotations

import os
from contextlib import suppress

_descriptors: set[int] = set()


def close_in_forks(descriptor: int) -> None:
    """Close a descriptor in every fork of this process from now on."""
    _descriptors.add(descriptor)


def forget(descriptor: int) -> None:
    """Call this before closing a descriptor here: its number may soon be that of another file."""
    _descriptors.discard(descriptor)


def _close_all() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
