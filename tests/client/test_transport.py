"""The transport over real sockets: exchanges, stamps, connections, redirects and the key."""

import asyncio
import gzip
import re
import socket
import threading
import time
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import (
    BODY,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawServer,
    answer,
    answers,
    ask,
    chunk,
    completion,
    event,
    send,
    serving,
    streams,
    writes,
)

from evalkit import __version__
from evalkit.client import connection as connection_module
from evalkit.client import transport as transport_module
from evalkit.client.answer_reader import AnswerReader
from evalkit.client.connection import Connection, SlicedWork
from evalkit.client.exchange import Exchange
from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.record import Usage

MS = 10**6
KEY = "sk-Zr8qWx2LmN5pTv7Y"


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    return KEY


# -- one exchange


def test_a_whole_answer(run):
    (attempt,), _ = ask(run, answers, stream=False)
    assert (attempt.failure, attempt.http_status, attempt.streamed) == (None, 200, False)
    assert (attempt.answer.text, attempt.answer.finish_reason) == ("35", "stop")
    assert attempt.usage == Usage(7, 2)
    assert attempt.ttft_ns is None
    assert attempt.timing.sent < attempt.timing.headers <= attempt.timing.end
    assert attempt.latency_ns == attempt.timing.end - attempt.timing.sent


def test_a_stream(run):
    (attempt,), _ = ask(run, streams)
    timing = attempt.timing
    assert (attempt.failure, attempt.streamed, attempt.answer.text) == (None, True, "35")
    assert timing.due <= timing.slot <= timing.sent < timing.headers <= timing.arrivals[0] <= timing.end
    assert sum(timing.arrival_events) == 2
    assert timing.first_visible == timing.arrivals[0]


def test_what_the_caller_says_of_the_attempt_is_kept(run):
    async def go():
        async with serving(answers) as (_, transport):
            return await transport.send(BODY, stream=False, due=5, slot=6, number=2, round=3)

    attempt = run(go())
    assert (attempt.timing.due, attempt.timing.slot, attempt.number, attempt.round) == (5, 6, 2, 3)


def test_the_request_byte_by_byte(run, key):
    _, server = ask(run, answers, key_env="THE_KEY")
    (request,) = server.requests
    assert request.body == BODY
    assert request.raw_head.decode() == (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{server.port}\r\n"
        "Content-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\n"
        "Accept-Encoding: identity\r\n"
        f"User-Agent: evalkit/{__version__}\r\n"
        f"Authorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(BODY)}\r\n"
        "\r\n"
    )


def test_without_a_key_nothing_is_said_of_one(run):
    _, server = ask(run, answers)
    assert "authorization" not in server.requests[0].headers


def test_the_key_is_read_anew_for_every_request(run, key, monkeypatch):
    async def go():
        async with serving(answers, key_env="THE_KEY") as (server, transport):
            await send(transport)
            monkeypatch.setenv("THE_KEY", "another-key")
            await send(transport)
            return [request.headers["authorization"] for request in server.requests]

    assert run(go()) == [f"Bearer {KEY}", "Bearer another-key"]


def test_a_path_that_needs_quoting(run):
    async def go():
        async with (
            RawServer(answers) as server,
            Transport(Endpoint(f"{server.url}/my models/ü/v1", "m")) as transport,
        ):
            await send(transport)
            return server.requests[0].line

    assert run(go()) == "POST /my%20models/%C3%BC/v1/chat/completions HTTP/1.1"


def test_a_long_request_and_a_long_answer(run):
    text = "long " * 400_000

    async def handler(request, writer):
        assert len(request.body) == 5_000_000
        writer.write(answer("200 OK", completion(text)))

    async def go():
        async with serving(handler) as (_, transport):
            return await send(transport, stream=False, body=b" " * 5_000_000)

    assert run(go()).answer.text == text


def test_an_answer_before_the_request_was_read(run):
    """413 of a server that looks at the length alone."""

    async def converse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("413 Too Large", b'{"error": {"message": "too large"}}', Connection="close"))
        while await reader.read(65536):
            pass

    async def go():
        async with RawServer(converse=converse) as server, Transport(Endpoint(server.url, "m")) as transport:
            return await send(transport, body=b" " * 8_000_000)

    assert run(go()).http_status == 413


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints"])
def test_interim_answers_are_skipped(run, status):
    interim = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nLink: </style.css>\r\n\r\n".encode()
    (attempt,), _ = ask(run, writes(interim, interim + answer("200 OK", completion()), pause=0.01), stream=False)
    assert (attempt.failure, attempt.http_status, attempt.answer.text) == (None, 200, "35")


