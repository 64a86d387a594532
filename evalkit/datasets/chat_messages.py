"""Chat messages to turns: a turn for each user message, with what the messages after it say of its answer.

The assistant's text is the golden answer. Calls are the target of a ``tool_call`` turn, and the tool messages after
them the results of these functions. What stands before the first user message is the system prompt and the context.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import BY_ARGUMENTS, Message, ToolCall
from evalkit.datasets.anthropic_rows import plain_messages
from evalkit.datasets.content_parts import text_only
from evalkit.datasets.field_checks import list_in, object_in, within
from evalkit.datasets.native_rows import ROLES, read_message
from evalkit.datasets.row_format import Row, read_as
from evalkit.errors import DatasetError
from evalkit.scorers.json_equality import same

# notes on a message in public collections, which no model should see
_NOTES = {
    "loss", "train", "loss_weight", "language", "toxic", "redacted", "timestamp", "turn_identifier", "hashed_ip",
    "header", "country", "state", "id", "message_id", "date", "created", "created_at", "openai_moderation", "thinking",
}  # fmt: skip
_AGAIN = "cannot be sent again: write the row in the native format, with context, tools and tool_results"
_NO_QUESTION = "hold no user message: there is no question to send"


class Placed(NamedTuple):
    """A message with its place in the row."""

    message: Message
    field: str


def read_messages(value: Any, field: str) -> list[Placed]:
    """Read a list of messages, in the form of chat completions or of Anthropic's API."""
    placed = []
    for at, raw in enumerate(read_as(list_in, value, field)):
        here = f"{field}[{at}]"
        if type(raw) is dict and len(raw) == 2:  # the usual case, and there may be millions
            role, text = raw.get("role"), raw.get("content")
            if type(text) is str and role in ROLES:
                placed.append(Placed(Message(role, text), here))
                continue
        try:
            plain = [_modern(message) for message in plain_messages(object_in(raw))]
            placed += [Placed(read_message(message), here) for message in plain]
        except DatasetError as error:
            raise within(here, error) from None
    return placed


def _modern(message: Row) -> Row:
    """A message without notes, and with tools in place of functions, their former name."""
    message = {key: value for key, value in message.items() if key not in _NOTES}
    if isinstance(message.get("content"), list):
        message["content"] = [_part(part) for part in message["content"]]
    call = message.pop("function_call", None)
    if isinstance(call, dict):
        message["tool_calls"] = [{"id": call.get("name"), "type": "function", "function": call}]
    if message.get("role") == "function":
        message |= {"role": "tool", "tool_call_id": message.get("name")}
    return message


def _part(part: Any) -> Any:
    """A content part of OpenAI's responses as chat completions have it; any other as it is."""
    name = part.get("type") if isinstance(part, dict) else None
    if name in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text")}
    if name == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail", "auto")}}
    return part


def conversation_of(messages: list[Placed], field: str) -> Row:
    """A native row in which each user message is a turn.

    Raises
    ------
    DatasetError
        There is no user message, or a message after the first that cannot be sent again; ``field`` says where.
    """
    system, rest = _split_system(messages)
    first = next((at for at, placed in enumerate(rest) if placed.message.role == "user"), None)
    if first is None:
        raise DatasetError(_NO_QUESTION, field=field)
    turns: list[Row] = []
    results = _Results()
    for message, here in rest[first:]:
        if message.role == "user":
            turns.append({"user": question(message, here)})
        elif message.role == "assistant":
            _add_answer(turns[-1], message, here)
        elif message.role == "tool":
            results.add(message, turns[-1], here)
        else:
            raise DatasetError(f"a {message.role} message after the first user message {_AGAIN}", field=here)
    for turn in turns:
        _finish(turn)
    native = _with_opening({"turns": turns}, system, rest[:first])
    if by_name := results.by_name:
        native["tool_results"] = by_name
    return native


def last_question(messages: list[Placed], field: str) -> Row:
    """A native row whose only turn is the last message; those before it are its system prompt and context."""
    if not messages or messages[-1].message.role != "user":
        raise DatasetError("must end with a user message, the question of the turn", field=field)
    system, rest = _split_system(messages[:-1])
    asked = question(*messages[-1])
    return _with_opening({"turns": [{"user": asked}]}, system, rest)


