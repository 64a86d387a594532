"""Reads the body of an HTTP answer, without a socket.

The form of a body is recognised from its content rather than from its headers: server-sent events, one JSON object, or
something that is not an answer. ``docs/metrics.md`` says which events carry tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from evalkit.client.answer_parts import NOTHING, PIECE_COST, VISIBLE, AnswerParts, NotAnAnswer
from evalkit.client.error_answers import failure_of, failure_of_error
from evalkit.client.provenance import has_provenance
from evalkit.client.quoting import first_words, one_line
from evalkit.client.request_body import EMPTY
from evalkit.client.sse import EventDecoder
from evalkit.record import Answer, Failure, Usage, sent

ANSWER_LIMIT = 64 * 2**20  # bytes held for one answer
KEPT_LIMIT = 2**20  # bytes kept of a body that is not an answer, and characters kept of a failed answer
_LEAD = b"\xef\xbb\xbf \t\r\n"  # a byte order mark and blanks before an answer are ignored
_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")

_PART_KEPT = "The part received is kept; if it happens again, check the endpoint's log."
_NOTHING_KEPT = "None of it can be read; if it happens again, check the endpoint's log."
_CHECK_LOG = "The model or its server has most likely failed: check the endpoint's log."
_CHECK_URL = "Check that the base URL leads to a chat-completion endpoint."

# finish reasons of an answer that the model ended itself
_MODEL_ENDED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})

# forms of a body
_UNKNOWN, _EVENTS, _JSON, _OTHER, _ERROR, _CLOSED = range(6)


class AnswerReader:
    """Reads the body of one HTTP answer of any form; one reader per attempt.

    It never raises for an invalid body but sets ``failure``. Stamps are passed with the bytes, which may be fed late.
    Once ``done`` or ``failure`` is set, further bytes are dropped.

    Parameters
    ----------
    status : int
        HTTP status.
    content_type : str or None
        The header as received.
    stream_requested : bool
        Whether a stream was requested.
    headers : mapping
        Names in lower case.

    Attributes
    ----------
    streamed : bool
        Whether the body is server-sent events.
    done : bool
        Whether ``[DONE]`` was received.
    arrivals, arrival_events : list of int
        Stamp of each read with token-bearing events, and their number.
    first_visible : int or None
        Stamp of the first read with content, a refusal or a tool call.
    failure : Failure or None
        None after ``finish``: a good answer.
    """

    def __init__(
        self,
        status: int,
        content_type: str | None,
        *,
        stream_requested: bool,
        headers: Mapping[str, str] = EMPTY,
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
        """Add the body bytes of one read.

        Parameters
        ----------
        data : bytes
            Without HTTP framing.
        at_ns : int
            When the read returned; bytes with the same stamp count as one read.
        """
        if self._form != _EVENTS:
            data = self._collect(data)
            if not data:
                return
        tokens = added_bytes = 0
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
            if plain:  # fast path: nearly every event of nearly every stream
                parts.text.append(content)
                added_bytes += len(content) + PIECE_COST
                tokens += 1
                if self.first_visible is None:
                    self.first_visible = at_ns
                    if self._provenance is None and has_provenance(event):
                        self._provenance = event
                continue
            kind = self._event(payload, event)
            if kind:
                tokens += 1
                if kind == VISIBLE and self.first_visible is None:
                    self.first_visible = at_ns
            if self._form == _CLOSED:
                break
        if tokens:
            self._arrived(tokens, at_ns)
            parts.memory_bytes += added_bytes
            if parts.memory_bytes > ANSWER_LIMIT and self._form != _CLOSED:
                self._fail_too_big()
        if self._decoder.held:
            self._last_at = at_ns
            if self._decoder.held > ANSWER_LIMIT:
                self._fail_too_big()

    def finish(self, *, complete: bool) -> None:
        """End the answer and determine whether it is a good one.

        Parameters
        ----------
        complete : bool
            Whether the whole body was received, by the HTTP framing; False: the connection was closed early.
        """
        form, self._form = self._form, _CLOSED
        if form == _ERROR:
            self.failure = failure_of(self._status, self._headers, bytes(self._body))
        elif form == _EVENTS:
            self._add_last_event()
        elif form == _JSON:
            self._add_whole(complete)
        elif self._body:
            self._fail_not_an_answer()
        if self.failure is None:
            self.failure = self._incompleteness(complete)
        if self.failure is not None:
            self._parts.shorten(KEPT_LIMIT)

    @property
    def answer(self) -> Answer | None:
        """The answer so far, also of a failed exchange; None: nothing was received."""
        return self._parts.answer()

    @property
    def usage(self) -> Usage | None:
        """Token counts as reported: of each the last value that was not null, never a sum."""
        return self._parts.usage()

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The answer, or the first event of its stream that says where it comes from; empty: none does."""
        return self._provenance or EMPTY

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

    # -- the form of the body

    def _collect(self, data: bytes) -> bytes:
        """Collect bytes that are not decoded yet, and return them once they are recognised as events."""
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
        """Set the form from the first bytes, and from the content type if they do not decide it."""
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

    # -- the content of the body

    def _event(self, payload: bytes, event: Any = None) -> int:
        """Add an event of a stream, parsed if that was possible, and return its content as ``AnswerParts.add`` does."""
        if payload.strip() == b"[DONE]":
            self.done = True
            self._form = _CLOSED
            return NOTHING
        try:
            event = _parsed(payload) if event is None else event
        except (ValueError, RecursionError):
            self._fail("protocol", "sent a broken event in its stream", _CHECK_URL, first_words(payload))
            return NOTHING
        return NOTHING if event is None else self._add(event, "delta", payload)

    def _add(self, event: Any, part: str, raw: bytes) -> int:
        """Add an event or a whole answer that is JSON."""
        parts = self._parts
        if self._provenance is None and isinstance(event, dict) and has_provenance(event):
            self._provenance = event
        try:
            kind = parts.add(event, part)
        except NotAnAnswer as clause:
            kind = NOTHING
            if parts.error is None:
                self._fail("protocol", f"sent an answer {clause}", _CHECK_URL, first_words(raw))
        if parts.error is not None:
            self._form = _CLOSED
            self.failure = failure_of_error(parts.error, self._status, self._headers)
        if parts.memory_bytes > ANSWER_LIMIT:
            self._fail_too_big()
        return kind

    def _add_last_event(self) -> None:
        """Add an event without its final blank line, if it is complete."""
        last = self._decoder.rest()
        if last != b"[DONE]" and not _is_object(last):
            return
        kind = self._event(last)
        if kind:
            self._arrived(1, self._last_at)
        if kind == VISIBLE and self.first_visible is None:
            self.first_visible = self._last_at

    def _add_whole(self, complete: bool) -> None:
        body = bytes(self._body)
        try:
            self._add(_parsed(body), "message", body)
        except (ValueError, RecursionError):
            if complete:
                self._fail("protocol", "sent broken JSON", _CHECK_URL, first_words(body))
            else:
                did = f"closed the connection in the middle of its answer, {len(body)} bytes into it"
                self._fail("truncated", did, _NOTHING_KEPT)

    def _arrived(self, tokens: int, at_ns: int) -> None:
        if self.arrivals and self.arrivals[-1] == at_ns:
            self.arrival_events[-1] += tokens
        else:
            self.arrivals.append(at_ns)
            self.arrival_events.append(tokens)

    # -- failures

    def _incompleteness(self, complete: bool) -> Failure | None:
        """What a readable answer lacks; None: nothing."""
        reason = self._parts.finish_reason
        ended = self.done or reason is not None
        if not self._parts.empty:
            if self.streamed and not ended:
                count = sum(self.arrival_events)
                did = f"broke off its stream after {count} event{'s' * (count != 1)} with tokens"
                self._fail("truncated", f"{did}, with neither a finish reason nor [DONE]", _PART_KEPT)
        elif reason == "length":
            advice = "Raise max_tokens or shorten the conversation."
            self._fail("empty", "reached its token limit before sending any text", advice, code=reason)
        elif reason == "content_filter":
            did = "withheld the whole answer because of a content filter"
            self._fail("empty", did, "Change the messages.", code=reason)
        elif self._model_ended:
            pass  # the model answered with an empty text
        elif ended or complete:
            self._fail("empty", "ended its answer without any text or tool call", _CHECK_LOG)
        else:
            self._fail("connection", "closed the connection before sending any text", _CHECK_LOG)
        return self.failure

    @property
    def _model_ended(self) -> bool:
        """Whether the model itself ended an empty answer.

        A stream must report its token count too: proxies end an interrupted stream with a ``stop`` of their own.
        """
        usage = self.usage
        counted = usage is not None and usage.output_tokens is not None
        return (self._parts.finish_reason or "").lower() in _MODEL_ENDED and (counted or not self.streamed)

    def _fail_not_an_answer(self) -> None:
        encoding = one_line(self._headers.get("content-encoding", "identity"), 80)
        content_type = one_line(self._content_type, 80)
        what = f"of type {sent(content_type)}" if content_type else "without content type"
        if encoding != "identity":
            what = f"compressed as {sent(encoding)}"
        did = f"answered with a body {what} that is neither JSON nor server-sent events"
        advice = "Check the base URL, and that no proxy or login page is in between."
        self._fail("protocol", did, advice, first_words(bytes(self._body)))

    def _fail_too_big(self) -> None:
        self._decoder = EventDecoder()
        self._body = bytearray()
        self._fail("protocol", f"sent more than {ANSWER_LIMIT >> 20} MiB for one answer", "Set max_tokens.")

    def _fail(self, kind: str, did: str, advice: str, quote: str = "", code: str | None = None) -> None:
        self._form = _CLOSED
        quoted = f': "{sent(quote)}"' if quote else ""
        message = f"The endpoint {did} (HTTP {self._status}){quoted}. {advice}"
        self.failure = Failure(kind, message, self._status, code, sent=())


def _parsed(data: bytes) -> Any:
    """Parse JSON, also with NaN, invalid UTF-8 or an unpaired surrogate, as some servers send it.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON.
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