def test_a_trailer_says_nothing(run):
    head = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
    (attempt,), _ = ask(run, writes(head + chunk(b"busy") + b"0\r\nRetry-After: 5\r\n\r\n"))
    assert (attempt.failure.kind, attempt.failure.retry_after_s) == ("server", None)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_answer_compressed_unasked_is_read(run, encoding):
    squeeze = gzip.compress if encoding == "gzip" else zlib.compress
    whole = answer("200 OK", squeeze(completion()), Content_Encoding=encoding)
    stream = answer("200 OK", squeeze(event("35") + DONE), "text/event-stream", Content_Encoding=encoding)
    assert ask(run, writes(whole), stream=False)[0][0].answer.text == "35"
    assert ask(run, writes(stream))[0][0].answer.text == "35"


def test_a_body_that_is_not_compressed_as_it_says(run):
    (attempt,), server = ask(run, writes(answer("200 OK", completion(), Content_Encoding="gzip")), stream=False)
    assert attempt.failure.kind == "protocol"
    assert attempt.failure.message == (
        f"The answer of 127.0.0.1:{server.port} breaks the rules of HTTP (its body is not compressed as its headers "
        "say)."
    )


def test_an_answer_that_ends_with_its_connection(run):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    (attempt,), _ = ask(run, writes(head, completion(), close=True, pause=0.01), stream=False)
    assert (attempt.failure, attempt.answer.text) == (None, "35")


class Mute(asyncio.Transport):
    """Nobody at the other end."""

    written = 0

    def write(self, data):
        self.written += 1

    def abort(self):
        pass


@given(cuts=st.lists(st.integers(1, 900), max_size=12), stream=st.booleans())
@settings(max_examples=60, deadline=None)
def test_however_the_bytes_are_cut_the_answer_is_the_same(cuts, stream):
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    pieces = [event("zwölf "), b": ping\n\n", event("☃"), event(finish_reason="stop"), DONE]
    raw = interim + STREAM_HEAD + b"".join(map(chunk, pieces)) + LAST_CHUNK
    if not stream:
        raw = interim + answer("200 OK", completion("zwölf ☃"))

    async def go():
        connection = Connection(SlicedWork(Connection.decode), SlicedWork(Connection.write), lambda connection: None)
        connection.connection_made(Mute())
        exchange = Exchange("http://x/", stream, 5, None)
        connection.begin(exchange, bytes)
        await asyncio.sleep(0)
        bounds = [0, *sorted({cut for cut in cuts if cut < len(raw)}), len(raw)]
        for start, end in pairwise(bounds):
            connection.data_received(raw[start:end])
            if start % 2:
                await asyncio.sleep(0)
        await exchange.finished
        return exchange

    exchange = asyncio.run(go())
    reader = exchange.reader
    assert (exchange.outcome, reader.failure, reader.answer.text) == ("complete", None, "zwölf ☃")
    assert exchange.headers_at is not None
    if stream:
        assert reader.arrivals == sorted(set(reader.arrivals))
        assert sum(reader.arrival_events) == 2


# -- stamps


def test_every_socket_that_is_ready_is_stamped_before_any_is_decoded(run, monkeypatch):
    happened = []

    def noting(name, method):
        def noted(*arguments):
            happened.append(name)
            return method(*arguments)

        return noted

    monkeypatch.setattr(Connection, "data_received", noting("read", Connection.data_received))
    monkeypatch.setattr(Connection, "decode", noting("decode", Connection.decode))
    writers = []

    async def handler(request, writer):
        writers.append(writer)
        if len(writers) == 8:
            for one in writers:
                one.write(STREAM_HEAD + chunk(event("35")) + chunk(DONE) + LAST_CHUNK)

    async def go():
        async with serving(handler) as (_, transport):
            return await asyncio.gather(*(send(transport) for _ in range(8)))

    attempts = run(go())
    assert all(attempt.failure is None for attempt in attempts)
    assert happened[:16] == ["read"] * 8 + ["decode"] * 8


