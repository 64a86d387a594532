"""Formats of JSON rows, and how a row of each becomes a native row.

============  ============================  =================================================================
format        recognised by the keys        read as
============  ============================  =================================================================
native        ``turns``                     what ``Conversation.to_json`` writes
chat          ``messages``                  a turn for each user message, the assistant message after it golden;
                                            ``target`` and ``scorer`` are the last turn's
openai-batch  ``custom_id`` and ``body``    one turn, the last user message; the messages before it are system prompt
                                            and context, the rest of the body parameters
mt-bench      ``question_id``               ``turns`` are texts, ``reference`` golden answers, ``category`` a tag
gsm8k         ``question``, ``answer``      one turn, whose target is the number after ``####``
============  ============================  =================================================================

The first row of a file decides the format of all. A native row may have no other keys than its own. In the other
formats ``system``, ``context``, ``tools``, ``tool_results``, ``params`` and request parameters such as ``temperature``
are sent too; a key that would change the request and cannot be sent is refused, and any other goes into ``meta``,
unless it looks like a typing error.

To add a format, write a function from its row to a native row and add an entry to ``ROW_FORMATS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.conversation import Conversation, Message
from evalkit.datasets.field_checks import Reader, list_in, object_in, read_each, within, words_in
from evalkit.datasets.native_rows import REQUEST_KEYS, ROW_FIELDS, SET_BY_RUN, parse_row, read_message
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name
from evalkit.scorers.reading.numbers import read_number

BATCH_URL = "/v1/chat/completions"
_KEPT = ("id", "tags", "group")
_SCORED = ("target", "scorer")
_SENT = ("system", "context", "tools", "tool_results", "params")
_LIKENESS = 0.88  # of a key to a request parameter, to count as a typing error: most unknown keys are something else
_CONFLICT = "conflicts with the messages of this row format: remove one of them"
_UNSENT = "would not be sent: {}, or put it under meta to keep it unsent"
# keys that change the request and have no place of their own, with what to do instead
_REFUSED = {
    "messages": _CONFLICT,
    "turns": _CONFLICT,
    "n": _UNSENT.format("ask for several answers with --repeats"),
    "extra_body": _UNSENT.format("write its keys under params"),
    "system_prompt": _UNSENT.format("call it system"),
    "system_message": _UNSENT.format("call it system"),
}


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A format of JSON rows.

    Parameters
    ----------
    name : str
    keys : str
        The keys that it is recognised by, and its usual name, for messages.
    fits : callable
        Whether a row is of this format, by its keys.
    to_native : callable
        A native row from a copy of the row, which it may change.
    fields : tuple of (pattern, str)
        Patterns of a native row's fields, each with the replacement that gives the field of a row of this format.
    """

    name: str
    keys: str
    fits: Callable[[Mapping[str, Any]], bool]
    to_native: Callable[[dict[str, Any]], dict[str, Any]]
    fields: tuple[tuple[re.Pattern[str], str], ...] = ()


def format_of(row: Mapping[str, Any]) -> str:
    """The name of a row's format, by its keys.

    Raises
    ------
    DatasetError
        No format has such keys.
    """
    for row_format in ROW_FORMATS.values():
        if row_format.fits(row):
            return row_format.name
    keys = ", ".join(map(repr, row)) or "none"
    known = ", ".join(row_format.keys for row_format in ROW_FORMATS.values())
    raise DatasetError(f"no known row format has the keys {keys[:200]}. Known: {known}")


def parse(row: Any, row_format: str, *, position: int = 1) -> Conversation:
    """Read a row of any format.

    Parameters
    ----------
    row : mapping
    row_format : str
        From ``format_of`` the dataset's first row.
    position : int
        Counted from 1; makes the id of a row that has none.

    Returns
    -------
    Conversation

    Raises
    ------
    DatasetError
        As for ``native_rows.parse_row``; ``field`` is the name in the row as it came.
    """
    if row_format == "native":
        return parse_row(row, position=position)
    native = ROW_FORMATS[row_format].to_native(dict(object_in(row)))
    try:
        return parse_row(native, position=position)
    except DatasetError as error:
        raise DatasetError(error.problem, field=field_in_row(row_format, error.field)) from None


def field_in_row(row_format: str, field: str | None) -> str | None:
    """The name that a field of a native row has in a row of this format."""
    if field is not None and row_format in ROW_FORMATS:
        for pattern, name in ROW_FORMATS[row_format].fields:
            field = pattern.sub(name, field)
    return field


