"""Datasets: files to Conversations, one row at a time; errors name file, line and field.

JSON Lines (``.jsonl``, ``.ndjson``), a JSON list (``.json``) and CSV (``.csv``), each also packed as ``.gz``.
``shapes`` tells what JSON rows may look like, ``sheets`` how the columns of a CSV file are read. A dataset is data:
nothing in it can name code to run.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from evalkit.conversation import HISTORY_POLICIES, Conversation, Turn
from evalkit.datasets.csv_rows import SheetRow, read_sheet
from evalkit.datasets.file_lines import begins_list, open_dataset, read_all, read_lines, why_not_text
from evalkit.datasets.native_rows import TOO_DEEP, kind, parse_row, refuse_deep
from evalkit.datasets.row_formats import parse, place, shape_of
from evalkit.errors import DatasetError, SettingsError
from evalkit.scorers.json_equality import MOST_LEVELS, is_deep_text

__all__ = ["DatasetSummary", "check", "parse_row", "read"]

MOST_PROBLEMS = 10
_HINTS = {
    "'": "text stands in double quotes",
    ",}": "no comma before a closing bracket",
    ",]": "no comma before a closing bracket",
    "NaN": "JSON has no such number",
    "Infinity": "JSON has no such number",
    "-Infinity": "JSON has no such number",
    "True": "JSON writes true",
    "False": "JSON writes false",
    "None": "JSON writes null",
}

CheckTurn = Callable[[Turn], None]


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What a checked dataset holds.

    Parameters
    ----------
    path : str
    shape : str
        ``native``, ``chat``, ``openai-batch``, ``mt-bench``, ``gsm8k`` or ``csv``.
    conversations : int
    turns : int
    hash : str
        SHA-256 (hex) over the content hashes of the conversations in their order.
    most_turns : int
        Of one conversation.
    grouped : bool
        Some conversations belong to a ``group``.
    """

    path: str
    shape: str
    conversations: int
    turns: int
    hash: str
    most_turns: int
    grouped: bool


def read(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    history: str = "own",
    check_turn: CheckTurn | None = None,
    start: int = 0,
    unique: bool = True,
    rows: Sequence[bytes] | None = None,
) -> Iterator[Conversation]:
    """Read a dataset, one row at a time (a ``.json`` list is read whole).

    Parameters
    ----------
    path : path-like
    columns : mapping, optional
        For CSV: field to column name, where they differ.
    limit : int, optional
        Read this many conversations at most.
    history : str
        Under ``golden`` every turn before another needs a golden answer.
    check_turn : callable, optional
        Raises ``DatasetError`` for a turn that cannot be scored: ``scorers.turn_checker()``.
    start : int
        Pass over this many conversations; in JSON Lines their rows are not even parsed. They count for ``limit``.
    unique : bool
        See to it that no id comes twice, with some 20 bytes held a conversation; without it memory is constant.
    rows : sequence of bytes, optional
        What ``rows_of_list`` gave for it: the file is not read again.

    Yields
    ------
    Conversation

    Raises
    ------
    DatasetError
        At the first problem, with file, line and field.
    SettingsError
        ``columns`` or ``history`` cannot be used.
    """
    ids = _Ids() if unique else None
    for position, _, found in _checked(Path(path), columns, history, check_turn, ids, start, rows):
        if isinstance(found, DatasetError):
            raise _in_file(found, path)
        if limit is not None and position > limit:
            return
        if position > start:
            yield found
        if position == limit:
            return


def check(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    history: str = "own",
    check_turn: CheckTurn | None = None,
) -> DatasetSummary:
    """Read a whole dataset and say what it holds.

    Parameters
    ----------
    path, columns, limit, history, check_turn
        As for ``read``.

    Returns
    -------
    DatasetSummary

    Raises
    ------
    DatasetError
        Lists up to 10 problems, each with line and field.
    SettingsError
        ``columns`` or ``history`` cannot be used.
    """
    digest = hashlib.sha256()
    problems: list[DatasetError] = []
    conversations = turns = most_turns = 0
    grouped = False
    shape = ""
    for _, shape, found in islice(_checked(Path(path), columns, history, check_turn, _Ids()), limit):  # noqa: B007
        if isinstance(found, DatasetError):
            problems.append(found)
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        conversations += 1
        turns += len(found.turns)
        most_turns = max(most_turns, len(found.turns))
        grouped = grouped or found.group is not None
        digest.update(bytes.fromhex(found.content_hash))
    if problems:
        raise _all_in_file(problems, path)
    return DatasetSummary(str(path), shape, conversations, turns, digest.hexdigest(), most_turns, grouped)


