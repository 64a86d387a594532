"""The command that prints a script for the tab completion of a shell: ``completion``.

The script is made once: a shell that completes with it starts no Python.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags

if TYPE_CHECKING:
    from evalkit.cli.parser import Parser

SHELLS = ("bash", "fish", "zsh")


def add_completion(commands: Any, root: Parser) -> None:
    """Add ``evalkit completion``; ``root``: the parser of all commands."""
    parser = shared_flags.add_command(
        commands, "completion", partial(completion, root),
        'Print a script that completes commands, flags and files at a tab. For bash: eval "$(evalkit completion bash)"',
        "evalkit completion bash",
    )  # fmt: skip
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")
    parser.set_defaults(json=False)


def completion(root: Parser, parsed: argparse.Namespace) -> int:
    """Run ``evalkit completion``."""
    import shtab

    for parser in (root, *root.commands.values()):
        for action in parser._actions:
            if action.type in shared_flags.PATHS:
                folder = action.metavar == "FOLDER"
                action.complete = shtab.DIRECTORY if folder else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(root, parsed.shell))
    return 0
