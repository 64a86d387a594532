"""The widget that shows a run in progress, with a button that stops it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import DisplayHandle

from evalkit.engine.saving.progress import Progress
from evalkit.widgets import button_comm, live_state
from evalkit.widgets.live_state import LiveState
from evalkit.widgets.widget_base import widget_script, widget_style
from evalkit.wording.numbers import MISSING
from evalkit.wording.run_results import accuracy_with_interval

_INTERVAL_S = 0.5


class LiveRun(anywidget.AnyWidget):
    """Shows a run in progress; it keeps no reference to the run."""

    _esm = widget_script("live_run.js")
    _css = widget_style()
    seen: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    latencies: traitlets.List[list[float]] = traitlets.List().tag(sync=True)  # sent only when they change
    button_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.show(state)
        self.stopped = False
        self.button_id = button_comm.register_button(self.stop)
        self.on_msg(lambda _widget, content, _buffers: self.stop() if content.get("do") == "stop" else None)

    def __repr__(self) -> str:
        return live_state.status_line(self.seen)

    def show(self, state: dict[str, Any]) -> None:
        """Show a state, as ``LiveState.now`` gives it."""
        self.latencies = state["latencies"]
        accuracy = MISSING if state["accuracy"] is None else accuracy_with_interval(state["accuracy"])
        shown = {name: value for name, value in state.items() if name != "latencies"}
        self.seen = {**shown, "accuracy_text": accuracy}

    def stop(self) -> None:
        """Request a stop. The thread that shows the run carries it out."""
        self.stopped = True


@contextmanager
def watching(path: Path, progress: Progress) -> Iterator[Any]:
    """Show a run while the block runs; yields its watcher, which returns True once the run should stop."""
    state = LiveState(path, progress)
    widget = LiveRun(state.now())
    handle = DisplayHandle()  # type: ignore[no-untyped-call]
    handle.display(widget)  # type: ignore[no-untyped-call]
    shown_s = 0.0

    def watch(progress: Progress) -> bool:
        nonlocal shown_s
        now = time.monotonic()
        if now - shown_s >= _INTERVAL_S or (widget.stopped and not progress.stopping):
            widget.show(state.now())
            shown_s = now
        return widget.stopped

    outcome = "ended"
    try:
        yield watch
        outcome = "stopped" if progress.stopping else "done"
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
        raise
    finally:
        button_comm.unregister_button(widget.button_id)
        widget.show(state.now(outcome))
        state.close()
        # a page without widgets shows the text stored with the widget, which must be the final one
        handle.update(widget)  # type: ignore[no-untyped-call]
