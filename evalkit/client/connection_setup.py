"""Opens a connection: name resolution, proxies and TLS; an error on the way becomes a ``Failure``."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from asyncio.staggered import staggered_race
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import httptools

from evalkit.client import tls_failures
from evalkit.client.connection import HEAD_LIMIT, reason_of
from evalkit.client.origin import Origin
from evalkit.client.proxy import Proxy
from evalkit.client.quoting import one_line
from evalkit.errors import Failure, sent

_HEAD_START_S = 0.25  # RFC 8305: delay before the next address is tried in parallel
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))  # detects a peer that has vanished


class Tls(NamedTuple):
    """TLS to an endpoint and to a proxy, and the variables that name its certificates, for messages.

    Parameters
    ----------
    context, proxy_context : ssl.SSLContext or None
        Required if the origin, or the proxy, is https.
    client_cert_env, ca_env : str or None
    """

    context: ssl.SSLContext | None = None
    proxy_context: ssl.SSLContext | None = None
    client_cert_env: str | None = None
    ca_env: str | None = None


async def open_connection(
    connection: asyncio.Protocol,
    origin: Origin,
    proxy: Proxy | None,
    tls: Tls,
    timeout_s: float,
) -> Failure | None:
    """Open ``connection`` to an origin.

    Parameters
    ----------
    proxy : Proxy or None
        The proxy to use: through a tunnel for https; for http the connection ends at the proxy.
    tls : Tls
    timeout_s : float
        Time limit for all steps together.

    Returns
    -------
    Failure or None
        Of kind ``connection`` or ``timeout``, with advice; with a code of ``LASTING_CODES`` if trying again changes
        nothing. None: the connection is open.
    """
    setup = _ConnectionSetup(origin, proxy, tls)
    try:
        async with asyncio.timeout(timeout_s) as limit:
            connection.connection_made(await setup.open(connection))
    except (OSError, _TunnelRefused, UnicodeError, httptools.HttpParserError) as error:
        if limit.expired():
            return Failure("timeout", setup.too_slow(timeout_s), sent=())
        message = setup.explain(error)
        return Failure("connection", message, code=setup.lasting_code, sent=())
    return None


class _TunnelRefused(Exception):
    """A proxy did not open a tunnel; the message is the status and reason of its answer."""


class _ConnectionSetup:
    """The steps to connect to an origin; remembers the current step for error messages."""

    def __init__(self, origin: Origin, proxy: Proxy | None, tls: Tls) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = origin
        self._proxy = proxy
        self._tls = tls
        self._step = "reach"
        self._peer: Origin | Proxy = proxy or origin
        self.lasting_code: str | None = None

    async def open(self, connection: asyncio.Protocol) -> asyncio.Transport:
        origin, proxy = self._origin, self._proxy
        if "https" not in (origin.scheme, self._peer.scheme):
            return await self._reach(connection)
        before_tls = _BeforeTls()
        transport = await self._reach(before_tls)
        try:
            if proxy is not None and proxy.scheme == "https":
                transport = await self._secure(transport, before_tls if origin.scheme == "https" else connection)
            if proxy is not None and origin.scheme == "https":
                self._step = "tunnel"
                await before_tls.open_tunnel(transport, origin, proxy)
            if origin.scheme == "https":
                self._peer = origin
                transport = await self._secure(transport, connection)
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _reach(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Open a TCP connection to the first address that answers, trying IPv4 and IPv6 alternately."""
        reached: list[socket.socket] = []
        addresses = await self._addresses()
        try:
            _, _, errors = await staggered_race(
                [partial(self._connect, reached, *address) for address in addresses], _HEAD_START_S
            )
            if not reached:
                raise next(error for error in errors if error is not None)
            transport, _ = await self._loop.create_connection(lambda: protocol, sock=reached.pop(0))
        finally:
            for unused in reached:
                unused.close()
        return transport

    async def _addresses(self) -> list[tuple[Any, ...]]:
        host, port = self._peer.host, self._peer.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        first = [entry for entry in found if entry[0] == found[0][0]]
        others = [entry for entry in found if entry[0] != found[0][0]]
        return [entry for entry in chain.from_iterable(zip_longest(first, others)) if entry is not None]

    async def _connect(
        self, reached: list[socket.socket], family: int, kind: int, protocol: int, _name: str, address: Any
    ) -> None:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            await self._loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        reached.append(sock)

    async def _secure(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> asyncio.Transport:
        self._step = "tls"
        context = self._tls.context if self._peer is self._origin else self._tls.proxy_context
        assert context is not None
        secured = await self._loop.start_tls(transport, protocol, context, server_hostname=self._peer.host)
        if secured is None:  # by its signature possible, while the transport is closing
            raise ConnectionResetError
        return secured

    def too_slow(self, timeout_s: float) -> str:
        """The message for a time limit reached at this step."""
        limit = f"within {timeout_s:g} s (connect_timeout_s)"
        if self._step == "reach":
            return f"No connection to {self._peer} {limit}: is the host up, and does a firewall drop the packets?"
        if self._step == "tunnel":
            return f"No tunnel to {self._origin} through {self._peer} {limit}: the proxy has not answered."
        return f"No TLS handshake with {self._peer} {limit}: if it speaks plain HTTP, use http:// in {self._setting}."

    def explain(self, error: Exception) -> str:
        """The message for an error at this step, with advice."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._explain_certificate(error)
        if self._step == "tls":
            return self._explain_tls(error)
        if self._step == "tunnel":
            return self._explain_tunnel(error)
        if isinstance(error, (socket.gaierror, UnicodeError)):
            reason = getattr(error, "strerror", None) or "not a valid name"
            return (
                f"The host name {self._peer.host} cannot be resolved ({reason}): "
                f"check {self._setting} for a typo, and this machine's network."
            )
        if isinstance(error, ConnectionRefusedError):
            what = "server" if self._peer is self._origin else "proxy"
            return f"Nothing listens on {self._peer}: is the {what} started, and is the port in {self._setting} right?"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return (
                f"No connection to {self._peer}: too many files are open. "
                "Lower the concurrency, or raise the limit (ulimit -n)."
            )
        return f"No connection to {self._peer} ({reason_of(error)}): check {self._setting} and the network."

    @property
    def _setting(self) -> str:
        return self._peer.source if isinstance(self._peer, Proxy) else "the base URL"

    def _explain_certificate(self, error: ssl.SSLCertVerificationError) -> str:
        self.lasting_code = "certificate"
        ca_env = self._tls.ca_env if self._peer is self._origin else None
        return tls_failures.certificate_failure(error, str(self._peer), self._setting, ca_env)

    def _explain_tls(self, error: Exception) -> str:
        own = self._tls.client_cert_env if self._peer is self._origin else None
        message, self.lasting_code = tls_failures.handshake_failure(error, str(self._peer), self._setting, own)
        return message

    def _explain_tunnel(self, error: Exception) -> str:
        without = f"set NO_PROXY={self._origin.host} to connect without it"
        if isinstance(error, _TunnelRefused):
            advice = f"Ask the operator of the proxy, or {without}."
            if str(error).startswith("407"):
                assert isinstance(self._peer, Proxy)
                advice, self.lasting_code = self._peer.credentials_advice, "proxy_credentials"
            answer = sent(one_line(str(error)))
            return f"No tunnel to {self._origin} through {self._peer}, which answered {answer}. {advice}"
        return (
            f"No tunnel to {self._origin} through {self._peer} ({reason_of(error)}): is it an HTTP proxy? "
            f"If not, {without}."
        )


class _BeforeTls(asyncio.Protocol):
    """The protocol of a socket until TLS starts on it: reads nothing except a proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._reason = ""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.pause_reading()  # type: ignore[attr-defined]

    async def open_tunnel(self, transport: asyncio.Transport, origin: Origin, proxy: Proxy) -> None:
        """Request a tunnel from a proxy and wait for its answer."""
        lines = [f"CONNECT {origin} HTTP/1.1", f"Host: {origin}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        transport.resume_reading()
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await self._answered

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer(error)
        if self._size > HEAD_LIMIT:
            self._answer(ConnectionResetError("its answer is too long"))

    def connection_lost(self, error: Exception | None) -> None:
        self._answer(error or ConnectionResetError("it closed the connection"))

    def on_status(self, reason: bytes) -> None:
        self._reason += reason.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 300:
            self._answer(_TunnelRefused(f"{status} {self._reason}".strip()))
        elif status >= 200:
            self._answer(None)

    def _answer(self, error: Exception | None) -> None:
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)
