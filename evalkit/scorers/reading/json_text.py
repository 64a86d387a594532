"""JSON in an answer: alone, in a code fence, or in prose; integers of any length are exact."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_MARK = re.compile(r"`{3,}|~{3,}")  # of a code fence
_ONE_LINE = re.compile(r"(?:json5?|jsonc?)?[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
LONG_NUMBER = re.compile(r"\d{16}")  # digits that a parser of floats or 64 bits may round
_OPENS = re.compile(r"[{\[]")
_MOST_STARTS = 200  # brackets in prose at which JSON may begin
_MOST_BLOCKS = 200
_LONGEST = 200_000  # characters of prose that are searched


def read_json(text: str) -> Any:
    """The JSON value of a text, without a code fence around it.

    Raises
    ------
    ValueError
        The text is not JSON.
    """
    return _parse(_without_fence(text))


def _without_fence(text: str) -> str:
    """A text without a code fence around the whole of it, whose first line can name more than the language."""
    stripped = text.strip()
    mark = _MARK.match(stripped)
    if mark is None or len(stripped) < 2 * len(mark[0]) or not stripped.endswith(mark[0]):
        return text
    inner = stripped[mark.end() : -len(mark[0])]
    head, line_break, body = inner.partition("\n")
    if line_break:
        return text if "`" in head else body
    one_line = _ONE_LINE.match(inner.strip())
    return one_line[1] if one_line else inner


def json_in_prose(text: str) -> Any:
    """The last JSON value of a text: in a code fence, else the last object or list in its sentences.

    An object counts before a list, since brackets are also in prose: "see [1]".

    Raises
    ------
    ValueError
        The text has none.
    """
    try:
        return read_json(text)
    except ValueError:
        pass
    for block in reversed(_blocks(text[-_LONGEST:])):
        try:
            return _parse(block)
        except ValueError:
            continue
    found = _values(text[-_LONGEST:])
    if not found:
        raise ValueError("no JSON is in it")
    return next((value for value in reversed(found) if isinstance(value, dict)), found[-1])


def _blocks(text: str) -> list[str]:
    """The contents of the code fences of a text, in order."""
    found: list[str] = []
    lines: list[str] = []
    mark = ""
    for line in text.split("\n"):
        bare = line.strip()
        if mark and bare == mark:
            found.append("\n".join(lines))
            mark = ""
        elif mark:
            lines.append(line)
        elif opened := _MARK.match(bare):
            mark, lines = opened[0], []
    return found[-_MOST_BLOCKS:]


def _values(text: str) -> list[Any]:
    """The outermost objects and lists of a text, in order."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(parse_constant=_refuse), 0
    for _ in range(_MOST_STARTS):
        opened = _OPENS.search(text, at)
        if opened is None:
            break
        try:
            value, at = decoder.raw_decode(text, opened.start())
            found.append(value)
        except (ValueError, RecursionError):
            at = opened.end()
    return found


def _parse(text: str) -> Any:
    value = orjson.loads(text)
    if not LONG_NUMBER.search(text):
        return value
    try:
        return json.loads(text, parse_constant=_refuse)  # slower, with exact integers
    except (ValueError, RecursionError):  # nested more deeply, or thousands of digits
        return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
