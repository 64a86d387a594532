"""Rows of JSON that is not one row per line: a list, a list inside an object, or objects over several lines.

The file is read in pieces, and cut where the brackets of a row close; each piece is then parsed as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson

from evalkit.datasets.choices import plain_name
from evalkit.datasets.compression import UNREADABLE
from evalkit.datasets.file_lines import LONGEST_LINE, why_not_text
from evalkit.datasets.native_rows import REQUEST_KEYS
from evalkit.datasets.raw_row import RawRow, why_not_json
from evalkit.datasets.text_encoding import UTF8_MARK
from evalkit.datasets.unsent_keys import why_unsent
from evalkit.errors import DatasetError
from evalkit.scorers.json_equality import MOST_LEVELS

LIST_FIELDS = ("data", "rows", "examples", "samples", "items", "instances", "records", "questions")
PIECE = 1 << 15  # bytes: less than a millisecond of the event loop, on which repeats are read
_LIST_FIELD = re.compile(rb'"(%s)"\s*:\s*\[(?=\s*\{)' % "|".join(LIST_FIELDS).encode())
_BETWEEN = b" \t\r\n,"
_VIEWED = {"row_idx", "row", "truncated_cells"}
_MAKES_A_ROW = ("turns", "messages", "conversations", "custom_id")
_OF_ROW = {
    *map(plain_name, (*_MAKES_A_ROW, *REQUEST_KEYS, "system", "context", "tools", "tool_results", "params")),
    *map(plain_name, ("prompt", "instruction", "definition", "task_prefix", "few_shot_prefix")),
}
_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"[{"]], _STEPS[[*b"]}"]] = 1, -1
_IS_MARK = _STEPS != 0
_IS_MARK[ord('"')] = True


class _Cut(NamedTuple):
    """Where the rows at the start of a text end."""

    ends: list[int]  # after the closing bracket of each row
    close: int | None  # of the list itself: where its closing bracket is
    nested: bool  # some row is perhaps nested too deep


def value_rows(file: BinaryIO) -> Iterator[RawRow]:
    """The rows of a JSON list, which may be a field of an object, or of JSON values one after another.

    An error is the last row.
    """
    return _Values(file).rows()


def _holds_list(row: Mapping[str, Any]) -> bool:
    """Whether an object is no row, but holds a list of rows."""
    lists = [row[name] for name in LIST_FIELDS if name in row]
    return not any(key in row for key in _MAKES_A_ROW) and any(
        isinstance(rows, list) and rows and isinstance(rows[0], dict) for rows in lists
    )


def _is_of_rows(key: str) -> bool:
    """Whether a key beside a list of rows would change what they ask."""
    name = plain_name(key)
    return name in _OF_ROW or (name != "n" and why_unsent(name) is not None)


class _Values:
    """The text of a file that is read and not yet parsed, and its place in the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = b""
        self._offset, self._line, self._column = 0, 1, 0  # of the first byte of the text; columns in characters
        self._count = 0  # rows so far
        self._in_list = False
        self._inside, self._around = "", dict[str, Any]()  # name of the field with the list, and the fields before it

    def rows(self) -> Iterator[RawRow]:
        try:
            self._begin()
            yield from self._rows()
        except UNREADABLE as error:
            yield RawRow(DatasetError(f"cannot be read further: {error}", line=self._line))
        except DatasetError as error:
            yield RawRow(error)

    def _begin(self) -> None:
        """Skip what comes before the first row."""
        while self._read_on() and not self._text.removeprefix(UTF8_MARK).strip():
            pass
        self._drop(len(self._text) - len(self._text.removeprefix(UTF8_MARK).lstrip()))
        self._in_list = self._text.startswith(b"[")
        if self._in_list:
            self._drop(1)
        for match in islice(_LIST_FIELD.finditer(self._text), 20):
            try:
                around = orjson.loads(self._text[: match.start()].rstrip(_BETWEEN) + b"}")
            except orjson.JSONDecodeError:  # it is inside of something else
                continue
            if not any(key in around for key in _MAKES_A_ROW):
                self._in_list, self._inside, self._around = True, match[1].decode(), around
                self._drop(match.end())
            return

    def _rows(self) -> Iterator[RawRow]:
        while True:
            cut = _cut(self._text)
            self._check_size(cut)
            if self._in_list and cut.close is not None:
                yield from self._list_rows(cut, cut.close)
                self._check_rest()
                return
            if cut.ends and self._in_list:
                yield from self._list_rows(cut, cut.ends[-1])
            elif cut.ends:
                yield from self._each(cut)
                self._drop(cut.ends[-1])
            if cut.close is not None or not self._read_on():
                break
        if self._in_list or self._text.strip(_BETWEEN):
            raise self._why_not(0, len(self._text))

    def _list_rows(self, cut: _Cut, end: int) -> Iterator[RawRow]:
        """The rows of a list before a position."""
        try:
            values = orjson.loads(b"[%b]" % self._text[:end].strip(_BETWEEN))
        except orjson.JSONDecodeError:
            yield from self._each(cut)
            done = cut.ends[-1] if cut.ends else 0
            if self._text[done:end].strip(_BETWEEN):
                raise self._why_not(done, end) from None
        else:
            for value in values:
                value = self._unwrapped(value)
                self._count += 1
                yield RawRow(value, number=self._count, nested=cut.nested, inside=self._inside)
        self._drop(end)

    def _each(self, cut: _Cut) -> Iterator[RawRow]:
        """The rows one by one, each with its line."""
        begin, line, row = 0, self._line, b""
        for end in cut.ends:
            line += row.count(b"\n")
            row = self._text[begin:end].lstrip(_BETWEEN)
            line += self._text.count(b"\n", begin, end - len(row))
            try:
                value = orjson.loads(row)
            except orjson.JSONDecodeError:
                raise self._why_not(begin, end) from None
            value = self._unwrapped(value)
            self._count += 1
            number = self._count if self._in_list else None
            yield RawRow(value, None if number else line, number, nested=cut.nested, inside=self._inside)
            begin = end

    def _unwrapped(self, value: Any) -> Any:
        """The row in one of the rows that the Hugging Face dataset viewer sends."""
        if self._inside != "rows" or not isinstance(value, dict) or value.keys() != _VIEWED:
            return value
        if value["truncated_cells"]:
            problem = "the dataset viewer has cut cells of this row: download the file itself"
            return DatasetError(problem, field=f"rows[{self._count}]")
        return value["row"]

    def _check_rest(self) -> None:
        """Raise for what stands after the list, unless it is the rest of the object around it."""
        self._drop(1)
        self._text += self._file.read(LONGEST_LINE)
        if not self._inside:
            if self._text.strip(_BETWEEN):
                line = self._line + self._text.count(b"\n", 0, len(self._text) - len(self._text.lstrip()))
                raise DatasetError("more follows after the end of the list: a file holds one list", line=line)
            return
        rest = b"{" + self._text.lstrip(_BETWEEN)
        try:
            around = self._around | orjson.loads(rest)
        except orjson.JSONDecodeError as error:
            problem = why_not_text(rest, self._offset) or why_not_json(rest.decode(), error.pos)
            raise DatasetError(f"after the list {self._inside!r}: {problem}") from None
        if unsent := next((key for key, value in around.items() if value and _is_of_rows(key)), None):
            problem = f"stands beside the list {self._inside!r} and would not be sent: write it into each row"
            raise DatasetError(problem, field=unsent)
        if _holds_list(around):
            raise DatasetError(f"holds more than one list of rows beside {self._inside!r}: write one list to a file")

    def _read_on(self) -> bool:
        """Read more of the file; False at its end."""
        piece = self._file.read(max(PIECE, len(self._text)))
        self._text += piece
        return bool(piece)

    def _drop(self, size: int) -> None:
        self._column = self._columns_before(size)
        self._line += self._text.count(b"\n", 0, size)
        self._offset += size
        self._text = self._text[size:]

    def _columns_before(self, place: int) -> int:
        """Characters between the start of the line and a position."""
        start = self._text.rfind(b"\n", 0, place) + 1
        return len(self._text[start:place].decode("utf-8", "replace")) + (0 if start else self._column)

    def _check_size(self, cut: _Cut) -> None:
        begin = 0
        for end in (*cut.ends, len(self._text)):
            if end - begin > LONGEST_LINE:
                start = end - len(self._text[begin:end].lstrip(_BETWEEN))
                line = self._line + self._text.count(b"\n", 0, start)
                raise DatasetError(
                    f"the row that starts here has more than {LONGEST_LINE:,} bytes, which is the limit", line=line
                )
            begin = end

    def _why_not(self, begin: int, end: int) -> DatasetError:
        """What is wrong between two positions."""
        row = self._text[begin:end].lstrip(_BETWEEN)
        line = self._line + self._text.count(b"\n", 0, end - len(row))
        if not row.strip():
            return DatasetError("the list has no end: ']' is missing", line=line)
        try:
            orjson.loads(row)
        except orjson.JSONDecodeError as error:
            if problem := why_not_text(row, self._offset + end - len(row)):
                return DatasetError(problem, line=line)
            text = row.decode()
            before = self._columns_before(end - len(row))
            return DatasetError(why_not_json(text, error.pos, before), line=line + text.count("\n", 0, error.pos))
        return DatasetError("the list has no end: ']' is missing after this row", line=line)


def _cut(text: bytes) -> _Cut:
    """Find where rows end, by their brackets outside of text."""
    plain = text.replace(rb"\\", b"__").replace(rb"\"", b"__")  # of the same length
    codes = np.frombuffer(plain, np.uint8)
    marks = np.flatnonzero(_IS_MARK[codes])
    found = codes[marks]
    in_text = np.logical_xor.accumulate(found == ord('"'))
    steps = np.where(in_text, 0, _STEPS[found])
    depth = np.cumsum(steps, dtype=np.int64)
    closes = np.flatnonzero(depth < 0)[:1]
    if closes.size:
        marks, steps, depth = marks[: closes[0] + 1], steps[: closes[0] + 1], depth[: closes[0] + 1]
    ends = marks[(depth == 0) & (steps < 0)] + 1
    deepest = int(depth.max(initial=0))
    return _Cut(ends.tolist(), int(marks[-1]) if closes.size else None, deepest > MOST_LEVELS)
