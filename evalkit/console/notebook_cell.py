"""The output of a command as HTML for a notebook: the same lines and tables, in light and dark.

What comes up to the first table is shown, the rest is folded below it. Text never becomes markup.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from evalkit.analysis.sample_size import Plan
from evalkit.checkup.checkup import Checkup
from evalkit.comparing.comparison import Comparison
from evalkit.console import check, compare, load, plan, summary
from evalkit.console.sparklines import BLOCKS
from evalkit.errors import EvalkitError
from evalkit.loadtest.sweep import Sweep
from evalkit.run import Run
from evalkit.runfile.plain_text import plain
from evalkit.wording import run_results

MOST_TURNS = 20_000  # of a run that is measured only because it is displayed
_WIDTH = 120  # columns: as in a pipe
_BARS = frozenset("▁▂▃▄▅▆▇█▓░▲")
_CLASSES = {"yellow": "evalkit-warning", "red": "evalkit-warning", "dim": "evalkit-note"}
# VS Code's variables first: its --jp-* ones are those of a light theme, whatever the theme is
_STYLE = """
.evalkit-cell { font-family: var(--vscode-font-family, var(--jp-content-font-family, system-ui, sans-serif));
  font-size: var(--jp-ui-font-size1, 13px); line-height: 1.45;
  color: var(--vscode-foreground, var(--jp-content-font-color1, inherit)); max-width: 75em; }