def rows_of_list(path: Path, limit: int | None = None) -> list[bytes] | None:
    """The rows of a ``.json`` list, each as JSON, to be read again and again; None: it is no such file.

    Raises
    ------
    DatasetError
        It cannot be read.
    """
    file, form = open_dataset(path)
    with file:
        if form != "list" or not begins_list(file, path):
            return None
        kept = []
        for row in islice(_list_rows(file), limit):
            if isinstance(row.value, DatasetError):
                raise _in_file(row.value, path)
            kept.append(orjson.dumps(row.value))
        return kept


def _in_file(error: DatasetError, path: Path | str) -> DatasetError:
    return DatasetError(error.problem, path=path, line=error.line, field=error.field)


def _all_in_file(problems: list[DatasetError], path: Path | str) -> DatasetError:
    if len(problems) == 1:
        return _in_file(problems[0], path)
    more = ", perhaps more" if len(problems) == MOST_PROBLEMS else ""
    listed = "".join(f"\n  {problem}" for problem in problems)
    return DatasetError(f"{len(problems)} problems{more}{listed}", path=path)


# what follows hands errors on as values, so that one bad row does not hide the next


def _checked(
    path: Path,
    columns: Mapping[str, str] | None,
    history: str,
    check_turn: CheckTurn | None,
    ids: _Ids | None,
    start: int = 0,
    rows: Sequence[bytes] | None = None,
) -> Iterator[tuple[int, str, Conversation | DatasetError]]:
    """Conversations that may be asked, each with its place, from 1, and the dataset's shape."""
    if history not in HISTORY_POLICIES:
        raise SettingsError(f"no history policy is called {history!r}: there are {' and '.join(HISTORY_POLICIES)}")
    shape = None
    for position, shape, row, found in _conversations(path, columns, start, rows):
        if isinstance(found, Conversation):
            try:
                if check_turn is not None:
                    _check_turns(found, check_turn)
                if history == "golden":
                    _check_golden(found)
                if ids is not None and not ids.add(found.id):
                    _refuse_second(path, columns, found.id, row)
            except DatasetError as error:
                found = _located(error, row, shape)
        yield position, shape, found
    if shape is None:
        yield 0, "", DatasetError("holds no rows")


def _check_turns(conversation: Conversation, check_turn: CheckTurn) -> None:
    for number, turn in enumerate(conversation.turns):
        try:
            check_turn(turn)
        except DatasetError as error:
            raise DatasetError(error.problem, field=f"turns[{number}].{error.field}") from None


def _check_golden(conversation: Conversation) -> None:
    for number, turn in enumerate(conversation.turns[:-1]):
        if turn.assistant is None:
            text = "is missing: with the golden history, later turns see the golden answers of earlier ones"
            raise DatasetError(text, field=f"turns[{number}].assistant")


def _refuse_second(path: Path, columns: Mapping[str, str] | None, same: str, second: _Row) -> None:
    """Raise, with the line of the first, unless only the hashes were the same."""
    for _, _, row, found in _conversations(path, columns):
        if row.where == second.where:
            return
        if isinstance(found, Conversation) and found.id == same:
            raise DatasetError(f"{same!r} is the id in {row.where} already: every row needs its own", field="id")


@dataclass(slots=True)  # not frozen: one is made for each row, and that doubles its price
class _Row:
    """A row as it came: a JSON value, a record group of a sheet, or why there is none."""

    value: Any
    line: int | None = None
    number: int | None = None  # of a list, whose rows have no lines
    passed: int = 0  # rows before it that were not parsed
    nested: bool = True  # perhaps too deep

    @property
    def where(self) -> str:
        return f"line {self.line}" if self.line is not None else f"row {self.number}"


def _conversations(
    path: Path, columns: Mapping[str, str] | None, start: int = 0, rows: Sequence[bytes] | None = None
) -> Iterator[tuple[int, str, _Row, Conversation | DatasetError]]:
    shape = ""
    position = 0
    for row in _rows(path, columns, start) if rows is None else _kept_rows(rows, start):
        value = row.value
        if isinstance(value, DatasetError):
            yield position, shape, row, value
            continue
        position += 1 + row.passed
        try:
            if row.nested:
                refuse_deep(value.row if isinstance(value, SheetRow) else value)
            if isinstance(value, SheetRow):
                shape = "csv"
                conversation = parse_row(value.row, position=position)
            elif not isinstance(value, dict):
                raise DatasetError(f"a row must be an object, {{…}}, not {kind(value)}")
            else:
                shape = shape or shape_of(value)
                conversation = parse(value, shape, position=position)
        except DatasetError as error:
            yield position, shape, row, _located(error, row, "native")
            if not shape:
                return
        else:
            yield position, shape, row, conversation


