"""Where the command line writes: plain text from strangers, standard output, and progress while a run goes."""

from __future__ import annotations

import codecs
import io
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.engine.saving.progress import Progress as Counts
from evalkit.engine.session_thread import Watcher
from evalkit.runfile.plain_transcripts import plain
from evalkit.wording import numbers

PIPE_WIDTH = 120
LONGEST = 300  # cells of a text of a stranger on one line
NARROW = 100  # columns below which tables and charts have less room
_SECONDS = 20  # of the rate, in the progress line
_WIDE = 110  # columns from which on it is shown
_PLAIN = str.maketrans({"–": "-", "−": "-", "·": ".", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "…": "...", "’": "'"})


def printable(text: str) -> Text:
    """Text from a stranger: no markup, and no control characters that could drive the terminal."""
    return Text(plain(text))


def one_line(text: str, cells: int) -> Text:
    """Text from a stranger on one line of so many cells at most; what is cut off ends with "…"."""
    # whoever sends a megabyte gets no more time for it than for a line
    line = " ".join(plain(text[: 4 * cells + 1]).split())
    if cell_len(line) > cells or len(text) > 4 * cells + 1:
        line = set_cell_size(line, min(cells - 1, cell_len(line))).rstrip() + "…"
    return Text(line)


def failure(kind: str, message: str, count: int) -> Text:
    """How often calls failed in one way, on one line; a run file can hold anything as the kind."""
    told = one_line(f"{count} × {kind}:", LONGEST)
    told.stylize("red")
    return told + " " + one_line(message, LONGEST)


def say(text: str) -> None:
    """A line on standard error."""
    _bear(sys.stderr)
    print(printable(text), file=sys.stderr)


def output() -> Console:
    """Standard output; in a pipe without colours, whatever the environment says, and of a fixed width."""
    _bear(sys.stdout)
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    return Console(width=PIPE_WIDTH, highlight=False, markup=False, force_terminal=False, color_system=None)


def tell(result: Mapping[str, Any]) -> None:
    """Print the one object of ``--json``."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(result, allow_nan=False)
    print(text, flush=True)


def _bear(stream: TextIO) -> None:
    """Let a stream write in ASCII, or with escapes, what its encoding has no character for."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="evalkit")


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end].translate(_PLAIN)
    return lost.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("evalkit", _in_ascii)


@contextmanager
def watching() -> Iterator[Watcher | None]:
    """A progress line on standard error in a terminal; nothing in a pipe, or where a line cannot be written anew."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    bar = (BarColumn(bar_width=12),) if console.width >= _WIDE else ()
    with Progress(
        TextColumn("{task.description}"), *bar, _Counts(glyphs(sys.stderr)), console=console, transient=True
    ) as display:
        task = display.add_task("asking", total=None)

        def watch(counts: Counts) -> None:
            display.update(task, total=counts.total, completed=counts.kept + counts.done, counts=counts)

        yield watch


class _Counts(ProgressColumn):
    """Done, errors, rate, accuracy so far, time left, and the rate of the last seconds: a stall is seen at once."""

    def __init__(self, draw: Glyphs) -> None:
        super().__init__()
        self._draw = draw
        self._done = deque[tuple[float, int]](maxlen=_SECONDS + 1)

    def render(self, task: Task) -> Text:
        counts: Counts | None = task.fields.get("counts")
        if counts is None:
            return Text("")
        parts = [
            f"{counts.kept + counts.done}/{counts.total or '?'} turns",
            f"{counts.errors} errors",
            f"{counts.turns_per_s:.1f}/s",
        ]
        if counts.scored:
            parts.append(f"accuracy so far {numbers.percent(counts.right / counts.scored, 0)}")
        if counts.stopping:
            parts.append("stopping: waiting for answers in flight")
        elif counts.left_s is not None:
            parts.append(f"{numbers.duration(counts.left_s)} left")
        rates = self.rates(time.monotonic(), counts.done)
        if len(rates) > 1:
            parts.append(self._draw.counts(rates))
        return Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")

    def rates(self, now: float, done: int) -> list[float]:
        """Turns a second in each of the last seconds."""
        if not self._done or now - self._done[-1][0] >= 1:
            self._done.append((now, done))
        known = list(self._done)
        return [(b - a) / (at - since) for (since, a), (at, b) in pairwise(known)]
