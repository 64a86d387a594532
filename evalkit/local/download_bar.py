"""Progress of a download on standard error: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MB = 1_000_000


@contextmanager
def download_progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a download of ``total`` bytes; call the function yielded with the bytes received so far."""
    if sys.stderr.isatty():
        with _bar(title, total) as show:
            yield show
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def _lines(title: str, total: int) -> Callable[[int], None]:
    """Print a line at each quarter."""
    print(f"{title} ({total / _MB:.0f} MB)", file=sys.stderr, flush=True)
    quarter = 0

    def show(done: int) -> None:
        nonlocal quarter
        reached = min(done * 4 // total, 4)
        if reached > quarter:
            quarter = reached
            print(f"  {quarter * 25} % of {total / _MB:.0f} MB", file=sys.stderr, flush=True)

    return show
