"""Sends requests and stamps their times: evalkit's only HTTP client, with connections that are kept open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from types import TracebackType

from evalkit.client.buffering import buffering_flags
from evalkit.client.connection import Connection, SlicedWork
from evalkit.client.connection_setup import Tls, open_connection
from evalkit.client.exchange import MAX_REDIRECTS, Exchange
from evalkit.client.network_failures import network_failure
from evalkit.client.origin import Origin, redirect_target
from evalkit.client.provenance import ProvenanceTracker
from evalkit.client.proxy import Proxy, proxy_for
from evalkit.client.quoting import one_line
from evalkit.client.redaction import redact_answer, redact_failure, redact_provenance
from evalkit.client.request_head import request_head
from evalkit.endpoint import Endpoint
from evalkit.errors import Failure
from evalkit.process.api_keys import Key, secrets_in
from evalkit.process.certificates import tls_context
from evalkit.record import Attempt, Interrupted, Timing

_Secrets = tuple[Key | None, tuple[tuple[str, Key], ...]]  # the key, and the secret headers with their values


class Transport:
    """Exchanges with one endpoint; used inside ``async with``, on one event loop.

    Parameters
    ----------
    endpoint : Endpoint
        Its key and secret headers are read for each request and not stored.
    before_sending : callable or None
        Called before requests are sent, once for all requests of one iteration of the loop. If it raises, nothing is
        sent and ``send`` raises the same error.

    Attributes
    ----------
    connections_opened : int
    reads, reads_with_several_events : int
        Reads of streams with token-bearing events, and those with more than one such event.
    on_exchange : callable or None
        Called with each exchange when it begins, for a display of the answer so far.

    Raises
    ------
    SettingsError
        On entry: the environment names an invalid proxy, or a certificate that cannot be used.
    """

    def __init__(self, endpoint: Endpoint, *, before_sending: Callable[[], None] | None = None) -> None:
        self.connections_opened = 0
        self.reads = 0
        self.reads_with_several_events = 0
        self.on_exchange: Callable[[Exchange], None] | None = None
        self._endpoint = endpoint
        self._before_sending = before_sending
        self._url = endpoint.url
        self._origin = Origin.of(endpoint.url)
        self._provenance = ProvenanceTracker(endpoint.model)
        self._public = " ".join((endpoint.model, endpoint.base_url, *endpoint.headers.values()))
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._proxy: Proxy | None = None
        self._tls = Tls()
        self._start = b""

    @staticmethod
    def check(endpoint: Endpoint) -> None:
        """Check before the first request that requests to an endpoint can be made.

        Raises
        ------
        SettingsError
            The key or a secret header is missing or not valid, a certificate cannot be used, or the environment names
            an invalid proxy.
        """
        endpoint.secrets()
        origin = Origin.of(endpoint.url)
        if origin.scheme == "https":
            endpoint.tls_context()
        proxy_for(origin.scheme, origin.host, origin.port)

    async def __aenter__(self) -> Transport:
        origin = self._origin
        self._decoding = SlicedWork(Connection.decode)
        self._sending = SlicedWork(Connection.write, self._before_sending)
        self._emptied = asyncio.Event()
        self._proxy = proxy_for(origin.scheme, origin.host, origin.port)
        endpoint, proxied = self._endpoint, self._proxy is not None and self._proxy.scheme == "https"
        self._tls = Tls(
            endpoint.tls_context() if origin.scheme == "https" else None,
            tls_context() if proxied else None,  # the endpoint's certificates are not shown to a proxy
            endpoint.client_cert_env,
            endpoint.ca_env,
        )
        self._start = request_head(endpoint, self._proxy, self._url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            self._emptied.clear()
            await self._emptied.wait()

    async def send(
        self,
        body: bytes,
        *,
        stream: bool,
        due: int,
        slot: int,
        number: int = 1,
        round: int = 0,
        logprobs: bool = False,
    ) -> Attempt:
        """POST a body to the endpoint's chat-completion route, once.

        Errors of the endpoint or the network are in the attempt's ``failure``. Nothing is retried; only a redirect
        (307, 308) within the origin is followed, and ``sent`` remains that of the first request. If no connection could
        be opened, ``sent`` is the time when opening began.

        Parameters
        ----------
        body : bytes
            JSON.
        stream : bool
            Whether it requests a stream; only then the limit for the first token applies.
        due, slot : int
            Stamps of ``time.perf_counter_ns`` for the attempt's timing.
        number, round : int
            For the attempt: the number of the try, and the tool round.
        logprobs : bool
            Keep the log probabilities of tokens.

        Raises
        ------
        SettingsError
            The key or a secret header is missing or not valid.
        Interrupted
            The caller was cancelled during the exchange.
        """
        secrets = self._secrets()
        exchange = await self._exchange(self._url, body, stream, secrets, logprobs)
        if exchange.redirects and not exchange.interrupted:
            exchange = await self._follow(exchange, body, stream, secrets)
        attempt = self._attempt(exchange, secrets, due, slot, number, round)
        if exchange.interrupted:
            raise Interrupted(attempt)
        return attempt

    async def get(self, url: str) -> Attempt:
        """GET an address of the endpoint's origin, to see whether it answers; only the status is of interest.

        Raises
        ------
        SettingsError
            The key is not valid in a header.
        """
        secrets, now = self._secrets(), perf_counter_ns()
        return self._attempt(await self._exchange(url, b"", False, secrets), secrets, now, now, 1, 0)

    def _secrets(self) -> _Secrets:
        endpoint = self._endpoint
        return endpoint.key(), endpoint.secret_headers() if endpoint.headers_env else ()

    def _attempt(self, exchange: Exchange, secrets: _Secrets, due: int, slot: int, number: int, round: int) -> Attempt:
        """The attempt of a finished exchange."""
        reader, failure = exchange.reader, exchange.failure
        if failure is None and (reader is None or reader.failure is not None or exchange.outcome != "complete"):
            failure = network_failure(
                exchange, self._origin, self._proxy, url=self._url, client_cert_env=self._tls.client_cert_env
            )
        key, headers = secrets
        hidden: tuple[Key, ...] = () if key is None else (key,)
        if headers:
            hidden += tuple(part for _, value in headers for part in secrets_in(value))
        if failure is not None:
            failure = self._redacted(failure, hidden)
        if reader is None:
            return Attempt(
                Timing(due, slot, exchange.sent, exchange.headers_at, end=exchange.end),
                number,
                round,
                http_status=exchange.status,
                failure=failure,
                connection_opened=exchange.opened,
                connection_lost_on_reuse=exchange.lost_on_reuse,
            )
        arrivals, events = tuple(reader.arrivals), tuple(reader.arrival_events)
        if events:
            self.reads += len(events)
            self.reads_with_several_events += len(events) - events.count(1)
        parts = reader.parts
        answer, usage = parts.answer(), parts.usage()
        if answer is not None:
            for secret in hidden:
                answer = redact_answer(answer, secret)
        timing = Timing(
            due, slot, exchange.sent, exchange.headers_at, arrivals, events, reader.first_visible, exchange.end
        )
        flags = reader.flags
        if failure is None and reader.streamed and (buffering := buffering_flags(timing, answer, usage)):
            flags = tuple(sorted({*flags, *buffering}))
        if exchange.marks:
            flags = tuple(sorted({*flags, *exchange.marks}))
        provenance = self._provenance.note(reader.provenance, exchange.headers, answer if failure is None else None)
        if parts.own_finish_reason is not None:
            provenance = {**(provenance or {}), "finish_reason": one_line(parts.own_finish_reason, 80)}
        if provenance is not None:
            for secret in hidden:
                provenance = redact_provenance(provenance, secret)
        return Attempt(
            timing,
            number,
            round,
            reader.streamed,
            exchange.status,
            answer,
            usage,
            failure,
            flags,
            exchange.opened,
            provenance=provenance,
        )

    def _redacted(self, failure: Failure, hidden: tuple[Key, ...]) -> Failure:
        if self._proxy is not None and self._proxy.authorization:
            hidden += secrets_in(Key(self._proxy.authorization))
        return redact_failure(failure, hidden, self._public) if hidden else failure

    # -- exchanges

    async def _follow(self, exchange: Exchange, body: bytes, stream: bool, secrets: _Secrets) -> Exchange:
        """Follow redirects within the origin; the last exchange, timed from the first request."""
        sent, opened = exchange.sent, exchange.opened
        for _ in range(MAX_REDIRECTS):
            target = redirect_target(exchange.url, exchange.headers.get("location", ""))
            if exchange.interrupted or not exchange.redirects or target is None or Origin.of(target) != self._origin:
                break
            exchange = await self._exchange(target, body, stream, secrets, exchange.logprobs)
            opened = opened or exchange.opened
        exchange.sent, exchange.opened = sent, opened
        return exchange

    async def _exchange(
        self, url: str, body: bytes, stream: bool, secrets: _Secrets, logprobs: bool = False
    ) -> Exchange:
        endpoint = self._endpoint
        exchange = Exchange(url, stream, endpoint.timeout_s, endpoint.ttft_timeout_s, logprobs)
        if self.on_exchange is not None:
            self.on_exchange(exchange)
        try:
            connection = self._kept_connection() or await self._new_connection(exchange)
            if connection is None:
                return exchange
            connection.begin(exchange, lambda: self._request(url, body, secrets))
            try:
                await exchange.finished
            finally:
                if connection.stays_open():
                    self._idle.append(connection)
                else:
                    connection.abort()
        except asyncio.CancelledError:
            exchange.interrupt(perf_counter_ns())
        return exchange

    def _kept_connection(self) -> Connection | None:
        """The idle connection used last, which the endpoint is least likely to have closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def _new_connection(self, exchange: Exchange) -> Connection | None:
        exchange.sent = perf_counter_ns()
        connection = Connection(self._decoding, self._sending, self._forget)
        limit_s = self._endpoint.connect_timeout_s
        exchange.failure = await open_connection(connection, self._origin, self._proxy, self._tls, limit_s)
        if exchange.failure is not None:
            exchange.end = perf_counter_ns()
            return None
        if not connection.closed:
            self._open.add(connection)
        self.connections_opened += 1
        exchange.opened = True
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._emptied.set()
        if connection in self._idle:
            self._idle.remove(connection)

    # -- requests

    def _request(self, url: str, body: bytes, secrets: _Secrets) -> bytes:
        start = self._start
        if url is not self._url:
            start = request_head(self._endpoint, self._proxy, url, "POST" if body else "GET")
        key, headers = secrets
        authorization = b"" if key is None else b"Authorization: Bearer %b\r\n" % key.encode("ascii")
        for name, value in headers:
            authorization += b"%b: %b\r\n" % (name.encode("ascii"), value.encode("ascii"))
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (start, authorization, len(body), body)
