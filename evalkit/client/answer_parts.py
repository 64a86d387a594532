"""The parts of an answer, accumulated from the deltas of a stream or read from a whole message."""

from __future__ import annotations

from typing import Any

import orjson

from evalkit.conversation import ToolCall
from evalkit.record import Answer, Usage

NOTHING, HIDDEN, VISIBLE = 0, 1, 2  # content of a delta: no token, reasoning only, something a user sees
PIECE_COST = 128  # bytes of a piece besides its characters: the object, its place in a list, its arrival


class NotAnAnswer(ValueError):
    """A part has a type that no answer has; the message is a clause that describes it."""


class AnswerParts:
    """Accumulates deltas into one answer.

    Attributes
    ----------
    text, reasoning, refusal : list of str
        The pieces received.
    finish_reason : str or None
        The last one received.
    error : any JSON value
        The error that an event or a whole answer reports; None: there is none.
    memory_bytes : int
        Estimated memory of the parts.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.finish_reason: str | None = None
        self.error: Any = None
        self.memory_bytes = 0
        self._usage: list[int | None] = [None, None, None]
        self._calls: list[_Call] = []
        self._by_index: dict[int | None, _Call] = {}
        self._by_id: dict[tuple[int | None, str], _Call] = {}
        self._function_call: _Call | None = None
        self._round = 0

    def add(self, event: Any, part: str) -> int:
        """Add an event of a stream (``part`` is ``"delta"``) or a whole answer (``"message"``).

        Returns
        -------
        int
            ``NOTHING``, ``HIDDEN`` or ``VISIBLE``.

        Raises
        ------
        NotAnAnswer
            It is not a chat completion, or a part has a type that no answer has.
        """
        if not isinstance(event, dict):
            raise NotAnAnswer(f"that is {_type_name(event)} and not an object")
        self._add_usage(event.get("usage"))
        choices = event.get("choices")
        self.error = event.get("error") or None
        if self.error is None and "choices" not in event and "message" in event:
            self.error = event
        if choices is None or choices == []:
            if part == "message" and self.error is None and "choices" not in event:
                raise NotAnAnswer("without choices")
            return NOTHING
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise NotAnAnswer("whose choices are not a list of objects")
        # the first in the list, whatever its index: some endpoints count the chunks with it
        choice = choices[0]
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            self.finish_reason = reason
        self.error = self.error or choice.get("error") or None
        return self._add_delta(choice.get(part), whole=part == "message")

    def usage(self) -> Usage | None:
        """Token counts as reported: of each the last value that was not null, never a sum."""
        return None if self._usage == [None, None, None] else Usage(*self._usage)

    def _add_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        details = usage.get("completion_tokens_details")
        reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
        for place, count in enumerate((usage.get("prompt_tokens"), usage.get("completion_tokens"), reasoning)):
            if type(count) is int and 0 <= count < 2**53:
                self._usage[place] = count

    def _add_delta(self, delta: Any, whole: bool) -> int:
        if delta is None:
            return NOTHING
        if not isinstance(delta, dict):
            raise NotAnAnswer(f"whose {'message' if whole else 'delta'} is {_type_name(delta)}")
        content = _text_of(delta.get("content"))
        # some endpoints send the same text under both names
        reasoning = _text_or_empty(delta.get("reasoning_content")) or _text_or_empty(delta.get("reasoning"))
        refusal = _text_or_empty(delta.get("refusal"))
        visible = bool(content or refusal)
        for pieces, piece in ((self.text, content), (self.reasoning, reasoning), (self.refusal, refusal)):
            if piece:
                pieces.append(piece)
                self.memory_bytes += len(piece) + PIECE_COST
        if calls := delta.get("tool_calls"):
            visible = self._add_tool_calls(calls, whole) or visible
        if function := delta.get("function_call"):
            visible = self._add_function_call(function) or visible
        return VISIBLE if visible else HIDDEN if reasoning else NOTHING

    @property
    def empty(self) -> bool:
        """Whether no text, reasoning, refusal or call was received."""
        return not (self.text or self.reasoning or self.refusal or self._calls)

    def shorten(self, limit: int) -> None:
        """Keep the first ``limit`` characters of text, reasoning and refusal, and no call: they may be incomplete."""
        for pieces in (self.text, self.reasoning, self.refusal):
            _shorten(pieces, limit)
        for calls in (self._calls, self._by_index, self._by_id):
            calls.clear()

    def answer(self) -> Answer | None:
        """The answer so far; None: nothing was received."""
        answer = Answer(
            text=_joined(self.text),
            reasoning=_joined(self.reasoning),
            refusal=_joined(self.refusal) or None,
            tool_calls=tuple(call.as_tool_call() for call in self._calls),
            finish_reason=None if self.finish_reason is None else _joined([self.finish_reason]),
        )
        return None if answer.empty and answer.finish_reason is None else answer

    def _add_tool_calls(self, pieces: Any, whole: bool) -> bool:
        if not isinstance(pieces, list):
            raise NotAnAnswer(f"whose tool_calls are {_type_name(pieces)}")
        self._round += 1
        has_token = False
        for piece in pieces:
            if not isinstance(piece, dict):
                raise NotAnAnswer(f"with {_type_name(piece)} for a tool call")
            name, arguments = _function_of(piece.get("function"))
            value = piece.get("index")
            index = value if type(value) is int else None
            value = piece.get("id")
            id = str(value) if isinstance(value, (str, int)) else ""
            if not (id or name or arguments):
                continue
            has_token = True
            call = None if whole else self._call_of(index, id, name)
            if call is None:
                call = _Call()
                self._calls.append(call)
                self.memory_bytes += PIECE_COST * 4
            call.round = self._round
            if id and not call.id:
                call.id = id
                self._by_id[index, id] = call
            self._by_index[index] = self._by_index[None] = call
            self.memory_bytes += call.add(name, arguments) + len(id)
        return has_token

    def _call_of(self, index: int | None, id: str, name: str) -> _Call | None:
        """The call that a piece continues; None: it begins a new one.

        The index alone does not decide: some endpoints give every call index 0, or none. Nor does the id alone: some
        endpoints generate a new one for every piece. A piece begins a call if it has a name, and either has another
        id, or follows arguments, or its list already contained a piece of the call.
        """
        if id and (index, id) in self._by_id:
            return self._by_id[index, id]
        call = self._by_index.get(index)
        if call is None or call.id == id != "":
            return call
        begins = name and ((id and call.id) or call.arguments or call.round == self._round)
        return None if begins else call

    def _add_function_call(self, function: Any) -> bool:
        name, arguments = _function_of(function)
        if not (name or arguments):
            return False
        if self._function_call is None:
            self._function_call = _Call()
            self._calls.append(self._function_call)
        self.memory_bytes += self._function_call.add(name, arguments)
        return True


class _Call:
    """A tool call that may be incomplete; ``round`` is the number of the last list with a piece of it."""

    __slots__ = ("arguments", "id", "name", "round")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.round = 0

    def add(self, name: str, arguments: str) -> int:
        if name != self.name:  # some endpoints send the whole name with every piece
            self.name += name
        if arguments:
            self.arguments.append(arguments)
        return len(name) + len(arguments) + PIECE_COST

    def as_tool_call(self) -> ToolCall:
        return ToolCall(_joined([self.name]), _joined(self.arguments), _joined([self.id]) or None)


def _function_of(function: Any) -> tuple[str, str]:
    """Name and arguments; arguments sent as an object become their JSON text."""
    if function is None:
        return "", ""
    if not isinstance(function, dict):
        raise NotAnAnswer(f"with {_type_name(function)} for a function")
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        try:
            arguments = orjson.dumps(arguments).decode()
        except orjson.JSONEncodeError:
            raise NotAnAnswer("with tool-call arguments that cannot be read") from None
    return _text_or_empty(function.get("name")), arguments or ""


def _text_of(content: Any) -> str:
    """Content as text; some endpoints send a list of parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise NotAnAnswer(f"whose content is {_type_name(content)}")
    return "".join(_text_or_empty(part.get("text")) for part in content if isinstance(part, dict))


def _text_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _joined(pieces: list[str]) -> str:
    """The pieces as one text; surrogate pairs split between pieces are joined, unpaired surrogates replaced."""
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _shorten(pieces: list[str], limit: int) -> None:
    for place, piece in enumerate(pieces):
        if len(piece) >= limit:
            pieces[place:] = [piece[:limit]]
            return
        limit -= len(piece)


def _type_name(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
