"""The requests of a run, made again: what each attempt sent, with what its session left out for the endpoint by then.

Sessions learn from refusals what an endpoint does not accept. Here they learn it again, from the attempts in the order
of their times, by the code with which the run did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import Message
from evalkit.engine.asking.request_fallbacks import FittedRequest, RequestFallbacks
from evalkit.errors import Failure
from evalkit.runfile import kept_checkup, raised_limits, request_messages
from evalkit.runfile.finished_turn import stored_record
from evalkit.runfile.transcripts import Transcript, TranscriptTurn


class Request(NamedTuple):
    """A request before anything is left out.

    Parameters
    ----------
    messages : sequence of Message
        The whole history.
    params : mapping
        Of endpoint and conversation, without a raised token limit.
    own_params : mapping
        Those of the conversation.
    tools : sequence of mapping
    round : int
        Of tool results before it; 0: the turn's own request.
    answer : Message
        What answered it in the end.
    """

    messages: Sequence[Message]
    params: Mapping[str, Any]
    own_params: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]]
    round: int
    answer: Message

    def with_limit(self, limit: int | None) -> dict[str, Any]:
        """All parameters, in a session with this token limit; None: it has none of its own."""
        return {**raised_limits.with_limit_of(self.params, limit), **raised_limits.raised(self.own_params, limit)}


class Sent(NamedTuple):
    """A request as an attempt sent it.

    Parameters
    ----------
    request : Request
    session, number : int
        ``number``: 1 for the first try of the request.
    limit : int or None
        Token limit of the session.
    begin_ns, end_ns : int
        When the request was made, and when its answer had ended.
    failure : Failure or None
        As it was when the attempt ended.
    """

    request: Request
    session: int
    number: int
    limit: int | None
    begin_ns: int
    end_ns: int
    failure: Failure | None


class Requests:
    """The requests of a conversation, turn after turn."""

    def __init__(self, endpoint: Mapping[str, Any], settings: Mapping[str, Any], transcript: Transcript) -> None:
        self._row, self._transcript = transcript.row, transcript
        self._golden = settings.get("history", "own") == "golden"
        seed = settings.get("seed")
        self._params: Mapping[str, Any] = endpoint.get("params") or {}
        given = {} if seed is None else {"seed": seed + transcript.repeat - 1}
        self._own_params = {**given, **(self._row.get("params") or {})}
        self._messages = request_messages.opening(self._row, with_files=True)

    def rounds(self, turn: TranscriptTurn) -> list[Request]:
        """The request of each round of a turn."""
        record = self._record(turn)
        messages, rounds = [*self._messages, request_messages.question(turn, with_files=True)], list[Request]()
        last = Message("assistant", turn.answer, record.answer.tool_calls if record.answer else ())
        for message in (*record.exchange, last):
            if message.role == "assistant":
                tools = self._row.get("tools") or ()
                rounds.append(Request([*messages], self._params, self._own_params, tools, len(rounds), message))
            messages.append(message)
        return rounds

    def add(self, turn: TranscriptTurn) -> None:
        """Add a turn to what later turns see."""
        question = request_messages.question(turn, with_files=True)
        golden = [Message("assistant", turn.asked.get("assistant"))]
        self._messages += [question, *(golden if self._golden else self._record(turn).seen_later)]

    def _record(self, turn: TranscriptTurn) -> Any:
        stored = (turn.answer, turn.refusal, turn.tool_calls_json, turn.exchange_json, turn.reasoning)
        return stored_record("", self._transcript.repeat, turn.turn, *stored)


def bodies(sent: Sequence[Sent], settings: Mapping[str, Any], *, model: str) -> list[Any]:
    """The body of each attempt as a JSON value, in the order given, which is that of the tries of a request."""
    stream, no_usage = bool(settings.get("stream", True)), kept_checkup.refuses_usage(settings)
    learned: dict[int, RequestFallbacks] = {}
    fitted: dict[tuple[int, int], FittedRequest] = {}
    made: list[Any] = [None] * len(sent)
    for place, ends in _events(sent):
        one = sent[place]
        fallbacks = learned.setdefault(one.session, RequestFallbacks(no_usage=no_usage))
        key = (one.session, id(one.request))
        if ends:
            fitted[key].note_outcome(one.failure)
            continue
        if one.number == 1 or key not in fitted:
            request = one.request
            params = request.with_limit(one.limit)
            fitted[key] = FittedRequest.of(fallbacks, request.messages, params, stream=stream, round=request.round)
        fitted[key].params_to_send()
        made[place] = orjson.loads(fitted[key].body(model, one.request.tools))
    return made


def _events(sent: Iterable[Sent]) -> Iterator[tuple[int, bool]]:
    """The beginning and the end of every attempt by its place, in the order of time."""
    events = []
    for place, one in enumerate(sent):
        events.append((one.session, one.begin_ns, place, False))
        events.append((one.session, max(one.begin_ns, one.end_ns), place, True))
    return ((place, ends) for _, _, place, ends in sorted(events))
