"""The widget with which a person labels the answers of a run, by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from evalkit.errors import EvalkitError
from evalkit.judging.labelling import Labelling
from evalkit.widgets.widget_base import widget_script, widget_style


class Labeller(anywidget.AnyWidget):
    """Shows the next answer to label. Only what ``Labelling.shown`` gives reaches the browser."""

    _esm = widget_script("label.js")
    _css = widget_style()
    shown: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        super().__init__(shown=self._state())
        self.on_msg(lambda _widget, content, _buffers: self._on_message(content))

    def __repr__(self) -> str:
        return repr(self._labelling)

    @property
    def path(self) -> Path:
        """The file with the labels."""
        return self._labelling.path

    def to_dataset(self, out: Path | str) -> Path:
        """Write the labelled conversations as a dataset; see ``Labelling.to_dataset``."""
        return self._labelling.to_dataset(out)

    def label(self, label: str, note: str = "") -> None:
        """Label the answer that is shown, where the page has no keys; see ``Labelling.label``."""
        self._labelling.label(label, note)
        self._show()

    def undo(self) -> None:
        """Remove the last label; see ``Labelling.undo``."""
        self._show(self._labelling.undo() or "")

    def _on_message(self, content: dict[str, Any]) -> None:
        if content.get("labelled") != self.shown["labelled"]:  # about an answer that is not shown any more
            self._show()
            return
        try:
            if content.get("do") == "undo":
                self.undo()
            else:
                self.label(str(content.get("do")), str(content.get("note", "")))
        except EvalkitError as error:
            self._show(problem=str(error))

    def _show(self, note: str = "", problem: str = "") -> None:
        self.shown = self._state(note, problem, self.shown["replies"] + 1)

    def _state(self, note: str = "", problem: str = "", replies: int = 0) -> dict[str, Any]:
        """What the page shows: the next answer, the note of a label just undone, and why a label was not saved."""
        return {**self._labelling.shown(), "note": note, "problem": problem, "replies": replies}
