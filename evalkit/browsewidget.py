"""The widget in which transcripts are read: the browser of a report, shut into a frame of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import traitlets

from evalkit import report, widgets
from evalkit.widgetparts import script, style


class Browser(anywidget.AnyWidget):
    """Transcripts of one run, or of several side by side.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """

    _esm = script("browsewidget.js")
    _css = style()
    page = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        names = ", ".join(path.stem for path in self._paths)
        super().__init__(page=report.browser(self._paths), label=f"Transcripts of {names}")

    def __repr__(self) -> str:
        return "\n".join(map(widgets.transcripts_in_words, self._paths))
