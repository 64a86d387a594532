"""The wire, without a socket: request bodies out, answers of every form in.

A body is read by what it holds rather than by what its headers promise: server-sent events, one JSON object,
or something that is no answer. ``docs/metrics.md`` says which events bear tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from evalkit.client.answer_parts import NOTHING, PIECE_COST, VISIBLE, AnswerParts, NotAnAnswer
from evalkit.client.error_answers import (
    failure_of,
    failure_of_error,
    plain,
    refuses_stream_options,
    retry_after_s,
    words_of,
)
from evalkit.client.provenance import is_told
from evalkit.client.request_body import NOTHING_SET
from evalkit.client.sse import EventDecoder
from evalkit.record import Answer, Failure, Usage, sent

__all__ = ["ANSWER_LIMIT", "AnswerReader", "failure_of", "refuses_stream_options", "retry_after_s"]

ANSWER_LIMIT = 64 * 2**20  # bytes held for one answer
KEPT_LIMIT = 2**20  # bytes of a body that is no answer, and characters of a failed one, that are kept
_LEAD = b"\xef\xbb\xbf \t\r\n"  # byte order mark and blanks mean nothing before an answer
_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")

_AGAIN = "The part that came is kept; if it happens again, look at the endpoint's own log."
_LOST = "None of it can be read; if it happens again, look at the endpoint's own log."
_LOG = "The model or what runs it has most likely failed: look at the endpoint's own log."
_MEND = "Check that the base URL leads to a chat-completion endpoint."

# what endpoints call it when the model ended its answer itself
_ENDED_ITSELF = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})

# forms of a body
_UNKNOWN, _EVENTS, _JSON, _OTHER, _ERROR, _CLOSED = range(6)


class AnswerReader:
    """Reads the body of one HTTP answer, whatever its form; one reader for each attempt.

    It never raises for what came: that is its ``failure``. Stamps come with the bytes, so it may be fed late.
    Once ``done`` or ``failure`` is set, further bytes are dropped.

    Parameters
    ----------
    status : int
        HTTP status.
    content_type : str or None
        The header as it came.
    stream_requested : bool
        Whether a stream was asked for.
    headers : mapping
        Names in lower case.

    Attributes
    ----------
    streamed : bool
        The body is server-sent events.
    done : bool
        ``[DONE]`` has come.
    arrivals, arrival_events : list of int
        Stamp of each read that brought token-bearing events, and how many.
    first_visible : int or None
        Stamp of the first read that brought content, a refusal or a tool call.
    failure : Failure or None
        None after ``finish``: a good answer.
    """

    def __init__(
        self,
        status: int,
        content_type: str | None,
        *,
        stream_requested: bool,
        headers: Mapping[str, str] = NOTHING_SET,
    ) -> None:
        good = 200 <= status < 300
        self._status = status
        self._headers = headers
        self._content_type = (content_type or "").partition(";")[0].strip().lower()
        self._stream_requested = stream_requested
        self._form = _UNKNOWN if good else _ERROR
        self._body = bytearray()
        self._decoder = EventDecoder()
        self._parts = AnswerParts()
        self._last_at = 0
        self._provenance: Mapping[str, Any] | None = None
        self.streamed = good and self._content_type == "text/event-stream"
        self.done = False
        self.arrivals: list[int] = []
        self.arrival_events: list[int] = []
        self.first_visible: int | None = None
        self.failure: Failure | None = None

    def feed(self, data: bytes, at_ns: int) -> None:
        """Take in body bytes of one read.

        Parameters
        ----------
        data : bytes
            After HTTP framing is taken off.
        at_ns : int
            When the read returned; feeds with the same stamp count as one read.
        """
        if self._form != _EVENTS:
            data = self._collect(data)
            if not data:
                return
        tokens = held = 0
        parts = self._parts
        for payload in self._decoder.feed(data):
            event: Any = None
            try:
                event = orjson.loads(payload)
                choice = event["choices"][0]
                delta = choice["delta"]
                content = delta["content"]
                plain = (
                    type(content) is str
                    and content
                    and (len(delta) == 1 or (len(delta) == 2 and "role" in delta))
                    and choice.get("finish_reason") is None
                    and event.get("usage") is None
                    and event.get("error") is None
                )
            except (KeyError, IndexError, TypeError, AttributeError, orjson.JSONDecodeError):
                plain = False
            if plain:  # nearly every event of nearly every stream
                parts.text.append(content)
                held += len(content) + PIECE_COST
                tokens += 1
                if self.first_visible is None:
                    self.first_visible = at_ns
                    if self._provenance is None and is_told(event):
                        self._provenance = event
                continue
            brought = self._event(payload, event)
            if brought:
                tokens += 1
                if brought == VISIBLE and self.first_visible is None:
                    self.first_visible = at_ns
            if self._form == _CLOSED:
                break
        if tokens:
            self._arrived(tokens, at_ns)
            parts.held += held
            if parts.held > ANSWER_LIMIT and self._form != _CLOSED:
                self._fail_too_big()
        if self._decoder.held:
            self._last_at = at_ns
            if self._decoder.held > ANSWER_LIMIT:
                self._fail_too_big()

    def finish(self, *, complete: bool) -> None:
        """Judge what came.

        Parameters
        ----------
        complete : bool
            The HTTP framing says that the whole body came; False: the connection was closed early.
        """
        form, self._form = self._form, _CLOSED
        if form == _ERROR:
            self.failure = failure_of(self._status, self._headers, bytes(self._body))
        elif form == _EVENTS:
            self._take_last_event()
        elif form == _JSON:
            self._take_whole(complete)
        elif self._body:
            self._fail_foreign()
        if self.failure is None:
            self.failure = self._shortcoming(complete)
        if self.failure is not None:
            self._parts.shorten(KEPT_LIMIT)

    @property
    def answer(self) -> Answer | None:
        """What came so far, also when it ended in a failure; None: nothing."""
        return self._parts.answer()

    @property
    def usage(self) -> Usage | None:
        """Token counts as told: of each the last that was not null, never a sum."""
        return self._parts.usage()

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The answer, or the first event of its stream that names where it comes from; empty: none does."""
        return self._provenance or NOTHING_SET

    @property
    def flags(self) -> tuple[str, ...]:
        """Oddities, sorted, of a finished answer; see ``Attempt.flags``."""
        flags = []
        good = self.failure is None
        if len(self.arrivals) == 1 and self.arrival_events[0] > 1:
            flags.append("buffered")
        if good and self._stream_requested and not self.streamed:
            flags.append("json_for_stream")
        if good and self.streamed and not self.done:
            flags.append("no_done")
        if good and self._parts.finish_reason is None:
            flags.append("no_finish_reason")
        return tuple(flags)

    # -- what the body is

    def _collect(self, data: bytes) -> bytes:
        """Keep bytes that are not decoded as they come; when they prove to be events, give them back."""
        if self._form == _CLOSED:
            return b""
        body = self._body
        body += data
        if self._form == _UNKNOWN:
            self._body = body = body.lstrip(_LEAD)
            self._recognise(bytes(body[:64]))
            if self._form == _EVENTS:
                self._body = bytearray()
                return bytes(body)
        if self._form == _JSON and len(body) > ANSWER_LIMIT:
            self._fail_too_big()
        elif self._form in (_ERROR, _OTHER):
            del body[KEPT_LIMIT:]
        return b""

    def _recognise(self, head: bytes) -> None:
        """Tell the form from the first bytes, and from the content type where they leave it open."""
        if not head:
            return
        if self._headers.get("content-encoding", "identity") != "identity":
            self._form = _OTHER
        elif head.startswith((b"{", b"[")):
            self._form = _JSON
        elif head.startswith(b"<"):
            self._form = _OTHER
        elif self.streamed or head.startswith(_FIELDS):
            self._form = _EVENTS
        elif not any(field.startswith(head) for field in _FIELDS):
            self._form = _JSON if self._content_type.endswith("json") else _OTHER
        self.streamed = self._form == _EVENTS or (self._form == _UNKNOWN and self.streamed)

    # -- what it holds

    def _event(self, payload: bytes, event: Any = None) -> int:
        """Take in an event of a stream, parsed if it could be; what it brought, as ``AnswerParts.take`` says it."""
        if payload.strip() == b"[DONE]":
            self.done = True
            self._form = _CLOSED
            return NOTHING
        try:
            event = _parsed(payload) if event is None else event
        except (ValueError, RecursionError):
            self._fail("protocol", "sent a broken event in its stream", _MEND, words_of(payload))
            return NOTHING
        return NOTHING if event is None else self._take(event, "delta", payload)

    def _take(self, event: Any, part: str, raw: bytes) -> int:
        """Take in an event or a whole answer that is JSON."""
        parts = self._parts
        if self._provenance is None and isinstance(event, dict) and is_told(event):
            self._provenance = event
        try:
            brought = parts.take(event, part)
        except NotAnAnswer as clause:
            brought = NOTHING
            if parts.error is None:
                self._fail("protocol", f"sent an answer {clause}", _MEND, words_of(raw))
        if parts.error is not None:
            self._form = _CLOSED
            self.failure = failure_of_error(parts.error, self._status, self._headers)
        if parts.held > ANSWER_LIMIT:
            self._fail_too_big()
        return brought

    def _take_last_event(self) -> None:
        """Take in an event whose blank line never came, if it is whole."""
        last = self._decoder.rest()
        if last != b"[DONE]" and not _is_object(last):
            return
        brought = self._event(last)
        if brought:
            self._arrived(1, self._last_at)
        if brought == VISIBLE and self.first_visible is None:
            self.first_visible = self._last_at

    def _take_whole(self, complete: bool) -> None:
        body = bytes(self._body)
        try:
            self._take(_parsed(body), "message", body)
        except (ValueError, RecursionError):
            if complete:
                self._fail("protocol", "sent broken JSON", _MEND, words_of(body))
            else:
                did = f"closed the connection in the middle of its answer, {len(body)} bytes into it"
                self._fail("truncated", did, _LOST)

    def _arrived(self, tokens: int, at_ns: int) -> None:
        if self.arrivals and self.arrivals[-1] == at_ns:
            self.arrival_events[-1] += tokens
        else:
            self.arrivals.append(at_ns)
            self.arrival_events.append(tokens)

    # -- what is wrong with it

    def _shortcoming(self, complete: bool) -> Failure | None:
        """What an answer that could be read lacks; None: nothing."""
        reason = self._parts.finish_reason
        ended = self.done or reason is not None
        if not self._parts.empty:
            if self.streamed and not ended:
                count = sum(self.arrival_events)
                did = f"broke its stream off after {count} event{'s' * (count != 1)} with tokens"
                self._fail("truncated", f"{did}, with neither a finish reason nor [DONE]", _AGAIN)
        elif reason == "length":
            advice = "Raise max_tokens or shorten the conversation."
            self._fail("empty", "reached its token limit before any text came", advice, code=reason)
        elif reason == "content_filter":
            self._fail("empty", "held the whole answer back by a content filter", "Change the messages.", code=reason)
        elif self._ended_itself:
            pass  # it chose to say nothing
        elif ended or complete:
            self._fail("empty", "ended its answer without any text or tool call", _LOG)
        else:
            self._fail("connection", "closed the connection before any text came", _LOG)
        return self.failure

    @property
    def _ended_itself(self) -> bool:
        """Whether the model is known to have ended an answer in which nothing came.

        A stream has to count its tokens too: proxies end a stream that broke off with a ``stop`` of their own.
        """
        usage = self.usage
        counted = usage is not None and usage.output_tokens is not None
        return (self._parts.finish_reason or "").lower() in _ENDED_ITSELF and (counted or not self.streamed)

    def _fail_foreign(self) -> None:
        encoding = plain(self._headers.get("content-encoding", "identity"), 80)
        content_type = plain(self._content_type, 80)
        what = f"of type {sent(content_type)}" if content_type else "without content type"
        if encoding != "identity":
            what = f"compressed as {sent(encoding)}"
        did = f"answered with a body {what} that is neither JSON nor server-sent events"
        advice = "Check the base URL, and that no proxy or login page stands in the way."
        self._fail("protocol", did, advice, words_of(bytes(self._body)))

    def _fail_too_big(self) -> None:
        self._decoder = EventDecoder()
        self._body = bytearray()
        self._fail("protocol", f"sent more than {ANSWER_LIMIT >> 20} MiB for one answer", "Set max_tokens.")

    def _fail(self, kind: str, did: str, advice: str, quote: str = "", code: str | None = None) -> None:
        self._form = _CLOSED
        said = f': "{sent(quote)}"' if quote else ""
        message = f"The endpoint {did} (HTTP {self._status}){said}. {advice}"
        self.failure = Failure(kind, message, self._status, code, sent=())


def _parsed(data: bytes) -> Any:
    """JSON, also as some servers write it: with NaN, broken UTF-8, or half of a surrogate pair.

    Raises
    ------
    ValueError, RecursionError
        It is none.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data.decode("utf-8", "replace"))


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(_parsed(data), dict)
    except (ValueError, RecursionError):
        return False
