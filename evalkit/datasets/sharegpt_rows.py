"""Rows of recorded dialogues: ShareGPT and its relatives, UltraChat, MT-Bench-101."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from evalkit.datasets.anthropic_rows import plain_request
from evalkit.datasets.chat_messages import conversation_of, read_messages
from evalkit.datasets.chat_rows import with_known_calls
from evalkit.datasets.field_checks import list_in, object_in, shortened, text_in, within, words_in
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import SCORED_LAST, Row, RowFormat, objects_listed, read_as, texts_listed
from evalkit.errors import DatasetError

_PLACES = ("conversations", "conversation", "messages", "turns", "dialog", "dialogue")
_LISTS = ("data", "dialog", "dialogue")
_VALUE = re.compile(r"^(\w+\[\d+\])\.content")
# who speaks, in the words of public collections
_ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "Human", "User"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model", "bing", "bard", "GPT", "Assistant"), "assistant"),
    **dict.fromkeys(("system", "System"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "function_call"),
}


def _sharegpt(row: Row) -> Row:
    row = plain_request(row)
    place = _place(row) or _PLACES[0]
    messages: list[Row] = []
    for at, spoken in enumerate(read_as(list_in, row.pop(place, None), place)):
        try:
            messages.append(_message(object_in(spoken), messages))
        except DatasetError as error:
            raise within(f"{place}[{at}]", error) from None
    try:
        native = conversation_of(read_messages(messages, place), place)
    except DatasetError as error:
        raise DatasetError(error.problem, field=_VALUE.sub(r"\1.value", error.field or place)) from None
    return with_known_calls(with_rest(native, row))


def _place(row: Mapping[str, Any]) -> str | None:
    """The key of what was said: a list under the first two names, a list of who said what under the others."""
    for name in _PLACES:
        said: Any = row.get(name)
        if isinstance(said, list) and (
            name in _PLACES[:2] or (objects_listed(said) and {"role", "from"} & said[0].keys())
        ):
            return name
    return None


def _message(spoken: Row, before: list[Row]) -> Row:
    """What somebody said, as a chat message."""
    if "from" not in spoken:
        return spoken
    speaker = read_as(text_in, spoken["from"], "from")
    role = _ROLES.get(speaker)
    if role is None:
        known = ", ".join(name for name in _ROLES if name[0].islower())
        raise DatasetError(f"must be one of {known}, not {shortened(repr(speaker))}", field="from")
    key = "value" if "value" in spoken else "content"
    notes = {name: value for name, value in spoken.items() if name not in ("from", key)}
    said = read_as(text_in, spoken.get(key), key)
    if role == "function_call":
        return {**notes, "role": "assistant", "content": None, "tool_calls": _calls(said, key)}
    message = {**notes, "role": role, "content": said}
    if role == "tool" and (calls := _open_calls(before)):
        message["tool_call_id"] = calls[0]
    return message


def _calls(said: str, key: str) -> list[Row]:
    try:
        value = orjson.loads(said)
    except orjson.JSONDecodeError:
        value = None
    calls = value if isinstance(value, list) else [value]
    if not objects_listed(calls):
        raise DatasetError('must be the text of a call, {"name": …, "arguments": {…}}, or of a list', field=key)
    listed = []
    for number, call in enumerate(calls):
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        listed.append({"id": f"call-{number}", "function": {"name": call.get("name"), "arguments": text}})
    return listed


def _open_calls(messages: list[Row]) -> list[str]:
    """The ids of the last calls that have no result yet."""
    answered = []
    for message in reversed(messages):
        if message.get("role") == "tool":
            answered.append(message.get("tool_call_id"))
        elif "tool_calls" in message:
            return [call["id"] for call in message["tool_calls"] if call["id"] not in answered]
        else:
            break
    return []


def _ultrachat(row: Row) -> Row:
    place = next((name for name in _LISTS if name in row), _LISTS[0])
    said = read_as(list_in, row.pop(place, None), place)
    turns = []
    for at in range(0, len(said), 2):
        turn = {"user": read_as(words_in, said[at], f"{place}[{at}]")}
        if at + 1 < len(said):
            turn["assistant"] = read_as(text_in, said[at + 1], f"{place}[{at + 1}]") or None
        turns.append(turn)
    return with_rest({"turns": turns}, row)


def _mt_bench_101(row: Row) -> Row:
    turns = []
    for at, pair in enumerate(read_as(list_in, row.pop("history", None), "history")):
        try:
            pair = object_in(pair)
            unknown = next((key for key in pair if key not in ("user", "bot")), None)
            if unknown is not None:
                raise DatasetError("unknown key. Known here: user, bot", field=shortened(unknown))
            turns.append({"user": read_as(words_in, pair.get("user"), "user"), "assistant": pair.get("bot") or None})
        except DatasetError as error:
            raise within(f"history[{at}]", error) from None
    task = row.pop("task", None)
    native: Row = {"turns": turns}
    if task is not None:
        native["tags"] = [task, *read_as(list_in, row.pop("tags", None) or [], "tags")]
    return with_rest(native, row, others=("task",))


def _has_pairs(row: Mapping[str, Any]) -> bool:
    history: Any = row.get("history")
    return objects_listed(history) and "user" in history[0] and "bot" in history[0]


SHAREGPT = RowFormat(
    "sharegpt",
    "ShareGPT",
    '{"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}',
    ("conversations",),
    lambda row: _place(row) is not None,
    _sharegpt,
    fields=(SCORED_LAST,),
    messages="conversations",
)
ULTRACHAT = RowFormat(
    "ultrachat",
    "UltraChat",
    '{"data": ["2+2?", "4", "And twice that?", "8"]}',
    ("data",),
    lambda row: any(texts_listed(row.get(name)) for name in _LISTS),
    _ultrachat,
    fields=(SCORED_LAST, (re.compile(r"^turns.*"), "data")),
)
MT_BENCH_101 = RowFormat(
    "mt-bench-101",
    "MT-Bench-101",
    '{"task": "CM", "id": 1, "history": [{"user": "2+2?", "bot": "4"}, {"user": "And twice that?", "bot": "8"}]}',
    ("history",),
    _has_pairs,
    _mt_bench_101,
    fields=(
        SCORED_LAST,
        (re.compile(r"^tags\b.*"), "task"),
        (re.compile(r"^turns(\[\d+\])\.user"), r"history\1.user"),
        (re.compile(r"^turns(\[\d+\])\.assistant"), r"history\1.bot"),
        (re.compile(r"^turns$"), "history"),
    ),
)
