"""The widget in which transcripts are read: the browser of a report, shut into a frame of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import traitlets

from evalkit.report import html_report
from evalkit.widgets.static_files import Droppable, script, style


class Browser(Droppable):
    """Transcripts of one run, or of several side by side.

    Parameters
    ----------
    paths : sequence of Path
    in_words : str
        What is shown where nothing can be drawn.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """

    _esm = script("browse.js")
    _css = style()
    page = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)

    def __init__(self, paths: Sequence[Path], in_words: str) -> None:
        self._in_words = in_words
        names = ", ".join(path.stem for path in paths)
        super().__init__(page=html_report.browser(paths), label=f"Transcripts of {names}")

    def __repr__(self) -> str:
        return self._in_words
