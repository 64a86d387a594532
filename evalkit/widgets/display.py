"""Runs, transcripts and endpoints in JupyterLab, or as text where widgets are not available."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evalkit.analysis import summary_json
from evalkit.analysis.measures import measure, opened, snapshot
from evalkit.engine.saving.progress import Progress
from evalkit.errors import SettingsError
from evalkit.judging.labelling import Labelling
from evalkit.widgets import live_state
from evalkit.widgets.live_state import LiveState
from evalkit.wording import run_results

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint

_LINE_INTERVAL_S = 10.0


class _Run(Protocol):
    """An object with a run file."""

    path: Path


class TextFallback:
    """Stands in for a widget where widgets are not available."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def widgets_available() -> bool:
    """Return whether this is a Jupyter kernel with the packages that widgets need.

    Whether a front end is connected cannot be known.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None and find_spec("anywidget") is not None


def watching(path: Path, progress: Progress) -> AbstractContextManager[Any]:
    """Show the progress of a run while the block runs: as a widget, or as occasional lines on standard error."""
    if not widgets_available():
        return _lines(path, progress)
    from evalkit.widgets import live_run

    return live_run.watching(path, progress)


@contextmanager
def _lines(path: Path, progress: Progress) -> Iterator[Any]:
    with closing(LiveState(path, progress)) as state:
        printed_s = time.monotonic()

        def watch(_progress: Progress) -> None:
            nonlocal printed_s
            if time.monotonic() - printed_s >= _LINE_INTERVAL_S:
                printed_s = time.monotonic()
                _print_line(state.now())

        yield watch
        _print_line(state.now("stopped" if progress.stopping else "done"))


def _print_line(state: dict[str, Any]) -> None:
    print(live_state.status_line(state), file=sys.stderr)


def browse(*runs: Path | str | _Run) -> Any:
    """Show the transcripts of one run, or of several side by side, in JupyterLab, with filters and search.

    Where widgets are not available, the result is a text that says how many transcripts there are.

    Parameters
    ----------
    *runs : Run or path-like
        One or more.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    SettingsError
        No run is given.
    """
    if not runs:
        raise SettingsError("name one or more runs to browse")
    paths = [Path(run) if isinstance(run, (str, Path)) else run.path for run in runs]
    with snapshot(*paths):
        text = "\n".join(map(_transcripts_as_text, paths))
        if widgets_available():
            from evalkit.widgets.browse import Browser

            return Browser(paths, text)
    return TextFallback(text)


def _transcripts_as_text(path: Path) -> str:
    """Say how many transcripts a run has, and how to read them in a browser."""
    with opened(path) as connection:
        result = summary_json.summary_json(measure(connection))
    failed = sum(result["errors"].values())
    accuracy = run_results.accuracy_with_interval(result["accuracy"])
    return (
        f"{path.stem}: {result['answered']:,} answered turns, {failed:,} failed; accuracy "
        f"{accuracy}. To read them in a browser: evalkit report {path} -o {path.stem}.html"
    )


def label(run: _Run, person: str | None, **choice: Any) -> Any:
    """Show answers of a run to be labelled; see ``Run.label``."""
    labelling = Labelling(run.path, person, **choice)
    if widgets_available():
        from evalkit.widgets.label import Labeller

        return Labeller(labelling)
    return labelling


def playground(endpoint: Endpoint) -> Any:
    """Show a conversation with an endpoint, typed by hand."""
    if widgets_available():
        from evalkit.widgets.playground import Playground

        return Playground(endpoint)
    return TextFallback(
        f"a playground for {endpoint.model} at {endpoint.base_url} needs JupyterLab and the notebooks extra. "
        "In a terminal, use evalkit ask"
    )
