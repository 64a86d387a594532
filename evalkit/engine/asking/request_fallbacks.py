"""What an endpoint has turned out not to take: how it is asked then, found once and kept for the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.conversation import Message
from evalkit.record import CALL_NOT_DEMANDED, NO_TOOL_ROUNDS, Failure

DEMANDS = frozenset({"tool_choice", "function_call"})  # parameters, today's and the one before, that ask for a call
_REFUSED = (400, 422)
_SHORTEST = 3  # messages of a tool round: with the next question there are more

_Form = tuple[str, str]  # a parameter, and a word for what it demanded


@dataclass(slots=True)
class Concessions:
    """How an endpoint is asked that refuses demanded calls, or the tool rounds of earlier turns.

    Attributes
    ----------
    refused : set of (str, str)
        Demands that it refused: a call is left to the model then (``auto``).
    no_rounds : bool
        Finished tool rounds are left out of the history; their final answers stay.
    """

    refused: set[_Form] = field(default_factory=set)
    no_rounds: bool = False
    _takes_rounds: bool = False  # it has answered with one in the history

    def params(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, without a demand that it refused."""
        if not self.refused:
            return params
        return {name: "auto" if (name, _form(value)) in self.refused else value for name, value in params.items()}

    def history(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages, without finished tool rounds if it refused these."""
        return without_rounds(messages) if self.no_rounds else messages

    def flags(self, params: Mapping[str, Any], messages: Sequence[Message], sent: Sequence[Message]) -> tuple[str, ...]:
        """What is asked in another way of a turn with these parameters and messages."""
        if not self.refused and len(sent) == len(messages):  # nearly always
            return ()
        found = []
        if self.refused and any((name, _form(value)) in self.refused for name, value in params.items()):
            found.append(CALL_NOT_DEMANDED)
        if len(sent) != len(messages):
            found.append(NO_TOOL_ROUNDS)
        return tuple(found)

    def refuses_demand(self, params: Mapping[str, Any], failure: Failure) -> bool:
        """Whether the failure is the refusal of a call that was demanded; from then on it is demanded no more."""
        if failure.kind != "bad_request" or failure.http_status not in _REFUSED:
            return False
        named = [name for name in DEMANDS & params.keys() if name in failure.message]
        found = {(name, _form(params[name])) for name in named if params[name] not in (None, "auto", "none")}
        self.refused |= found
        return bool(found)

    def may_refuse_rounds(self, sent: Sequence[Message], failure: Failure) -> bool:
        """Whether the finished tool rounds of these messages may be why it failed, so that they are left out once.

        An answer that is no stream names the cause: the order of roles. A stream just ends.
        """
        if self._takes_rounds or failure.http_status is None or len(without_rounds(sent)) == len(sent):
            return False
        hidden = failure.http_status == 200 and failure.code is None and failure.kind in ("empty", "connection")
        named = failure.kind in ("bad_request", "server") and "role" in failure.message.lower()
        return hidden or named

    def note_answer(self, messages: Sequence[Message], sent: Sequence[Message]) -> None:
        """It has answered: a guess about tool rounds is settled."""
        if len(sent) != len(messages):
            self.no_rounds = True
        elif not self._takes_rounds and len(sent) > _SHORTEST and len(without_rounds(sent)) != len(sent):
            self._takes_rounds = True


def without_rounds(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages without the calls and results of earlier turns; the last turn's own stay."""
    if not any(message.role == "tool" for message in messages):
        return messages
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    earlier = [message for message in messages[:last] if message.role != "tool" and not message.tool_calls]
    return [*earlier, *messages[last:]]


def _form(value: Any) -> str:
    """A word for a demand: an endpoint that refuses one name refuses all, but not ``required`` with them."""
    return value if isinstance(value, str) else "a name"
