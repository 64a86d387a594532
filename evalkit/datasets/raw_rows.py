"""Rows of a dataset file as they came: JSON values or CSV records with their places, not yet read as conversations.

Errors come as values in place of a row, so that one bad row does not hide the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from evalkit.datasets.csv_rows import CsvRow, read_csv
from evalkit.datasets.file_lines import begins_list, open_dataset, read_all, read_lines, why_not_text
from evalkit.datasets.native_rows import TOO_DEEP
from evalkit.errors import DatasetError, SettingsError
from evalkit.scorers.json_equality import MOST_LEVELS, is_deep_text

_HINTS = {
    "'": "text needs double quotes",
    ",}": "no comma before a closing bracket",
    ",]": "no comma before a closing bracket",
    "NaN": "JSON has no such number",
    "Infinity": "JSON has no such number",
    "-Infinity": "JSON has no such number",
    "True": "JSON writes true",
    "False": "JSON writes false",
    "None": "JSON writes null",
}


@dataclass(slots=True)  # not frozen: that would double the cost, and one is made for each row
class RawRow:
    """A row as it came: a JSON value, the CSV records of one conversation, or the error in its place."""

    value: Any
    line: int | None = None
    number: int | None = None  # of a list, whose rows have no lines
    skipped: int = 0  # rows before it that were not parsed
    nested: bool = True  # perhaps too deep

    @property
    def where(self) -> str:
        """The place in the file, for messages."""
        return f"line {self.line}" if self.line is not None else f"row {self.number}"


def read_rows(path: Path, columns: Mapping[str, str] | None, start: int) -> Iterator[RawRow]:
    """The rows of a file; in JSON Lines the first ``start`` ones are skipped, except for the very first."""
    file, form = open_dataset(path)
    with file:
        if columns and form != "csv":
            raise SettingsError(f"columns are for CSV files, and {path} is not one")
        if form == "csv":
            for csv_row in read_csv(read_lines(file), columns):
                yield RawRow(csv_row, csv_row.lines[0] if isinstance(csv_row, CsvRow) else None)
        elif form == "list" and begins_list(file, path):
            yield from list_rows(file)
        else:
            yield from _line_rows(file, start)


def _line_rows(file: BinaryIO, start: int) -> Iterator[RawRow]:
    skipped = 0
    for line in read_lines(file):
        if isinstance(line, DatasetError):
            yield RawRow(line)
            continue
        if 0 < skipped < start:  # the first row is never skipped: it decides the row format of all
            skipped += bool(line.raw.strip())
            continue
        try:
            value = orjson.loads(line.raw)
            nested = line.raw.count(b"[") + line.raw.count(b"{") > MOST_LEVELS  # a quick bound, enough for most rows
            yield RawRow(value, line.number, skipped=skipped - 1 if skipped == start > 1 else 0, nested=nested)
            skipped = skipped + 1 if skipped < start else start + 1
        except orjson.JSONDecodeError as error:
            if not line.raw.strip():
                continue
            problem = why_not_text(line.raw, line.offset)
            text = problem or _why_not_json(line.raw.decode("utf-8"), error.pos)
            yield RawRow(DatasetError(text, line=line.number))
            if problem:  # the rest is not text either
                return


def list_rows(file: BinaryIO) -> Iterator[RawRow]:
    """The rows of a JSON list, which is read as a whole."""
    data = read_all(file)
    if isinstance(data, DatasetError):
        yield RawRow(data)
        return
    try:
        rows = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        problem = why_not_text(data)
        where = None if problem else error.lineno
        yield RawRow(DatasetError(problem or _why_not_json(data.decode("utf-8"), error.pos), line=where))
        return
    del data
    for number, row in enumerate(rows, 1):
        yield RawRow(row, number=number)


def parse_again(rows: Sequence[bytes], start: int) -> Iterator[RawRow]:
    """The rows of a JSON list that was read before, without the first ``start`` ones.

    The first is never skipped: it decides the row format of all.
    """
    for number, raw in enumerate(islice(rows, 1), 1):
        yield RawRow(orjson.loads(raw), number=number)
    begin = max(start, 1)
    for number, raw in enumerate(islice(rows, begin, None), begin + 1):
        yield RawRow(orjson.loads(raw), number=number, skipped=begin - 1 if number == begin + 1 else 0)


def _why_not_json(text: str, at: int) -> str:
    """What is wrong at a position in a JSON text; the parsers' own messages change between versions."""
    if is_deep_text(text[:at]):
        return TOO_DEEP
    text = text.rstrip()
    at = min(at, len(text))
    column = at - text.rfind("\n", 0, at)
    if at == len(text):
        return f"not valid JSON: it ends at column {column}, before the row does (a row must be on one line)"
    hint = next((hint for begin, hint in _HINTS.items() if text.startswith(begin, at)), None)
    near = text[at : at + 20].rstrip()
    return f"not valid JSON at column {column}, near {near!r}{': ' + hint if hint else ''}"
