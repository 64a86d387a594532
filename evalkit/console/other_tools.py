"""The output of ``evalkit show --as``: a run's times by the definitions of another tool, beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from evalkit.analysis.times.other_tools import ABOUT, AT_LEAST, AT_MOST, Figure
from evalkit.console.terminal import LONGEST, one_line, plain_table
from evalkit.wording.numbers import MISSING

_OURS = {
    "ttft": "TTFT, ms",
    "itl": "gaps, ms",
    "tpot": "TPOT, ms",
    "latency": "latency, ms",
    "output_tokens_per_s": "output tokens/s",
    "requests_per_s": "requests/s",
}
_BOUNDS = {AT_MOST: "≤ ", AT_LEAST: "≥ ", ABOUT: "≈ "}


def show_figures(console: Console, tool: str, source: str, figures: Sequence[Figure]) -> None:
    """Print a table, then in what each definition differs."""
    table = plain_table()
    for heading in ("evalkit", f"in {tool}"):
        table.add_column(heading, overflow="fold")
    for heading in ("mean", f"{tool} mean", "p50", f"{tool} p50", "p99", f"{tool} p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        cells = [_OURS[figure.metric], figure.label]
        for name in ("mean", "p50", "p99"):
            bound = _BOUNDS[figure.bound] if figure.bound and name in figure.theirs else ""
            cells += [_shown(figure.ours, name), bound + _shown(figure.theirs, name)]
        table.add_row(*cells)
    console.print(table)
    if any(figure.bound for figure in figures):
        console.print("≤ at most, ≥ at least, ≈ about: the run lacks what the exact figure needs.")
    for figure in figures:
        for text in (figure.missing and f"missing in {tool}: {figure.missing}", figure.differs):
            if text:
                console.print(
                    f"{_OURS[figure.metric].removesuffix(', ms')}: {text}.",
                    soft_wrap=True,
                    highlight=False,
                    markup=False,
                )
    console.print(one_line(f"Definitions: {source}", LONGEST), soft_wrap=True, style="dim")


def _shown(values: dict[str, float], name: str) -> str:
    return f"{values[name]:,.2f}" if name in values else MISSING
