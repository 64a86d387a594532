"""What is said of a command line that cannot be understood: one line, with the name that was meant if there is one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from evalkit.inputs.suggestions import nearest_name

WRONG = 2  # exit code
_BY_SUFFIX = {".evalkit": "show", ".jsonl": "run", ".json": "run", ".csv": "run"}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line.

    Attributes
    ----------
    commands : mapping
        Name of a command to its parser; only the main parser has some.
    """

    commands: Mapping[str, Parser] = {}

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and end with exit code 2."""
        from evalkit.console.terminal import say

        end = "" if message.endswith("?") else "."
        say(f"error: {self.prog}: {message}{end} See '{self.prog} --help'")
        sys.exit(WRONG)

    def understand(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; without any argument, and after ``help``, show help instead and end."""
        if not arguments:
            self.print_help(sys.stderr)
            sys.exit(WRONG)
        name, *others = arguments
        if name == "help":
            self._help(others)
        if not name.startswith("-") and name not in self.commands:
            self.error(self._no_command(name))
        if name.startswith("-") and name not in self._option_string_actions:
            self.error(_too_much([name], self._option_string_actions))
        parsed, rest = self.parse_known_args(arguments)
        if rest:
            parser = self.commands.get(name, self)
            parser.error(_too_much(rest, parser._option_string_actions))
        return parsed

    def _help(self, names: Sequence[str]) -> NoReturn:
        name = names[0] if names else ""
        if name and name not in self.commands:
            self.error(self._no_command(name))
        self.commands.get(name, self).print_help()
        sys.exit(0)

    def _no_command(self, name: str) -> str:
        if meant := _BY_SUFFIX.get(Path(name).suffix.lower()):
            return f"name a command before the file, such as: {self.prog} {meant} {name}"
        return f"there is no command {name!r}{_meant(name, self.commands)}"


def _too_much(rest: Sequence[str], flags: Iterable[str]) -> str:
    unknown = next((text for text in rest if text.startswith("-")), None)
    if unknown is None:
        return f"{rest[0]!r} is one argument too many"
    flag = unknown.partition("=")[0]
    return f"there is no flag {flag}{_meant(flag, flags)}"


def _meant(name: str, known: Iterable[str]) -> str:
    suggestion = nearest_name(name.lower(), known, cutoff=0.6)
    return f": did you mean {suggestion!r}?" if suggestion else ""