def answer_of(messages: list[Placed], turn: Row) -> None:
    """Add the assistant's messages after a turn to it."""
    for message, here in messages:
        if message.role != "assistant":
            raise DatasetError(f"is a {message.role} message, and only an assistant's can be here", field=here)
        _add_answer(turn, message, here)
    _finish(turn)


def question(message: Message, field: str) -> Any:
    """The content of a user message, which a native row accepts: its text, or its parts."""
    if message.name is not None:
        raise DatasetError("would not be sent: write the name into the question", field=f"{field}.name")
    if message.parts:
        return list(message.parts)
    if not message.content or message.content.isspace():
        raise DatasetError("must not be empty", field=f"{field}.content")
    return message.content


def targets_of(calls: Iterable[Row]) -> Any:
    """Calls as a target of tool_call: one, or a list."""
    listed = list(calls)
    return listed[0] if len(listed) == 1 else listed


def _split_system(messages: list[Placed]) -> tuple[Message | None, list[Placed]]:
    """The system prompt, if it is text without a name, and the other messages."""
    first = messages[0].message if messages else None
    if first is None or first.role != "system" or first.parts or first.name is not None:
        return None, messages
    return first, messages[1:]


def _with_opening(native: Row, system: Message | None, context: list[Placed]) -> Row:
    if system is not None:
        native["system"] = system.content
    if context:
        native["context"] = [placed.message.to_json() for placed in context]
    return native


def _add_answer(turn: Row, message: Message, field: str) -> None:
    """Add one assistant message; ``calls`` and ``open`` are for ``_finish``."""
    text = read_as(text_only, list(message.parts), f"{field}.content") if message.parts else message.content
    if "assistant" in turn and not turn.get("open"):
        raise DatasetError("follows another assistant message: a turn has one golden answer", field=field)
    if text or not message.tool_calls:
        turn["assistant"] = "\n\n".join(filter(None, (turn.get("assistant"), text))) or None
    for at, call in enumerate(message.tool_calls):
        turn.setdefault("calls", []).append((call, f"{field}.tool_calls[{at}].function.arguments"))
    turn["open"] = bool(message.tool_calls)


def _finish(turn: Row) -> None:
    """Make the calls of a turn its target."""
    turn.pop("open", None)
    if calls := turn.pop("calls", None):
        turn |= {"target": targets_of(_expected(call, field) for call, field in calls), "scorer": "tool_call"}


def _expected(call: ToolCall, field: str) -> Row:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise DatasetError("must be the text of a JSON object, which the call is compared with", field=field)
    return {"name": call.name, "arguments": arguments}


class _Results:
    """What each function returned: the same to any arguments, or else a result for each call."""

    def __init__(self) -> None:
        self._returned: dict[str, list[tuple[Row, str]]] = {}

    def add(self, message: Message, turn: Row, field: str) -> None:
        """Add a tool message, the result of a call of this turn."""
        calls = [call for call, _ in turn.get("calls", ())]
        found = next((call for call in reversed(calls) if call.id == message.tool_call_id), None)
        found = found or (calls[0] if len(calls) == 1 and message.tool_call_id is None else None)
        if found is None:
            raise DatasetError(f"a tool message that belongs to no call of this turn {_AGAIN}", field=field)
        result = read_as(text_only, list(message.parts), f"{field}.content") if message.parts else message.content
        arguments = _expected(found, f"{field}, the call of this result")["arguments"]
        returned = self._returned.setdefault(found.name, [])
        if any(same(arguments, earlier) and result != other for earlier, other in returned):
            problem = f"is another result than before of the same call of {found.name}: split the row, or give the "
            raise DatasetError(f"{problem}function itself in Python (tools=)", field=field)
        returned.append((arguments, result or ""))

    @property
    def by_name(self) -> Row:
        """As ``tool_results`` of a native row."""
        return {name: _as_stored(returned) for name, returned in self._returned.items()}


def _as_stored(returned: list[tuple[Row, str]]) -> Any:
    if len({result for _, result in returned}) == 1:
        return returned[0][1]
    listed: list[Row] = []
    for arguments, result in returned:
        if not any(same(arguments, one["arguments"]) for one in listed):
            listed.append({"arguments": arguments, "result": result})
    return {BY_ARGUMENTS: listed}
