"""The output of ``evalkit show --conversation``, a transcript, and the command that shows it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evalkit.console.terminal import printable
from evalkit.runfile.plain_transcripts import clipped
from evalkit.runfile.turn_columns import model_texts
from evalkit.wording import run_results
from evalkit.wording.numbers import number


def show_transcript(console: Console, turns: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of ``tables.transcript``."""
    for turn in turns:
        console.print(f"turn {turn['turn']}", style="bold")
        _print_text(console, "user", turn["user"])
        for label, text in model_texts(turn["outcome"], turn["answer"], turn["refusal"], turn["reasoning"]):
            _print_text(console, label, clipped(text, _MOST_REASONING) if label == "reasoning" else text)
        for call in turn["tool_calls"] or ():
            _print_text(console, "call", f"{call['function']['name']}({call['function']['arguments']})")
        if turn["error"] is not None:
            _print_text(console, "error", turn["error"], style="red")
        if turn["target"] is not None:
            _print_text(console, "target", _text(turn["target"]))
        if turn["score"] is not None or turn["reason"] is not None:
            value = "none" if turn["score"] is None else f"{turn['score']:g}"
            _print_text(console, "score", f"{value}" + (f": {turn['reason']}" if turn["reason"] else ""))
        times = [f"{name} {number(turn[key], ' ms')}" for name, key in _TIMES.items() if turn[key] is not None]
        if facts := [*times, *run_results.token_counts(turn)]:
            console.print(f"  {', '.join(facts)}", style="dim")


_MOST_REASONING = 1_000  # characters shown
_TIMES = {"TTFT": "ttft_ms", "latency": "latency_ms"}


def _print_text(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a text with its label; further lines are indented, so that none looks like a line of evalkit."""
    lines = printable(text).plain.splitlines() or [""]
    console.print(
        printable("\n".join([f"  {label:6} {lines[0]}", *(line and " " * 9 + line for line in lines[1:])])),
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
