"""Sends the calls of probes and keeps what comes back as it comes: the raw bytes, and when each part arrived."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from time import perf_counter_ns
from types import TracebackType

import httptools

from evalkit.checkup.probes.reply import DONE, Reply
from evalkit.client.connection import HEAD_LIMIT
from evalkit.client.connection_setup import Tls, open_connection
from evalkit.client.exchange import FOLLOWED, MAX_REDIRECTS
from evalkit.client.lenient_http import LenientResponseParser
from evalkit.client.origin import Origin, redirect_target
from evalkit.client.proxy import Proxy, proxy_for
from evalkit.client.request_head import UNCOMPRESSED, request_head
from evalkit.endpoint import Endpoint
from evalkit.process.certificates import tls_context

LONGEST_BODY = 4 * 2**20
_EVENT = b"data:"
_DONE = re.compile(_EVENT + b" ?" + re.escape(DONE))
_FINISH = re.compile(rb'"finish_reason": ?"')
_LONGEST_SIGN = 20  # bytes of what these find, which may be divided between reads
_AFTER_DONE_S = 0.2
_AFTER_FINISH_S = 2.0  # token counts and [DONE] may follow a finish reason
WRONG_KEY = "sk-evalkit-check-0000000000"


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, for one call after another."""

    def __init__(self) -> None:
        self.usable = False
        self.closed_idle = False  # by the endpoint, before a byte of an answer
        self._transport: asyncio.Transport | None = None
        self._reply = Reply()
        self._finished: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | LenientResponseParser = httptools.HttpResponseParser(self)
        self._raw = bytearray()
        self._body = bytearray()
        self._at = 0  # the stamp of the read that is parsed
        self._without_body = 0  # bytes since the request or the last part of the body
        self._leave_after: int | None = None
        self._events = 0
        self._timer: asyncio.TimerHandle | None = None

    async def exchange(self, request: bytes, reply: Reply, limit_s: float, leave_after: int | None) -> None:
        """Send a request and read its answer into ``reply``; ``leave_after``: as in ``ProbeClient.send``."""
        assert self._transport is not None
        self._reply, self._leave_after, self._raw, self._body = reply, leave_after, bytearray(), bytearray()
        self._without_body = self._events = 0
        self._parser = httptools.HttpResponseParser(self)
        finished = self._finished = asyncio.get_running_loop().create_future()
        self.usable = False
        reply.sent = perf_counter_ns()
        self._transport.write(request)
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.shield(finished)
        except TimeoutError:
            self.usable = False
            self._end(f"no end of the answer within {limit_s:g} s" if reply.status else _no_answer(limit_s))
        finally:
            self._stop_timer()
            reply.body = bytes(self._body)
            if not self.usable:
                self.close()

    def close(self) -> None:
        """Close immediately."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # -- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of the open connection."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse a read."""
        if self._finished is None or self._finished.done():
            self.close()  # bytes that nobody asked for
            return
        self._at = perf_counter_ns()
        self._raw += data[: LONGEST_BODY - len(self._raw)]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._parse_leniently(str(error))
        seen = self._reply.reads[-1][1] if self._reply.reads else 0
        if len(self._body) > seen:
            self._without_body = 0
            self._reply.reads.append((self._at, len(self._body)))
            self._look_at_body(seen)
            return
        self._without_body += len(data)
        if self._without_body > HEAD_LIMIT:
            self._end(f"more than {HEAD_LIMIT // 1024} KiB of headers")

    def connection_lost(self, error: Exception | None) -> None:
        """End the call: its answer is complete if only the end of the connection ends it."""
        self.usable = False
        self.closed_idle = self._finished is not None and not self._finished.done() and not self._raw
        reply = self._reply
        framed = reply.header("content-length") or "chunked" in reply.header("transfer-encoding").lower()
        if reply.status is not None and not framed and error is None:
            self._end()
        else:
            self._end(
                "the connection was closed before the answer was complete"
                if reply.status
                else "the connection was closed without an answer"
            )

    def _parse_leniently(self, problem: str) -> None:
        reply = self._reply
        if isinstance(self._parser, LenientResponseParser):
            self._end(f"the answer is not HTTP: {problem}")
            return
        self._parser, reply.lenient = LenientResponseParser(self), problem
        reply.status, reply.headers, reply.reads = None, [], []
        self._body.clear()
        self._events = 0
        try:
            self._parser.feed_data(bytes(self._raw))
        except httptools.HttpParserError:
            self._end(f"the answer is not HTTP: {problem}")

    def _look_at_body(self, seen: int) -> None:
        """Look whether what was added to the body after its first ``seen`` bytes is the last that is needed."""
        if self._finished is None or self._finished.done():
            return
        if self._leave_after is not None:
            self._events += self._body.count(_EVENT, max(0, seen - len(_EVENT) + 1))
        start = max(0, seen - _LONGEST_SIGN)
        if self._too_long:
            self._end(self._too_long)
        elif self._leave_after is not None and self._events >= self._leave_after:
            self._reply.left = True
            self._end()
        elif _DONE.search(self._body, start):
            self._end_after(_AFTER_DONE_S)
        elif "event-stream" in self._reply.header("content-type") and _FINISH.search(self._body, start):
            self._end_after(_AFTER_FINISH_S)

    @property
    def _too_long(self) -> str:
        return f"the body is longer than {LONGEST_BODY // 2**20} MiB" if len(self._body) >= LONGEST_BODY else ""

    def _end(self, failure: str = "") -> None:
        if self._finished is not None and not self._finished.done():
            self._reply.end, self._reply.failure = perf_counter_ns(), failure
            self._finished.set_result(None)

    def _end_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._left_open)

    def _left_open(self) -> None:
        self._reply.left_open = True
        self._end()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # -- what the HTTP parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store one header."""
        if self._reply.status is None:  # trailers are ignored
            self._reply.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Store the status, unless it is an interim one."""
        status, reply = self._parser.get_status_code(), self._reply
        if reply.status is not None:
            return  # of an answer that nobody asked for
        if status < 200:
            reply.headers.clear()
            return
        reply.status, reply.headers_at = status, self._at
        version = re.match(rb"HTTP/([\d.]+)", self._raw)
        reply.http_version = version[1].decode() if version else ""

    def on_body(self, body: bytes) -> None:
        """Add a part of the body: a read may have many, so nothing more is done for each."""
        if self._finished is not None and not self._finished.done():
            self._body += body[: LONGEST_BODY - len(self._body)]

    def on_message_complete(self) -> None:
        """Note that the answer is complete by its framing."""
        if self._reply.status is not None:
            self.usable = bool(self._parser.should_keep_alive()) and not self._reply.lenient
            self._end(self._too_long)


class ProbeClient:
    """Sends calls to one endpoint, inside ``async with``; connections are kept open as a usual client keeps them.

    Parameters
    ----------
    endpoint : Endpoint
        Its key and secret headers are read for each call and not stored.
    limit_s : float
        Time limit of one call, redirects included; may be changed between calls.
    """

    def __init__(self, endpoint: Endpoint, limit_s: float) -> None:
        self._endpoint, self.limit_s = endpoint, limit_s
        self._origin = Origin.of(endpoint.url)
        self._proxy: Proxy | None = None
        self._tls = Tls()
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> ProbeClient:
        origin, endpoint = self._origin, self._endpoint
        self._proxy = proxy_for(origin.scheme, origin.host, origin.port)
        proxied = self._proxy is not None and self._proxy.scheme == "https"
        self._tls = Tls(
            endpoint.tls_context() if origin.scheme == "https" else None,
            tls_context() if proxied else None,
            endpoint.client_cert_env,
            endpoint.ca_env,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0)  # the transports close on the loop's next turn

    async def send(
        self,
        body: bytes,
        *,
        url: str = "",
        method: str = "POST",
        encoding: str = UNCOMPRESSED,
        wrong_key: bool = False,
        leave_after: int | None = None,
    ) -> Reply:
        """Send one request; every failure is in the reply.

        Parameters
        ----------
        url : str
            An address of the endpoint's origin; empty: its chat-completion route.
        wrong_key : bool
            Send a key that no endpoint knows, in place of the endpoint's.
        leave_after : int or None
            Close the connection after this number of events.
        """
        url, credentials, redirects, until = url or self._endpoint.url, self._credentials(wrong_key), 0, 0
        while True:
            head = request_head(self._endpoint, self._proxy, url, method, encoding)
            request = b"%b%bContent-Length: %d\r\n\r\n%b" % (head, credentials, len(body), body)
            try:
                async with asyncio.timeout((until - perf_counter_ns()) / 1e9 if redirects else None):
                    reply = await self._exchange(request, leave_after)
            except TimeoutError:
                reply = Reply(end=perf_counter_ns(), failure=_no_answer(self.limit_s))
            reply.redirects = redirects
            until = until or reply.sent + int(self.limit_s * 1e9)
            target = redirect_target(url, reply.header("location"))
            followed = reply.status in FOLLOWED and target is not None and Origin.of(target) == self._origin
            if target is None or not followed or redirects == MAX_REDIRECTS:
                return reply
            url, redirects = target, redirects + 1

    async def _exchange(self, request: bytes, leave_after: int | None) -> Reply:
        while True:
            self._idle = [connection for connection in self._idle if connection.usable]
            reply = Reply(reused=bool(self._idle))
            connection = self._idle.pop() if self._idle else await self._opened(reply)
            if connection is None:
                return reply
            await connection.exchange(request, reply, self.limit_s, leave_after)
            if connection.usable:
                self._idle.append(connection)
            if not (reply.reused and connection.closed_idle):
                return reply

    def _credentials(self, wrong_key: bool) -> bytes:
        key = self._endpoint.key()
        lines = [(name, str(value)) for name, value in self._endpoint.secret_headers()]
        lines += [] if key is None else [("Authorization", f"Bearer {key}")]
        if wrong_key:
            lines = _with_wrong_key(lines)
        return "".join(f"{name}: {value}\r\n" for name, value in lines).encode("ascii")

    async def _opened(self, reply: Reply) -> _Connection | None:
        connection = _Connection()
        reply.sent = perf_counter_ns()
        failure = await open_connection(
            connection, self._origin, self._proxy, self._tls, self._endpoint.connect_timeout_s
        )
        if failure is not None:
            reply.end, reply.failure = perf_counter_ns(), failure.message
            return None
        return connection


def _with_wrong_key(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """These headers with a wrong key: the others, which a gateway may need, stay unless one of them must be the key."""
    others = [line for line in lines if line[0].lower() != "authorization"]
    if lines and len(others) == len(lines):
        return [(name, WRONG_KEY) for name, _ in others]
    return [*others, ("Authorization", f"Bearer {WRONG_KEY}")]


def _no_answer(limit_s: float) -> str:
    return f"no answer within {limit_s:g} s"
