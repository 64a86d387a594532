"""Opening connections: addresses, TLS and proxies, and what is said when that fails."""

import asyncio
import re
import resource
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
import uvloop
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import (
    STREAM_HEAD,
    RawServer,
    answer,
    answers,
    ask,
    chunk,
    completion,
    event,
    read_request,
    send,
    serving,
    streams,
)  # fmt: skip

from evalkit.client import connection
from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError

HOST = "model.example"  # no test looks it up: proxies do, and theirs know it
USER = "http://anna:pass%20word@"
BASIC = "Basic YW5uYTpwYXNzIHdvcmQ="


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, monkeypatch, tmp_path):
    """The tests' authority is in the store that the environment names."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


def tls_for(authority, *names, **dates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names, **dates).configure_cert(context)
    return context


def ask_at(run, url, **endpoint):
    """Ask whatever is at an address."""

    async def go():
        async with Transport(Endpoint(url, "m", **endpoint)) as transport:
            return await send(transport)

    return run(go())


def check_failure(attempt, message, kind="connection"):
    assert attempt.failure.message == message
    assert attempt.failure.kind == kind
    assert (attempt.http_status, attempt.connection_opened, attempt.connection_lost_on_reuse) == (None, False, False)
    assert attempt.timing.slot <= attempt.timing.sent <= attempt.timing.end


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# -- addresses


def test_nothing_listens(run, unused_port):
    check_failure(
        ask_at(run, f"http://127.0.0.1:{unused_port}"),
        f"Nothing listens on 127.0.0.1:{unused_port}: is the server started, and is the port in the base URL right?",
    )


def test_a_name_that_is_none(run):
    attempt = ask_at(run, "http://no-such-host.invalid/v1")
    assert re.sub(r" \(.*?\)", "", attempt.failure.message) == (
        "The host name no-such-host.invalid cannot be resolved: "
        "check the base URL for a typo, and this machine's network."
    )
    assert attempt.failure.kind == "connection"


def test_a_name_no_host_can_have(run):
    attempt = ask_at(run, f"http://{'a' * 80}.example/v1")
    assert attempt.failure.message.startswith(f"The host name {'a' * 80}.example cannot be resolved (")


def test_a_host_that_does_not_answer(run):
    """A full queue of connections nobody accepts: the next one is left waiting."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        attempt = ask_at(run, f"http://127.0.0.1:{port}", connect_timeout_s=0.2)
        for one in waiting:
            one.close()
    check_failure(
        attempt,
        f"No connection to 127.0.0.1:{port} within 0.2 s (connect_timeout_s): "
        "is the host up, and does a firewall drop the packets?",
        kind="timeout",
    )
    assert attempt.censored_ns >= 0.19e9


@pytest.fixture
def address_book(monkeypatch):
    """The addresses in this list are those of ``HOST``."""
    addresses = []

    def knowing(getaddrinfo):
        async def look_up(self, host, port, **more):
            if host != HOST:
                return await getaddrinfo(self, host, port, **more)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        return look_up

    for loop in (asyncio.BaseEventLoop, uvloop.Loop):
        monkeypatch.setattr(loop, "getaddrinfo", knowing(loop.getaddrinfo))
    return addresses


def ask_by_name(run):
    async def go():
        async with RawServer(streams) as server, Transport(Endpoint(f"http://{HOST}:{server.port}", "m")) as transport:
            return await send(transport), server

    return run(go())


def test_the_next_address_is_tried_when_one_refuses(run, address_book):
    address_book += ["127.0.0.2", "127.0.0.1"]
    attempt, server = ask_by_name(run)
    assert attempt.failure is None
    assert server.requests[0].headers["host"] == f"{HOST}:{server.port}"


def test_the_next_address_is_tried_beside_one_that_does_not_answer(run, address_book):
    address_book += ["127.0.0.2", "127.0.0.1"]

    async def go():
        async with RawServer(streams) as server:
            with socket.create_server(("127.0.0.2", server.port), backlog=0):
                waiting = [socket.socket() for _ in range(4)]
                for one in waiting:
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.2", server.port))
                async with Transport(Endpoint(f"http://{HOST}:{server.port}", "m")) as transport:
                    attempt = await send(transport)
                for one in waiting:
                    one.close()
                return attempt

    attempt = run(go())
    assert attempt.failure is None
    assert attempt.timing.sent - attempt.timing.slot >= 0.24e9