.evalkit-cell p { margin: 0 0 2px; overflow-wrap: anywhere; }
.evalkit-cell .evalkit-note { color: var(--vscode-descriptionForeground, var(--jp-content-font-color2, inherit)); }
.evalkit-cell .evalkit-warning { border-left: 3px solid var(--jp-warn-color1, #c77700); padding-left: 6px; }
.evalkit-cell .evalkit-table { overflow-x: auto; margin: 6px 0; }
.evalkit-cell table { border-collapse: collapse; margin: 0; font-size: inherit; color: inherit; }
.evalkit-cell :is(th, td) { padding: 2px 10px 2px 0; text-align: left; white-space: nowrap; max-width: none;
  vertical-align: top; background: none; border: 0; color: inherit; }
.evalkit-cell th { font-weight: 600; }
.evalkit-cell thead :is(th, td) { border-bottom: 1px solid var(--jp-border-color1, rgba(128, 128, 128, 0.5)); }
.evalkit-cell .evalkit-right { text-align: right; font-variant-numeric: tabular-nums; }
.evalkit-cell .evalkit-fixed { font-family: var(--vscode-editor-font-family, var(--jp-code-font-family, monospace));
  white-space: pre; }
.evalkit-cell pre { margin: 0; line-height: 1.25; font-size: inherit; color: inherit; background: none;
  overflow-x: auto; }
.evalkit-cell summary { cursor: pointer; }
"""


def of_run(run: Run) -> str | None:
    """A run as HTML; None if it has more than 20,000 turns, whose measurement would delay the cell."""
    from evalkit.analysis.measures import opened, snapshot
    from evalkit.analysis.summary_json import summary_json

    try:
        with opened(run.path) as connection:
            (turns,) = connection.execute("SELECT count(*) FROM turn").fetchone()
    except EvalkitError:
        return None
    if turns > MOST_TURNS:
        return None

    def show(console: Console) -> None:
        with snapshot(run.path):
            result = summary_json(run.measures())
            console.print(Text(run_results.verdict(result, str(run.info["endpoint"]["model"])), style="bold"))
            summary.summary(console, run, result, BLOCKS)

    return cell(show, more="Charts, trust in the times, failures")


def of_comparison(comparison: Comparison) -> str | None:
    """A comparison as HTML."""
    return cell(lambda console: compare.show_comparison(console, comparison), more="Tags, times, turns that differ")


def of_sweep(sweep: Sweep) -> str | None:
    """A load test as HTML."""

    def show(console: Console) -> None:
        console.print(Text(load.knee_in_words(sweep), style="bold"))
        load.show_sweep(console, sweep, BLOCKS)

    return cell(show, more="Times, charts, warnings")


def of_checkup(found: Checkup) -> str | None:
    """A check of an endpoint as HTML."""

    def show(console: Console) -> None:
        check.show_counts(console, found)
        console.print(check.table_of(found))

    return cell(show, more="Every probe")


def of_plan(planned: Plan) -> str | None:
    """A plan as HTML."""
    return cell(lambda console: plan.show_plan(console, planned), more="What it assumes")


def cell(show: Callable[[Console], None], *, more: str) -> str | None:
    """What a function prints, as HTML; None if it cannot be read any more, so that the notebook shows the text.

    Parameters
    ----------
    show : callable
        Prints on the console that it is given.
    more : str
        What is folded below the first table.
    """
    console = _Recorder()
    try:
        show(console)
    except EvalkitError:
        return None
    first = next((place for place, part in enumerate(console.printed) if isinstance(part, Table)), -1) + 1
    shown, folded = console.printed[:first] or console.printed, console.printed[first:] if first else []
    rest = "".join(_html(folded, console))
    below = f"<details><summary>{_escaped(more)}</summary>{rest}</details>" if rest else ""
    return f'<div class="evalkit-cell"><style>{_STYLE}</style>{"".join(_html(shown, console))}{below}</div>'


class _Recorder(Console):
    """A console that keeps what is printed."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=_WIDTH, highlight=False, markup=False, color_system=None)
        self.printed: list[Text | Table] = []

    def print(self, *objects: Any, style: str | Style | None = None, **how: Any) -> None:
        """Keep a table or a line."""
        for each in objects:
            if isinstance(each, Table):
                self.printed.append(each)
            else:
                text = each.copy() if isinstance(each, Text) else Text(str(each))
                if style:
                    text.stylize_before(style)
                self.printed.append(text)


def _html(printed: Iterable[Text | Table], console: Console) -> Iterator[str]:
    """The HTML of lines and tables; lines of character charts that follow each other are one block."""
    chart: list[str] = []
    for part in printed:
        if isinstance(part, Text) and _is_fixed(part.plain):
            chart.append(_escaped(part.plain))
            continue
        if chart:
            yield _block(chart)
            chart = []
        yield _table(part, console) if isinstance(part, Table) else _line(part, console)
    if chart:
        yield _block(chart)


def _block(lines: list[str]) -> str:
    return f'<pre class="evalkit-fixed" tabindex="0">{chr(10).join(lines)}</pre>'


def _line(text: Text, console: Console) -> str:
    if not text.plain.strip():
        return ""
    names = {_CLASSES[word] for word in _words(text) if word in _CLASSES}
    attribute = f' class="{" ".join(sorted(names))}"' if names else ""
    return f"<p{attribute}>{_inline(text, console)}</p>"


def _words(text: Text) -> set[str]:
    """The words of all styles of a text."""
    return {word for style in (text.style, *(span.style for span in text.spans)) for word in str(style).split()}


def _inline(text: Text, console: Console) -> str:
    """The text, with its bold parts marked."""
    spanned = text.copy()
    spanned.stylize_before(text.style)  # render leaves out the style of the whole text
    parts = []
    for segment in spanned.render(console):
        escaped = _escaped(segment.text)
        parts.append(f"<strong>{escaped}</strong>" if segment.style is not None and segment.style.bold else escaped)
    return "".join(parts)


def _table(table: Table, console: Console) -> str:
    columns = table.columns
    right = [' class="evalkit-right"' if column.justify == "right" else "" for column in columns]
    head = ""
    if table.show_header:
        cells = [
            f'<th scope="col"{end}>{name}</th>' if (name := _cell(column.header, console)) else "<td></td>"
            for column, end in zip(columns, right, strict=True)
        ]
        head = f"<thead><tr>{''.join(cells)}</tr></thead>"
    rows = []
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = [f"<td{end}>{_cell(each, console)}</td>" for each, end in zip(row, right, strict=True)]
        cells[0] = f'<th scope="row"{right[0]}>{_cell(row[0], console)}</th>' if _cell(row[0], console) else cells[0]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    body = f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="evalkit-table" tabindex="0"><table>{head}{body}</table></div>'


def _cell(value: Any, console: Console) -> str:
    text = value if isinstance(value, Text) else Text(str(value))
    shown = _inline(text, console)
    return f'<span class="evalkit-fixed">{shown}</span>' if _is_fixed(text.plain) else shown


def _is_fixed(text: str) -> bool:
    """Whether a text is drawn with characters, so that each needs the same width."""
    return not _BARS.isdisjoint(text) or "   " in text.strip()


def _escaped(text: str) -> str:
    # between two dollar signs notebooks see mathematics
    return html.escape(plain(text)).replace("$", "<span>$</span>")
