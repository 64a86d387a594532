"""How a CSV file is written: what separates its cells and its lines."""

from __future__ import annotations

import csv
import re

DELIMITERS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
_FIRST_RECORD = re.compile(rb'(?:[^"\r\n]|"[^"]*")*(\r?)(\n?)')


def separator_line(text: str) -> str | None:
    """The separator that the first line of a file gives to Excel, as ``sep=;``."""
    match = _SEP_LINE.fullmatch(text)
    return match[1] if match else None


def delimiter_of(header: str, column: str) -> str:
    """What separates the cells of a header: what makes a column of this name, else what separates most."""
    names = {mark: column_names(header, mark) for mark in DELIMITERS}
    with_column = [mark for mark, found in names.items() if same_name(column) in map(same_name, found)]
    return with_column[0] if with_column else max(DELIMITERS, key=lambda mark: len(names[mark]))


def is_header(line: bytes, column: str) -> bool:
    """Whether the first line of a file names a column as a CSV file does."""
    text = line.partition(b"\r")[0].decode("utf-8", "replace").lstrip("\ufeff")
    if separator_line(text) is not None:
        return True
    return any(same_name(column) in map(same_name, column_names(text, mark)) for mark in DELIMITERS)


def column_names(header: str, delimiter: str) -> list[str]:
    """The columns in a header, without spaces around them."""
    try:
        return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error:
        return []


def same_name(name: str) -> str:
    """A column's name for comparing: spreadsheets capitalise headings."""
    return name.strip().casefold()


def ends_with_cr(head: bytes) -> bool:
    """Whether the first record ends with CR alone, as Excel for Mac writes it."""
    match = _FIRST_RECORD.match(head)
    return match is not None and bool(match[1]) and not match[2] and match.end() < len(head)
