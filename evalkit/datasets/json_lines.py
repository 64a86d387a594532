"""Rows of JSON Lines: one JSON value per line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import orjson

from evalkit.datasets.file_lines import Line, read_lines, why_not_text
from evalkit.datasets.raw_row import RawRow, why_not_json
from evalkit.errors import DatasetError
from evalkit.scorers.json_equality import MOST_LEVELS


def line_rows(file: BinaryIO, start: int) -> Iterator[RawRow]:
    """The rows; the first ``start`` ones are not parsed, except for the very first, which decides the row format."""
    skipped = 0
    for line in read_lines(file):
        if isinstance(line, DatasetError):
            yield RawRow(line)
            continue
        number, offset, raw = line
        if 0 < skipped < start:
            skipped += bool(raw.strip())
            continue
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            if not raw.strip():
                continue
            try:
                value = orjson.loads(raw.rstrip().removesuffix(b","))
            except orjson.JSONDecodeError:
                problem = why_not_text(raw, offset)
                yield RawRow(_why_not_row(line, problem, error))
                if problem:  # the rest is not text either
                    return
                continue
        # quick bounds, enough for most rows: each level has two brackets
        nested = len(raw) > 2 * MOST_LEVELS and raw.count(b"[") + raw.count(b"{") > MOST_LEVELS
        yield RawRow(value, number, skipped=skipped - 1 if skipped == start > 1 else 0, nested=nested)
        skipped = skipped + 1 if skipped < start else start + 1


def _why_not_row(line: Line, problem: str | None, error: orjson.JSONDecodeError) -> DatasetError:
    if problem is None:
        problem = why_not_json(line.raw.decode(), error.pos)
        if problem.endswith("before the row does"):
            problem += " (a row must be on one line)"
    return DatasetError(problem, line=line.number)
