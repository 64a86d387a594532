"""One HTTP/1.1 connection: every read is stamped when it returns and decoded shortly after."""

from __future__ import annotations

import asyncio
import os
import re
import select
import ssl
import zlib
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns

import httptools

from evalkit.client.exchange import LEFT_OPEN, REDIRECTS, Exchange
from evalkit.client.lenient_http import LenientResponseParser, are_plain_chunks
from evalkit.record import LENIENT_HTTP

HEAD_LIMIT = 64 * 1024  # bytes of status line and headers, interim answers included

_SLICE_NS = 200_000  # longest decoding between two polls of the sockets
_BACKLOG = 2**20  # undecoded bytes of one connection above which it is decoded immediately
_TIMER_NS = 2_000_000  # a timer may fire this much early
# blanks after the size of a chunk
_PADDED = re.compile(rb"\r\n[0-9A-Fa-f]+[ \t]+(?:\r\n|;)")
_SIZE_LIMIT = 40  # bytes of a line with a size that is divided between reads
_TRUSTED_IDLE_NS = 10**9  # after a longer idle time, the socket is polled for a close by the endpoint


class SlicedWork:
    """One kind of work on all connections of a loop, in time slices; the loop polls the sockets after each.

    If reads were decoded in ``data_received``, the last of many sockets that are ready together would be stamped late,
    by the decoding time of all others. With slices all are stamped first. Requests made in one iteration of the loop
    are sent together.

    Parameters
    ----------
    work : callable
        Called with one connection.
    before : callable or None
        Called before a slice. If it raises, the exchanges of all waiting connections end with its error.
    """

    def __init__(self, work: Callable[[Connection], None], before: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._work, self._before = work, before
        self._waiting: deque[Connection] = deque()
        self._scheduled = False

    def add(self, connection: Connection) -> None:
        """Schedule the work for a connection."""
        self._waiting.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        waiting = self._waiting
        if self._before is not None:
            try:
                self._before()
            except Exception as error:
                while waiting:
                    waiting.popleft().fail(error)
        until = perf_counter_ns() + _SLICE_NS
        while waiting:
            self._work(waiting.popleft())
            if perf_counter_ns() > until:
                break
        self._scheduled = bool(waiting)
        if waiting:
            self._loop.call_soon(self._run)


class Connection(asyncio.Protocol):
    """A connection to an endpoint, for one exchange after another.

    Parameters
    ----------
    decoding, sending : SlicedWork
        Call ``decode`` and ``write``; shared by the connections of one loop.
    on_closed : callable
        Called once with this connection when it is closed.
    """

    def __init__(self, decoding: SlicedWork, sending: SlicedWork, on_closed: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._decoding, self._sending = decoding, sending
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | LenientResponseParser = httptools.HttpResponseParser(self)
        # blanks after the size of a chunk have one meaning, and may come after a part that cannot be parsed again
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        self._last = b""  # the read before, or a few that were short
        self._start: bytes | None = b""  # of an answer whose body has not started: it can be parsed again
        self._exchange: Exchange | None = None
        self._make: Callable[[], bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._reads: list[tuple[int, bytes]] = []
        self._backlog = 0
        self._body: list[bytes] = []
        self._complete = False
        self._keep = True
        self._idle_since = 0
        self._error: Exception | None = None
        self.closed = False

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of the open connection."""
        self._transport = transport  # type: ignore[assignment]
        self._idle_since = perf_counter_ns()

    def data_received(self, data: bytes) -> None:
        """Stamp a read before anything else, and schedule its decoding."""
        at = perf_counter_ns()
        if not self._reads:
            self._decoding.add(self)
        self._reads.append((at, data))
        self._backlog += len(data)
        if self._backlog > _BACKLOG:
            self.decode()

    def connection_lost(self, error: Exception | None) -> None:
        """Decode the remaining reads and end the exchange."""
        self.closed = True
        self._error = error
        self._reads.append((perf_counter_ns(), b""))
        self.decode()
        self._stop_timer()
        self._on_closed(self)

    # -- what the transport calls

    def stays_open(self) -> bool:
        """Whether the connection is kept after an exchange that has ended."""
        return self._keep and not self.closed and self._exchange is None

    @property
    def usable(self) -> bool:
        """Whether another exchange can be started."""
        transport = self._transport
        if (
            not self._keep
            or self.closed
            or self._exchange
            or self._reads
            or transport is None
            or transport.is_closing()
        ):
            return False
        if perf_counter_ns() - self._idle_since < _TRUSTED_IDLE_NS:
            return True
        # a busy loop may not have noticed a close yet; readable while idle means closed or out of sync
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def begin(self, exchange: Exchange, make: Callable[[], bytes]) -> None:
        """Schedule a request, and read its answer into ``exchange``.

        ``make`` is called when the request is written, and its result is not stored: it contains the key.
        """
        self._exchange, self._make = exchange, make
        self._complete = self._keep = False
        self._start = self._last = b""
        exchange.sent = perf_counter_ns()  # for an exchange that ends before its request is written
        self._sending.add(self)

    def write(self) -> None:
        """Write the request of the current exchange, stamped directly before."""
        assert self._transport is not None
        exchange, make, self._make = self._exchange, self._make, None
        if exchange is None or make is None:  # the exchange has ended in the meantime
            return
        try:
            request = make()
            exchange.sent = perf_counter_ns()
            if self.closed:
                self._finish(exchange, "closed", exchange.sent)
                return
            self._transport.write(request)
            self._watch(exchange)
        except Exception as error:  # a bug must fail this exchange, not the loop
            self.fail(error)

    def abort(self) -> None:
        """Close immediately; an exchange in progress ends as ``cancelled``."""
        if self._exchange is not None:
            self._finish(self._exchange, "cancelled", perf_counter_ns())
            return  # _finish has called abort again
        self._keep = False
        self._reads.clear()
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def decode(self) -> None:
        """Decode the reads received so far."""
        reads, self._reads, self._backlog = self._reads, [], 0
        for at, data in reads:
            exchange = self._exchange
            if exchange is not None:
                if data and not exchange.opened and (at < exchange.sent or self._make is not None):
                    self._finish(exchange, "closed", at)  # read before the request was sent: the connection was lost
                    continue
                try:
                    self._decode(exchange, at, data)
                except Exception as error:  # a bug must fail this exchange, not the loop
                    self.fail(error)
            elif data:  # unrequested bytes: they could not be separated from the next answer
                self.abort()

    def fail(self, error: Exception) -> None:
        """Raise an error where the answer is awaited: a bug, or an answer that could not be saved."""
        exchange, self._exchange, self._make = self._exchange, None, None
        if exchange is not None and not exchange.finished.done():
            exchange.finished.set_exception(error)
        self.abort()

    # -- one exchange

    def _decode(self, exchange: Exchange, at: int, data: bytes) -> None:
        if not data:
            whole = self._error is None and exchange.ends_with_connection
            self._finish(exchange, "complete" if whole else "closed", at, reason_of(self._error))
            return
        malformed = ""
        exchange.received += len(data)
        start = self._start
        if start is not None:
            start = self._start = start + data if len(start) < HEAD_LIMIT else None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            malformed = "it changes the protocol without a request to do so"
        except httptools.HttpParserError as error:
            self._keep = False
            # bytes after a complete answer are ignored
            malformed = "" if self._complete or self._is_readable(exchange, start) else str(error)
        if exchange.status is None:
            if malformed:
                exchange.first_bytes = (start or data)[:40]
                self._finish(exchange, "malformed", at, malformed)
            elif exchange.received > HEAD_LIMIT:
                self._finish(exchange, "oversized", at)
            return
        begins = exchange.headers_at is None
        if begins:
            exchange.headers_at = at
            exchange.chunked = "chunked" in exchange.headers.get("transfer-encoding", "").lower()
            if exchange.status not in REDIRECTS:
                exchange.open_body()
        if exchange.chunked:
            if not are_plain_chunks(data, self._body, begins):
                self._note_padding(exchange, data)
            self._last = data if len(data) > _SIZE_LIMIT else self._last[-_SIZE_LIMIT:] + data
        if self._body:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
            self._start = None
            try:
                exchange.feed(body, at)
            except zlib.error:
                malformed = "its body is not compressed as its headers say"
        if malformed:
            self._finish(exchange, "done" if exchange.settled else "malformed", at, malformed)
        elif self._complete:
            self._finish(exchange, "complete", at)
        elif exchange.end is None and exchange.settled:
            exchange.end = at
            self._watch(exchange)
        elif exchange.reader is not None and exchange.reader.ended_at:
            self._watch(exchange)

    def _note_padding(self, exchange: Exchange, data: bytes) -> None:
        """Note blanks after the size of a chunk, which the strict parser passes over."""
        if not (b" \r\n" in data or b"\t\r\n" in data or b" ;" in data or data[0] in b" \t;\r\n"):
            return
        if _PADDED.search(self._last[-_SIZE_LIMIT:] + data):
            exchange.marks = (LENIENT_HTTP,)
            self._keep = False

    def _is_readable(self, exchange: Exchange, start: bytes | None) -> bool:
        """Parse again, leniently, an answer that breaks the rules before its body has started."""
        if not start or isinstance(self._parser, LenientResponseParser):
            return False
        strict, status, headers = self._parser, exchange.status, exchange.headers
        self._parser, exchange.status, exchange.headers = LenientResponseParser(self), None, {}
        self._body.clear()
        try:
            self._parser.feed_data(start)
        except httptools.HttpParserError:
            self._parser, exchange.status, exchange.headers = strict, status, headers
            return False
        exchange.marks = (LENIENT_HTTP,)
        return True

    def _finish(self, exchange: Exchange, outcome: str, at: int, detail: str = "") -> None:
        self._idle_since = at
        exchange.end = exchange.end or at
        exchange.outcome, exchange.detail = outcome, detail
        try:
            if exchange.reader is not None:
                exchange.reader.finish(complete=outcome in ("complete", "done", LEFT_OPEN))
        except Exception as error:  # a bug must fail this exchange, not the loop
            self.fail(error)
            return
        self._exchange = None
        if not exchange.finished.done():
            exchange.finished.set_result(None)
        if outcome != "complete":
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, exchange: Exchange) -> None:
        """Set a timer for the next time limit, unless one set for an earlier exchange fires before it."""
        at, _ = exchange.next_limit()
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later((at - perf_counter_ns()) / 1e9, self._time_up)

    def _time_up(self) -> None:
        self._timer = None
        self.decode()
        exchange = self._exchange
        if exchange is None:
            return
        now = perf_counter_ns()
        at, outcome = exchange.next_limit()
        if now >= at - _TIMER_NS:
            if outcome == LEFT_OPEN and exchange.reader is not None:
                exchange.marks = (*exchange.marks, LEFT_OPEN)
                now = exchange.reader.ended_at  # the time waited for more is not the answer's
            self._finish(exchange, outcome, now)
        else:
            self._watch(exchange)

    # -- what the HTTP parser calls

    def on_message_begin(self) -> None:
        """Note a status line that follows a complete answer, where none is expected."""
        if self._complete:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store one header, of the answer or of an interim answer before it."""
        if self._exchange is not None and self._exchange.status is None:  # trailers are ignored
            self._exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Store the status, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code()
        if self._exchange is None or self._complete:
            return
        if status >= 200:
            self._exchange.status = status
        else:
            self._exchange.headers.clear()

    def on_body(self, body: bytes) -> None:
        """Add a part of the body, without its framing."""
        if not self._complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer, or an interim one, is complete by its framing."""
        exchange = self._exchange
        if exchange is not None and exchange.status is not None and not self._complete:
            self._complete = True
            self._keep = bool(self._parser.should_keep_alive()) and not exchange.marks


def reason_of(error: Exception | None) -> str:
    """The message of the operating system or a parser; empty without an error."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return "" if error is None else str(error) or "connection closed"
