"""Reads the body of an HTTP answer, without a socket.

The form of a body is recognised from its content rather than from its headers: server-sent events, one JSON object,
JSON objects line by line, or something that is not an answer. ``docs/metrics.md`` says which events carry tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import orjson

from evalkit.client import finish_reasons
from evalkit.client.answer_parts import NOTHING, PIECE_COST, VISIBLE, AnswerParts, NotAnAnswer
from evalkit.client.error_events import error_in_lines, error_of_another_type, text_error
from evalkit.client.first_visible import first_visible
from evalkit.client.incomplete_answer import incompleteness
from evalkit.client.json_values import begins_stream, is_object, media_type, parsed
from evalkit.client.logprobs import Logprobs
from evalkit.client.provenance import has_provenance
from evalkit.client.quoting import first_words, one_line
from evalkit.client.request_body import EMPTY
from evalkit.client.sse import EventDecoder, LineDecoder
from evalkit.errors import Failure, sent
from evalkit.record import OUTPUT_CORRECTED, UNKNOWN_FINISH_REASON, Answer, Usage
from evalkit.scorers.reading.think_block import answer_start

ANSWER_LIMIT = 64 * 2**20  # bytes held for one answer
KEPT_LIMIT = 2**20  # bytes kept of a body that is not an answer, and characters kept of a failed answer
_LEAD = b"\xef\xbb\xbf\x1e \t\r\n"  # a byte order mark, a record separator and blanks before an answer are ignored
_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")

_NOTHING_KEPT = "None of it can be read; if it happens again, check the endpoint's log."
_CHECK_URL = "Check that the base URL leads to a chat-completion endpoint."

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
    logprobs : bool
        Keep the log probabilities of tokens, which the request asked for.

    Attributes
    ----------
    streamed : bool
        Whether the body is a stream of events.
    done : bool
        Whether ``[DONE]`` was received.
    arrivals, arrival_events : list of int
        Stamp of each read with token-bearing events, and their number.
    first_visible : int or None
        Stamp of the first read with content, a refusal or a tool call; reasoning in the text is none, once the answer
        has ended: often only then is it clear what it is.
    ended_at : int
        Stamp of the read with the finish reason of a stream, or with token counts after it; 0: none was received.
        Tokens that arrive later show that the answer goes on.
    failure : Failure or None
        None after ``finish``: a good answer.
    parts : AnswerParts
        What has been received.
    provenance : mapping
        The answer, or the first event of its stream that says where it comes from; empty: none does.
    """

    _last_at = 0
    _early_reason: bool | None = None  # the finish reason came with the first token; None: not received
    _first_without_text: int | None = None
    _decoder: EventDecoder | LineDecoder  # set once the body is a stream

    def __init__(
        self,
        status: int,
        content_type: str | None,
        *,
        stream_requested: bool,
        headers: Mapping[str, str] = EMPTY,
        logprobs: bool = False,
    ) -> None:
        good = 200 <= status < 300
        self._status, self._headers = status, headers
        self._content_type = media_type(content_type) if content_type else ""
        self._stream_requested = stream_requested
        self._form = _UNKNOWN if good else _ERROR
        self._body = bytearray()
        self.parts = AnswerParts()
        if logprobs:
            self.parts.logprobs = Logprobs()
        self._may_be_lines = stream_requested
        self.streamed = good and self._content_type == "text/event-stream"
        self.done = False
        self.arrivals: list[int] = []
        self.arrival_events: list[int] = []
        self.first_visible: int | None = None
        self.ended_at = 0
        self.failure: Failure | None = None
        self.provenance: Mapping[str, Any] = EMPTY

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
        parts = self.parts
        only_text = parts.logprobs is None
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
                    and only_text
                )
            except (KeyError, IndexError, TypeError, AttributeError, orjson.JSONDecodeError):
                plain = False
            if plain:  # fast path: nearly every event of nearly every stream
                parts.text.append(content)
                added_bytes += len(content) + PIECE_COST
                tokens += 1
                if self.first_visible is None:
                    self.first_visible = at_ns
                    if not self.provenance and has_provenance(event):
                        self.provenance = event
                continue
            kind = self._event(payload, event)
            if parts.finish_reason is not None and not self.done:
                self._note_end(event, kind, at_ns, begins=not (tokens or self.arrivals))
            if kind:
                tokens += 1
                if kind == VISIBLE:
                    self._note_visible(at_ns)
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
            self.failure = _error_answers().failure_of(self._status, self._headers, bytes(self._body))
        elif form == _EVENTS:
            self._add_last_event()
        elif form == _JSON:
            self._add_whole(complete)
        elif self._body:
            self._fail_not_an_answer()
        if self.streamed and self.first_visible is not None and (start := answer_start(self.parts.whole_text())) != 0:
            self.first_visible = first_visible(
                self.parts, start, self.arrivals, self.arrival_events, self._first_without_text
            )
        if self.failure is None:
            events = sum(self.arrival_events) if self.streamed else None
            if (missing := incompleteness(self.parts, events=events, done=self.done, complete=complete)) is not None:
                self._fail(*missing)
        if self.failure is not None:
            self.parts.shorten(KEPT_LIMIT)

    @property
    def answer(self) -> Answer | None:
        """The answer so far, also of a failed exchange; None: nothing was received."""
        return self.parts.answer()

    @property
    def usage(self) -> Usage | None:
        """Token counts as reported: of each the last value that was not null, never a sum."""
        return self.parts.usage()

    @property
    def flags(self) -> tuple[str, ...]:
        """Oddities, sorted, of a finished answer; see ``Attempt.flags``."""
        flags = []
        if len(self.arrivals) == 1 and self.arrival_events[0] > 1:
            flags.append("buffered")
        if self.failure is not None:
            return tuple(flags)
        if self._stream_requested and not self.streamed:
            flags.append("json_for_stream")
        if self.streamed and not self.done and type(self._decoder) is EventDecoder:
            flags.append("no_done")
        reason = self.parts.finish_reason
        if reason is None:
            flags.append("no_finish_reason")
        elif reason != "stop" and finish_reasons.meaning(reason) == finish_reasons.UNKNOWN:
            flags.append(UNKNOWN_FINISH_REASON)
        if self.parts.counts.corrected:
            flags.append(OUTPUT_CORRECTED)
        return tuple(flags)

    def _note_end(self, event: Any, kind: int, at_ns: int, begins: bool) -> None:
        """Note when the finish reason came, or after it token counts: the last things that an answer brings.

        Some endpoints send a finish reason with every event, and some before they search and write on: one that comes
        with the first token, or that announces a call which is missing, says nothing about the end.
        """
        parts = self.parts
        if self.failure is not None or not isinstance(event, dict):
            return
        if finish_reasons.calls(parts.finish_reason) and not parts.has_calls:
            return
        brings_counts = kind == NOTHING and bool(event.get("usage"))
        if self._early_reason is None:
            self._early_reason = begins and (kind != NOTHING or not _only_ends(event))
        if self._early_reason and not brings_counts and (kind != NOTHING or not _only_ends(event)):
            return
        is_last = not self.arrivals or self.arrivals[-1] <= (self.ended_at or at_ns)
        if is_last and (brings_counts or not self.ended_at):
            self.ended_at = at_ns

    # -- the form of the body

    def _collect(self, data: bytes) -> bytes:
        """Collect bytes that are not decoded yet, and return them once they are recognised as events."""
        if self._form == _CLOSED:
            return b""
        body = self._body
        body += data
        if self._form == _UNKNOWN:
            if body[:1] == b"{" and "content-encoding" not in self._headers:  # nearly every whole answer
                self._form, self.streamed = _JSON, False
            else:
                self._body = body = body.lstrip(_LEAD)
                self._recognise(bytes(body[:64]))
            if self._form == _EVENTS:
                self._body, self._decoder = bytearray(), EventDecoder()
                return bytes(body)
        if self._form == _JSON and self._may_be_lines and b"\n" in data:
            self._may_be_lines = False
            if begins_stream(body, self._content_type):
                self._form, self.streamed, self._decoder, self._body = _EVENTS, True, LineDecoder(), bytearray()
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
            event = parsed(payload) if event is None else event
        except (ValueError, RecursionError):
            error = error_in_lines(payload) if payload[:1] == b"{" else text_error(payload)
            if error is None:
                self._fail("protocol", "sent a broken event in its stream", _CHECK_URL, first_words(payload))
                return NOTHING
            event = {"error": error}
        return NOTHING if event is None else self._add(event, "delta", payload)

    def _add(self, event: Any, part: str, raw: bytes) -> int:
        """Add an event or a whole answer that is JSON."""
        parts = self.parts
        if not self.provenance and isinstance(event, dict) and has_provenance(event):
            self.provenance = event
        try:
            kind = parts.add(event, part)
        except NotAnAnswer as clause:
            kind = NOTHING
            if parts.error is None:
                parts.error = error_of_another_type(event)
            if parts.error is None:
                self._fail("protocol", f"sent an answer {clause}", _CHECK_URL, first_words(raw))
        except RecursionError:  # in the search for an error
            kind = NOTHING
            self._fail("protocol", "sent an answer that is nested too deeply", _CHECK_URL, first_words(raw))
        if parts.error is not None:
            self._form = _CLOSED
            self.failure = _error_answers().failure_of_error(parts.error, self._status, self._headers)
        if parts.memory_bytes > ANSWER_LIMIT:
            self._fail_too_big()
        return kind

    def _add_last_event(self) -> None:
        """Add an event without its final blank line, if it is complete."""
        last = self._decoder.rest()
        if last != b"[DONE]" and not (is_object(last) if last[:1] == b"{" else text_error(last)):
            return
        kind = self._event(last)
        if kind:
            self._arrived(1, self._last_at)
        if kind == VISIBLE:
            self._note_visible(self._last_at)

    def _add_whole(self, complete: bool) -> None:
        body = bytes(self._body)
        try:
            self._add(parsed(body), "message", body)
        except (ValueError, RecursionError):
            if (error := error_in_lines(body)) is not None:
                self.failure = _error_answers().failure_of_error(error, self._status, self._headers)
            elif complete:
                self._fail("protocol", "sent broken JSON", _CHECK_URL, first_words(body))
            else:
                did = f"closed the connection in the middle of its answer, {len(body)} bytes into it"
                self._fail("truncated", did, _NOTHING_KEPT)

    def _note_visible(self, at_ns: int) -> None:
        """Note an event that a user sees; of those without text the first is kept apart."""
        parts = self.parts
        if self.first_visible is None:
            self.first_visible = at_ns
        if self._first_without_text is None and parts.textless and parts.textless[-1] == len(parts.text):
            self._first_without_text = at_ns

    def _arrived(self, tokens: int, at_ns: int) -> None:
        if self.arrivals and self.arrivals[-1] == at_ns:
            self.arrival_events[-1] += tokens
        else:
            self.arrivals.append(at_ns)
            self.arrival_events.append(tokens)

    # -- failures

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


def _error_answers() -> ModuleType:
    """Loaded when an answer fails: its many expressions take as long to compile as the rest of the client to load."""
    from evalkit.client import error_answers

    return error_answers


def _only_ends(event: dict[str, Any]) -> bool:
    """Whether an event without token brings a finish reason, and is not one that begins an answer."""
    choices = event.get("choices")
    choice = choices[0] if choices else {"finish_reason": event.get("done")}
    return bool(choice.get("finish_reason")) and not (choice.get("delta") or EMPTY).get("role")
