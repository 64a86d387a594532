"""How a button reaches Python while a cell keeps the kernel busy.

A message of a widget waits on the shell channel until the running cell ends, and a run is such a cell. A comm that the
front end opens is handled immediately if the kernel has subshells, threads with their own queue (ipykernel 7,
JupyterLab 4.4). A comm that Python opens does not help: replies to it go to the thread that sent last.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import comm

TARGET = "evalkit.press"  # as in widgets.js
_buttons: dict[str, weakref.WeakMethod[Callable[[], None]]] = {}


def register_button(pressed: Callable[[], None]) -> str:
    """Return an id with which the front end can have this method called, on any thread.

    Parameters
    ----------
    pressed : bound method
        Must be fast and thread-safe. Only a weak reference is kept: the id is removed when the object is freed.
    """
    if not _buttons:
        comm.get_comm_manager().register_target(TARGET, _on_press)
    button_id = secrets.token_hex(8)
    _buttons[button_id] = weakref.WeakMethod(pressed, lambda _: unregister_button(button_id))
    return button_id


def unregister_button(button_id: str) -> None:
    """Ignore this button from now on."""
    _buttons.pop(button_id, None)


def _on_press(_opened: Any, message: Mapping[str, Any]) -> None:
    data = message["content"]["data"]
    reference = _buttons.get(str(data.get("button_id")))
    pressed = None if reference is None else reference()
    if pressed is not None:
        pressed()