def _located(error: DatasetError, row: _Row, shape: str) -> DatasetError:
    """The error with the line and the field's name in the row as it came."""
    if isinstance(row.value, SheetRow):
        return row.value.located(error)
    field = place(shape, error.field)
    if row.number is not None:
        field = f"[{row.number - 1}]" + (f".{field}" if field else "")
    return DatasetError(error.problem, line=row.line, field=field)


def _rows(path: Path, columns: Mapping[str, str] | None, start: int) -> Iterator[_Row]:
    file, form = open_dataset(path)
    with file:
        if columns and form != "sheet":
            raise SettingsError(f"columns are for CSV files, and {path} is none")
        if form == "sheet":
            for sheet_row in read_sheet(read_lines(file), columns):
                yield _Row(sheet_row, sheet_row.lines[0] if isinstance(sheet_row, SheetRow) else None)
        elif form == "list" and begins_list(file, path):
            yield from _list_rows(file)
        else:
            yield from _line_rows(file, start)


def _line_rows(file: BinaryIO, start: int) -> Iterator[_Row]:
    passed = 0
    for line in read_lines(file):
        if isinstance(line, DatasetError):
            yield _Row(line)
            continue
        if 0 < passed < start:  # the first row is never passed over: it tells the shape of all
            passed += bool(line.raw.strip())
            continue
        try:
            value = orjson.loads(line.raw)
            nested = line.raw.count(b"[") + line.raw.count(b"{") > MOST_LEVELS  # in a few ns, which most are
            yield _Row(value, line.number, passed=passed - 1 if passed == start > 1 else 0, nested=nested)
            passed = passed + 1 if passed < start else start + 1
        except orjson.JSONDecodeError as error:
            if not line.raw.strip():
                continue
            problem = why_not_text(line.raw, line.offset)
            text = problem or _why_not_json(line.raw.decode("utf-8"), error.pos)
            yield _Row(DatasetError(text, line=line.number))
            if problem:  # what follows is no text either
                return


def _list_rows(file: BinaryIO) -> Iterator[_Row]:
    data = read_all(file)
    if isinstance(data, DatasetError):
        yield _Row(data)
        return
    try:
        rows = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        problem = why_not_text(data)
        where = None if problem else error.lineno
        yield _Row(DatasetError(problem or _why_not_json(data.decode("utf-8"), error.pos), line=where))
        return
    del data
    for number, row in enumerate(rows, 1):
        yield _Row(row, number=number)


def _kept_rows(rows: Sequence[bytes], start: int) -> Iterator[_Row]:
    """Rows of a list that was read before; the first is never passed over: it tells the shape of all."""
    for number, raw in enumerate(islice(rows, 1), 1):
        yield _Row(orjson.loads(raw), number=number)
    begin = max(start, 1)
    for number, raw in enumerate(islice(rows, begin, None), begin + 1):
        yield _Row(orjson.loads(raw), number=number, passed=begin - 1 if number == begin + 1 else 0)


def _why_not_json(text: str, at: int) -> str:
    """What is wrong at a place in a text, in words of our own: those of parsers change."""
    if is_deep_text(text[:at]):
        return TOO_DEEP
    text = text.rstrip()
    at = min(at, len(text))
    column = at - text.rfind("\n", 0, at)
    if at == len(text):
        return f"not valid JSON: it ends at column {column}, before the row does (a row stands on one line)"
    hint = next((hint for begin, hint in _HINTS.items() if text.startswith(begin, at)), None)
    near = text[at : at + 20].rstrip()
    return f"not valid JSON at column {column}, near {near!r}{': ' + hint if hint else ''}"


class _Ids:
    """A set of text as 64-bit hashes, in 12 to 24 bytes each; Python's own set would take some 100."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._used = 0

    def add(self, text: str) -> bool:
        """Add a text; False when it, or one of the same hash, is there already."""
        key = hash(text) & 0xFFFF_FFFF_FFFF_FFFF or 1
        if not self._put(key):
            return False
        self._used += 1
        if 3 * self._used > 2 * len(self._slots):
            old, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
            for kept in old:
                if kept:
                    self._put(kept)
        return True

    def _put(self, key: int) -> bool:
        slots = self._slots
        last = len(slots) - 1
        at = key & last
        while slots[at]:
            if slots[at] == key:
                return False
            at = (at + 1) & last
        slots[at] = key
        return True
