"""Tables in a terminal of any width: one that is too wide is printed in parts, so that nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

_GAP = 2  # cells between columns


class FittingConsole(Console):
    """A console that prints a table which is too wide in parts, each with the column of labels."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print; see ``fitted``."""
        for each in objects:
            for part in fitted(each, self.width) if isinstance(each, Table) else (each,):
                super().print(part, **how)
        if not objects:
            super().print(**how)


def fitted(table: Table, width: int) -> Iterator[Table]:
    """The table in parts that are at most this wide.

    Headings are wrapped between words first. Then columns are moved to a further table, which begins with the labels
    again: the first column, and the second if the first has no heading or names two rows alike. A column that is too
    wide beside the labels is wrapped.
    """
    columns = table.columns
    full = [_width(column) for column in columns]
    if _total(full) <= width or len(columns) < 2:
        yield table
        return
    least = [_width(column, heading=_longest_word(column)) for column in columns]
    two = len(columns) > 2 and not _names_rows(columns[0]) and _total(least[:2]) <= width // 2
    labels = [0, 1] if two else [0]
    for group in _groups(labels, least, width):
        widths = full if _total([full[place] for place in group]) <= width else least
        yield _part(table, group, widths, width)


def _names_rows(column: Column) -> bool:
    names = list(map(str, column.cells))
    return bool(str(column.header)) and len(set(names)) == len(names)


def _groups(labels: Sequence[int], widths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Places of the columns of each part."""
    group = list(labels)
    for place in range(len(labels), len(widths)):
        if len(group) > len(labels) and _total([widths[each] for each in (*group, place)]) > width:
            yield group
            group = list(labels)
        group.append(place)
    yield group


def _part(table: Table, group: Sequence[int], widths: Sequence[int], width: int) -> Table:
    part = Table(box=None, pad_edge=False, header_style=table.header_style, show_header=table.show_header)
    fits, share = _total([widths[place] for place in group]) <= width, width // len(group)
    for place in group:
        column = table.columns[place]
        part.add_column(
            column.header, justify=column.justify, overflow="fold", style=column.style,
            width=widths[place] if fits or widths[place] <= share else None,
        )  # fmt: skip
    for row in zip(*(table.columns[place].cells for place in group), strict=True):
        part.add_row(*row)
    return part


def _width(column: Column, heading: int | None = None) -> int:
    """Cells that a column needs for its cells and its heading, or for a part of the heading."""
    lines = [line for value in column.cells for line in str(value).splitlines()]
    return max(_heading(column) if heading is None else heading, column.min_width or 0, *map(cell_len, lines), 1)


def _heading(column: Column) -> int:
    return cell_len(str(column.header))


def _longest_word(column: Column) -> int:
    if column.no_wrap:
        return _heading(column)
    return max(map(cell_len, str(column.header).split()), default=0)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)
