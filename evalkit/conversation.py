"""Conversations: the content of a dataset row, and the messages made from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

HISTORY_POLICIES = ("own", "golden")
INSTRUCTION_ROLES = ("system", "developer")  # of messages that instruct the model
FUNCTION = "function"  # the key of a call with its name and arguments
BY_ARGUMENTS = "$by_arguments"  # the key of results of a function that depend on its arguments
_MESSAGE_KEYS = frozenset({"role", "content", "tool_calls", "tool_call_id", "name"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ToolCall(NamedTuple):
    """One function call requested by a model.

    Parameters
    ----------
    name : str
    arguments : str
        The JSON text as received, not parsed.
    id : str or None
    extra : mapping or None
        Keys of the call that the API does not define, such as signatures; those inside its ``function`` are under that
        key. The endpoint may demand them back.
    """

    name: str
    arguments: str
    id: str | None = None
    extra: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The call as an assistant message contains it."""
        call: dict[str, Any] = {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }
        if self.extra:
            call["function"] |= self.extra.get(FUNCTION, {})
            call |= {key: value for key, value in self.extra.items() if key != FUNCTION}
        return call

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ToolCall:
        """The call from the object that ``to_json`` returned."""
        function = value[FUNCTION]
        extra = {key: part for key, part in value.items() if key not in ("id", "type", "index", FUNCTION)}
        inside = {key: part for key, part in function.items() if key not in ("name", "arguments")}
        if inside:
            extra[FUNCTION] = inside
        return cls(function["name"], function["arguments"], value.get("id"), extra or None)


class Message(NamedTuple):
    """One chat message.

    Parameters
    ----------
    role : str
    content : str or None
        Its text; None only in a message with tool calls.
    tool_calls : tuple of ToolCall
    tool_call_id : str or None
        Of a result: the call it belongs to.
    parts : tuple of mapping
        Content parts in the form of the request body, such as text and images. If there are any, they are sent in
        place of the text.
    name : str or None
        Of a result: the function that returned it.
    extra : mapping or None
        Keys of a model's message that the API does not define, such as the reasoning of a call.
    """

    role: str
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[Mapping[str, Any], ...] = ()
    name: str | None = None
    extra: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The message as a row or a run file holds it."""
        message: dict[str, Any] = {"role": self.role, "content": list(self.parts) if self.parts else self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.to_json() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        if self.extra:
            message |= self.extra
        return message

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Message:
        """The message from the object that ``to_json`` returned."""
        calls = tuple(map(ToolCall.from_json, value.get("tool_calls") or ()))
        extra = {key: part for key, part in value.items() if key not in _MESSAGE_KEYS}
        call_id, name = value.get("tool_call_id"), value.get("name")
        return cls(value["role"], value["content"], calls, call_id, name=name, extra=extra or None)


def stored_result(results: Mapping[str, Any], call: ToolCall) -> tuple[bool, Any]:
    """Whether a conversation's ``tool_results`` have one for a call, and which."""
    found = results.get(call.name)
    if not isinstance(found, Mapping) or BY_ARGUMENTS not in found:
        return call.name in results, found
    try:
        arguments = canonical(orjson.loads(call.arguments or "{}"))
    except orjson.JSONDecodeError:
        return False, None
    each = (one for one in found[BY_ARGUMENTS] if canonical(one["arguments"]) == arguments)
    one = next(each, None)
    return one is not None, one and one["result"]


