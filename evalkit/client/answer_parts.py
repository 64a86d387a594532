"""The parts of an answer, accumulated from the deltas of a stream or read from a whole message."""

from __future__ import annotations

from typing import Any

import orjson

from evalkit.client import call_extras, finish_reasons, token_counts
from evalkit.client.call_extras import CALL_KEYS, FUNCTION_KEYS, MESSAGE_KEYS, Extras
from evalkit.client.error_events import error_beside_choices, reported_error
from evalkit.client.logprobs import Logprobs
from evalkit.client.message_parts import (
    REASONING_FIELDS,
    content_parts,
    is_thought,
    joined,
    message_without_choice,
    only_text,
    reasoning_beside,
)
from evalkit.conversation import ToolCall
from evalkit.record import Answer, Usage

NOTHING, HIDDEN, VISIBLE = 0, 1, 2  # content of a delta: no token, reasoning only, something a user sees
_TEXTS = ("content", "reasoning", "refusal")
_PLAIN = {"role", "content"}  # keys of a message that is text and nothing else
# keys under which an event with choices may report an error
_ERROR_FIELDS = frozenset(
    ("error", "errors", "fault", "base_resp", "x_groq", "code", "error_code", "error_msg", "error_message", "success")
)
# keys of an event without choices that holds token counts and nothing else
_COUNTS = {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "timings"}
# meanings of a provider's finish reason that a gateway may translate to "stop"
_WORSE = (finish_reasons.LENGTH, finish_reasons.FILTERED, finish_reasons.FAILED)
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
        The last one received, or the first that reports a failure; ``length`` and ``content_filter`` in these words.
    own_finish_reason : str or None
        The endpoint's own word, if it is another.
    finish_detail : str
        The text beside a finish reason that is an object.
    error : any JSON value
        The error that an event or a whole answer reports; None: there is none.
    memory_bytes : int
        Estimated memory of the parts.
    logprobs : Logprobs or None
        Set to keep the log probabilities of tokens; None: they are not kept.
    counts : TokenCounts
    textless : list of int
        For each token-bearing event without text: how many pieces of text were received before it.
    """

    finish_detail = ""
    _function_call: _Call | None = None
    _round = 0

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.finish_reason: str | None = None
        self.own_finish_reason: str | None = None
        self.error: Any = None
        self.memory_bytes = 0
        self.logprobs: Logprobs | None = None
        self.counts = token_counts.TokenCounts()
        self.textless: list[int] = []
        self._whole_text: str | None = None
        self._extras: Extras | None = None
        self._message_lengths: dict[str, int] = {}
        self._calls: list[_Call] = []
        self._by_index: dict[int | None, _Call] = {}
        self._by_id: dict[tuple[int | None, str], _Call] = {}

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
        choices = event.get("choices")
        usage = event.get("usage")
        counted = type(usage) is dict and usage and self.counts.add(usage)
        if not counted and not token_counts.ELSEWHERE.isdisjoint(event):
            self.counts.add_elsewhere(event)
        if choices is None or choices == []:
            if "choices" not in event or not event.keys() <= _COUNTS:
                answered = part == "delta" and (self.finish_reason is not None or (choices == [] and bool(usage)))
                self.error = reported_error(event, answered=answered)
            if self.error is None and (message := message_without_choice(event)) is not None:
                self._note_end(event)
                return self._add_delta(message, whole=part == "message")
            if part == "message" and self.error is None and "choices" not in event:
                raise NotAnAnswer("without choices")
            return NOTHING
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise NotAnAnswer("whose choices are not a list of objects")
        # the first in the list, whatever its index: some endpoints count the chunks with it
        choice = choices[0]
        reason = choice.get("finish_reason")
        if reason == "stop" and self.finish_reason is None and "native_finish_reason" not in choice:
            self.finish_reason = reason  # nearly always
        elif reason:
            self._add_finish_reason(reason, choice.get("native_finish_reason"))
        if type(usage := choice.get("usage")) is dict:
            self.counts.add(usage)
        if not _ERROR_FIELDS.isdisjoint(event):
            self.error = error_beside_choices(event)
        if choice.get("error"):
            self.error = self.error or error_beside_choices(choice)
        if self.logprobs is not None:
            self.memory_bytes += self.logprobs.add(choice, part)
        kind = self._add_delta(choice.get(part), whole=part == "message")
        if kind or ("text" not in choice and ("message" if part == "delta" else "delta") not in choice):
            return kind
        return self._add_in_place(choice, part)

    def usage(self) -> Usage | None:
        """Token counts as reported: of each the last value that was not null, never a sum."""
        usage = self.counts.usage()
        return None if self.counts.has_only_zeros() and not self.empty else usage

    def _add_finish_reason(self, reason: Any, native: Any) -> None:
        """Note a finish reason; ``native`` is the word of the provider behind a gateway, which translates it."""
        if isinstance(reason, dict):
            self.finish_detail = _text_or_empty(reason.get("message"))
            reason = reason.get("type")
        if not isinstance(reason, str) or (meaning := finish_reasons.meaning(reason)) == finish_reasons.NONE:
            return
        if meaning == finish_reasons.ENDED and isinstance(native, str) and finish_reasons.meaning(native) in _WORSE:
            reason = native
        earlier = self.finish_reason
        if earlier is not None and earlier != reason and finish_reasons.meaning(earlier) == finish_reasons.FAILED:
            return
        self.finish_reason = finish_reasons.standard(reason)
        self.own_finish_reason = None if self.finish_reason == reason else reason

    def _note_end(self, event: dict[str, Any]) -> None:
        """Note the end of an answer of Ollama's own form."""
        if event.get("done") is True:
            reason = event.get("done_reason")
            self._add_finish_reason(reason if isinstance(reason, str) and reason else "stop", None)

    def _add_in_place(self, choice: dict[str, Any], part: str) -> int:
        """Add what stands in place of a delta, or of a message, that brought nothing."""
        other = choice.get("message" if part == "delta" else "delta")
        if isinstance(text := choice.get("text"), str) and text:
            return self._add_delta({"content": text}, whole=part == "message")
        if not isinstance(other, dict):
            return NOTHING
        return self._add_delta(self._news(other) if part == "delta" else other, whole=True)

    def _news(self, message: dict[str, Any]) -> dict[str, Any]:
        """What a message in a stream adds: nothing to what deltas brought, else what follows the messages before it.

        Some endpoints send a piece with each message, others all of the text so far, or all of it again at the end.
        """
        news: dict[str, Any] = {}
        lengths = self._message_lengths
        for name, pieces, piece in zip(_TEXTS, (self.text, self.reasoning, self.refusal), _read(message), strict=True):
            if pieces and name not in lengths:
                continue
            length = lengths.get(name, 0)
            if pieces and len(piece) >= length and piece.startswith(known := "".join(pieces)):
                alike = len(piece) == len(known)
                # a single piece may follow itself, as a digit does
                piece = piece if alike and len(pieces) == 1 and self.finish_reason is None else piece[len(known) :]
            if piece:
                lengths[name] = length + len(piece)
                news[name] = piece
        if not self._calls:
            news |= {name: message[name] for name in ("tool_calls", "function_call") if message.get(name)}
        return news

    def _add_delta(self, delta: Any, whole: bool) -> int:
        if delta is None:
            return NOTHING
        if not isinstance(delta, dict):
            raise NotAnAnswer(f"whose {'message' if whole else 'delta'} is {_type_name(delta)}")
        if type(content := delta.get("content")) is str and content and delta.keys() <= _PLAIN:  # nearly always
            self.text.append(content)
            self.memory_bytes += len(content) + PIECE_COST
            return VISIBLE
        calls = delta.get("tool_calls")
        name, twin = ("", "") if calls else only_text(delta)
        if name:
            text = delta[name]
            if name == "content":
                self.text.append(text)
                self.memory_bytes += len(text) + PIECE_COST
                return VISIBLE
            self.textless.append(len(self.text))
            self.reasoning.append(text)
            self._extras = extras = self._extras or Extras()
            self.memory_bytes += len(text) + PIECE_COST + extras.add_reasoning(name, text)
            if twin:
                self.memory_bytes += extras.add_reasoning(twin, text)
            return HIDDEN
        content, reasoning, refusal = _read(delta)
        visible = bool(content or refusal)
        before = len(self.text)
        for pieces, piece in ((self.text, content), (self.reasoning, reasoning), (self.refusal, refusal)):
            if piece:
                pieces.append(piece)
                self.memory_bytes += len(piece) + PIECE_COST
        if calls:
            visible = self._add_tool_calls(calls, whole) or visible
        if function := delta.get("function_call"):
            visible = self._add_function_call(function) or visible
        if not delta.keys() <= MESSAGE_KEYS and (extra := call_extras.of_message(delta)):
            self._extras = self._extras or Extras()
            self.memory_bytes += self._extras.add(extra)
        kind = VISIBLE if visible else HIDDEN if reasoning else NOTHING
        if kind and not content:
            self.textless.append(before)
        return kind

    @property
    def empty(self) -> bool:
        """Whether no text, reasoning, refusal or call was received."""
        return not (self.text or self.reasoning or self.refusal or self._calls)

    @property
    def has_calls(self) -> bool:
        """Whether a call was received."""
        return bool(self._calls)

    def shorten(self, limit: int) -> None:
        """Keep the first ``limit`` characters of text, reasoning and refusal, and no call: they may be incomplete."""
        self._whole_text = None
        for pieces in (self.text, self.reasoning, self.refusal):
            _shorten(pieces, limit)
        for calls in (self._calls, self._by_index, self._by_id):
            calls.clear()

    def whole_text(self) -> str:
        """The text so far; joined once, when the answer has ended."""
        if self._whole_text is None:
            self._whole_text = joined(self.text)
        return self._whole_text

    def answer(self) -> Answer | None:
        """The answer so far; None: nothing was received."""
        reason, calls = self.finish_reason, self._calls
        text = joined(self.text) if self._whole_text is None else self._whole_text
        reasoning = joined(self.reasoning) if self.reasoning else ""
        refusal = (joined(self.refusal) or None) if self.refusal else None
        if reason is None and not (text or reasoning or refusal or calls):
            return None
        return Answer(
            text,
            reasoning,
            refusal,
            tuple([call.as_tool_call() for call in calls]) if calls else (),
            reason if reason is None or reason.isascii() else joined([reason]),
            (self.logprobs.tokens or None) if self.logprobs is not None else None,
            self._extras.value() if self._extras and calls else None,
        )

    def _add_tool_calls(self, pieces: Any, whole: bool) -> bool:
        if not isinstance(pieces, list):
            raise NotAnAnswer(f"whose tool_calls are {_type_name(pieces)}")
        self._round += 1
        has_token = False
        for piece in pieces:
            if not isinstance(piece, dict):
                raise NotAnAnswer(f"with {_type_name(piece)} for a tool call")
            function = piece.get("function")
            name, arguments = _function_of(function)
            value = piece.get("index")
            index = value if type(value) is int else None
            value = piece.get("id")
            id = str(value) if isinstance(value, (str, int)) else ""
            plain = piece.keys() <= CALL_KEYS and (function is None or function.keys() <= FUNCTION_KEYS)
            extra = None if plain else call_extras.of_call(piece)
            if not (id or name or arguments):
                if extra and not whole and (call := self._by_index.get(index)) is not None:
                    self.memory_bytes += call.add_extra(extra)
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
            if extra:
                self.memory_bytes += call.add_extra(extra)
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

    __slots__ = ("arguments", "extras", "id", "name", "round")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.extras: Extras | None = None
        self.round = 0

    def add(self, name: str, arguments: str) -> int:
        if name != self.name:  # some endpoints send the whole name with every piece
            self.name += name
        if arguments:
            self.arguments.append(arguments)
        return len(name) + len(arguments) + PIECE_COST

    def add_extra(self, values: dict[str, Any]) -> int:
        self.extras = self.extras or Extras()
        return self.extras.add(values)

    def as_tool_call(self) -> ToolCall:
        extra = self.extras.value() if self.extras else None
        return ToolCall(joined([self.name]), joined(self.arguments), joined([self.id]) or None, extra)


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


def _read(delta: dict[str, Any]) -> tuple[str, str, str]:
    """Text, reasoning and refusal of a delta or a message."""
    content, reasoning = delta.get("content"), ""
    refusal = _text_or_empty(delta.get("refusal"))
    if content is None:
        content = ""
    elif not isinstance(content, str):
        if not isinstance(content, list | dict):
            raise NotAnAnswer(f"whose content is {_type_name(content)}")
        content, reasoning, refused = content_parts(content)
        refusal = refusal or refused
    if not REASONING_FIELDS.isdisjoint(delta):
        reasoning = reasoning_beside(delta, reasoning)
        if content and is_thought(delta):
            content, reasoning = "", reasoning + content
    return content, reasoning, refusal


def _text_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _shorten(pieces: list[str], limit: int) -> None:
    for place, piece in enumerate(pieces):
        if len(piece) >= limit:
            pieces[place:] = [piece[:limit]]
            return
        limit -= len(piece)


def _type_name(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