def _chat(row: dict[str, Any]) -> dict[str, Any]:
    messages = _messages(row.pop("messages", None), "messages")
    system = messages.pop(0) if messages and messages[0].role == "system" else None
    first = next((number for number, message in enumerate(messages) if message.role == "user"), None)
    if first is None:
        raise DatasetError("hold no user message: there is no question to send", field="messages")
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages[first:], first + (system is not None)):
        here = f"messages[{number}]"
        if message.role == "user":
            turns.append({"user": _question(message, here)})
        elif message.role != "assistant" or message.tool_calls:
            what = "an assistant message with tool calls" if message.tool_calls else f"a {message.role} message"
            raise DatasetError(
                f"{what} after the first user message cannot be sent again: "
                "write the row in the native format, with context, tools and tool_results",
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
        raise DatasetError(f"is {method!r}: chat completions are requested with POST", field="method")
    body = _as(object_in, row.pop("body", None), "body")
    messages = _messages(body.get("messages"), "body.messages")
    if not messages or messages[-1].role != "user":
        raise DatasetError("must end with a user message, the question of the turn", field="body.messages")
    system = messages.pop(0) if messages[0].role == "system" else None
    question = messages.pop()
    last = f"body.messages[{len(messages) + (system is not None)}]"
    native = _with_opening({"turns": [{"user": _question(question, last)}]}, system, messages)
    native["id"] = row.pop("custom_id", None)
    native["tools"] = body.get("tools")
    native["params"] = {name: value for name, value in body.items() if name not in SET_BY_RUN}
    for key in (*_SENT, *REQUEST_KEYS):
        if key != "tool_results" and row.get(key) is not None:
            raise DatasetError("would not be sent: write it inside body", field=key)
    return _with_rest(native, row, ("tags", "group", "tool_results", *_SCORED))


def _mt_bench(row: dict[str, Any]) -> dict[str, Any]:
    questions, golden = row.pop("turns", None), row.pop("reference", None) or []
    _as(list_in, questions, "turns")
    _as(list_in, golden, "reference")
    if len(golden) > len(questions):
        raise DatasetError(f"has {len(golden)} answers for {len(questions)} turns", field="reference")
    turns = [{"user": user} for user in questions]
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
        raise DatasetError(
            "must end with #### and a number; write rows without one in the native format", field="answer"
        )
    target = number.to_json()
    turn = {"user": row.pop("question", None), "target": target, "scorer": "number", "assistant": answer}
    return _with_rest({"turns": [turn]}, row, (*_KEPT, *_SCORED, *_SENT))


def _as(reader: Reader, value: Any, field: str) -> Any:
    try:
        return reader(value)
    except DatasetError as error:
        raise within(field, error) from None


def _messages(value: Any, field: str) -> list[Message]:
    return read_each(_as(list_in, value, field), read_message, field)


def _question(message: Message, field: str) -> str:
    if not message.content or message.content.isspace():
        raise DatasetError("must not be empty", field=f"{field}.content")
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
    """Add the rest of a row: known keys as they are, ``target`` and ``scorer`` to the last turn, others to ``meta``."""
    meta = _as(object_in, row.pop("meta", None) or {}, "meta")
    rest, parameters = {}, {}
    for key, value in row.items():
        if key in _SCORED and key in own:
            if value is not None:
                native["turns"][-1][key] = value
        elif key in own:
            native[key] = _without_conflict(native, key, value)
        elif key in REQUEST_KEYS:
            parameters[key] = value
        elif key in _REFUSED and value not in (None, 1):
            raise DatasetError(_REFUSED[key], field=key)
        elif suggestion := (
            nearest_name(key, [name for name in (*own, *others) if name != "context"])
            or nearest_name(key, REQUEST_KEYS, _LIKENESS)
        ):
            raise DatasetError(f"unknown key; did you mean {suggestion!r}?", field=key)
        else:
            rest[key] = value
    _add_parameters(native, parameters)
    return {**native, "meta": {**rest, **meta}}


def _without_conflict(native: dict[str, Any], key: str, value: Any) -> Any:
    """The value of a key that the messages may give as well: both must be the same."""
    if key == "context" and value and not isinstance(value, list):
        raise DatasetError(_UNSENT.format("write it into the question, or as a list of messages"), field=key)
    given = native.get(key)
    if given is None or value is None or given == value:
        return given if value is None else value
    raise DatasetError(f"differs from the {key} that the messages give: remove one of them", field=key)


def _add_parameters(native: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    given = {key: value for key, value in parameters.items() if value is not None}
    params = native.get("params") or {}
    if not given or not isinstance(params, dict):  # another kind is refused when the row is read
        return
    for key, value in given.items():
        if params.get(key, value) != value:
            raise DatasetError(f"differs from params.{key}: remove one of them", field=key)
    native["params"] = {**params, **given}


_SCORED_LAST = (re.compile(r"^turns\[\d+\]\.(?=target|scorer)"), "")
# in the order in which they are tried: a row of one format may have the keys of a later one too
ROW_FORMATS = {
    row_format.name: row_format
    for row_format in (
        RowFormat(
            "openai-batch",
            "custom_id and body (OpenAI Batch)",
            lambda row: "body" in row and ("custom_id" in row or "url" in row),
            _openai_batch,
            (_SCORED_LAST, (re.compile(r"^id$"), "custom_id"), (re.compile(r"^(?=tools)"), "body.")),
        ),
        RowFormat("chat", "messages (chat)", lambda row: "messages" in row, _chat, (_SCORED_LAST,)),
        RowFormat(
            "mt-bench",
            "question_id and turns (MT-Bench)",
            lambda row: "question_id" in row,
            _mt_bench,
            (
                (re.compile(r"^id$"), "question_id"),
                (re.compile(r"^tags\b.*"), "category"),
                (re.compile(r"^turns(\[\d+\])\.user$"), r"turns\1"),
                (re.compile(r"^turns(\[\d+\])\.assistant$"), r"reference\1"),
            ),
        ),
        RowFormat(
            "gsm8k",
            "question and answer (GSM8K)",
            lambda row: "turns" not in row and "question" in row and "answer" in row,
            _gsm8k,
            ((re.compile(r"^turns\[0\]\.user$"), "question"), (re.compile(r"^turns\[0\]\.(?!user).*"), "answer")),
        ),
        RowFormat(
            "native",
            "turns (native)",
            lambda row: any(nearest_name(key, ROW_FIELDS) for key in row),
            lambda row: row,
        ),
    )
}
