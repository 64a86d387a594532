"""The progress of a session: turns done, errors, rate, accuracy so far and time left.

In a terminal one line is drawn again and again; elsewhere a line is printed every ten seconds.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.console.terminal import print_message
from evalkit.engine.saving.progress import Progress as Counts
from evalkit.engine.session_thread import Watcher
from evalkit.wording import numbers

EVERY_S = 10.0  # between two printed lines
_SECONDS = 20  # of the rate that is drawn
_BAR = 12  # columns
_LEAST = 40  # columns of text that are worth more than a bar
_BETWEEN = " · "


@contextmanager
def progress_line(unit: str = "turns") -> Iterator[Watcher]:
    """A watcher that shows on standard error how far a session has come; ``unit``: what it counts."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PrintedLines(unit)
        return
    bar = (BarColumn(bar_width=_BAR),) if console.width > _BAR + _LEAST else ()
    column = CountsColumn(glyphs(sys.stderr), unit, console.width - (_BAR + 1) * len(bar))
    with Progress(*bar, column, console=console, transient=True) as display:
        task, named = display.add_task("", total=None), Dashboard()

        def watch(counts: Counts) -> None:
            named(counts)
            display.update(task, total=counts.total, completed=counts.kept + counts.done, counts=counts)

        yield watch


class PrintedLines:
    """Prints how far a session has come, every ten seconds.

    Parameters
    ----------
    unit : str
        What is counted.
    clock : callable
        Seconds that only increase.
    """

    def __init__(self, unit: str = "turns", clock: Callable[[], float] = time.monotonic) -> None:
        self._unit, self._clock = unit, clock
        self._last_s = clock()
        self._named = Dashboard()

    def __call__(self, counts: Counts) -> None:
        """Print a line, if it is time for one."""
        self._named(counts)
        now = self._clock()
        if now - self._last_s >= EVERY_S:
            self._last_s = now
            print_message(_BETWEEN.join(text for text, _ in parts(counts, self._unit)))


class Dashboard:
    """Prints the address of the cluster's dashboard, once for each address."""

    def __init__(self) -> None:
        self._printed: str | None = None

    def __call__(self, counts: Counts) -> None:
        """Print it, if there is one that was not printed yet."""
        if counts.dashboard is not None and counts.dashboard != self._printed:
            self._printed = counts.dashboard
            print_message(f"Dask dashboard: {counts.dashboard}")


class CountsColumn(ProgressColumn):
    """The parts of the line that there is room for, and the rate of the last seconds, which shows a stall."""

    def __init__(self, draw: Glyphs, unit: str = "turns", cells: int = 1_000) -> None:
        super().__init__()
        self._draw, self._unit, self._cells = draw, unit, cells
        self._samples = deque[tuple[float, int]](maxlen=_SECONDS + 1)

    def render(self, task: Task) -> Text:
        """The text of the line."""
        counts: Counts | None = task.fields.get("counts")
        if counts is None:
            return Text("starting")
        shown = parts(counts, self._unit)
        rates = self.rates(time.monotonic(), counts.done)
        if len(rates) > 1:
            shown.append((self._draw.counts(rates), 4))
        return Text(_BETWEEN.join(fitting(shown, self._cells)), no_wrap=True, overflow="ellipsis")

    def rates(self, now: float, done: int) -> list[float]:
        """Turns per second in each of the last seconds."""
        if self._samples and done < self._samples[-1][1]:  # another session, such as the next step of a load test
            self._samples.clear()
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, done))
        return [(after - before) / (at - since) for (since, before), (at, after) in pairwise(self._samples)]


def parts(counts: Counts, unit: str) -> list[tuple[str, int]]:
    """The parts of a line in their order, each with its rank: where room is short, the highest ranks are left out."""
    shown = [
        (f"{counts.kept + counts.done:,}/{'?' if counts.total is None else f'{counts.total:,}'} {unit}", 0),
        (numbers.counted(counts.errors, "error"), 1 if counts.errors else 3),
        (f"{counts.turns_per_s:.1f}/s", 2),
    ]
    if counts.scored:
        shown.append((f"accuracy so far {numbers.percent(counts.right / counts.scored, 0)}", 3))
    if counts.stopping:
        shown.append(("stopping: waiting for answers in flight", 0))
    elif counts.left_s is not None:
        shown.append((f"{numbers.duration(counts.left_s)} left", 1))
    return shown


def fitting(shown: Sequence[tuple[str, int]], cells: int) -> list[str]:
    """The parts that fit into this many cells, those of low ranks first, in their own order."""
    by_rank = sorted(range(len(shown)), key=lambda place: shown[place][1])
    needed = accumulate(cell_len(shown[place][0]) + len(_BETWEEN) for place in by_rank)
    kept = {place for place, width in zip(by_rank, needed, strict=True) if width - len(_BETWEEN) <= cells}
    return [text for place, (text, _) in enumerate(shown) if place in kept or shown[place][1] == 0]
