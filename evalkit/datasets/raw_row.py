"""A row of a dataset file as it came, and what is wrong with a JSON text that is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evalkit.datasets.native_rows import TOO_DEEP
from evalkit.scorers.json_equality import is_deep_text

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
    inside: str = ""  # the field that holds the list

    @property
    def where(self) -> str:
        """The place in the file, for messages."""
        return f"line {self.line}" if self.line is not None else f"row {self.number}"


def why_not_json(text: str, at: int, before: int = 0) -> str:
    """What is wrong at a position in a JSON text, with ``before`` characters before it in its line.

    The parsers' own messages change between versions.
    """
    if is_deep_text(text[:at]):
        return TOO_DEEP
    text = text.rstrip()
    at = min(at, len(text))
    start = text.rfind("\n", 0, at)
    column = at - start + (before if start < 0 else 0)
    if at == len(text):
        return f"not valid JSON: it ends at column {column}, before the row does"
    hint = next((hint for begin, hint in _HINTS.items() if text.startswith(begin, at)), None)
    near = text[at : at + 20].rstrip()
    return f"not valid JSON at column {column}, near {near!r}{': ' + hint if hint else ''}"
