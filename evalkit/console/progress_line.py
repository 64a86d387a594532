"""The progress line of a session: turns done, errors, rate, accuracy so far and time left."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.engine.saving.progress import Progress as Counts
from evalkit.engine.session_thread import Watcher
from evalkit.wording import numbers

_SECONDS = 20  # of the rate that is drawn
_WIDE = 110  # columns from which on there is room for a bar


@contextmanager
def progress_line() -> Iterator[Watcher | None]:
    """A watcher that draws a progress line on standard error; None in a pipe or a dumb terminal."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    bar = (BarColumn(bar_width=12),) if console.width >= _WIDE else ()
    with Progress(
        TextColumn("{task.description}"), *bar, CountsColumn(glyphs(sys.stderr)), console=console, transient=True
    ) as display:
        task = display.add_task("running", total=None)

        def watch(counts: Counts) -> None:
            display.update(task, total=counts.total, completed=counts.kept + counts.done, counts=counts)

        yield watch


class CountsColumn(ProgressColumn):
    """Done, errors, rate, accuracy so far, time left, and the rate of the last seconds, which shows a stall."""

    def __init__(self, draw: Glyphs) -> None:
        super().__init__()
        self._draw = draw
        self._samples = deque[tuple[float, int]](maxlen=_SECONDS + 1)

    def render(self, task: Task) -> Text:
        """The text of the line."""
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
        """Turns per second in each of the last seconds."""
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, done))
        return [(after - before) / (at - since) for (since, before), (at, after) in pairwise(self._samples)]