def test_sockets_are_looked_at_between_two_decodings(run, monkeypatch):
    happened, writers = [], []
    decode, data_received = Connection.decode, Connection.data_received
    whole = STREAM_HEAD + chunk(event("35")) + chunk(DONE) + LAST_CHUNK

    def decoding(connection):
        happened.append("decode")
        if len(writers) == 9:
            writers.pop().write(whole)
        decode(connection)

    def reading(connection, data):
        happened.append("read")
        data_received(connection, data)

    monkeypatch.setattr(connection_module, "_SLICE_NS", 0)
    monkeypatch.setattr(Connection, "decode", decoding)
    monkeypatch.setattr(Connection, "data_received", reading)

    async def handler(request, writer):
        writers.append(writer)
        if len(writers) == 9:
            for one in writers[:8]:
                one.write(whole)

    async def go():
        async with serving(handler) as (_, transport):
            return await asyncio.gather(*(send(transport) for _ in range(9)))

    assert all(attempt.failure is None for attempt in run(go()))
    ninth = [at for at, what in enumerate(happened) if what == "read"][8]
    assert happened[:9] == ["read"] * 8 + ["decode"]
    assert ninth <= 11


def test_a_flood_is_decoded_as_it_comes(run, monkeypatch):
    """Undecoded bytes do not pile up, however fast they come."""
    most = 0
    data_received = Connection.data_received

    def reading(connection, data):
        nonlocal most
        data_received(connection, data)
        most = max(most, connection._backlog)

    monkeypatch.setattr(Connection, "data_received", reading)
    (attempt,), _ = ask(run, writes(STREAM_HEAD, *[chunk(event("x" * 100_000))] * 100, chunk(DONE) + LAST_CHUNK))
    assert len(attempt.answer.text) == 10_000_000
    assert most <= connection_module._BACKLOG


def test_nothing_is_read_ahead(run):
    async def handler(request, writer):
        await asyncio.sleep(0.05)
        writer.write(STREAM_HEAD)
        for number in range(5):
            writer.write(chunk(event(f"{number} ")))
            await asyncio.sleep(0.1)
        writer.write(chunk(DONE) + LAST_CHUNK)

    (attempt,), _ = ask(run, handler)
    assert 50 * MS <= attempt.ttft_ns < 350 * MS
    assert attempt.latency_ns >= 450 * MS
    assert len(attempt.timing.arrivals) == 5
    assert attempt.timing.end - attempt.timing.arrivals[-1] >= 90 * MS


def test_headers_are_no_token(run):
    (attempt,), _ = ask(run, writes(STREAM_HEAD, chunk(event("35")) + chunk(DONE) + LAST_CHUNK, pause=0.1))
    assert attempt.timing.headers - attempt.timing.sent < attempt.ttft_ns - 90 * MS


def test_reads_that_hold_several_events_are_counted(run):
    async def go():
        async with serving(writes(*STREAMED, pause=0.02)) as (_, transport):
            attempt = await send(transport)
            return attempt, transport.reads, transport.reads_with_several_events

    attempt, reads, several = run(go())
    assert attempt.timing.arrival_events == (1, 3, 1)
    assert (reads, several) == (3, 1)


STREAMED = [
    STREAM_HEAD,
    chunk(event("a")),
    chunk(event("b")) + chunk(event("c")) + chunk(event("d")),
    chunk(event("e")),
    chunk(DONE) + LAST_CHUNK,
]


def test_a_stream_that_comes_in_one_read_is_flagged(run):
    (attempt,), _ = ask(run, writes(b"".join(STREAMED)))
    assert "buffered" in attempt.flags
    assert len(attempt.timing.arrivals) == 1


def test_json_for_a_stream_has_a_latency_and_no_first_token(run):
    (attempt,), _ = ask(run, answers, ttft_timeout_s=5)
    assert (attempt.failure, attempt.streamed, attempt.ttft_ns) == (None, False, None)
    assert attempt.latency_ns > 0
    assert "json_for_stream" in attempt.flags


