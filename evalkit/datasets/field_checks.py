"""Checks of the fields of JSON rows: their kinds, their known keys, and the place of an error.

Each reader accepts a JSON value and returns what a row stores, or raises ``DatasetError``. The error carries the field;
the caller that reads the file adds file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name

Reader = Callable[[Any], Any]
_SHORT = 60  # characters of a wrong key or value that a message shows


def read_fields(row: Mapping[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read each value with the reader of its key; null counts as missing, an unknown key is an error."""
    fields = {}
    key = ""
    try:
        for key, value in row.items():
            reader = readers.get(key)
            if reader is None:
                break
            if value is not None:
                fields[key] = reader(value)
        else:
            return fields
    except DatasetError as error:
        raise within(key, error) from None
    return _refuse_key(key, readers)


def read_each(values: list[Any], reader: Reader, field: str = "") -> list[Any]:
    """Read each value of a list; an error names its place."""
    try:
        return list(map(reader, values))
    except DatasetError:
        return _read_one_by_one(values, reader, field)


def _read_one_by_one(values: list[Any], reader: Reader, field: str) -> list[Any]:
    read = []
    for number, value in enumerate(values):
        try:
            read.append(reader(value))
        except DatasetError as error:
            raise within(f"{field}[{number}]", error) from None
    return read


def within(place: str, error: DatasetError) -> DatasetError:
    """The error, its field seen from one level further out."""
    inner = error.field or ""
    dot = "." if inner and not inner.startswith("[") else ""
    return DatasetError(error.problem, field=f"{place}{dot}{inner}")


def _refuse_key(key: str, known: Iterable[str]) -> NoReturn:
    suggestion = nearest_name(key, known)
    hint = f"; did you mean {suggestion!r}?" if suggestion else f". Known here: {', '.join(known)}"
    raise DatasetError(f"unknown key{hint}", field=shortened(key))


def shortened(text: str) -> str:
    """A key or value as a message shows it."""
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def kind(value: Any) -> str:
    """The kind of a JSON value in words: ``text``, ``a number``, ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


def _refuse_kind(expected: str, value: Any) -> NoReturn:
    raise DatasetError(f"must be {expected}, not {kind(value)}")


def object_in(value: Any) -> dict[str, Any]:
    """The value, if it is an object."""
    return value if isinstance(value, dict) else _refuse_kind("an object", value)


def list_in(value: Any, expected: str = "a list") -> list[Any]:
    """The value, if it is a list."""
    return value if isinstance(value, list) else _refuse_kind(expected, value)


def text_in(value: Any) -> str:
    """The value, if it is text."""
    return value if isinstance(value, str) else _refuse_kind("text", value)


def optional_text_in(value: Any) -> str | None:
    """The value, if it is text; None if that is empty."""
    return text_in(value) or None


def words_in(value: Any) -> str:
    """The value, if it is text and not blank."""
    if not isinstance(value, str):
        _refuse_kind("text", value)
    if not value or value.isspace():
        raise DatasetError("must not be empty")
    return value


def label_in(value: Any) -> str:
    """The value, if it is text and not blank, or a whole number, as text."""
    if type(value) is not str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return words_in(value)
