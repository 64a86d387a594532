"""Runs, transcripts and endpoints to look at in JupyterLab; in words where nothing can be drawn."""

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
from evalkit.widgets import live_state
from evalkit.widgets.live_state import LiveState
from evalkit.wording import run_results

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint

_LINE_S = 10.0


class _Run(Protocol):
    """What knows its run file."""

    path: Path


class InWords:
    """What stands for a widget where nothing can be drawn."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def drawable() -> bool:
    """Whether this is a Jupyter kernel that has what widgets need; whether anybody looks at it cannot be known."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None and find_spec("anywidget") is not None


def watching(path: Path, progress: Progress) -> AbstractContextManager[Any]:
    """Show a run for as long as the block runs: as a widget, or now and then a line on standard error."""
    if not drawable():
        return _lines(path, progress)
    from evalkit.widgets import live_run

    return live_run.watching(path, progress)


@contextmanager
def _lines(path: Path, progress: Progress) -> Iterator[Any]:
    with closing(LiveState(path, progress)) as state:
        said_s = time.monotonic()

        def watch(_progress: Progress) -> None:
            nonlocal said_s
            if time.monotonic() - said_s >= _LINE_S:
                said_s = time.monotonic()
                _say(state.now())

        yield watch
        _say(state.now("stopped" if progress.stopping else "done"))


def _say(state: dict[str, Any]) -> None:
    print(live_state.in_words(state), file=sys.stderr)


def browse(*runs: Path | str | _Run) -> Any:
    """The transcripts of one run, or of several side by side, to filter, search and read in JupyterLab.

    Where nothing can be drawn: how many there are, in words.

    Parameters
    ----------
    *runs : Run or path-like
        One or more.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    SettingsError
        No run is named.
    """
    if not runs:
        raise SettingsError("name a run to browse, or several")
    paths = [Path(run) if isinstance(run, (str, Path)) else run.path for run in runs]
    with snapshot(*paths):
        text = "\n".join(map(_transcripts_in_words, paths))
        if drawable():
            from evalkit.widgets.browse import Browser

            return Browser(paths, text)
    return InWords(text)


def _transcripts_in_words(path: Path) -> str:
    """How many transcripts a run has, and how to read them elsewhere."""
    with opened(path) as connection:
        result = summary_json.summary_json(measure(connection))
    failed = sum(result["errors"].values())
    return (
        f"{path.stem}: {result['answered']:,} answered turns, {failed:,} failed ones; accuracy "
        f"{run_results.rate(result['accuracy'])}. To read them in a browser: evalkit report {path} -o {path.stem}.html"
    )


def playground(endpoint: Endpoint) -> Any:
    """A conversation with an endpoint, typed by hand."""
    if drawable():
        from evalkit.widgets.playground import Playground

        return Playground(endpoint)
    return InWords(
        f"a playground for {endpoint.model} at {endpoint.base_url} needs JupyterLab and the notebooks extra. "
        "In a terminal: evalkit ask"
    )
