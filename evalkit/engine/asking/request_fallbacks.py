"""Fallbacks for requests that an endpoint does not accept: found once, then used for the rest of the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.conversation import Message
from evalkit.record import CALL_NOT_DEMANDED, NO_TOOL_ROUNDS, Failure

DEMANDS = frozenset({"tool_choice", "function_call"})  # parameters that demand a call: today's and its predecessor
_REFUSED = (400, 422)
_SHORTEST = 3  # messages of a tool round; a history with a finished round is longer

_Demand = tuple[str, str]  # a parameter, and the form of its value


@dataclass(slots=True)
class RequestFallbacks:
    """What requests leave out for an endpoint that refuses demanded calls, or the tool rounds of earlier turns.

    Attributes
    ----------
    refused : set of (str, str)
        Demands that it refused: the model then decides whether to call (``auto``).
    no_rounds : bool
        Finished tool rounds are left out of the history; their final answers stay.
    """

    refused: set[_Demand] = field(default_factory=set)
    no_rounds: bool = False
    _accepts_rounds: bool = False  # it has answered a request with one in its history

    def params(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, without demands that the endpoint refused."""
        if not self.refused:
            return params
        return {name: "auto" if (name, _form(value)) in self.refused else value for name, value in params.items()}

    def history(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages, without finished tool rounds if the endpoint refused them."""
        return without_rounds(messages) if self.no_rounds else messages

    def flags(self, params: Mapping[str, Any], messages: Sequence[Message], sent: Sequence[Message]) -> tuple[str, ...]:
        """Flags for how the request sent differs from these parameters and messages."""
        if not self.refused and len(sent) == len(messages):  # nearly always
            return ()
        flags = []
        if self.refused and any((name, _form(value)) in self.refused for name, value in params.items()):
            flags.append(CALL_NOT_DEMANDED)
        if len(sent) != len(messages):
            flags.append(NO_TOOL_ROUNDS)
        return tuple(flags)

    def refuses_demand(self, params: Mapping[str, Any], failure: Failure) -> bool:
        """Whether the failure refuses a demanded call; from then on such a call is no longer demanded."""
        if failure.kind != "bad_request" or failure.http_status not in _REFUSED:
            return False
        mentioned = [name for name in DEMANDS & params.keys() if name in failure.message]
        refused = {(name, _form(params[name])) for name in mentioned if params[name] not in (None, "auto", "none")}
        self.refused |= refused
        return bool(refused)

    def may_refuse_rounds(self, sent: Sequence[Message], failure: Failure) -> bool:
        """Whether finished tool rounds in these messages may be the cause: then the request is tried once without them.

        Without a stream the error names the cause, the order of roles. A stream just ends.
        """
        if self._accepts_rounds or failure.http_status is None or len(without_rounds(sent)) == len(sent):
            return False
        unexplained = failure.http_status == 200 and failure.code is None and failure.kind in ("empty", "connection")
        explained = failure.kind in ("bad_request", "server") and "role" in failure.message.lower()
        return unexplained or explained

    def note_answer(self, messages: Sequence[Message], sent: Sequence[Message]) -> None:
        """Learn from an answer whether the endpoint accepts tool rounds."""
        if len(sent) != len(messages):
            self.no_rounds = True
        elif not self._accepts_rounds and len(sent) > _SHORTEST and len(without_rounds(sent)) != len(sent):
            self._accepts_rounds = True


def without_rounds(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages without calls and results of earlier turns; those of the last turn stay."""
    if not any(message.role == "tool" for message in messages):
        return messages
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    earlier = [message for message in messages[:last] if message.role != "tool" and not message.tool_calls]
    return [*earlier, *messages[last:]]


def _form(value: Any) -> str:
    """The form of a demand: an endpoint that refuses one function name refuses all, but perhaps not ``required``."""
    return value if isinstance(value, str) else "a name"
