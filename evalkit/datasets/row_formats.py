"""Shapes that JSON rows of a dataset come in, and how each becomes a native row.

============  ============================  =================================================================
shape         told by the keys              read as
============  ============================  =================================================================
native        ``turns``                     what ``Conversation.to_json`` writes
chat          ``messages``                  a turn for each user message, the assistant message after it golden;
                                            ``target`` and ``scorer`` are the last turn's
openai-batch  ``custom_id`` and ``body``    one turn, the last user message; what stands before it is system prompt
                                            and context, the rest of the body parameters
mt-bench      ``question_id``               ``turns`` are texts, ``reference`` golden answers, ``category`` a tag
gsm8k         ``question``, ``answer``      one turn, whose target is the number after ``####``
============  ============================  =================================================================

The first row of a file tells the shape of all. A native row is held to its keys. In the other shapes ``system``,
``context``, ``tools``, ``tool_results``, ``params`` and request parameters such as ``temperature`` are sent too; a key
that would change what is asked and cannot be sent is refused, and any other goes into ``meta``, unless it looks like a
slip of the pen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from evalkit.conversation import Conversation, Message
from evalkit.datasets.native_rows import (
    REQUEST_KEYS,
    ROW_FIELDS,
    SET_BY_RUN,
    Reader,
    list_in,
    object_in,
    parse_row,
    read_each,
    read_message,
    within,
    words_in,
)
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import near
from evalkit.scorers.reading.numbers import read_number

BATCH_URL = "/v1/chat/completions"
_KEPT = ("id", "tags", "group")
_SCORED = ("target", "scorer")
_SENT = ("system", "context", "tools", "tool_results", "params")
_UNLIKELY = 0.88  # how much a key must look like a request parameter to be taken for a slip: most are some other thing
_BESIDE = "stands beside what this shape of row asks: leave one of them out"
_UNSENT = "would not be sent: {}, or put it under meta to keep it unsent"
# keys that change what is asked and have no place of their own, with what to do instead
_REFUSED = {
    "messages": _BESIDE,
    "turns": _BESIDE,
    "n": _UNSENT.format("ask for several answers with --repeats"),
    "extra_body": _UNSENT.format("write its keys under params"),
    "system_prompt": _UNSENT.format("call it system"),
    "system_message": _UNSENT.format("call it system"),
}
# a native field to what the row itself calls it
_SCORED_LAST = (re.compile(r"^turns\[\d+\]\.(?=target|scorer)"), "")
_PLACES = {
    "chat": [_SCORED_LAST],
    "openai-batch": [_SCORED_LAST, (re.compile(r"^id$"), "custom_id"), (re.compile(r"^(?=tools)"), "body.")],
    "mt-bench": [
        (re.compile(r"^id$"), "question_id"),
        (re.compile(r"^tags\b.*"), "category"),
        (re.compile(r"^turns(\[\d+\])\.user$"), r"turns\1"),
        (re.compile(r"^turns(\[\d+\])\.assistant$"), r"reference\1"),
    ],
    "gsm8k": [(re.compile(r"^turns\[0\]\.user$"), "question"), (re.compile(r"^turns\[0\]\.(?!user).*"), "answer")],
}


def shape_of(row: Mapping[str, Any]) -> str:
    """The shape of a row, by its keys.

    Raises
    ------
    DatasetError
        No shape has such keys.
    """
    if "body" in row and ("custom_id" in row or "url" in row):
        return "openai-batch"
    if "messages" in row:
        return "chat"
    if "question_id" in row:
        return "mt-bench"
    if "turns" not in row and "question" in row and "answer" in row:
        return "gsm8k"
    if any(near(key, ROW_FIELDS) for key in row):
        return "native"
    keys = ", ".join(map(repr, row)) or "none"
    raise DatasetError(
        f"no known shape of row has the keys {keys[:200]}. Known: turns (native), messages (chat), custom_id and body "
        "(OpenAI Batch), question_id and turns (MT-Bench), question and answer (GSM8K)"
    )


def parse(row: Any, shape: str, *, position: int = 1) -> Conversation:
    """Read a row of any shape.

    Parameters
    ----------
    row : mapping
    shape : str
        From ``shape_of`` the dataset's first row.
    position : int
        Counted from 1; makes the id of a row that has none.

    Returns
    -------
    Conversation

    Raises
    ------
    DatasetError
        As ``rows.parse_row``; ``field`` is the name in the row as it came.
    """
    if shape == "native":
        return parse_row(row, position=position)
    native = _TO_NATIVE[shape](dict(object_in(row)))
    try:
        return parse_row(native, position=position)
    except DatasetError as error:
        raise DatasetError(error.problem, field=place(shape, error.field)) from None


def place(shape: str, field: str | None) -> str | None:
    """What a field of a native row is called in a row of this shape."""
    if field is not None:
        for pattern, name in _PLACES.get(shape, ()):
            field = pattern.sub(name, field)
    return field


def _chat(row: dict[str, Any]) -> dict[str, Any]:
    messages = _messages(row.pop("messages", None), "messages")
    system = messages.pop(0) if messages and messages[0].role == "system" else None
    first = next((number for number, message in enumerate(messages) if message.role == "user"), None)
    if first is None:
        raise DatasetError("hold no user message: there is nothing to ask", field="messages")
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages[first:], first + (system is not None)):
        here = f"messages[{number}]"
        if message.role == "user":
            turns.append({"user": _said(message, here)})
        elif message.role != "assistant" or message.tool_calls:
            what = "an assistant message with tool calls" if message.tool_calls else f"a {message.role} message"
            raise DatasetError(
                f"{what} after the first user message cannot be asked again: "
                "write the row in the native shape, with context, tools and tool_results",
                field=here,
            )
        elif "assistant" in turns[-1]:
            raise DatasetError("follows another assistant message: a turn has one golden answer", field=here)
        else:
            turns[-1]["assistant"] = message.content or None
    native = _with_opening({"turns": turns}, system, messages[:first])
    return _with_rest(native, row, (*_KEPT, *_SCORED, *_SENT))


def _openai_batch(row: dict[str, Any]) -> dict[str, Any]:
    url, method = row.pop("url", BATCH_URL), row.pop("method", "POST")
    if url != BATCH_URL:
        raise DatasetError(f"is {url!r}: only requests to {BATCH_URL} hold a conversation", field="url")
    if method != "POST":
        raise DatasetError(f"is {method!r}: a chat completion is asked for with POST", field="method")
    body = _as(object_in, row.pop("body", None), "body")
    messages = _messages(body.get("messages"), "body.messages")
    if not messages or messages[-1].role != "user":
        raise DatasetError("must end with a user message: it is what is asked", field="body.messages")
    system = messages.pop(0) if messages[0].role == "system" else None
    asked = messages.pop()
    last = f"body.messages[{len(messages) + (system is not None)}]"
    native = _with_opening({"turns": [{"user": _said(asked, last)}]}, system, messages)
    native["id"] = row.pop("custom_id", None)
    native["tools"] = body.get("tools")
    native["params"] = {name: value for name, value in body.items() if name not in SET_BY_RUN}
    for key in (*_SENT, *REQUEST_KEYS):
        if key != "tool_results" and row.get(key) is not None:
            raise DatasetError("would not be sent: write it inside body", field=key)
    return _with_rest(native, row, ("tags", "group", "tool_results", *_SCORED))


def _mt_bench(row: dict[str, Any]) -> dict[str, Any]:
    asked, golden = row.pop("turns", None), row.pop("reference", None) or []
    _as(list_in, asked, "turns")
    _as(list_in, golden, "reference")
    if len(golden) > len(asked):
        raise DatasetError(f"has {len(golden)} answers for {len(asked)} turns", field="reference")
    turns = [{"user": user} for user in asked]
    for turn, answer in zip(turns, golden, strict=False):
        turn["assistant"] = answer or None
    native: dict[str, Any] = {"id": row.pop("question_id", None), "turns": turns}
    category = row.pop("category", None)
    if category is not None:
        native["tags"] = [category, *_as(list_in, row.pop("tags", None) or [], "tags")]
    return _with_rest(native, row, ("tags", "group", *_SCORED, *_SENT), others=("category", "reference"))


def _gsm8k(row: dict[str, Any]) -> dict[str, Any]:
    answer = _as(words_in, row.pop("answer", None), "answer")
    _, mark, final = answer.rpartition("####")
    number = read_number(final.strip().rstrip(".")) if mark else None
    if number is None:
        raise DatasetError("must end with #### and a number; rows without one can be native", field="answer")
    target = number.to_json()
    turn = {"user": row.pop("question", None), "target": target, "scorer": "number", "assistant": answer}
    return _with_rest({"turns": [turn]}, row, (*_KEPT, *_SCORED, *_SENT))


_TO_NATIVE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "chat": _chat,
    "openai-batch": _openai_batch,
    "mt-bench": _mt_bench,
    "gsm8k": _gsm8k,
}


def _as(reader: Reader, value: Any, field: str) -> Any:
    try:
        return reader(value)
    except DatasetError as error:
        raise within(field, error) from None


def _messages(value: Any, field: str) -> list[Message]:
    return read_each(_as(list_in, value, field), read_message, field)


def _said(message: Message, here: str) -> str:
    if not message.content or message.content.isspace():
        raise DatasetError("must not be empty", field=f"{here}.content")
    return message.content


def _with_opening(native: dict[str, Any], system: Message | None, context: list[Message]) -> dict[str, Any]:
    if system is not None:
        native["system"] = system.content
    if context:
        native["context"] = [message.to_json() for message in context]
    return native


def _with_rest(
    native: dict[str, Any], row: dict[str, Any], own: tuple[str, ...], *, others: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Take over what is left of a row: its own keys as they are, ``target`` and ``scorer`` to the last turn."""
    meta = _as(object_in, row.pop("meta", None) or {}, "meta")
    rest, parameters = {}, {}
    for key, value in row.items():
        if key in _SCORED and key in own:
            if value is not None:
                native["turns"][-1][key] = value
        elif key in own:
            native[key] = _once(native, key, value)
        elif key in REQUEST_KEYS:
            parameters[key] = value
        elif key in _REFUSED and value not in (None, 1):
            raise DatasetError(_REFUSED[key], field=key)
        elif slip := near(key, [name for name in (*own, *others) if name != "context"]) or near(
            key, REQUEST_KEYS, _UNLIKELY
        ):
            raise DatasetError(f"unknown key; did you mean {slip!r}?", field=key)
        else:
            rest[key] = value
    _add_parameters(native, parameters)
    return {**native, "meta": {**rest, **meta}}


def _once(native: dict[str, Any], key: str, value: Any) -> Any:
    """A value of the row itself; what its messages said already is kept, and must not be another thing."""
    if key == "context" and value and not isinstance(value, list):
        raise DatasetError(_UNSENT.format("write it into the question, or as a list of messages"), field=key)
    there = native.get(key)
    if there is None or value is None or there == value:
        return there if value is None else value
    raise DatasetError(f"differs from the {key} that the messages give: leave one of them out", field=key)


def _add_parameters(native: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    given = {key: value for key, value in parameters.items() if value is not None}
    params = native.get("params") or {}
    if not given or not isinstance(params, dict):  # what is no object is refused when the row is read
        return
    for key, value in given.items():
        if params.get(key, value) != value:
            raise DatasetError(f"differs from params.{key}: leave one of them out", field=key)
    native["params"] = {**params, **given}
