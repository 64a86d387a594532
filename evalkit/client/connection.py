"""One HTTP/1.1 connection: every read is stamped as it returns and decoded a moment later."""

from __future__ import annotations

import asyncio
import os
import select
import ssl
import zlib
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns

import httptools

from evalkit.client.exchange import REDIRECTS, Exchange

HEAD_LIMIT = 64 * 1024  # bytes of status line and headers, interim answers included

_SLICE_NS = 200_000  # longest decoding between two looks at the sockets
_BACKLOG = 2**20  # undecoded bytes of one connection above which it is decoded at once
_TIMER_NS = 2_000_000  # a timer may come so much early
_TRUSTED_IDLE_NS = 10**9  # idle for longer: ask the socket itself whether the endpoint has closed it


class Slices:
    """One kind of work on all connections of a loop, in slices, with a look at the sockets after each.

    Decoding in ``data_received`` would stamp the last of many sockets that are ready together late, by the decoding of
    all the others. Here they are stamped first. Requests made in one round of the loop go out together.

    Parameters
    ----------
    work : callable
        Called with one connection.
    before : callable or None
        Called before a slice. When it raises, the exchanges of all that wait end with its error.
    """

    def __init__(self, work: Callable[[Connection], None], before: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._work, self._before = work, before
        self._waiting: deque[Connection] = deque()
        self._scheduled = False

    def add(self, connection: Connection) -> None:
        """Do it for this connection soon."""
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
    decoding, sending : Slices
        Of ``decode`` and of ``write``, shared by the connections of one loop.
    gone : callable
        Called once with this connection when it is closed.
    """

    def __init__(self, decoding: Slices, sending: Slices, gone: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._decoding, self._sending = decoding, sending
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
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
        """The way to the endpoint is open."""
        self._transport = transport  # type: ignore[assignment]
        self._idle_since = perf_counter_ns()

    def data_received(self, data: bytes) -> None:
        """A read has returned: its stamp comes before anything else."""
        at = perf_counter_ns()
        if not self._reads:
            self._decoding.add(self)
        self._reads.append((at, data))
        self._backlog += len(data)
        if self._backlog > _BACKLOG:
            self.decode()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed; what was read before still counts."""
        self.closed = True
        self._error = error
        self._reads.append((perf_counter_ns(), b""))
        self.decode()
        self._stop_timer()
        self._gone(self)

    # -- what the transport calls

    @property
    def usable(self) -> bool:
        """Whether a next exchange may be begun."""
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
        # a busy loop may not have seen it yet; readable while idle means closed, or out of step
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def begin(self, exchange: Exchange, make: Callable[[], bytes]) -> None:
        """Make a request and write it soon, and read its answer into ``exchange``.

        It is made when it is written, and held nowhere: the key is in it.
        """
        self._exchange, self._make = exchange, make
        self._complete = self._keep = False
        exchange.sent = perf_counter_ns()  # in case it ends before it is written
        self._sending.add(self)

    def write(self) -> None:
        """Write the request that was begun with; its stamp comes right before."""
        assert self._transport is not None
        exchange, make, self._make = self._exchange, self._make, None
        if exchange is None or make is None:  # it has ended meanwhile
            return
        try:
            request = make()
            exchange.sent = perf_counter_ns()
            if self.closed:
                self._finish(exchange, "closed", exchange.sent)
                return
            self._transport.write(request)
            self._watch(exchange)
        except Exception as error:  # a mistake of ours belongs to this exchange, not to the loop
            self.fail(error)

    def abort(self) -> None:
        """Close at once; an exchange under way ends as ``cancelled``."""
        if self._exchange is not None:
            self._finish(self._exchange, "cancelled", perf_counter_ns())
            return  # which has come back here
        self._keep = False
        self._reads.clear()
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def decode(self) -> None:
        """Decode what has been read."""
        reads, self._reads, self._backlog = self._reads, [], 0
        for at, data in reads:
            exchange = self._exchange
            if exchange is not None and data and self._premature(exchange, at):
                self._finish(exchange, "closed", at)  # a kept connection that is of no more use
            elif exchange is not None:
                try:
                    self._decode(exchange, at, data)
                except Exception as error:  # a mistake of ours belongs to this exchange, not to the loop
                    self.fail(error)
            elif data:  # bytes nobody asked for: what comes next on it could not be told apart
                self.abort()

    def fail(self, error: Exception) -> None:
        """Raise this where the answer is waited for: it is a mistake of ours, or the answer could not be kept."""
        exchange, self._exchange, self._make = self._exchange, None, None
        if exchange is not None and not exchange.finished.done():
            exchange.finished.set_exception(error)
        self.abort()

    # -- one exchange

    def _premature(self, exchange: Exchange, at: int) -> bool:
        """Whether a read came before the request went out, and so is no answer to it."""
        return not exchange.opened and (at < exchange.sent or self._make is not None)

    def _decode(self, exchange: Exchange, at: int, data: bytes) -> None:
        if not data:
            whole = self._error is None and exchange.ends_with_connection
            self._finish(exchange, "complete" if whole else "closed", at, reason_of(self._error))
            return
        malformed = ""
        exchange.received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            malformed = "it changes the protocol, which nobody asked for"
        except httptools.HttpParserError as error:
            self._keep = False
            malformed = "" if self._complete else str(error)  # bytes after a whole answer do not spoil it
        if exchange.status is None:
            if malformed:
                exchange.first_bytes = data[:40]
                self._finish(exchange, "malformed", at, malformed)
            elif exchange.received > HEAD_LIMIT:
                self._finish(exchange, "oversized", at)
            return
        if exchange.headers_at is None:
            exchange.headers_at = at
            if exchange.status not in REDIRECTS:
                exchange.open_body()
        if self._body:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
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

    def _finish(self, exchange: Exchange, outcome: str, at: int, detail: str = "") -> None:
        self._idle_since = at
        exchange.end = exchange.end or at
        exchange.outcome, exchange.detail = outcome, detail
        try:
            if exchange.reader is not None:
                exchange.reader.finish(complete=outcome in ("complete", "done"))
        except Exception as error:  # a mistake of ours belongs to this exchange, not to the loop
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
        """See to the next limit; a timer that fires before it, set for an earlier exchange, is as good."""
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
            self._finish(exchange, outcome, now)
        else:
            self._watch(exchange)

    # -- what the HTTP parser calls

    def on_message_begin(self) -> None:
        """A status line starts; after a whole answer it is one too many."""
        if self._complete:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, of the answer or of an interim answer before it."""
        if self._exchange is not None and self._exchange.status is None:  # else a trailer, which says nothing
            self._exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The status counts, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code()
        if self._exchange is None or self._complete:
            return
        if status >= 200:
            self._exchange.status = status
        else:
            self._exchange.headers.clear()

    def on_body(self, body: bytes) -> None:
        """A part of the body, without its framing."""
        if not self._complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The framing says that the answer, or an interim one, is whole."""
        if self._exchange is not None and self._exchange.status is not None and not self._complete:
            self._complete = True
            self._keep = bool(self._parser.should_keep_alive())


def reason_of(error: Exception | None) -> str:
    """What the operating system or a parser says, in a few words; empty without an error."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return "" if error is None else str(error) or "connection closed"
