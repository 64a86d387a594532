"""The base of widgets: their script and style, and when they are freed."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import anywidget
from ipywidgets.widgets import widget as ipywidget  # type: ignore[import-untyped, unused-ignore]

from evalkit.static_files import static_file


def widget_script(name: str) -> str:
    """Return the script of a widget, preceded by the shared scripts."""
    shared = "".join(static_file("report", each) for each in ("elements.js", "readable_text.js"))
    return shared + static_file("widgets", "widgets.js") + static_file("widgets", name)


def widget_style() -> str:
    """Return the style of all widgets."""
    return static_file("report", "readable_text.css") + static_file("widgets", "widgets.css")


class CollectableWidget(anywidget.AnyWidget):
    """A widget that is freed once the user has no reference to it; a page that shows it keeps its content.

    ipywidgets itself keeps every widget alive until it is closed. A displayed widget is not closed when it is freed,
    so that it does not vanish from the page.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._displayed = False
        handler = weakref.WeakMethod(self._handle_msg)
        self.comm.on_msg(lambda message: method(message) if (method := handler()) else None)
        instances = ipywidget._instances  # a reloaded page finds its widgets here
        instances[self.model_id] = weakref.proxy(self)
        weakref.finalize(self, instances.pop, self.model_id, None)

    def _repr_mimebundle_(self, **how: Any) -> Any:
        self._displayed = True
        return super()._repr_mimebundle_(**how)

    def close(self) -> None:
        """Remove the widget, and its own layout, from the page."""
        super().close()
        self.layout.close()

    def __del__(self) -> None:
        """Close a widget that was never displayed."""
        if not self.__dict__.get("_displayed"):
            with suppress(Exception):  # the interpreter may be ending
                super().__del__()