def with_names(messages: Sequence[Message]) -> list[Message]:
    """The messages, with the name of its function in each result that lacks it: some endpoints demand it."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [
        message._replace(name=names.get(message.tool_call_id))
        if message.role == "tool" and message.name is None
        else message
        for message in messages
    ]


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A scorer by name, with its options; data only, never code.

    Parameters
    ----------
    name : str
    options : mapping
    weight : float
        Above 0; matters only next to other scorers.
    parts : tuple of ScorerSpec
        Several scorers whose weighted mean is the score: see ``several``. Empty: a single scorer.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    parts: tuple[ScorerSpec, ...] = ()

    @classmethod
    def several(cls, parts: Sequence[ScorerSpec]) -> ScorerSpec:
        """Several scorers as one, named after all of them: ``number+length``."""
        return cls("+".join(part.name for part in parts), parts=tuple(parts))

    def to_json(self) -> str | dict[str, Any] | list[Any]:
        """The short form when there are no options and no weight; a list when there are parts."""
        if self.parts:
            return [part.to_json() for part in self.parts]
        weight = {} if self.weight == 1 else {"weight": self.weight}
        return {"name": self.name, **weight, **self.options} if self.options or weight else self.name


class Turn(NamedTuple):
    """One user message and what its answer is checked against.

    Parameters
    ----------
    user : str
        The text of the user message: what scorers and judges see of it.
    target : any JSON value, optional
        What a scorer compares the answer with; None: the turn is not scored.
    scorer : ScorerSpec, optional
        None: the run's scorer, or the default for the target's type.
    assistant : str, optional
        The golden answer, seen by later turns under ``history="golden"``.
    parts : tuple of mapping
        Content parts that are sent in place of the text, in the form of the request body.
    """

    user: str
    target: Any = None
    scorer: ScorerSpec | None = None
    assistant: str | None = None
    parts: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The turn as a dataset row holds it."""
        row: dict[str, Any] = {"user": list(self.parts) if self.parts else self.user}
        if self.target is not None:
            row["target"] = self.target
        if self.scorer is not None:
            row["scorer"] = self.scorer.to_json()
        if self.assistant is not None:
            row["assistant"] = self.assistant
        return row


def canonical(row: Mapping[str, Any]) -> bytes:
    """A row as canonical JSON: equal content gives equal bytes."""
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)


class Conversation(NamedTuple):
    """One row of a dataset.

    Parameters
    ----------
    id : str
        Unique in its dataset.
    turns : tuple of Turn
        At least one.
    system : str, optional
        System prompt, the first message of every request.
    context : tuple of Message
        Fixed messages between the system prompt and the first turn.
    tools : tuple of mapping
        Function tools in the form of the request body.
    tool_results : mapping
        Function name to the JSON value or text returned when the model calls it, or to ``{"$by_arguments": […]}``, a
        list of ``{"arguments": {…}, "result": …}``. A turn ends at a call that has no result.
    params : mapping
        Request parameters of this conversation only; they override those of the endpoint.
    tags : tuple of str
        Labels to group results by.
    group : str, optional
        Cluster for statistics; None: the conversation is a cluster of its own.
    meta : mapping
        Stored, never sent.
    """

    id: str
    turns: tuple[Turn, ...]
    system: str | None = None
    context: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_results: Mapping[str, Any] = _NOTHING
    params: Mapping[str, Any] = _NOTHING
    tags: tuple[str, ...] = ()
    group: str | None = None
    meta: Mapping[str, Any] = _NOTHING

    def to_json(self) -> dict[str, Any]:
        """The row; ``datasets.reader.parse_row`` makes an equal conversation from it."""
        row: dict[str, Any] = {"id": self.id}
        if self.system is not None:
            row["system"] = self.system
        if self.context:
            row["context"] = [message.to_json() for message in self.context]
        if self.tools:
            row["tools"] = [dict(tool) for tool in self.tools]
        if self.tool_results:
            row["tool_results"] = dict(self.tool_results)
        if self.params:
            row["params"] = dict(self.params)
        if self.meta:
            row["meta"] = dict(self.meta)
        if self.tags:
            row["tags"] = list(self.tags)
        if self.group is not None:
            row["group"] = self.group
        row["turns"] = [turn.to_json() for turn in self.turns]
        return row

    @property
    def has_parts(self) -> bool:
        """Whether a message of it is more than text."""
        for turn in self.turns:
            if turn.parts:
                return True
        return bool(self.context) and any(message.parts for message in self.context)

    @property
    def canonical(self) -> bytes:
        """The row as canonical JSON: equal content gives equal bytes, whatever the layout of the file."""
        return canonical(self.to_json())

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the canonical row."""
        return hashlib.sha256(self.canonical).hexdigest()

    def with_system(self, text: str | None) -> Conversation:
        """The conversation with this system prompt, or none, in place of all instructions that it begins with.

        These are its own system prompt, and the system and developer messages at the start of its context.
        """
        context = tuple(dropwhile(lambda message: message.role in INSTRUCTION_ROLES, self.context))
        return self._replace(system=text or None, context=context)

    def opening(self) -> list[Message]:
        """The messages before the first turn: system prompt, then context."""
        system = [] if self.system is None else [Message("system", self.system)]
        return [*system, *with_names(self.context)] if self.context else system