def test_the_end_of_a_stream_is_done_not_the_end_of_its_framing(run):
    ended = []

    async def handler(request, writer):
        writer.write(STREAM_HEAD + chunk(event("35")) + chunk(DONE))
        await asyncio.sleep(0.08)
        ended.append(time.perf_counter_ns())
        writer.write(LAST_CHUNK)

    attempts, server = ask(run, handler, times=2)
    assert [attempt.failure for attempt in attempts] == [None, None]
    assert attempts[0].timing.end < ended[0]
    assert server.connections == 1  # it was worth the wait


def test_framing_that_never_ends_costs_the_connection_and_nothing_else(run):
    async def handler(request, writer):
        writer.write(STREAM_HEAD + chunk(event("35")) + chunk(DONE))

    attempts, server = ask(run, handler, times=2)
    assert [(attempt.failure, attempt.answer.text) for attempt in attempts] == [(None, "35")] * 2
    assert server.connections == 2


# -- connections


def test_a_connection_is_kept_and_opening_it_is_told(run):
    async def go():
        async with serving(streams) as (server, transport):
            attempts = [await send(transport, stream=stream) for stream in (True, False, True)]
            return attempts, server.connections, transport.connections_opened

    attempts, connections, opened = run(go())
    assert [attempt.connection_opened for attempt in attempts] == [True, False, False]
    assert connections == opened == 1


def test_opening_a_connection_is_no_part_of_the_first_token_time(run, monkeypatch):
    open_connection = transport_module.open_connection

    async def slow_open_connection(*arguments):
        await asyncio.sleep(0.3)
        return await open_connection(*arguments)

    monkeypatch.setattr(transport_module, "open_connection", slow_open_connection)
    (attempt,), _ = ask(run, streams)
    assert attempt.timing.sent - attempt.timing.slot >= 290 * MS
    assert attempt.ttft_ns < 250 * MS


@pytest.mark.parametrize(
    "raw",
    [
        answer("200 OK", completion(), Connection="close"),
        answer("200 OK", completion()).replace(b"HTTP/1.1", b"HTTP/1.0"),
        answer("200 OK", completion()) + b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["close", "HTTP/1.0", "bytes too many"],
)
def test_a_connection_that_must_not_be_kept(run, raw):
    attempts, server = ask(run, writes(raw), times=2, stream=False)
    assert [attempt.failure for attempt in attempts] == [None, None]
    assert server.connections == 2


def test_error_answers_keep_the_connection(run):
    attempts, server = ask(run, writes(answer("500 Broken", b'{"error": {"message": "broken"}}')), times=3)
    assert {attempt.failure.kind for attempt in attempts} == {"server"}
    assert server.connections == 1


def test_a_connection_closed_while_idle_is_not_used_again(run):
    async def handler(request, writer):
        writer.write(answer("200 OK", completion()))
        await writer.drain()
        writer.close()

    async def go():
        async with serving(handler) as (server, transport):
            first = await send(transport)
            await asyncio.sleep(0.05)
            return first, await send(transport), server.connections

    first, second, connections = run(go())
    assert (first.failure, second.failure, connections) == (None, None, 2)
    assert not second.connection_lost_on_reuse


def test_a_connection_closed_while_the_loop_was_busy_is_noticed(run, monkeypatch):
    """The loop has not polled since, so only the socket itself can tell."""
    monkeypatch.setattr(connection_module, "_TRUSTED_IDLE_NS", 0)
    close, closed = threading.Event(), threading.Event()

    def serve(listener):
        for number in range(2):
            client, _ = listener.accept()
            client.recv(65536)
            client.sendall(answer("200 OK", completion()))
            if number == 0:
                close.wait(10)
                client.close()
                closed.set()
        client.recv(1)
        client.close()

    async def go(port):
        async with Transport(Endpoint(f"http://127.0.0.1:{port}", "m")) as transport:
            first = await send(transport)
            close.set()
            closed.wait(10)
            return first, await send(transport)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        first, second = run(go(listener.getsockname()[1]))
        thread.join()
    assert (first.failure, second.failure, second.connection_opened) == (None, None, True)


def test_a_connection_lost_just_as_it_is_used_again(run):
    async def handler(request, writer):
        if len(handler.seen) % 2:
            writer.transport.abort()
        else:
            writer.write(answer("200 OK", completion()))
        handler.seen.append(request)

    handler.seen = []
    attempts, server = ask(run, handler, times=3, stream=False)
    assert [attempt.connection_lost_on_reuse for attempt in attempts] == [False, True, False]
    assert attempts[2].failure is None
    failure = attempts[1].failure
    assert failure.kind == "connection"
    assert re.sub(r" \(Connection reset by peer\)", "", failure.message) == (
        f"An idle connection was closed by 127.0.0.1:{server.port} just as it was used again. Send the request again."
    )


def test_the_connection_used_last_is_used_first(run):
    async def handler(request, writer):
        handler.asked += 1
        await asyncio.sleep(0.1 * handler.asked)  # far enough apart to come back in this order
        writer.write(answer("200 OK", completion()))
        handler.writers.append(writer)

    handler.asked = 0
    handler.writers = []

    async def go():
        async with serving(handler) as (server, transport):
            await asyncio.gather(*(send(transport) for _ in range(3)))
            last = handler.writers[-1]
            await send(transport)
            await send(transport)
            return last, server.connections

    last, connections = run(go())
    assert handler.writers[-2:] == [last, last]
    assert connections == 3


def test_a_cancelled_exchange_closes_its_connection(run):
    gone = asyncio.Event()

    async def handler(request, writer):
        writer.write(STREAM_HEAD + chunk(event("3")))
        while not writer.transport.is_closing():
            writer.write(chunk(b": ping\n\n"))
            await asyncio.sleep(0.01)
        gone.set()

    async def go():
        async with serving(handler) as (_, transport):
            task = asyncio.create_task(send(transport))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 5)
            assert transport._open == set()

    run(go())


