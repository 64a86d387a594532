"""The widget that shows transcripts: the browser of a report in a sandboxed frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import traitlets

from evalkit.report import transcript_browser
from evalkit.widgets.widget_base import CollectableWidget, widget_script, widget_style


class Browser(CollectableWidget):
    """Transcripts of one run, or of several side by side.

    Parameters
    ----------
    paths : sequence of Path
    text : str
        The text representation.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """

    _esm = widget_script("browse.js")
    _css = widget_style()
    page = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)

    def __init__(self, paths: Sequence[Path], text: str) -> None:
        self._text = text
        names = ", ".join(path.stem for path in paths)
        super().__init__(page=transcript_browser.browser_page(paths), label=f"Transcripts of {names}")

    def __repr__(self) -> str:
        return self._text
