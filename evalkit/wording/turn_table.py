"""The table of a run by turn: the same columns in a terminal, a report and a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.wording.numbers import number
from evalkit.wording.run_results import accuracy_with_interval, marked_heading

NOTE = "times in ms; – means missing: too little data, or nothing to measure"
_TIMES = (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("latency", "latency_ms"))
_FROM_SCHEDULE = ("from schedule", "schedule_latency_ms")  # in open loop


class Column(NamedTuple):
    """A column: its heading, the heading where room is short and the column before says what it is, and its cells."""

    heading: str
    short: str
    cells: tuple[str, ...]


def columns(result: Mapping[str, Any], mark: str) -> list[Column]:
    """The columns of the table; their cells are a row for each turn, then one for all turns.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    mark : str
        Follows the headings of times that are client-bound.
    """
    rows = [*result["by_turn"], {**result, "turn": "all"}]
    counts = {
        "turn": [str(row["turn"]) for row in rows],
        "answered": [f"{row['answered']:,} of {row['turns']:,}" for row in rows],
        "errors": [f"{sum(row['errors'].values()):,}" for row in rows],
        "accuracy (95 % interval)": [accuracy_with_interval(row["accuracy"]) for row in rows],
    }
    return [
        *(Column(heading, heading.partition(" ")[0], tuple(cells)) for heading, cells in counts.items()),
        *(
            Column(marked_heading(heading, result["trust"], mark), marked_heading(short, result["trust"], mark), cells)
            for heading, short, cells in _times(rows)
        ),
    ]


def rows(columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """The rows of the table."""
    return zip(*(column.cells for column in columns), strict=True)


def _times(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    open_loop = any(value is not None for row in rows for value in row[_FROM_SCHEDULE[1]].values())
    for name, key in (*_TIMES, _FROM_SCHEDULE) if open_loop else _TIMES:
        for quantile in ("p50",) if name == "TPOT" else ("p50", "p95"):
            short = quantile if quantile == "p95" else f"{name} {quantile}"
            yield f"{name} {quantile}", short, tuple(number(row[key][quantile]) for row in rows)
