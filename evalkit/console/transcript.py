"""The output of ``evalkit show --conversation``, a transcript, and the command that shows it."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from evalkit.console.terminal import printable
from evalkit.runfile.plain_text import clipped
from evalkit.runfile.plain_transcripts import lines
from evalkit.runfile.transcripts import Transcript
from evalkit.wording import run_results
from evalkit.wording.numbers import number


def show_transcript(console: Console, transcript: Transcript) -> None:
    """Print a conversation."""
    for turn in transcript.turns:
        console.print(f"turn {turn.turn}", style="bold")
        for label, text in lines(turn):
            shown = clipped(text, _MOST_REASONING) if label == "reasoning" else text
            _print_text(console, label, shown, style="red" if label == "error" else "")
        times = {"TTFT": turn.ttft_ns, "latency": turn.latency_ns}
        facts = [f"{name} {number(time / 1e6, ' ms')}" for name, time in times.items() if time is not None]
        if facts := [*facts, *run_results.token_counts(turn.tokens)]:
            console.print(f"  {', '.join(facts)}", style="dim")


_MOST_REASONING = 1_000  # characters shown


def _print_text(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a text with its label; further lines are indented, so that none looks like a line of evalkit."""
    first, *others = printable(text).plain.splitlines() or [""]
    console.print(
        printable("\n".join([f"  {label:6} {first}", *(line and " " * 9 + line for line in others)])),
        style=style,
        soft_wrap=True,
    )


def command(path: Path, conversation: str, repeat: int = 1) -> str:
    """The shell command that prints a transcript; it does nothing else, whatever the names hold."""
    words = ["evalkit", "show", str(path), "--conversation", conversation]
    if str(path).startswith("-"):
        words[2] = f"./{path}"
    if conversation.startswith("-"):
        words[3:] = [f"--conversation={conversation}"]
    if repeat > 1:
        words += ["--repeat", str(repeat)]
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word quoted for a shell; one with control characters as ``$'…'``, which bash, zsh and ksh understand."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(_escaped(character) for character in word)
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
