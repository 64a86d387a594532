"""The output of ``evalkit data``: what a dataset asks, what of it is not sent, and its first conversation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from evalkit.console.terminal import LONGEST, one_line, plain_table, printable
from evalkit.conversation import Conversation
from evalkit.datasets.content_parts import shown
from evalkit.datasets.contents import DatasetContents
from evalkit.wording.numbers import counted

_MOST_NAMES = 12  # of a kind


def show_contents(console: Console, found: DatasetContents) -> None:
    """Print what a dataset asks."""
    size = f"{counted(found.conversations, 'conversation')}, {counted(found.turns, 'turn')}"
    most = f", at most {found.most_turns} in one" if found.most_turns > 1 else ""
    console.print(printable(f"{found.path}: row format {found.shape}, {size}{most}"), soft_wrap=True)
    table = plain_table("", "")
    table.show_header = False
    for name, value in _facts(found):
        table.add_row(Text(name, style="bold"), one_line(value, LONGEST))
    console.print(table)
    _show_duplicates(console, found)
    if found.first is not None:
        console.print()
        console.print(Text(f"the first conversation, {found.first.id!r}:", style="bold"), soft_wrap=True)
        for name, text in _lines(found.first):
            console.print(Text(f"  {name}: ", style="dim") + printable(text), soft_wrap=True)


def _facts(found: DatasetContents) -> Iterator[tuple[str, str]]:
    yield "targets", f"{found.targets:,} of {counted(found.turns, 'turn')}"
    unscored = f"; {counted(found.unscored, 'turn')} without a scorer" if found.unscored else ""
    yield "scorers", f"{_names(found, 'scorers') or 'none'}{unscored}"
    if found.golden:
        yield "golden answers", counted(found.golden, "turn")
    for name, label in (
        ("system", "system prompt"), ("context", "context"), ("tools", "tools"), ("parts", "images and parts"),
        ("groups", "in a group"),
    ):  # fmt: skip
        if count := getattr(found, name):
            yield label, counted(count, "conversation")
    for name, label in (("params", "parameters sent"), ("tags", "tags"), ("ignored", "not sent (meta)")):
        if names := _names(found, name):
            yield label, names


def _names(found: DatasetContents, name: str) -> str:
    counter: Counter[str] = getattr(found, name)
    listed = [f"{key} ({count:,})" for key, count in counter.most_common(_MOST_NAMES)]
    if more := max(len(counter) - _MOST_NAMES, 0) + found.unnamed[name]:
        listed.append(f"{more:,} more")
    return ", ".join(listed)


def _show_duplicates(console: Console, found: DatasetContents) -> None:
    if not found.duplicated:
        console.print("duplicates: none")
        return
    asks = "asks" if found.duplicated == 1 else "ask"
    text = f"duplicates: {counted(found.duplicated, 'conversation')} {asks} what an earlier one asks"
    console.print(Text(text, style="yellow"))
    for number, name, first_number, first_name in found.duplicates:
        console.print(Text("  ") + one_line(f"{number:,}, {name!r}, as {first_number:,}, {first_name!r}", LONGEST))
    if more := found.duplicated - len(found.duplicates):
        console.print(f"  and {more:,} more")


def _lines(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """What is sent, and what each answer is compared with."""
    for message in conversation.opening():
        yield message.role, shown(list(message.parts) or message.content)
        for call in message.tool_calls:
            yield "call", f"{call.name}({call.arguments})"
    if conversation.tools:
        yield "tools", ", ".join(str(tool["function"]["name"]) for tool in conversation.tools)
    for turn in conversation.turns:
        yield "user", turn.user
        if turn.target is not None:
            yield "target", _json(turn.target)
        if turn.scorer is not None:
            yield "scorer", _json(turn.scorer.to_json())
        if turn.assistant is not None:
            yield "golden answer", turn.assistant


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
