"""CSV files to native rows, by a map of fields to columns.

The first record names the columns. Consecutive records with the same ``id`` are the turns of one conversation; the
fields of the conversation (``system``, ``tags``, ``group``) are needed in the first only. A ``target`` cell that is a
JSON number, object or list is read as such, any other as text; a ``scorer`` cell is a name, a JSON object or list; tags
are separated by ``;``. An empty cell counts as missing. Other columns go into ``meta``; a column that would change the
request, such as ``temperature`` or ``context``, is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from evalkit.datasets.choices import listed_apart, plain_name
from evalkit.datasets.column_map import CSV_FIELDS, check_fields
from evalkit.datasets.csv_dialect import same_name
from evalkit.datasets.csv_records import csv_records
from evalkit.datasets.decoded_lines import DecodedLines
from evalkit.datasets.file_lines import read_lines
from evalkit.datasets.native_rows import REQUEST_KEYS, TOO_DEEP
from evalkit.datasets.unsent_keys import refuse_unsent, why_not_asked, why_unsent
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name
from evalkit.scorers.json_equality import is_deep_text

FIELDS = CSV_FIELDS
_OF_TURN = ("user", "target", "assistant", "scorer")
_OF_CONVERSATION = ("system", "tags", "group")
_NEVER_SENT = {*map(plain_name, ("context", "tools", "tool_results", "params", *REQUEST_KEYS))}
_UNSENT = "would not be sent from a CSV file: give it with --param, write the rows as JSON, or rename the column"
_DIGITS = re.compile(r"-?\d+", re.ASCII)
_LONGEST_VALUE = 100_000  # characters
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
    file: BinaryIO, columns: Mapping[str, str] | None = None, notes: list[str] | None = None
) -> Iterator[CsvRow | DatasetError]:
    """Read a CSV file.

    Parameters
    ----------
    file : file
        From ``dataset_file.open_dataset``.
    columns : mapping, optional
        Field to column name, for columns with another name than their field.
    notes : list of str, optional
        Gets a sentence that says how the file was read, if it is not in UTF-8.

    Yields
    ------
    CsvRow or DatasetError
        An error in the CSV itself is the last item.

    Raises
    ------
    SettingsError
        ``columns`` names a field that a CSV file cannot hold.
    """
    check_fields(columns, FIELDS)
    lines = DecodedLines(read_lines(file), notes)
    records = csv_records(lines, (columns or {}).get("user", "user"))
    group: list[tuple[int, dict[str, str]]] = []
    try:
        header_line, header = next(records, (1, []))
        if not header:
            return
        names = _named(header, columns or {}, header_line)
        others = [name.removeprefix("meta.") for name in names if name.startswith("meta.")]
        texts = [name for name in others if why_not_asked(name)]
        begin = lines.end
        for line, cells in records:
            if line == header_line + 1 and _is_rule(cells):
                raise DatasetError("is a line of a Markdown table: save the table as CSV", line=line)
            if len(cells) != len(header):
                yield DatasetError(_other_width(len(cells), len(header)), line=line)
                continue
            record = {names[at]: cell for at, cell in enumerate(cells) if cell.strip()}
            if group and not ("id" in record and record["id"] == group[0][1].get("id")):
                yield _joined(group, names, header, texts)
                group = []
                lines.begin = begin
            begin = lines.end
            group.append((line, record))
        if group:
            yield _joined(group, names, header, texts)
    except DatasetError as error:
        yield error


def _other_width(cells: int, columns: int) -> str:
    advice = "" if cells < columns else ". A cell that contains a separator needs quotation marks"
    return f"the record has {cells} cell{'s' * (cells != 1)} and the header {columns}{advice}"


def _is_rule(cells: list[str]) -> bool:
    """Whether a record is the line below the header of a Markdown table, ``|---|:-:|``."""
    return all(re.fullmatch(r"\s*(:?-+:?)?\s*", cell) for cell in cells) and any("--" in cell for cell in cells)


def _named(header: list[str], columns: Mapping[str, str], line: int) -> list[str]:
    """The field of each column, or ``meta.`` and the column's own name."""
    header = [name.strip() for name in header]
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"two columns are called {twice!r}", line=line)
    by_column: dict[str, str] = {}
    for name, column in (*columns.items(), *((name, name) for name in FIELDS if name not in columns)):
        found = _column(column, header)
        if found is None and (name in columns or name == "user"):
            listed = ", ".join(header)
            problem = f"there is no column {column!r} to read as {name}: the header has {listed[:200]}"
            if name not in columns:
                problem += f". Name the column of the questions: --column {name}=COLUMN"
            raise DatasetError(problem, line=line)
        if found is not None:
            by_column.setdefault(found, name)
    others = [column for column in header if column not in by_column]
    unsent = {column for column in others if _changes_the_request(column)}
    unsent |= {column for column, _ in listed_apart(dict.fromkeys(others, "x")).values()}
    for column in others:
        if column in unsent:
            raise DatasetError(_UNSENT, line=line, field=column)
        suggestion = nearest_name(same_name(column), [name for name in FIELDS if name not in by_column.values()])
        if suggestion and suggestion not in columns:
            raise DatasetError(f"unknown column; did you mean {suggestion!r}?", line=line, field=column)
    return [by_column.get(column, f"meta.{column}") for column in header]


def _changes_the_request(column: str) -> bool:
    name = plain_name(column)
    more_turns = len(name) > 1 and name.rstrip("0123456789") in (*_OF_TURN, "turn") and name[-1].isdigit()
    return more_turns or name in _NEVER_SENT or (name != "n" and why_unsent(name) is not None)


def _column(name: str, header: list[str]) -> str | None:
    """The column of this name, or the only one that differs by capital letters alone."""
    if name in header:
        return name
    alike = [column for column in header if same_name(column) == same_name(name)]
    return alike[0] if len(alike) == 1 else None


def _joined(
    group: list[tuple[int, dict[str, str]]], names: list[str], header: list[str], texts: list[str]
) -> CsvRow | DatasetError:
    """One conversation from its records; ``texts`` are columns that must be asked already."""
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
    for line, record in group:
        for name in texts:
            try:
                refuse_unsent(row, name, record.get(f"meta.{name}"))
            except DatasetError:
                return DatasetError(_UNSENT, line=line, field=name)
    return CsvRow(row, tuple(line for line, _ in group), columns)


def _target(cell: str) -> Any:
    """A JSON number, object or list if the cell is one, else its text; true in a CSV file may mean the word."""
    cell = cell.strip()
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return _python_value(cell)
    if isinstance(value, float) and _DIGITS.fullmatch(cell):  # more than a number can hold
        return cell
    return value if isinstance(value, int | float | list | dict) and not isinstance(value, bool) else cell


def _python_value(cell: str) -> Any:
    """A list or object as Python prints it, and pandas writes it into a cell; any other cell as it is."""
    if not cell.startswith(("[", "{")) or len(cell) > _LONGEST_VALUE:
        return cell
    try:
        value = ast.literal_eval(cell)
        return orjson.loads(orjson.dumps(value)) if repr(value) == cell else cell
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return cell
