"""Exports the turns of a run to JSON Lines, CSV or Parquet, group by group, so that memory does not grow with them."""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.errors import MissingExtra, SettingsError
from evalkit.runfile.turn_columns import KINDS, columns, groups, json_value

ROW_GROUP_BYTES = 2**25  # of a Parquet file, before it is compressed

# What spreadsheets read as the beginning of a formula: the characters that OWASP lists, also in their wide and small
# forms and after invisible characters, and the control characters that end a cell in some spreadsheets.
_FORMULA = re.compile(
    "[\\x00\\t\\n\\r]|[\\s\\x00-\\x1f\\x7f-\\xa0\\xad\\u180e\\u200b-\\u200f\\u2028-\\u202f\\u2060-\\u206f\\ufeff]*"
    "[=+\\-@\\uff1d\\uff0b\\uff0d\\uff20\\ufe66\\ufe62\\ufe63\\ufe6b]"
)
_TEXT_AT = tuple(number for number, kind in enumerate(KINDS.values()) if kind in ("text", "json", "value", "tags"))
_JSON_AT = tuple(number for number, kind in enumerate(KINDS.values()) if kind in ("json", "tags"))
_VALUE_AT = tuple(number for number, kind in enumerate(KINDS.values()) if kind == "value")


class ExportCounts(NamedTuple):
    """Number of exported turns, and of cells in a CSV file that a spreadsheet would read as formulas."""

    rows: int
    formulas: int = 0


def write_jsonl(connection: sqlite3.Connection, path: Path) -> ExportCounts:
    """Write one object per turn."""
    written = 0
    with path.open("wb") as file:
        for row in _rows(connection, json_value):
            file.write(orjson.dumps(dict(zip(KINDS, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE))
            written += 1
    return ExportCounts(written)


def write_csv(connection: sqlite3.Connection, path: Path, *, excel: bool = False) -> ExportCounts:
    """Write a header and one record per turn.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : Path
    excel : bool
        Write for a spreadsheet: with a byte-order mark, and with an apostrophe before text that begins a formula.
        False: every cell holds what the run file holds.
    """
    written = formulas = 0
    with path.open("w", encoding="utf-8-sig" if excel else "utf-8", newline="") as file:
        # \r\n makes the writer quote an answer that holds a lone \r
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(KINDS)
        for row in _rows(connection, _compact):
            for number in _VALUE_AT:
                row[number] = _as_json(row[number])
            for number in _TEXT_AT:
                if row[number] and _FORMULA.match(row[number]):
                    formulas += 1
                    if excel:
                        row[number] = "'" + row[number]
            writer.writerow(row)
            written += 1
    return ExportCounts(written, formulas)


def write_parquet(connection: sqlite3.Connection, path: Path) -> ExportCounts:
    """Write one row per turn; every column has its type even if all its values are missing.

    Raises
    ------
    MissingExtra
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("the export format parquet, written by pyarrow,", "parquet") from None

    types = dict.fromkeys(("text", "json", "value"), pa.large_string()) | {"tags": pa.list_(pa.string())}
    types |= {"index": pa.int64(), "count": pa.int64(), "number": pa.float64()}
    readers: dict[str, Callable[[Any], Any]] = {"json": _compact, "value": _as_json, "tags": json_value}
    schema = pa.schema({name: types[kind] for name, kind in KINDS.items()})
    written, size, waiting = 0, 0, []
    with pq.ParquetWriter(path, schema) as writer:
        for group in columns(connection):
            for name, kind in KINDS.items():
                if kind in readers:
                    group[name] = tuple(map(readers[kind], group[name]))
            waiting.append(pa.record_batch(group, schema))
            written, size = written + len(waiting[-1]), size + waiting[-1].nbytes
            if size >= ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting))
                size, waiting = 0, []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))
    return ExportCounts(written)


WRITERS = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}
_SUFFIXES = {f".{form}": form for form in WRITERS} | {".ndjson": "jsonl"}


def format_of(path: Path) -> str:
    """The format that the name of a file ends in.

    Raises
    ------
    SettingsError
        It ends in none that can be written.
    """
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise SettingsError(
            f"the name {path} does not say which format to write: let it end in .jsonl, .csv or .parquet, or add "
            f"--format {'|'.join(WRITERS)}"
        ) from None


def _rows(connection: sqlite3.Connection, read: Callable[[str | None], Any]) -> Iterator[list[Any]]:
    """The rows, with their JSON values read by ``read``."""
    for group in groups(connection):
        for values in group:
            row = list(values)
            for number in _JSON_AT:
                row[number] = read(row[number])
            yield row


def _compact(text: str | None) -> str | None:
    return _as_json(json_value(text))


def _as_json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
