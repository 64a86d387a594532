"""Native rows: one JSON object of a dataset to one Conversation; unknown keys and wrong types are errors.

Errors carry the field; the caller that reads the file adds file and line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit.conversation import BY_ARGUMENTS, Conversation, Message, ScorerSpec, ToolCall, Turn
from evalkit.datasets.content_parts import read_content, read_question, text_only
from evalkit.datasets.field_checks import (
    Reader,
    kind,
    label_in,
    list_in,
    object_in,
    optional_text_in,
    read_each,
    read_fields,
    shortened,
    text_in,
    within,
    words_in,
)
from evalkit.errors import DatasetError
from evalkit.scorers.json_equality import MOST_LEVELS, is_deeper

ROLES = ("system", "developer", "user", "assistant", "tool")
SET_BY_RUN = ("model", "messages", "stream", "stream_options", "tools")
# request parameters that rows of other formats may hold
REQUEST_KEYS = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop", "seed", "response_format",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "logit_bias", "reasoning_effort", "verbosity", "modalities", "service_tier", "guided_json",
    "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "chat_template_kwargs", "enable_thinking",
    "min_tokens", "ignore_eos", "length_penalty", "web_search_options", "stop_token_ids", "typical_p", "repeat_penalty",
    "n_predict",
)  # fmt: skip
TOO_DEEP = f"has more than {MOST_LEVELS} levels of nesting, which is the limit"
_NAMED_LEVELS = 3  # levels of a field's name that a message shows
_HEAVIEST = 1_000_000
_NAME = re.compile(r"[A-Za-z]\w*")
_FUNCTION = re.compile(r"[\w.]+:[\w.<>]+")
# fields that exports add to a message and that no endpoint needs back
_UNSENT = {"weight", "refusal", "annotations", "audio"}
# fields of a model's message that an endpoint may demand back if the message has calls, and that are not sent otherwise
_OF_CALLS = {
    "reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking_blocks", "extra_content",
    "provider_specific_fields",
}  # fmt: skip


def parse_row(row: Any, *, position: int = 1) -> Conversation:
    """Read a native row; the inverse of ``Conversation.to_json``.

    Parameters
    ----------
    row : mapping
    position : int
        Counted from 1; makes the id of a row that has none: ``row-000012``.

    Returns
    -------
    Conversation

    Raises
    ------
    DatasetError
        An unknown key, a wrong type, a missing turn; ``field`` says where.
    """
    if type(row) is dict and len(row) == 2:  # the usual case, and there may be millions
        name, turns = row.get("id"), row.get("turns")
        if type(name) is str and type(turns) is list and name and not name.isspace():
            try:
                return Conversation(name, _turns(turns))
            except DatasetError as error:
                raise within("turns", error) from None
    fields = read_fields(object_in(row), ROW_FIELDS)
    if "turns" not in fields:
        raise DatasetError("is missing: a row needs at least one turn with a user message", field="turns")
    if "id" not in fields:
        fields["id"] = f"row-{position:06d}"
    conversation = Conversation(**fields)
    if conversation.tool_results:
        _check_results(conversation)
    return conversation


def refuse_deep(row: Any) -> None:
    """Raise if a row is nested too deeply to be hashed, compared and sent; ``field`` says where."""
    if not is_deeper(row, MOST_LEVELS):
        return
    value, field = row, ""
    for room in range(MOST_LEVELS - 1, MOST_LEVELS - 1 - _NAMED_LEVELS, -1):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        name, value = next((name, part) for name, part in parts if is_deeper(part, room))
        field += f"[{name}]" if isinstance(name, int) else f".{shortened(name)}"
    raise DatasetError(TOO_DEEP, field=field.removeprefix("."))


def _any_value(value: Any) -> Any:
    return value


def _tags(value: Any) -> tuple[str, ...]:
    return tuple(read_each(list_in(value), words_in))


def read_scorer(value: Any, *, functions: bool = False) -> ScorerSpec:
    """Read a scorer: a name, an object with a name and options, or a list of these with weights.

    Parameters
    ----------
    value : any JSON value
    functions : bool
        Allow names of Python functions (``module:function``): the value is the user's setting, not a dataset's.

    Raises
    ------
    DatasetError
        It is none of these; ``field`` says where.
    """

    def one(value: Any) -> ScorerSpec:
        return _one_scorer(value, functions)

    if isinstance(value, list):
        parts = read_each(value, one)
        if not parts:
            raise DatasetError("is empty: name at least one scorer")
        return ScorerSpec.several(parts) if len(parts) > 1 else replace(parts[0], weight=1.0)
    if isinstance(value, dict) and "weight" in value:
        raise DatasetError("is allowed only in a list of several scorers", field="weight")
    return one(value)


def _one_scorer(value: Any, functions: bool) -> ScorerSpec:
    options: dict[str, Any] = {}
    weight: Any = 1.0
    if isinstance(value, dict):
        options = dict(value)
        if "name" not in options:
            raise DatasetError('has no name: write "number" or {"name": "number", "abs_tol": 0.5}')
        value, weight = options.pop("name"), options.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= _HEAVIEST:
            raise DatasetError("must be a number above 0, at most a million", field="weight")
    name = words_in(value)
    if _NAME.fullmatch(name) or (functions and _FUNCTION.fullmatch(name)):
        return ScorerSpec(name, options, float(weight))
    if not functions and any(mark in name for mark in ":./\\("):
        raise DatasetError(f"{shortened(name)!r} names code: a dataset is data and can only name existing scorers")
    raise DatasetError(f"{shortened(name)!r} is not the name of a scorer")


def read_turn(value: Any) -> Turn:
    """Read one turn of a native row."""
    if type(value) is dict and len(value) == 2:  # the usual case, and there may be millions
        user, target = value.get("user"), value.get("target")
        if type(user) is str and target is not None and user and not user.isspace():
            return Turn(user, target)
    if not isinstance(value, dict):
        raise DatasetError(f'must be an object such as {{"user": "Hello"}}, not {kind(value)}')
    fields = read_fields(value, _TURN_FIELDS)
    if "user" not in fields:
        raise DatasetError("is missing: a turn needs a user message", field="user")
    fields["user"], parts = fields["user"]
    return Turn(**fields, parts=parts)


def _turns(value: Any) -> tuple[Turn, ...]:
    turns = tuple(read_each(list_in(value), read_turn))
    if not turns:
        raise DatasetError("is empty: a row needs at least one turn with a user message")
    return turns


def _context(value: Any) -> tuple[Message, ...]:
    return tuple(read_each(list_in(value), read_message))


def _tool(value: Any) -> Mapping[str, Any]:
    tool = object_in(value)
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DatasetError('must look like {"type": "function", "function": {"name": …, "parameters": …}}')
    return tool


def _tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(read_each(list_in(value), _tool))


def _params(value: Any) -> Mapping[str, Any]:
    params = object_in(value)
    for name in SET_BY_RUN:
        if name in params:
            instead = "write them outside params, as tools" if name == "tools" else "the run sets this itself"
            raise DatasetError(f"must not be among the parameters: {instead}", field=name)
    return params


def _check_results(conversation: Conversation) -> None:
    known = [tool["function"]["name"] for tool in conversation.tools]
    for name in conversation.tool_results:
        if name not in known:
            tools = f"the tools are {', '.join(known)}" if known else "the row has no tools"
            raise DatasetError(f"no tool has this name: {tools}", field=f"tool_results.{name}")
        result = conversation.tool_results[name]
        if isinstance(result, dict) and BY_ARGUMENTS in result and not _is_by_arguments(result):
            problem = f'must look like {{"{BY_ARGUMENTS}": [{{"arguments": {{…}}, "result": …}}]}}'
            raise DatasetError(problem, field=f"tool_results.{name}")


def _is_by_arguments(result: dict[str, Any]) -> bool:
    listed = result[BY_ARGUMENTS]
    return (
        len(result) == 1
        and isinstance(listed, list)
        and all(
            isinstance(one, dict) and one.keys() == {"arguments", "result"} and isinstance(one["arguments"], dict)
            for one in listed
        )
    )


def _golden(value: Any) -> str:
    has_parts = isinstance(value, list) and any(isinstance(part, dict) for part in value)
    return words_in(text_only(value) if has_parts else value)


_TURN_FIELDS: dict[str, Reader] = {
    "user": read_question,
    "target": _any_value,
    "scorer": read_scorer,
    "assistant": _golden,
}
ROW_FIELDS: dict[str, Reader] = {
    "id": label_in,
    "system": optional_text_in,
    "context": _context,
    "tools": _tools,
    "tool_results": object_in,
    "params": _params,
    "tags": _tags,
    "group": label_in,
    "meta": object_in,
    "turns": _turns,
}


def read_message(value: Any) -> Message:
    """Read one chat message; content that is a list of text parts and nothing else is joined with line breaks."""
    sent = {key: part for key, part in object_in(value).items() if key not in _UNSENT | _OF_CALLS}
    fields = read_fields(sent, _MESSAGE_FIELDS)
    if "role" not in fields:
        raise DatasetError("is missing", field="role")
    if "content" not in fields and not fields.get("tool_calls"):
        raise DatasetError("is missing", field="content")
    fields["content"], parts = fields.get("content", (None, ()))
    extra = {key: part for key, part in value.items() if key in _OF_CALLS and part} if fields.get("tool_calls") else {}
    return Message(**fields, parts=parts, extra=extra or None)


def _role(value: Any) -> str:
    if value not in ROLES:
        raise DatasetError(f"must be one of {', '.join(ROLES)}, not {shortened(repr(value))}")
    return str(value)


def _call(value: Any) -> ToolCall:
    function = object_in(value).get("function")
    call_id = value.get("id")
    if (
        not isinstance(function, dict)
        or not isinstance(function.get("name"), str)
        or not isinstance(function.get("arguments"), str)
        or not (call_id is None or isinstance(call_id, str))
    ):
        raise DatasetError('must look like {"id": …, "function": {"name": …, "arguments": "JSON text"}}')
    return ToolCall.from_json(value)


_MESSAGE_FIELDS: dict[str, Reader] = {
    "role": _role,
    "content": read_content,
    "tool_calls": lambda value: tuple(read_each(list_in(value), _call)),
    "tool_call_id": text_in,
    "name": text_in,
}
