"""Rows of a dataset file as they came: JSON values or CSV records with their places, not yet read as conversations.

Errors come as values in place of a row, so that one bad row does not hide the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from evalkit.datasets.csv_rows import CsvRow, read_csv
from evalkit.datasets.dataset_file import CSV, LINES, PARQUET, open_dataset
from evalkit.datasets.json_lines import line_rows
from evalkit.datasets.parquet_rows import parquet_rows
from evalkit.datasets.raw_row import RawRow


def read_rows(
    path: Path, columns: Mapping[str, str] | None, start: int, notes: list[str] | None = None
) -> Iterator[RawRow]:
    """The rows of a file; in JSON Lines and Parquet the first ``start`` are skipped, except for the very first.

    ``notes`` gets what a user should know about how the file was read.
    """
    file, form = open_dataset(path, columns)
    with file:
        if form == CSV:
            for csv_row in read_csv(file, columns, notes):
                yield RawRow(csv_row, csv_row.lines[0] if isinstance(csv_row, CsvRow) else None)
        elif form == PARQUET:
            yield from parquet_rows(file, start)
        elif form == LINES:
            yield from line_rows(file, start)
        else:
            from evalkit.datasets.json_values import (
                value_rows,  # with numpy, which the asking process needs for it only
            )

            yield from value_rows(file)