def test_no_address_answers(run, address_book, unused_port):
    address_book += ["127.0.0.2", "127.0.0.1"]
    check_failure(
        ask_at(run, f"http://{HOST}:{unused_port}"),
        f"Nothing listens on {HOST}:{unused_port}: is the server started, and is the port in the base URL right?",
    )


def test_no_file_is_left_for_a_connection(run):
    """With the limit at what is open already, as many connections at once would have it."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def go():
        async with RawServer(streams) as server, Transport(Endpoint(server.url, "m")) as transport:
            with socket.socket() as lowest_free:
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free.fileno() + 1, hard))
                try:
                    return await send(transport), server.port
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    attempt, port = run(go())
    check_failure(
        attempt,
        f"No connection to 127.0.0.1:{port}: too many files are open. "
        "Lower the concurrency, or raise the limit (ulimit -n).",
    )


def test_a_cancelled_dial_leaves_nothing_open(run):
    async def converse(reader, writer):
        await asyncio.sleep(10)

    async def go():
        async with (
            RawServer(converse=converse) as server,
            Transport(Endpoint(f"https://127.0.0.1:{server.port}", "m")) as transport,
        ):
            task = asyncio.create_task(send(transport))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (transport._open, transport.connections_opened) == (set(), 0)

    run(go())


# -- TLS


def test_tls_with_a_certificate_of_a_trusted_authority(run, trusted, authority):
    names = []
    context = tls_for(authority, "localhost")
    context.sni_callback = lambda tls, name, context: names.append(name)

    async def go():
        async with RawServer(streams, context) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            async with Transport(Endpoint(url, "m")) as transport:
                return [await send(transport) for _ in range(3)], server

    attempts, server = run(go())
    assert [(attempt.failure, attempt.answer.text) for attempt in attempts] == [(None, "35")] * 3
    assert [attempt.connection_opened for attempt in attempts] == [True, False, False]
    assert names == ["localhost"]
    assert server.connections == 1


def test_many_streams_over_tls_at_once(run, trusted, authority):
    async def go():
        async with serving(streams, tls=tls_for(authority, "127.0.0.1")) as (_, transport):
            return await asyncio.gather(*(send(transport) for _ in range(20)))

    assert [attempt.failure for attempt in run(go())] == [None] * 20


def test_a_kept_connection_under_tls_is_asked_whether_it_is_still_open(run, trusted, authority, monkeypatch):
    monkeypatch.setattr(connection, "_TRUSTED_IDLE_NS", 0)
    attempts, server = ask(run, streams, times=3, tls=tls_for(authority, "127.0.0.1"))
    assert [attempt.failure for attempt in attempts] == [None] * 3
    assert server.connections == 1


def test_an_unknown_authority(run, authority):
    (attempt,), server = ask(run, streams, tls=tls_for(authority, "127.0.0.1"))
    check_failure(
        attempt,
        f"The certificate of 127.0.0.1:{server.port} is not signed by an authority that this machine trusts "
        "(unable to get local issuer certificate): if the authority is your own, set SSL_CERT_FILE to its PEM file.",
    )
    assert server.requests == []


def test_an_unknown_authority_and_a_store_that_is_not_there(run, authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    (attempt,), _ = ask(run, streams, tls=tls_for(authority, "127.0.0.1"))
    assert attempt.failure.message.endswith(
        "set SSL_CERT_FILE to its PEM file (it is /nowhere/ca.pem, and there is no such file)."
    )


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("names", "dates", "says"),
    [
        (
            ["127.0.0.1"],
            {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)},
            " has expired: its operator must renew it. Check this machine's clock too.",
        ),
        (
            ["127.0.0.1"],
            {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=9)},
            " is not valid yet: check this machine's clock.",
        ),
        (
            [HOST],
            {},
            " is for another name: use that name in the base URL. "
            "(IP address mismatch, certificate is not valid for '127.0.0.1')",
        ),
    ],
    ids=["expired", "not valid yet", "another name"],
)
def test_a_certificate_that_is_not_right(run, trusted, authority, names, dates, says):
    (attempt,), server = ask(run, streams, tls=tls_for(authority, *names, **dates))
    check_failure(attempt, f"The certificate of 127.0.0.1:{server.port}{says}")
    assert server.requests == []


def ask_under_tls(run, converse, **endpoint):
    """Ask over TLS on a port where this is spoken."""

    async def go():
        async with (
            RawServer(converse=converse) as server,
            Transport(Endpoint(f"https://127.0.0.1:{server.port}", "m", **endpoint)) as transport,
        ):
            return await send(transport), server.port

    return run(go())


def test_tls_on_a_port_that_answers_in_plain_text(run):
    async def converse(reader, writer):
        await reader.read(65536)
        writer.write(answer("400 Bad Request", b"no TLS here", "text/plain"))

    attempt, port = ask_under_tls(run, converse)
    check_failure(attempt, f"There is no TLS on 127.0.0.1:{port}: use http:// in the base URL, or a port with TLS.")


def test_tls_on_a_port_that_hangs_up(run):
    async def converse(reader, writer):
        await reader.read(65536)

    attempt, port = ask_under_tls(run, converse)
    check_failure(
        attempt,
        f"The connection to 127.0.0.1:{port} was closed during the TLS handshake: "
        "if it speaks plain HTTP, use http:// in the base URL; if it wants a client certificate, name one with "
        "--client-cert-env.",
    )


def test_tls_on_a_port_that_waits(run):
    async def converse(reader, writer):
        await asyncio.sleep(10)

    attempt, port = ask_under_tls(run, converse, connect_timeout_s=0.2)
    check_failure(
        attempt,
        f"No TLS handshake with 127.0.0.1:{port} within 0.2 s (connect_timeout_s): "
        "if it speaks plain HTTP, use http:// in the base URL.",
        kind="timeout",
    )


def test_tls_that_the_other_side_refuses(run):
    async def converse(reader, writer):
        await reader.read(65536)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x46")  # alert: fatal, protocol version

    attempt, port = ask_under_tls(run, converse)
    check_failure(attempt, f"The TLS handshake with 127.0.0.1:{port} failed (tlsv1 alert protocol version).")


def test_plain_http_on_a_port_that_speaks_tls(run, authority):
    async def go():
        async with (
            RawServer(answers, tls_for(authority, "127.0.0.1")) as server,
            Transport(Endpoint(f"http://127.0.0.1:{server.port}", "m")) as transport,
        ):
            return await send(transport), server.port

    attempt, port = run(go())
    assert attempt.failure.kind == "connection"
    assert re.sub(r" \(.*?\)", "", attempt.failure.message) in (
        f"There is TLS on 127.0.0.1:{port}: use https:// in the base URL.",
        # some servers close without the alert that gives them away
        f"The connection was closed by 127.0.0.1:{port} before it answered. Check the endpoint's log. "
        "If it requires TLS, use https:// in the base URL.",
    )


def test_a_stream_cut_off_under_tls(run, trusted, authority):
    async def handler(request, writer):
        writer.write(STREAM_HEAD + chunk(event("3")))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    (attempt,), _ = ask(run, handler, tls=tls_for(authority, "127.0.0.1"))
    assert (attempt.failure.kind, attempt.answer.text) == ("truncated", "3")


# -- proxies


class HttpProxy(RawServer):
    """Opens tunnels to one server whatever name is asked for, and answers plain requests itself."""

    def __init__(self, target_port=None, *, tls=None, refuse=b""):
        super().__init__(converse=self.proxy, tls=tls)
        self.target_port = target_port
        self.refuse = refuse

    async def proxy(self, reader, writer):
        while (request := await read_request(reader)) is not None:
            self.requests.append(request)
            if self.refuse:
                writer.write(self.refuse)
            elif request.line.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self.join(reader, writer)
                return
            else:
                writer.write(answer("200 OK", completion()))
            await writer.drain()

    async def join(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)

        async def pump(source, sink):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.transport.abort()


def through(run, monkeypatch, proxy, url=f"http://{HOST}/v1", times=1, variable=None, user="", **endpoint):
    """Ask an address through a proxy."""

    async def go():
        async with proxy:
            scheme = "https" if proxy.tls else "http"
            name = variable or f"{url.partition(':')[0].upper()}_PROXY"
            monkeypatch.setenv(name, f"{scheme}://{user}127.0.0.1:{proxy.port}")
            async with Transport(Endpoint(url, "m", **endpoint)) as transport:
                return [await send(transport) for _ in range(times)]

    return run(go())


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_http_through_a_proxy(run, monkeypatch, variable):
    proxy = HttpProxy()
    attempts = through(run, monkeypatch, proxy, times=2, variable=variable)
    assert [attempt.failure for attempt in attempts] == [None, None]
    assert {request.line for request in proxy.requests} == {f"POST http://{HOST}/v1/chat/completions HTTP/1.1"}
    assert proxy.requests[0].headers["host"] == HOST
    assert "proxy-authorization" not in proxy.requests[0].headers
    assert proxy.connections == 1


def test_http_through_a_proxy_with_a_user(run, monkeypatch):
    proxy = HttpProxy()
    through(run, monkeypatch, proxy, user="anna:pass%20word@")
    assert proxy.requests[0].headers["proxy-authorization"] == BASIC


@pytest.mark.parametrize("tls_proxy", [False, True], ids=["plain proxy", "proxy under TLS"])
@pytest.mark.parametrize("user", ["", "anna:pass%20word@"], ids=["no user", "user"])
def test_https_through_a_proxy(run, monkeypatch, trusted, authority, tls_proxy, user):
    async def go():
        async with (
            RawServer(streams, tls_for(authority, HOST)) as server,
            HttpProxy(server.port, tls=tls_for(authority, "127.0.0.1") if tls_proxy else None) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"{'https' if tls_proxy else 'http'}://{user}127.0.0.1:{proxy.port}")
            async with Transport(Endpoint(f"https://{HOST}/v1", "m")) as transport:
                return [await send(transport) for _ in range(2)], server, proxy

    attempts, server, proxy = run(go())
    assert [(attempt.failure, attempt.answer.text) for attempt in attempts] == [(None, "35")] * 2
    (asked,) = proxy.requests
    assert (asked.line, asked.headers["host"]) == (f"CONNECT {HOST}:443 HTTP/1.1", f"{HOST}:443")
    assert asked.headers.get("proxy-authorization") == (BASIC if user else None)
    assert server.requests[0].line == "POST /v1/chat/completions HTTP/1.1"
    assert server.requests[0].headers["host"] == HOST
    assert "proxy-authorization" not in server.requests[0].headers
    assert (server.connections, proxy.connections) == (1, 1)


def test_http_through_a_proxy_under_tls(run, monkeypatch, trusted, authority):
    proxy = HttpProxy(tls=tls_for(authority, "127.0.0.1"))
    (attempt,) = through(run, monkeypatch, proxy)
    assert attempt.failure is None
    assert proxy.requests[0].line == f"POST http://{HOST}/v1/chat/completions HTTP/1.1"


def test_a_certificate_behind_a_proxy_is_checked(run, monkeypatch, trusted, authority):
    async def go():
        async with RawServer(streams, tls_for(authority, "other.example")) as server, HttpProxy(server.port) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
            async with Transport(Endpoint(f"https://{HOST}/v1", "m")) as transport:
                return await send(transport)

    check_failure(
        run(go()),
        f"The certificate of {HOST}:443 is for another name: use that name in the base URL. "
        f"(Hostname mismatch, certificate is not valid for '{HOST}')",
    )


REFUSALS = {
    "refuses": (
        answer("403 Forbidden", b"not from here", "text/plain"),
        "which answered 403 Forbidden. Ask the operator of the proxy, or set NO_PROXY=model.example to connect without "
        "it.",
    ),
    "needs a user": (
        answer("407 Proxy Authentication Required", b"who are you?", "text/plain"),
        "which answered 407 Proxy Authentication Required. It requires user and password: put them into HTTPS_PROXY "
        "as http://user:password@host:port.",
    ),
    "refuses the user": (
        answer("407 Proxy Authentication Required", b"who are you?", "text/plain"),
        "which answered 407 Proxy Authentication Required. It refused the user and password in HTTPS_PROXY: check "
        "them, and write special characters in them as %XX, such as %40 for @, in http://user:password@host:port.",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_proxy_that_refuses_a_tunnel(run, monkeypatch, case):
    refusal, says = REFUSALS[case]
    proxy = HttpProxy(refuse=refusal)
    user = "" if case == "needs a user" else "anna:secret@"
    (attempt,) = through(run, monkeypatch, proxy, f"https://{HOST}/v1", user=user)
    assert attempt.failure.code == (None if case == "refuses" else "proxy_credentials")
    check_failure(
        attempt, f"No tunnel to {HOST}:443 through the proxy 127.0.0.1:{proxy.port} (from HTTPS_PROXY), {says}"
    )


def test_a_proxy_that_is_none(run, monkeypatch):
    proxy = HttpProxy(refuse=b"220 mail.example ESMTP\r\n")
    (attempt,) = through(run, monkeypatch, proxy, f"https://{HOST}/v1")
    said = re.search(r"\((Expected HTTP/[^)]*)\)", attempt.failure.message)[1]  # the parser's words differ by version
    check_failure(
        attempt,
        f"No tunnel to {HOST}:443 through the proxy 127.0.0.1:{proxy.port} (from HTTPS_PROXY) "
        f"({said}): is it an HTTP proxy? If not, set NO_PROXY=model.example to connect without it.",
    )


def test_a_proxy_that_does_not_answer(run, monkeypatch):
    async def converse(reader, writer):
        await asyncio.sleep(10)

    proxy = RawServer(converse=converse)
    (attempt,) = through(run, monkeypatch, proxy, f"https://{HOST}/v1", connect_timeout_s=0.2)
    check_failure(
        attempt,
        f"No tunnel to {HOST}:443 through the proxy 127.0.0.1:{proxy.port} (from HTTPS_PROXY) "
        "within 0.2 s (connect_timeout_s): the proxy has not answered.",
        kind="timeout",
    )


def test_a_proxy_that_is_not_there(run, monkeypatch, unused_port):
    monkeypatch.setenv("HTTPS_PROXY", f"http://anna:secret@127.0.0.1:{unused_port}")
    check_failure(
        ask_at(run, f"https://{HOST}/v1"),
        f"Nothing listens on the proxy 127.0.0.1:{unused_port} (from HTTPS_PROXY): "
        "is the proxy started, and is the port in HTTPS_PROXY right?",
    )


def test_a_plain_request_that_a_proxy_refuses(run, monkeypatch):
    proxy = HttpProxy(refuse=answer("407 Proxy Authentication Required", b"who are you?", "text/plain"))
    (attempt,) = through(run, monkeypatch, proxy, user="anna:secret@")
    assert attempt.failure.kind == "connection"
    assert attempt.failure.message == (
        f"No answer from {HOST}:80 through the proxy 127.0.0.1:{proxy.port} (from HTTP_PROXY), which answered 407. "
        "It refused the user and password in HTTP_PROXY: check them, and write special characters in them as %XX, "
        "such as %40 for @, in http://user:password@host:port."
    )
    assert attempt.failure.code == "proxy_credentials"  # not tried again


def test_a_plain_request_that_fails_behind_a_proxy(run, monkeypatch):
    proxy = HttpProxy(refuse=answer("502 Bad Gateway", b"<h1>cannot reach model.example</h1>", "text/html"))
    (attempt,) = through(run, monkeypatch, proxy)
    assert attempt.failure.kind == "server"
    assert attempt.failure.message.endswith(
        f" The request went through the proxy 127.0.0.1:{proxy.port} (from HTTP_PROXY)."
    )


def test_this_machine_is_never_reached_through_a_proxy(run, monkeypatch, unused_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    (attempt,), server = ask(run, streams)
    assert attempt.failure is None
    assert server.requests[0].line == "POST /v1/chat/completions HTTP/1.1"


def test_a_proxy_that_cannot_be_used_is_said_before_anything_is_asked(run, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://anna:secret@127.0.0.1:1080")
    with pytest.raises(SettingsError, match=r"^the proxy in ALL_PROXY is a socks5:// address: ") as caught:
        ask_at(run, f"https://{HOST}/v1")
    assert "secret" not in str(caught.value)
