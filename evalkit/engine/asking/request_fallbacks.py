"""Fallbacks for requests that an endpoint does not accept: found once, then used for the rest of the session."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.client.request_body import request_body
from evalkit.conversation import FUNCTION, Message, ToolCall
from evalkit.errors import REFUSED_MESSAGE_KEY, REFUSED_PARAMETER, Failure
from evalkit.record import CALL_NOT_DEMANDED, KEYS_LEFT_OUT, NO_TOOL_ROUNDS

DEMANDS = frozenset({"tool_choice", "function_call"})  # parameters that demand a call: today's and its predecessor
_REFUSED = (400, 422)
_SHORTEST = 3  # messages of a tool round
_MOST_GUESSES = 3  # of one kind that did not help, in a session: then refusals without a known cause are taken as such
_ROUNDS, _KEYS, _USAGE = "rounds", "keys", "usage"  # what a guess leaves out
_OF_ROUNDS = frozenset({_ROUNDS, _KEYS})
_OF_KEYS = (REFUSED_MESSAGE_KEY, REFUSED_PARAMETER)  # causes of refusals that may be about keys of messages

_Demand = tuple[str, str]  # a parameter, and the form of its value


@dataclass(slots=True)
class RequestFallbacks:
    """What requests leave out for an endpoint that refuses it.

    Attributes
    ----------
    refused : set of (str, str)
        Demands that it refused: the model then decides whether to call (``auto``).
    no_rounds : bool
        Finished tool rounds are left out of the history; their final answers stay.
    no_keys : set of str
        Keys of messages and calls that are left out: those that it sent itself, and ``name`` of a tool's result.
    no_usage : bool
        Token counts at the end of a stream are not requested (``stream_options``).
    """

    refused: set[_Demand] = field(default_factory=set)
    no_rounds: bool = False
    no_keys: set[str] = field(default_factory=set)
    no_usage: bool = False
    _accepted: set[str] = field(default_factory=set)  # it has answered a request with these
    _guesses: dict[str, int] = field(default_factory=dict)  # how often leaving these out was tried

    def params(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, without demands that the endpoint refused."""
        if not self.refused:
            return params
        return {name: "auto" if (name, _form(value)) in self.refused else value for name, value in params.items()}

    def history(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages, without finished tool rounds and keys if the endpoint refused them."""
        if self.no_rounds:
            messages = without_rounds(messages)
        return without_keys(messages, self.no_keys) if self.no_keys else messages

    def refuses_demand(self, params: Mapping[str, Any], failure: Failure) -> bool:
        """Whether the failure refuses a demanded call; from then on such a call is no longer demanded."""
        if not _is_refusal(failure):
            return False
        mentioned = [name for name in DEMANDS & params.keys() if name in failure.message]
        refused = {(name, _form(params[name])) for name in mentioned if params[name] not in (None, "auto", "none")}
        self.refused |= refused
        return bool(refused)

    def refuses_keys(self, sent: Sequence[Message], params: Mapping[str, Any], failure: Failure) -> bool:
        """Whether the failure refuses keys of these messages by name; from then on they are left out."""
        if not _is_refusal(failure) or failure.refused not in _OF_KEYS:
            return False
        named = {key for key in _keys_of(sent) if key not in params and _is_named(key, failure.message)}
        self.no_keys |= named
        return bool(named)

    def may_refuse_rounds(self, sent: Sequence[Message], failure: Failure) -> bool:
        """Whether finished tool rounds in these messages may be the cause: then the request is tried once without them.

        Without a stream the error names the cause, the order of roles. A stream just ends.
        """
        if _ROUNDS in self._accepted or failure.http_status is None or len(without_rounds(sent)) == len(sent):
            return False
        unexplained = failure.http_status == 200 and failure.code is None and failure.kind in ("empty", "connection")
        explained = failure.kind in ("bad_request", "server") and "role" in failure.message.lower()
        return unexplained or explained

    def may_refuse_keys(self, sent: Sequence[Message], failure: Failure) -> bool:
        """Whether keys of these messages may be the cause of a refusal that names none of them."""
        return self._may_guess(_KEYS, failure, (None, *_OF_KEYS)) and any(_keys_of(sent))

    def may_refuse_usage(self, failure: Failure) -> bool:
        """Whether ``stream_options`` may be the cause of a refusal without a known cause.

        A code in capitals names a cause; the services that send such codes ignore ``stream_options``.
        """
        return self._may_guess(_USAGE, failure, (None,)) and not (failure.code or "").isupper()

    def _may_guess(self, what: str, failure: Failure, causes: tuple[str | None, ...]) -> bool:
        return (
            what not in self._accepted
            and self._guesses.get(what, 0) < _MOST_GUESSES
            and _is_refusal(failure)
            and failure.refused in causes
        )

    def note_guess(self, what: str) -> None:
        """Count a request that is tried without something that may be the cause."""
        self._guesses[what] = self._guesses.get(what, 0) + 1

    def note_answer(self, fitted: FittedRequest) -> None:
        """Learn from an answered request what the endpoint accepts."""
        sent, guessed, accepted = fitted.sent, fitted.guessed, self._accepted
        if sent is not fitted.messages and (_ROUNDS in guessed or len(sent) != len(fitted.messages)):
            self.no_rounds = True
        if _KEYS in guessed:
            self.no_keys |= set(_keys_of(fitted.messages))
        if _USAGE in guessed:
            self.no_usage = True
        elif fitted.include_usage and _USAGE not in accepted:
            accepted.add(_USAGE)
        if len(sent) >= _SHORTEST and not accepted >= _OF_ROUNDS and any(message.role == "tool" for message in sent):
            if any(_keys_of(sent)):
                accepted.add(_KEYS)
            if len(without_rounds(sent)) != len(sent):
                accepted.add(_ROUNDS)


class FittedRequest:
    """One request, fitted step by step to what the endpoint accepts.

    Parameters
    ----------
    fallbacks : RequestFallbacks
    messages : sequence of Message
        The whole history.
    params : mapping
        Its parameters.
    stream : bool
        Request a stream.
    usage_wanted : bool
        Request token counts at the end of the stream.

    Attributes
    ----------
    sent : sequence of Message
        The history as it is sent.
    include_usage : bool
    guessed : frozenset of str
        What is left out on a guess; it is kept up if that is answered.
    """

    guessed: frozenset[str] = frozenset()
    _tried: frozenset[str] = frozenset()

    def __init__(
        self,
        fallbacks: RequestFallbacks,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        stream: bool,
        usage_wanted: bool,
    ) -> None:
        self.fallbacks = fallbacks
        self.messages = messages
        self.params = self._sent_params = params
        self.stream = stream
        self.usage_wanted = usage_wanted
        self.sent = fallbacks.history(messages)
        self.include_usage = usage_wanted and not fallbacks.no_usage

    @classmethod
    def of(
        cls,
        fallbacks: RequestFallbacks,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        *,
        stream: bool,
        round: int,
        include_usage: bool = True,
    ) -> FittedRequest:
        """The request of a tool round (0: the turn's own) with these parameters of endpoint and conversation."""
        usage_wanted = include_usage and stream and "stream_options" not in params
        if round:  # the demanded call has been made: demanding it again would prevent an answer forever
            params = {name: value for name, value in params.items() if name not in DEMANDS}
        return cls(fallbacks, messages, params, stream, usage_wanted)

    def body(self, model: str, tools: Sequence[Mapping[str, Any]]) -> bytes:
        """The body to send, with the parameters that ``params_to_send`` returned last."""
        return request_body(
            self.sent,
            model=model,
            stream=self.stream,
            params=self._sent_params,
            tools=tools,
            include_usage=self.include_usage,
        )

    def reset(self) -> None:
        """Take back what was left out on a guess, for a retry."""
        self.sent = self.fallbacks.history(self.messages)
        self.include_usage = self.usage_wanted and not self.fallbacks.no_usage
        self.guessed = frozenset()

    def params_to_send(self) -> Mapping[str, Any]:
        """The parameters, without what the endpoint has refused by now."""
        self._sent_params = self.fallbacks.params(self.params)
        return self._sent_params

    def refit(self, failure: Failure) -> bool:
        """Leave out what the failure refuses, or may refuse; False: that is nothing, or has been tried."""
        fallbacks = self.fallbacks
        if self.include_usage and refuses_stream_options(failure):
            fallbacks.no_usage, self.include_usage = True, False
        elif fallbacks.refuses_demand(self._sent_params, failure):
            pass
        elif fallbacks.refuses_keys(self.sent, self.params, failure):
            self.sent = without_keys(self.sent, fallbacks.no_keys)
        elif _ROUNDS not in self._tried and fallbacks.may_refuse_rounds(self.sent, failure):
            self.sent = without_rounds(self.sent)
            self._guess(_ROUNDS)
        elif _KEYS not in self._tried and fallbacks.may_refuse_keys(self.sent, failure):
            self.sent = without_keys(self.sent, set(_keys_of(self.sent)))
            self._guess(_KEYS)
        elif _USAGE not in self._tried and self.include_usage and fallbacks.may_refuse_usage(failure):
            self.reset()
            self.include_usage = False
            self._guess(_USAGE)
        else:
            return False
        return True

    def note_outcome(self, failure: Failure | None) -> None:
        """Take note of how an attempt ended that was sent before; None: it was good."""
        if failure is None:
            self.fallbacks.note_answer(self)
        elif not self.refit(failure):
            self.reset()

    def _guess(self, what: str) -> None:
        self.guessed |= {what}
        self._tried |= {what}
        self.fallbacks.note_guess(what)

    def flags(self, requested: Mapping[str, Any]) -> tuple[str, ...]:
        """Flags for how the request sent differs from these parameters and the messages."""
        refused, sent, messages = self.fallbacks.refused, self.sent, self.messages
        if not refused and sent is messages:  # nearly always
            return ()
        flags = []
        if refused and any((name, _form(value)) in refused for name, value in requested.items()):
            flags.append(CALL_NOT_DEMANDED)
        if len(sent) != len(messages):
            flags.append(NO_TOOL_ROUNDS)
        if sent is not messages and any(_keys_of(messages)) and set(_keys_of(messages)) != set(_keys_of(sent)):
            flags.append(KEYS_LEFT_OUT)
        return tuple(flags)


def without_rounds(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages without calls and results of earlier turns; those of the last turn stay."""
    if not any(message.role == "tool" for message in messages):
        return messages
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    earlier = [message for message in messages[:last] if message.role != "tool" and not message.tool_calls]
    return [*earlier, *messages[last:]]


def without_keys(messages: Sequence[Message], keys: set[str]) -> Sequence[Message]:
    """The messages without these keys, of the messages, of their calls and of the calls' functions."""
    return [
        message
        if message.extra is None and message.name is None and not message.tool_calls
        else message._replace(
            tool_calls=tuple(_call_without(call, keys) for call in message.tool_calls),
            name=None if "name" in keys and message.role == "tool" else message.name,
            extra=_without(message.extra, keys),
        )
        for message in messages
    ]


def _call_without(call: ToolCall, keys: set[str]) -> ToolCall:
    if call.extra is None:
        return call
    extra = {key: _without(part, keys) if key == FUNCTION else part for key, part in call.extra.items()}
    return call._replace(extra=_without(extra, keys))


def _without(extra: Mapping[str, Any] | None, keys: set[str]) -> Mapping[str, Any] | None:
    if extra is None:
        return None
    return {key: part for key, part in extra.items() if key not in keys and part is not None} or None


def _keys_of(messages: Sequence[Message]) -> Iterator[str]:
    """The keys in these messages that an endpoint may refuse; those inside a function by their own names."""
    for message in messages:
        if message.name is not None and message.role == "tool":
            yield "name"
        yield from message.extra or ()
        for call in message.tool_calls:
            for key, part in (call.extra or {}).items():
                yield from part if key == FUNCTION else (key,)


def _is_named(key: str, text: str) -> bool:
    """Whether a text names the key; ``name`` is also a word that introduces others."""
    return re.search(r"[.'\"`(\[]name\b(?! *['\"`]\w)" if key == "name" else rf"\b{re.escape(key)}\b", text) is not None


def refuses_stream_options(failure: Failure) -> bool:
    """Whether the endpoint rejected ``stream_options``, so that the request should be sent again without."""
    return failure.kind == "bad_request" and failure.http_status in (400, 422) and "stream_options" in failure.message


def _is_refusal(failure: Failure) -> bool:
    return failure.kind == "bad_request" and failure.http_status in _REFUSED


def _form(value: Any) -> str:
    """The form of a demand: an endpoint that refuses one function name refuses all, but perhaps not ``required``."""
    return value if isinstance(value, str) else "a name"
