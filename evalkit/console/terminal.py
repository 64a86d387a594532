"""Where the command line writes: standard output and error, JSON, and text from strangers made plain."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TextIO, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.console.fitted_tables import FittingConsole
from evalkit.runfile.plain_text import plain

PIPE_WIDTH = 120
LONGEST = 300  # cells of a stranger's text on one line
NARROW = 100  # columns below which charts have less room
_object_printed = ContextVar("_object_printed", default=False)
_PLAIN = str.maketrans({"–": "-", "−": "-", "·": ".", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "…": "...", "’": "'"})


class HasJson(Protocol):
    """A result that ``--json`` can print."""

    def to_json(self) -> Mapping[str, Any]:
        """The object to print."""


Result = TypeVar("Result", bound=HasJson)


def printable(text: str) -> Text:
    """Text from a stranger: no markup, and no control characters that could drive the terminal."""
    return Text(plain(text))


def one_line(text: str, cells: int) -> Text:
    """Text from a stranger on one line of at most this many cells; a text that is cut ends with "…"."""
    # a megabyte of text takes no longer than a line of it
    line = " ".join(plain(text[: 4 * cells + 1]).split())
    if cell_len(line) > cells or len(text) > 4 * cells + 1:
        line = set_cell_size(line, min(cells - 1, cell_len(line))).rstrip() + "…"
    return Text(line)


def middle_shortened(text: str, cells: int) -> Text:
    """Text from a stranger on one line of at most this many cells, two or more; one that is cut has "…" inside."""
    line = one_line(text, LONGEST).plain
    if cell_len(line) <= cells:
        return Text(line)
    begin, end = set_cell_size(line, cells // 2).rstrip(), ""
    for character in reversed(line):
        if cell_len(begin) + 1 + cell_len(character + end) > cells:
            break
        end = character + end
    return Text(f"{begin}…{end.lstrip()}")


def failure_line(kind: str, message: str, count: int) -> Text:
    """How many calls failed in one way, on one line; a run file can hold any text as the kind."""
    counted = one_line(f"{count} × {kind}:", LONGEST)
    counted.stylize("red")
    return counted + " " + one_line(message, LONGEST)


def plain_table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """A table without lines: left-aligned columns, then right-aligned ones."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    for heading in right:
        table.add_column(heading, justify="right")
    return table


def print_message(text: str) -> None:
    """Print a line on standard error."""
    _escape_what_cannot_be_encoded(sys.stderr)
    print(printable(text), file=sys.stderr)


def stdout_console() -> Console:
    """Standard output; in a pipe without colours, whatever the environment says, and of a fixed width."""
    _escape_what_cannot_be_encoded(sys.stdout)
    if sys.stdout.isatty():
        return FittingConsole(highlight=False, markup=False)
    return FittingConsole(width=PIPE_WIDTH, highlight=False, markup=False, force_terminal=False, color_system=None)


def begin_json() -> None:
    """A command begins: it has printed no object yet."""
    _object_printed.set(False)


def print_json_error(error: str, code: int) -> None:
    """Print why a command with ``--json`` has no result, unless it has printed its object already."""
    if not _object_printed.get():
        print_json({"error": error, "exit": code})


def print_json(result: Mapping[str, Any]) -> None:
    """Print the one object of ``--json``."""
    _object_printed.set(True)
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(result, allow_nan=False)
    print(text, flush=True)


def print_result(result: Result, show: Callable[[Console, Result], None], *, as_json: bool) -> None:
    """Print the result of a command, as JSON or as tables."""
    if as_json:
        print_json(result.to_json())
    else:
        show(stdout_console(), result)


def _escape_what_cannot_be_encoded(stream: TextIO) -> None:
    """Let a stream write in ASCII, or with escapes, what its encoding has no character for."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="evalkit")


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end].translate(_PLAIN)
    return lost.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("evalkit", _in_ascii)