def test_leaving_ends_what_is_under_way(run):
    async def handler(request, writer):
        writer.write(STREAM_HEAD + chunk(event("3")))

    async def go():
        async with RawServer(handler) as server:
            async with Transport(Endpoint(server.url, "m")) as transport:
                task = asyncio.create_task(send(transport))
                await asyncio.sleep(0.1)
            return await task, server.port

    attempt, port = run(go())
    assert attempt.failure.kind == "cancelled"
    assert (
        attempt.failure.message == f"evalkit closed the connection to 127.0.0.1:{port} before the answer was complete."
    )
    assert attempt.answer.text == "3"


def test_a_mistake_of_our_own_is_raised_where_it_belongs(run, monkeypatch):
    def broken(reader, data, at_ns):
        raise ZeroDivisionError

    async def go():
        async with serving(streams) as (_, transport):
            with monkeypatch.context() as patch:
                patch.setattr(AnswerReader, "feed", broken)
                with pytest.raises(ZeroDivisionError):
                    await send(transport)
            with monkeypatch.context() as patch:
                patch.setattr(AnswerReader, "finish", lambda reader, complete: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await send(transport)
            return await send(transport)

    assert run(go()).failure is None


# -- what goes out, and when


def test_the_requests_of_one_round_go_out_together(run):
    before, servers = [], []

    async def go():
        note = {"before_sending": lambda: before.append(len(servers[0].requests))}
        async with serving(answers, transport=note) as (server, transport):
            servers.append(server)
            for _ in range(2):
                await asyncio.gather(*(send(transport, stream=False) for _ in range(8)))
            return len(server.requests)

    assert run(go()) == 16
    assert before[-1] == 8  # once for the eight of the second round, before any of them


def test_when_what_comes_before_fails_nothing_goes_out(run):
    def full():
        raise OSError("no room")

    async def go():
        async with serving(answers, transport={"before_sending": full}) as (server, transport):
            found = await asyncio.gather(*(send(transport, stream=False) for _ in range(3)), return_exceptions=True)
            return [str(error) for error in found], len(server.requests)

    assert run(go()) == (["no room"] * 3, 0)


def test_what_comes_before_the_request_goes_out_is_no_answer_to_it(run):
    """A server that says 408 on an idle connection, and closes it: the request goes out on another one."""

    async def go():
        connection = Connection(SlicedWork(Connection.decode), SlicedWork(Connection.write), lambda connection: None)
        connection.connection_made(Mute())
        exchange = Exchange("http://x/", False, 5, None)
        connection.begin(exchange, lambda: b"POST")
        connection.data_received(answer("408 Request Timeout", b"{}"))
        await exchange.finished
        return exchange

    exchange = run(go())
    assert (exchange.outcome, exchange.status, exchange.lost_on_reuse) == ("closed", None, True)


def test_a_request_that_cannot_be_made_ends_alone(run):
    def fails():
        raise RuntimeError("a mistake")

    async def go():
        sending = SlicedWork(Connection.write)
        exchanges = []
        for make in (fails, bytes):
            connection = Connection(SlicedWork(Connection.decode), sending, lambda connection: None)
            connection.connection_made(mute := Mute())
            exchange = Exchange("http://x/", False, 5, None)
            connection.begin(exchange, make)
            exchanges.append(exchange)
        with pytest.raises(RuntimeError, match="a mistake"):
            await exchanges[0].finished
        connection.abort()
        return mute.written

    assert run(go()) == 1


@pytest.mark.parametrize(("end", "outcome"), [("abort", "cancelled"), ("connection_lost", "closed")])
def test_a_request_whose_exchange_ends_before_it_goes_out_never_does(run, end, outcome):
    async def go():
        connection = Connection(SlicedWork(Connection.decode), SlicedWork(Connection.write), lambda connection: None)
        mute = Mute()
        connection.connection_made(mute)
        exchange = Exchange("http://x/", False, 5, None)
        began = time.perf_counter_ns()
        connection.begin(exchange, lambda: b"POST")
        getattr(connection, end)(*([None] if end == "connection_lost" else []))
        await exchange.finished
        await asyncio.sleep(0)
        return exchange, began, mute.written

    exchange, began, written = run(go())
    assert (exchange.outcome, written) == (outcome, 0)
    assert began <= exchange.sent <= exchange.end


# -- redirects


def redirecting(status, *locations):
    """A handler that leads through these locations, one for each request, and then answers."""

    async def handler(request, writer):
        step = len(handler.seen)
        handler.seen.append(request.line)
        if step < len(locations):
            writer.write(answer(f"{status} Elsewhere", b"<a>elsewhere</a>", "text/html", Location=locations[step]))
        else:
            writer.write(answer("200 OK", completion()))

    handler.seen = []
    return handler


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_within_the_origin_are_followed_with_the_key(run, key, status):
    handler = redirecting(status, "/v1/chat/completions/", "../elsewhere?x=1")
    (attempt,), server = ask(run, handler, stream=False, key_env="THE_KEY")
    assert (attempt.failure, attempt.answer.text, attempt.connection_opened) == (None, "35", True)
    assert handler.seen == [
        "POST /v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions/ HTTP/1.1",
        "POST /v1/chat/elsewhere?x=1 HTTP/1.1",
    ]
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert {request.body for request in server.requests} == {BODY}
    assert server.connections == 1


def test_a_redirect_counts_in_the_times(run):
    async def handler(request, writer):
        await asyncio.sleep(0.1)
        await elsewhere(request, writer)

    elsewhere = redirecting(307, "/v2")
    (attempt,), _ = ask(run, handler, stream=False)
    assert attempt.latency_ns >= 190 * MS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_to_another_host(run, key, status):
    """Nor to another port, which is all that this test can offer."""

    async def go():
        async with RawServer(answers) as other:
            there = f"{other.url}/v1/chat/completions?key=1"
            async with serving(redirecting(status, there), key_env="THE_KEY") as (_, transport):
                return await send(transport), other

    attempt, other = run(go())
    assert other.requests == []
    assert (attempt.failure.kind, attempt.failure.http_status, attempt.http_status) == ("protocol", status, status)
    assert re.sub(r"127.0.0.1:\d+ answered", "HOST answered", attempt.failure.message) == (
        f"The endpoint HOST answered with a redirect (HTTP {status}) to {other.url}/v1, another host or port: "
        "the key is not sent there. If you trust that address, set it as base URL."
    )


@pytest.mark.parametrize(
    ("status", "location", "ending"),
    [
        (301, "/v2/chat/completions", " to {url}/v2, which would turn the request into a GET. "
         "Set that address as base URL."),
        (307, "/again", " to {url}/again, the last of more than 3 in a row. Check the base URL."),
        (307, None, " that names no address. Check the base URL."),
        (308, "ftp://files.example/", " that names no address. Check the base URL."),
        (308, "http://[broken/", " that names no address. Check the base URL."),
        (308, "https://127.0.0.1/v1", " to https://127.0.0.1/v1, another host or port: the key is not sent there. "
         "If you trust that address, set it as base URL."),
    ],
)  # fmt: skip
def test_redirects_that_are_not_followed(run, status, location, ending):
    headers = {} if location is None else {"Location": location}
    (attempt,), server = ask(run, writes(answer(f"{status} Elsewhere", **headers)))
    assert attempt.failure.message == (
        f"The endpoint 127.0.0.1:{server.port} answered with a redirect (HTTP {status}){ending.format(url=server.url)}"
    )
    assert attempt.failure.kind == "protocol"
    assert len(server.requests) == (4 if location == "/again" else 1)


# -- the key


@pytest.mark.parametrize("part", [KEY, KEY[3:10], KEY[:5], KEY[-6:]])
def test_what_an_endpoint_repeats_of_the_key_is_in_no_failure(run, key, part):
    body = b'{"error": {"message": "cannot use %b today", "code": "%b"}}' % (part.encode(), part.encode())
    (attempt,), _ = ask(run, writes(answer("400 Bad", body)), key_env="THE_KEY")
    assert attempt.failure.message == (
        'The endpoint refused the request (HTTP 400, ***): "cannot use *** today". '
        "Check the messages and parameters against what it accepts."
    )
    assert attempt.failure.code == "***"


def test_a_key_in_the_address_of_a_redirect(run, key):
    location = f"https://other.example/{KEY}/v1"
    (attempt,), _ = ask(run, writes(answer("307 Elsewhere", Location=location)), key_env="THE_KEY")
    assert "to https://other.example/***/v1, another host" in attempt.failure.message


def test_a_key_in_what_is_no_http(run, key):
    (attempt,), server = ask(run, writes(f"you sent {KEY}\r\n".encode(), close=True), key_env="THE_KEY")
    assert attempt.failure.message == (
        f"There is no HTTP/1.1 on 127.0.0.1:{server.port}: its answer began with 'you sent ***\\r\\n'. "
        "Check host and port of the base URL."
    )


def test_an_answer_that_repeats_the_key(run, key):
    call = {"id": KEY, "function": {"name": "f", "arguments": f'{{"key": "{KEY}"}}'}, "type": "function"}
    whole = completion(f"Your key is {KEY}, it begins with {KEY[:7]}.", tool_calls=[call])
    (attempt,), _ = ask(run, writes(answer("200 OK", whole)), stream=False, key_env="THE_KEY")
    assert KEY not in repr(attempt)
    assert attempt.answer.text == f"Your key is ***, it begins with {KEY[:7]}."
    assert attempt.answer.tool_calls[0].arguments == '{"key": "***"}'


def test_an_answer_that_repeats_the_key_piece_by_piece(run, key):
    pieces = b"".join(chunk(event(letter)) for letter in f"Your key is {KEY}.")
    (attempt,), _ = ask(run, writes(STREAM_HEAD, pieces, chunk(DONE) + LAST_CHUNK), key_env="THE_KEY")
    assert attempt.answer.text == "Your key is ***."


def test_no_object_holds_or_shows_the_key(run, key):
    def seen_from(thing, depth=6):
        yield repr(thing)
        if depth and type(thing).__module__.startswith(("evalkit", "builtins", "collections")):
            inner = thing.values() if isinstance(thing, dict) else getattr(thing, "__dict__", {}).values()
            for one in inner if not isinstance(thing, (list, set, tuple)) else thing:
                yield from seen_from(one, depth - 1)

    async def go():
        async with serving(streams, key_env="THE_KEY") as (_, transport):
            attempt = await send(transport)
            pending = asyncio.create_task(send(transport))
            await asyncio.sleep(0)
            texts = [*seen_from(transport), *seen_from(attempt), repr(pending)]
            await pending
            return texts

    texts = run(go())
    assert len(texts) > 20
    assert not [text for text in texts if KEY in text or KEY[3:10] in text]


# -- headers of the user

SECRETS = {"APIM_KEY": "k-9fJ2mQ7xT4vW", "LOGIN": "Basic YW5uYTpwYXNzd29yZC00Mg==", "JAR": "sid=3fZ8pLq2Vn; theme=dark"}
OF_THE_USER = {
    "headers": {"X-Team": "search", "user-agent": "our-tests"},
    "headers_env": {"api-key": "APIM_KEY", "Authorization": "LOGIN", "Cookie": "JAR"},
}


@pytest.fixture
def of_the_user(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return OF_THE_USER


def test_headers_of_the_user_are_sent_with_every_request_and_replace_our_own(run, key, of_the_user):
    attempts, server = ask(run, streams, times=2, key_env="THE_KEY", **of_the_user)
    assert [attempt.failure for attempt in attempts] == [None, None]
    for request in server.requests:
        names = [line.partition(":")[0].lower() for line in request.raw_head.decode().split("\r\n")[1:] if line]
        assert len(names) == len(set(names))
        assert request.headers["x-team"] == "search"
        assert request.headers["user-agent"] == "our-tests"
        assert request.headers["api-key"] == SECRETS["APIM_KEY"]
        assert request.headers["authorization"] == SECRETS["LOGIN"]  # in place of the key
        assert request.headers["cookie"] == SECRETS["JAR"]


def test_a_query_is_part_of_every_request(run, key):
    async def go():
        async with RawServer(answers) as server:
            base_url = f"{server.url}/openai/deployments/g/chat/completions?api-version=2024-10-21"
            async with Transport(Endpoint(base_url, "m")) as transport:
                return await send(transport, stream=False), server

    attempt, server = run(go())
    assert attempt.failure is None
    assert server.requests[0].line == "POST /openai/deployments/g/chat/completions?api-version=2024-10-21 HTTP/1.1"


@pytest.mark.parametrize("echo", ["k-9fJ2mQ7xT4vW", "YW5uYTpwYXNzd29yZC00Mg==", "anna:password-42", "password-42"])
@pytest.mark.parametrize("stream", [True, False])
def test_what_an_endpoint_repeats_of_a_secret_header_is_nowhere(run, of_the_user, echo, stream):
    body = f'{{"error": {{"message": "you sent {echo}", "type": "{echo}"}}}}'.encode()
    refusing = writes(answer("400 Bad Request", body, x_request_id=echo))
    repeating = (
        writes(STREAM_HEAD, b"".join(chunk(event(part)) for part in echo), chunk(DONE) + LAST_CHUNK)
        if stream
        else writes(answer("200 OK", completion(f"You sent {echo}.")))
    )
    for handler in (refusing, repeating, writes(f"no HTTP, but {echo}\r\n".encode(), close=True)):
        (attempt,), _ = ask(run, handler, stream=stream, **of_the_user)
        assert echo not in repr(attempt)


def test_secret_headers_are_read_for_every_request_and_no_redirect_takes_them_elsewhere(run, of_the_user, monkeypatch):
    async def go():
        async with (
            RawServer(answers) as other,
            serving(redirecting(307, f"{other.url}/v1/chat/completions"), **of_the_user) as (server, transport),
        ):
            attempt = await send(transport)
            monkeypatch.setenv("APIM_KEY", "k-another-one")
            await send(transport)
            return attempt, server, other

    attempt, server, other = run(go())
    assert attempt.failure.kind == "protocol"
    assert other.requests == []
    assert [request.headers["api-key"] for request in server.requests] == [SECRETS["APIM_KEY"], "k-another-one"]


@pytest.mark.parametrize("value", [None, "", "line\nbreak", "a\r\nX-Evil: 1", "schön", "ends with a blank "])
def test_a_variable_that_no_header_can_carry_sends_nothing(run, of_the_user, monkeypatch, value):
    if value is None:
        monkeypatch.delenv("APIM_KEY")
    else:
        monkeypatch.setenv("APIM_KEY", value)
    with pytest.raises(SettingsError, match="APIM_KEY") as caught:
        ask(run, answers, **of_the_user)
    assert not value or value not in str(caught.value)


def test_no_object_holds_or_shows_a_secret_header(run, of_the_user):
    async def go():
        async with serving(streams, **of_the_user) as (_, transport):
            pending = asyncio.create_task(send(transport))
            await asyncio.sleep(0)
            texts = [repr(pending), repr(transport), repr(vars(transport)), repr(transport._endpoint)]
            return [*texts, repr(await pending)]

    shown = " ".join(run(go()))
    assert not [value for value in SECRETS.values() if value in shown]
