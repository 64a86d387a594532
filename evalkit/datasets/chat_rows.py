"""Rows of chat messages: of chat completions and fine-tuning, of Anthropic's API, and of preference tuning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalkit.datasets.anthropic_rows import is_anthropic, plain_request
from evalkit.datasets.chat_messages import answer_of, conversation_of, last_question, read_messages
from evalkit.datasets.field_checks import object_in, shortened
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import SCORED_LAST, Row, RowFormat, read_as
from evalkit.errors import DatasetError


def chat_row(row: Row, field: str = "messages") -> Row:
    """A native row from a row with ``messages``; ``field`` is their name in the row as it came."""
    row = plain_request(_modern_functions(row))
    native = conversation_of(read_messages(row.pop("messages", None), field), field)
    return with_known_calls(with_rest(native, row))


def with_known_calls(native: Row) -> Row:
    """The row, if each function that a turn expects to be called is among the tools."""
    tools = native.get("tools")
    known = {function_name(tool) for tool in tools} if isinstance(tools, list) else set()
    for at, turn in enumerate(native["turns"]):
        if turn.get("scorer") != "tool_call":
            continue
        target = turn["target"]
        for call in target if isinstance(target, list) else [target]:
            if isinstance(call, dict) and call.get("name") not in known:
                called = f"turn {at + 1} calls {shortened(str(call.get('name')))}, which is not among the tools"
                raise DatasetError(f"{called} of the row: the model could not call it either", field="tools")
    return native


def function_name(tool: Any) -> Any:
    """The name of a function tool; None if it is not one."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _modern_functions(row: Row) -> Row:
    """A row with ``tools`` in place of ``functions``, their former name, if its messages call one.

    Otherwise ``functions`` are sent as the request parameter that they are.
    """
    messages, functions = row.get("messages"), row.get("functions")
    calls = isinstance(messages, list) and any(isinstance(one, dict) and one.get("function_call") for one in messages)
    if not calls or not isinstance(functions, list) or row.get("tools"):
        return row
    changed = {key: value for key, value in row.items() if key not in ("functions", "function_call")}
    choice = row.get("function_call")
    if choice is not None:
        changed["tool_choice"] = {"type": "function", "function": choice} if isinstance(choice, dict) else choice
    return {**changed, "tools": functions}


def _preference(row: Row) -> Row:
    body = plain_request(read_as(object_in, row.pop("input", None), "input"))
    native = last_question(read_messages(body.pop("messages", None), "input.messages"), "input.messages")
    answer_of(read_messages(row.pop("preferred_output", None), "preferred_output"), native["turns"][-1])
    return with_known_calls(with_rest(native, {**body, **row}))


def _has_speakers(messages: Any) -> bool:
    """Whether messages have ``from`` and ``value``, as in ShareGPT."""
    return isinstance(messages, list) and any(isinstance(one, dict) and "from" in one for one in messages[:1])


def _is_pair(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("input"), dict) and "messages" in row["input"]


CHAT = RowFormat(
    "chat",
    "chat, OpenAI fine-tuning",
    '{"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}], "target": 4}',
    ("messages",),
    lambda row: "messages" in row and not _has_speakers(row["messages"]),
    chat_row,
    fields=(SCORED_LAST,),
    messages="messages",
)
ANTHROPIC = RowFormat(
    "anthropic",
    "Anthropic messages",
    '{"system": "Be brief.", "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}], '
    '"stop_sequences": ["END"]}',
    ("messages", "stop_sequences"),
    lambda row: "messages" in row and is_anthropic(row),
    chat_row,
    fields=(SCORED_LAST,),
    messages="messages",
)
PREFERENCE = RowFormat(
    "openai-preference",
    "OpenAI preference tuning",
    '{"input": {"messages": [{"role": "user", "content": "2+2?"}]}, '
    '"preferred_output": [{"role": "assistant", "content": "4"}]}',
    ("input", "preferred_output"),
    _is_pair,
    _preference,
    fields=(SCORED_LAST, (re.compile(r"^(?=tools|system)"), "input.")),
    messages="input.messages",
)
