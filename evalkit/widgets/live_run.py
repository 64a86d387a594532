"""The widget of a run that is going on, with a button that stops it."""

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
from evalkit.widgets.static_files import script, style

_SHOW_S = 0.5


class LiveRun(anywidget.AnyWidget):
    """A run that is going on; the run itself is not held."""

    _esm = script("live_run.js")
    _css = style()
    seen: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    latencies: traitlets.List[list[float]] = traitlets.List().tag(sync=True)  # sent when they have changed
    door = traitlets.Unicode().tag(sync=True)

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.show(state)
        self.stopped = False
        self.door = button_comm.open_door(self.stop)
        self.on_msg(lambda _widget, content, _buffers: self.stop() if content.get("do") == "stop" else None)

    def __repr__(self) -> str:
        return live_state.in_words(self.seen)

    def show(self, state: dict[str, Any]) -> None:
        """Show a state, as ``LiveState.now`` gives it."""
        self.latencies = state["latencies"]
        self.seen = {name: value for name, value in state.items() if name != "latencies"}

    def stop(self) -> None:
        """The button was pressed; the thread that shows the run sees to it."""
        self.stopped = True


@contextmanager
def watching(path: Path, progress: Progress) -> Iterator[Any]:
    """Show a run for as long as the block runs; yields its watcher, which is True once the run is to stop."""
    state = LiveState(path, progress)
    widget = LiveRun(state.now())
    shown = DisplayHandle()  # type: ignore[no-untyped-call]
    shown.display(widget)  # type: ignore[no-untyped-call]
    shown_s = 0.0

    def watch(progress: Progress) -> bool:
        nonlocal shown_s
        now = time.monotonic()
        if now - shown_s >= _SHOW_S or (widget.stopped and not progress.stopping):
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
        button_comm.close_door(widget.door)
        widget.show(state.now(outcome))
        state.close()
        # what a page without widgets shows of this cell is the text beside the widget: it has to be the last one
        shown.update(widget)  # type: ignore[no-untyped-call]
