"""CSV files to native rows, by a map of fields to columns.

The first record names the columns. Consecutive records with the same ``id`` are the turns of one conversation; the
fields of the conversation (``system``, ``tags``, ``group``) are needed in the first only. A ``target`` cell that is a
JSON number, object or list is read as such, any other as text; a ``scorer`` cell is a name, a JSON object or list; tags
are separated by ``;``. An empty cell counts as missing. Other columns go into ``meta``; a column that would change the
request, such as ``temperature`` or ``context``, is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from evalkit.datasets.file_lines import Line, why_not_text
from evalkit.datasets.native_rows import REQUEST_KEYS, TOO_DEEP
from evalkit.errors import DatasetError, SettingsError
from evalkit.inputs.suggestions import nearest_name
from evalkit.scorers.json_equality import is_deep_text

FIELDS = ("id", "user", "target", "system", "assistant", "scorer", "tags", "group")
_OF_TURN = ("user", "target", "assistant", "scorer")
_OF_CONVERSATION = ("system", "tags", "group")
_NEVER_SENT = ("context", "tools", "tool_results", "params", "system_prompt", *REQUEST_KEYS)
_TURN_FIELD = re.compile(r"turns\[(\d+)\](?:\.(.*))?")


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A native row made of CSV records, with the line of each turn."""

    row: dict[str, Any]
    lines: tuple[int, ...]
    columns: Mapping[str, str] = field(repr=False)

    def located(self, error: DatasetError) -> DatasetError:
        """The error with its line and column."""
        name, line = error.field or "", self.lines[0]
        if match := _TURN_FIELD.match(name):
            line, name = self.lines[int(match[1])], match[2] or ""
        head = re.split(r"[.\[]", name, maxsplit=1)[0]
        column = self.columns.get(head, head) + name[len(head) :]
        return DatasetError(error.problem, line=line, field=column or None)


def read_csv(
    lines: Iterable[Line | DatasetError], columns: Mapping[str, str] | None = None
) -> Iterator[CsvRow | DatasetError]:
    """Read a CSV file.

    Parameters
    ----------
    lines : iterable
        From ``file_lines.read_lines``.
    columns : mapping, optional
        Field to column name, for columns with another name than their field.

    Yields
    ------
    CsvRow or DatasetError
        An error in the CSV itself is the last item.

    Raises
    ------
    SettingsError
        ``columns`` names a field that a CSV file cannot hold.
    """
    for name in columns or {}:
        if name not in FIELDS:
            raise SettingsError(f"no column can be read as {name!r}: the fields are {', '.join(FIELDS)}")
    records = _records(lines)
    group: list[tuple[int, dict[str, str]]] = []
    try:
        _, header = next(records, (1, []))
        if not header:
            return
        names = _named(header, columns or {})
        for line, cells in records:
            if len(cells) != len(header):
                yield DatasetError(f"the record has {len(cells)} cells and the header {len(header)}", line=line)
                continue
            record = {names[at]: cell for at, cell in enumerate(cells) if cell.strip()}
            if group and not ("id" in record and record["id"] == group[0][1].get("id")):
                yield _joined(group, names, header)
                group = []
            group.append((line, record))
        if group:
            yield _joined(group, names, header)
    except DatasetError as error:
        yield error


def _records(lines: Iterable[Line | DatasetError]) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with its first line."""
    reader = csv.reader(_texts(lines), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(f"the record that starts here is not valid CSV: {error}", line=line) from None
        if any(cell.strip() for cell in cells):
            yield line, cells


def _texts(lines: Iterable[Line | DatasetError]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, DatasetError):
            raise line
        problem = why_not_text(line.raw, line.offset)
        if problem:
            raise DatasetError(problem, line=line.number)
        yield line.raw.decode("utf-8")


def _named(header: list[str], columns: Mapping[str, str]) -> list[str]:
    """The field of each column, or ``meta.`` and the column's own name."""
    header = [name.strip() for name in header]
    listed = ", ".join(header)
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"two columns are called {twice!r}", line=1)
    by_column = {columns.get(name, name): name for name in FIELDS}
    for name, column in {"user": "user", **columns}.items():
        if column not in header:
            hint = "; are the columns separated by commas?" if re.search(r"[;\t|]", listed) else ""
            problem = f"there is no column {column!r} to read as {name}"
            raise DatasetError(f"{problem}: the header has {listed[:200]}{hint}", line=1)
    for name in header:
        if name in _NEVER_SENT and name not in by_column:
            raise DatasetError(
                "would not be sent from a CSV file: give it with --param, write the rows as JSON, or rename the column",
                line=1, field=name,
            )  # fmt: skip
        free = [other for other in FIELDS if other not in header]
        suggestion = None if name in by_column else nearest_name(name, free)
        if suggestion and suggestion not in columns:
            raise DatasetError(f"unknown column; did you mean {suggestion!r}?", line=1, field=name)
    return [by_column.get(name, f"meta.{name}") for name in header]


def _joined(group: list[tuple[int, dict[str, str]]], names: list[str], header: list[str]) -> CsvRow | DatasetError:
    """One conversation from its records."""
    columns = {name: column.strip() for name, column in zip(names, header, strict=True)}
    first_line, first = group[0]
    row: dict[str, Any] = {name: first[name] for name in ("id", "system", "group") if name in first}
    row["tags"] = [tag.strip() for tag in first.get("tags", "").split(";") if tag.strip()]
    row["meta"] = {name.removeprefix("meta."): cell for name, cell in first.items() if name.startswith("meta.")}
    row["turns"] = []
    for line, record in group:
        for name in _OF_CONVERSATION:
            if record.get(name, first.get(name)) != first.get(name):
                text = f"differs from line {first_line}, where the conversation starts"
                return DatasetError(text, line=line, field=columns[name])
        turn: dict[str, Any] = {name: record[name] for name in _OF_TURN if name in record}
        for name in ("target", "scorer"):
            if name in turn and is_deep_text(turn[name]):  # too deep for some parsers
                return DatasetError(TOO_DEEP, line=line, field=columns[name])
        if "target" in turn:
            turn["target"] = _target(turn["target"])
        if turn.get("scorer", "").lstrip().startswith(("{", "[")):
            try:
                turn["scorer"] = orjson.loads(turn["scorer"])
            except orjson.JSONDecodeError:
                return DatasetError("is neither a name nor JSON", line=line, field=columns["scorer"])
        elif "scorer" in turn:
            turn["scorer"] = turn["scorer"].strip()
        row["turns"].append(turn)
    return CsvRow(row, tuple(line for line, _ in group), columns)


def _target(cell: str) -> Any:
    """A JSON number, object or list if the cell is one, else its text; true in a CSV file may mean the word."""
    cell = cell.strip()
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    return value if isinstance(value, int | float | list | dict) and not isinstance(value, bool) else cell
