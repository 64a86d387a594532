"""Conversations: the content of a dataset row, and the messages made from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

HISTORY_POLICIES = ("own", "golden")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ToolCall(NamedTuple):
    """One function call requested by a model; ``arguments`` is the JSON text as received, not parsed."""

    name: str
    arguments: str
    id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The call as an assistant message contains it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class Message(NamedTuple):
    """One chat message; ``content`` is None only in a message with tool calls."""

    role: str
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The message in the form of the request body."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.to_json() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


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
        The text of the user message.
    target : any JSON value, optional
        What a scorer compares the answer with; None: the turn is not scored.
    scorer : ScorerSpec, optional
        None: the run's scorer, or the default for the target's type.
    assistant : str, optional
        The golden answer, seen by later turns under ``history="golden"``.
    """

    user: str
    target: Any = None
    scorer: ScorerSpec | None = None
    assistant: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The turn as a dataset row holds it."""
        row: dict[str, Any] = {"user": self.user}
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
        Function name to the JSON value or text returned when the model calls it. Without one the turn ends at the
        call.
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
    def canonical(self) -> bytes:
        """The row as canonical JSON: equal content gives equal bytes, whatever the layout of the file."""
        return canonical(self.to_json())

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the canonical row."""
        return hashlib.sha256(self.canonical).hexdigest()

    def opening(self) -> list[Message]:
        """The messages before the first turn: system prompt, then context."""
        system = [] if self.system is None else [Message("system", self.system)]
        return [*system, *self.context]
