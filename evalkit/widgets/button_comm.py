"""How a button reaches Python while a cell keeps the kernel busy.

What a widget sends waits on the shell channel until the running cell ends, and a run is such a cell. A comm that the
front end itself opens is heard at once where the kernel has subshells, threads with a queue of their own (ipykernel 7,
JupyterLab 4.4). A comm that Python has opened is of no use: replies to it are taken to the thread that sent last.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import comm

TARGET = "evalkit.press"  # as in widgets.js
_doors: dict[str, weakref.WeakMethod[Callable[[], None]]] = {}


def open_door(pressed: Callable[[], None]) -> str:
    """A name under which the front end can have this called, on whatever thread.

    Parameters
    ----------
    pressed : bound method
        Must be quick and safe on any thread. The door holds nobody: it closes when its owner is freed.
    """
    if not _doors:
        comm.get_comm_manager().register_target(TARGET, _heard)
    door = secrets.token_hex(8)
    _doors[door] = weakref.WeakMethod(pressed, lambda _: close_door(door))
    return door


def close_door(door: str) -> None:
    """What was pressed late is heard no more."""
    _doors.pop(door, None)


def _heard(_opened: Any, message: Mapping[str, Any]) -> None:
    data = message["content"]["data"]
    held = _doors.get(str(data.get("door")))
    pressed = None if held is None else held()
    if pressed is not None:
        pressed()
