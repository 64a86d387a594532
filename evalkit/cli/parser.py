"""The argument parser: an error in a command line is one line, and help fits the width of the terminal."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from evalkit.inputs import suggestions

WRONG_USAGE = 2  # exit code
_FIRST_COLUMN = re.compile(r"\s*(?:\d[\d, ]*)?")  # indent of a line, and the exit codes it is about
_BY_SUFFIX = {
    ".evalkit": ("show",),
    ".eval": ("import",),
    **dict.fromkeys((".jsonl", ".json"), ("run", "data", "import")),
    **dict.fromkeys((".csv", ".tsv", ".parquet"), ("run", "data")),
}
_FOR = {
    "show": "shows a run",
    "run": "runs a dataset",
    "data": "shows what a dataset would ask",
    "import": "makes a run of answers that another tool has collected",
}


class WrongUsage(SystemExit):
    """A command line that cannot be parsed; its error is printed already.

    Parameters
    ----------
    message : str
    """

    def __init__(self, message: str) -> None:
        super().__init__(WRONG_USAGE)
        self.message = message


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions and examples, and wraps those that are wider than the terminal."""

    def start_section(self, heading: str | None) -> None:
        """Begin a group of flags; its heading is wrapped too."""
        super().start_section(heading and _wrapped(heading, self._width - self._current_indent - 1))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)  # a flag stays whole

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(_wrapped(indent + line, width) for line in text.splitlines())


def _wrapped(line: str, width: int) -> str:
    """A line in lines of at most this width: those of a list are indented, those of a command are continued."""
    is_command = line.lstrip().startswith("evalkit ")
    first = _FIRST_COLUMN.match(line)
    indent = " " * (first.end() if first is not None else 0)
    lines = textwrap.wrap(
        line, width - 2 * is_command, subsequent_indent=f"{indent}  " if is_command else indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return (" \\\n" if is_command else "\n").join(lines)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line.

    Attributes
    ----------
    commands : mapping
        Name of a command to its parser; empty but for the main parser.
    """

    commands: Mapping[str, Parser] = {}

    def error(self, message: str) -> NoReturn:
        """Print the error and where help is, and exit with code 2."""
        from evalkit.console.terminal import print_message

        end = "" if message.endswith("?") else "."
        explained = f"{self.prog}: {message}{end} See '{self.prog} --help'"
        print_message(f"error: {explained}")
        raise WrongUsage(explained)

    def parse_command_line(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; without an argument, and after ``help``, print help and exit."""
        if not arguments:
            self.print_help(sys.stderr)
            sys.exit(WRONG_USAGE)
        name, *others = arguments
        if name == "help":
            self._print_help_of(others)
        if not name.startswith("-") and name not in self.commands:
            self.error(self._unknown_command(name))
        if name.startswith("-") and name not in self._option_string_actions:
            self.error(_unknown_argument([name], self._option_string_actions))
        parsed, rest = self.parse_known_args(arguments)
        if rest:
            parser = self.commands.get(name, self)
            parser.error(_unknown_argument(rest, parser._option_string_actions))
        return parsed

    def _print_help_of(self, names: Sequence[str]) -> NoReturn:
        name = names[0] if names else ""
        if name and name not in self.commands:
            self.error(self._unknown_command(name))
        self.commands.get(name, self).print_help()
        sys.exit(0)

    def _unknown_command(self, name: str) -> str:
        if commands := _BY_SUFFIX.get(Path(name).suffix.lower()):
            listed = "; ".join(f"'{self.prog} {command} {name}' {_FOR[command]}" for command in commands)
            return f"name a command before the file: {listed}"
        return f"there is no command {name!r}{_did_you_mean(name, self.commands)}"


def _unknown_argument(rest: Sequence[str], flags: Iterable[str]) -> str:
    unknown = next((text for text in rest if text.startswith("-")), None)
    if unknown is None:
        return f"unexpected argument {rest[0]!r}"
    flag = unknown.partition("=")[0]
    return f"there is no flag {flag}{_did_you_mean(flag, flags)}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = suggestions.nearest_name(name.lower(), known, cutoff=0.6)
    return "" if near is None else f": did you mean {near!r}?"
