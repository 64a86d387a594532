"""The small charts below the table of a run: accuracy with intervals, latency over time, distribution of times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from evalkit.analysis.terminal_sketch import LogHistogram, Sketch
from evalkit.console.sparklines import Glyphs
from evalkit.console.terminal import NARROW, one_line, plain_table
from evalkit.wording import numbers
from evalkit.wording.numbers import MISSING, counted, number, percent

TAGS = 8  # shown; the most frequent ones
_LABEL = 22  # cells
NARROW_PARTS = 20
_NARROWER = 75  # columns below which bars have little room


def show_accuracy(console: Console, result: Mapping[str, Any], draw: Glyphs) -> None:
    """Print accuracy with its interval, as numbers and bars: by turn index, overall, and by tag.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    """
    tags = result["by_tag"]
    rows: list[tuple[Text, Mapping[str, Any]]] = [
        *((Text(f"turn {row['turn']}"), row["accuracy"]) for row in result["by_turn"]),
        (Text("all turns"), result["accuracy"]),
        *((one_line(f"tag {row['tag']}", _LABEL), row) for row in tags[:TAGS]),
    ]
    if result["accuracy"]["value"] is None:
        return
    width = 10 if console.width < _NARROWER else 24 if console.width < NARROW else 40
    table = plain_table()
    table.add_column("accuracy", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("0 %".ljust(width - 5) + "100 %", no_wrap=True, min_width=width)
    for label, share in rows:
        value, low, high = share["value"], share["low"], share["high"]
        table.add_row(
            label,
            MISSING if value is None else f"{percent(value)} of {share['n']}",
            MISSING if low is None else f"{percent(low)} to {percent(high)}",
            draw.interval(value, low, high, width),
        )
    console.print(table)
    shown = f"{draw.below} to {draw.above}: the interval" if result["accuracy"]["low"] is not None else ""
    if left_out := len(tags) - len(tags[:TAGS]) + result["tags_left_out"]:
        shown += f"{'; ' if shown else ''}left out: {counted(left_out, 'tag')} with fewer turns"
    if shown:
        console.print(shown, style="dim")


def show_sketch(console: Console, drawn: Sketch, draw: Glyphs) -> None:
    """Print latency and failures over the time of the run, the distribution of times, and what is missing."""
    for name, bars, note in _lines(drawn, draw):
        console.print(f"{name:18}{bars}  {note}".rstrip(), soft_wrap=True)
    if drawn.missing:
        missing = ", ".join(f"{name} of {count}" for name, count in drawn.missing.items())
        console.print(f"missing in answered turns: {missing}", style="yellow", soft_wrap=True)


def _lines(drawn: Sketch, draw: Glyphs) -> Iterator[tuple[str, str, str]]:
    over_time = [None if value != value else float(value) for value in drawn.latency_ms.tolist()]
    known = [value for value in over_time if value is not None]
    part = "" if drawn.part_s is None else f" in {numbers.duration(drawn.part_s)} each"
    if len(known) > 1:
        yield "latency over time", draw.sparkline(over_time), f"median{part}: {_range(min(known), max(known))}"
    if drawn.failed.any() and drawn.part_s is not None:
        yield "errors over time", draw.counts(drawn.failed.tolist()), f"{part.strip()}: at most {drawn.failed.max()}"
    for name, spread in (("TTFT, spread", drawn.ttft), ("latency, spread", drawn.latency)):
        if spread is not None and spread.high > spread.low:
            yield (
                name,
                draw.counts(spread.counts.tolist()),
                f"{_of(spread)}: {_range(spread.low, spread.high)}, log scale",
            )


def _of(spread: LogHistogram) -> str:
    return f"{int(spread.counts.sum())} turns"


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)} ms"
