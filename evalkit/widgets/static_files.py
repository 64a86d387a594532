"""What widgets share: scripts and style, files beside this one, loaded from nowhere else; and when they are freed."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import anywidget
from ipywidgets.widgets import widget as ipywidget  # type: ignore[import-untyped, unused-ignore]

from evalkit.static_files import static_file


def script(name: str) -> str:
    """A widget's module, with what all widgets share in front of it."""
    return static_file("widgets", "widgets.js") + static_file("widgets", name)


def style() -> str:
    """The style that all widgets share."""
    return static_file("widgets", "widgets.css")


class Droppable(anywidget.AnyWidget):
    """A widget that is freed once nothing of the user's holds it; a page that shows it keeps what it has.

    ipywidgets itself holds every widget until it is closed. A widget that was shown is not closed when it is freed, so
    that it does not vanish from the page.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._drawn = False
        heard = weakref.WeakMethod(self._handle_msg)
        self.comm.on_msg(lambda message: method(message) if (method := heard()) else None)
        known = ipywidget._instances  # by it a page that is loaded again finds them
        known[self.model_id] = weakref.proxy(self)
        weakref.finalize(self, known.pop, self.model_id, None)

    def _repr_mimebundle_(self, **how: Any) -> Any:
        self._drawn = True
        return super()._repr_mimebundle_(**how)

    def close(self) -> None:
        """Take it from the page, with the layout that it alone has."""
        super().close()
        self.layout.close()

    def __del__(self) -> None:
        """Close what nobody has seen."""
        if not self.__dict__.get("_drawn"):
            with suppress(Exception):  # the interpreter may be ending
                super().__del__()
