"""What a format of JSON rows is: how it is recognised, read, and shown to people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.datasets.field_checks import Reader, within
from evalkit.errors import DatasetError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A format of JSON rows.

    Parameters
    ----------
    name : str
    title : str
        How people call it.
    example : str
        A row as JSON, with an ellipsis where it does not matter what is there.
    keys : tuple of str
        The keys that it is recognised by.
    fits : callable
        Whether a row is of this format.
    to_native : callable
        A native row from a copy of the row, which it may change.
    fields : tuple of (pattern, str)
        Patterns of a native row's fields, each with the replacement that gives the field of a row of this format.
    messages : str
        Where its rows have messages that become the conversation's context; empty for nowhere.
    """

    name: str
    title: str
    example: str
    keys: tuple[str, ...]
    fits: Callable[[Mapping[str, Any]], bool]
    to_native: Callable[[Row], Row]
    fields: tuple[tuple[re.Pattern[str], str], ...] = ()
    messages: str = ""


SCORED_LAST = (re.compile(r"^turns\[\d+\]\.(?=target|scorer)"), "")


def read_as(reader: Reader, value: Any, field: str) -> Any:
    """What a reader makes of a value; an error names the field."""
    try:
        return reader(value)
    except DatasetError as error:
        raise within(field, error) from None


def texts_listed(value: Any) -> bool:
    """Whether a value is a list of texts, of which there is at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)


def objects_listed(value: Any) -> bool:
    """Whether a value is a list of objects, of which there is at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)
