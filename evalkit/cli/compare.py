"""The command that compares runs, and the one conversation that ``show`` prints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError


def add_compare(commands: Any) -> None:
    """``evalkit compare``."""
    parser = shared_flags.command(
        commands, "compare", compare,
        "Compare runs of one dataset turn by turn: which is better, by how much, and how sure that is.",
        "evalkit compare runs/own.evalkit runs/golden.evalkit",
    )  # fmt: skip
    parser.add_argument("first", type=Path, metavar="A.evalkit", help="run file that the others are compared with")
    parser.add_argument("others", type=Path, nargs="+", metavar="B.evalkit", help="run file, or several")
    parser.add_argument(
        "--common", action="store_true",
        help="the datasets differ: compare the conversations that are the same, by id and content",
    )  # fmt: skip
    shared_flags.add_json(parser)


def add_conversation(parser: argparse.ArgumentParser) -> None:
    """Which conversation ``evalkit show`` prints."""
    parser.add_argument("--conversation", metavar="ID", help="print this conversation as it went")
    parser.add_argument("--repeat", type=int, metavar="R", help="with --conversation: which repeat (default: 1)")


def compare(parsed: argparse.Namespace) -> int:
    """``evalkit compare``."""
    from evalkit.analysis.measures import snapshot
    from evalkit.comparing import comparison
    from evalkit.console.compare import show_comparison
    from evalkit.console.terminal import output, tell

    with snapshot(parsed.first, *parsed.others):
        done = comparison.compare(parsed.first, *parsed.others, common=parsed.common)
        if parsed.json:
            tell(done.to_json())
        else:
            show_comparison(output(), done)
    return 0


def show_conversation(parsed: argparse.Namespace) -> int:
    """``evalkit show --conversation``."""
    from evalkit.analysis import tables
    from evalkit.console.terminal import output, tell
    from evalkit.console.transcript import show_transcript

    if parsed.conversation is None:
        raise SettingsError("--repeat says which repeat of a conversation to print: add --conversation ID")
    repeat = 1 if parsed.repeat is None else parsed.repeat
    turns = tables.transcript(parsed.file, parsed.conversation, repeat)
    if parsed.json:
        told = {"file": str(parsed.file), "conversation": parsed.conversation, "repeat": repeat, "turns": turns}
        tell(told)
    else:
        show_transcript(output(), turns)
    return 0
