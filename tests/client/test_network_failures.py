"""Exchanges that go wrong on the way: the kind of each failure, and its whole message."""

import asyncio
import re
import socket
import struct

import pytest
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, answer, ask, chunk, completion, event, writes

MS = 10**6
HALF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/eve"
WHOLE = answer("200 OK", completion())
LOG = "Check the endpoint's log."


def without_measures(message):
    """Times and byte counts that no test can know."""
    return re.sub(r"after [\d.e-]+ s", "after … s", re.sub(r"\d+ bytes", "… bytes", message))


def reset_after(*pieces):
    async def handler(request, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)
        writer.transport.abort()

    return handler


def silent_after(*pieces):
    async def handler(request, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)
        await asyncio.sleep(5)

    return handler


CLOSED = {
    "closed before an answer": (
        writes(close=True), True, "connection",
        f"The connection was closed by HOST before it answered. {LOG} "
        "If it requires TLS, use https:// in the base URL.",
    ),
    "closed in the headers": (
        writes(HALF_HEAD, close=True), True, "connection",
        f"The connection was closed by HOST in the middle of its headers. {LOG}",
    ),
    "closed before the body of a stream": (
        writes(STREAM_HEAD, close=True), True, "connection",
        None,
    ),
    "closed in a stream": (
        writes(STREAM_HEAD, chunk(event("3")) + chunk(event("5")), close=True), True, "truncated",
        None,
    ),
    "reset in a stream": (
        reset_after(STREAM_HEAD, chunk(event("3"))), True, "truncated",
        None,
    ),
    "closed in a whole answer": (
        writes(WHOLE[:-30], close=True), False, "truncated",
        None,
    ),
    "another protocol": (
        writes(b"SSH-2.0-OpenSSH_9.6\r\n"), True, "protocol",
        "There is no HTTP/1.1 on HOST: its answer began with 'SSH-2.0-OpenSSH_9.6\\r\\n'. "
        "Check host and port of the base URL.",
    ),
    "TLS": (
        writes(b"\x15\x03\x01\x00\x02\x02\x16", close=True), True, "connection",
        "There is TLS on HOST: use https:// in the base URL.",
    ),
    "another protocol wanted": (
        writes(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), True, "protocol",
        "The answer of HOST breaks the rules of HTTP (it changes the protocol without a request to do so).",
    ),
    "broken framing": (
        writes(STREAM_HEAD, chunk(event("3")), b"zz\r\n"), True, "protocol",
        "The answer of HOST breaks the rules of HTTP (Invalid character in chunk size). The part received is kept.",
    ),
    "broken framing in a whole answer": (
        writes(STREAM_HEAD.replace(b"text/event-stream", b"application/json"), chunk(b'{"choices":'), b"zz\r\n"), False,
        "protocol",
        "The answer of HOST breaks the rules of HTTP (Invalid character in chunk size).",
    ),
    "too many headers": (
        writes(HALF_HEAD, b"x" * 70_000), True, "protocol",
        "More than 64 KiB of headers came from HOST. Check host and port of the base URL.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CLOSED)
def test_what_is_closed_or_no_http(run, case):
    handler, stream, kind, message = CLOSED[case]
    (attempt,), server = ask(run, handler, stream=stream)
    assert attempt.failure.kind == kind
    if message is None:  # the words are those of ``wire``
        assert attempt.failure.message.startswith("The endpoint ")
    else:
        assert attempt.failure.message == message.replace("HOST", f"127.0.0.1:{server.port}")
    assert attempt.timing.end is not None
    assert not attempt.connection_lost_on_reuse


def test_reset_before_an_answer(run):
    (attempt,), server = ask(run, resets)
    assert attempt.failure.kind == "connection"
    assert attempt.failure.message == (
        f"The connection was closed by 127.0.0.1:{server.port} before it answered (Connection reset by peer). {LOG} "
        "If it requires TLS, use https:// in the base URL."
    )


async def resets(request, writer):
    """Closing without lingering sends a reset where ``abort`` may send an end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("handler", [CLOSED["closed in a stream"][0], CLOSED["broken framing"][0]])
def test_the_part_that_came_is_kept(run, handler):
    (attempt,), _ = ask(run, handler)
    assert attempt.answer.text in ("3", "35")
    assert attempt.timing.arrivals
    assert attempt.http_status == 200


def test_broken_framing_after_done_harms_nothing(run):
    attempts, server = ask(run, writes(STREAM_HEAD, chunk(event("35")) + chunk(DONE) + b"zz\r\n"), times=2)
    assert [(attempt.failure, attempt.answer.text) for attempt in attempts] == [(None, "35")] * 2
    assert server.connections == 2


LIMITS = {
    "silence": (
        silent_after(), True, {"ttft_timeout_s": 0.2},
        "No first token within 0.2 s (ttft_timeout_s): HOST has sent nothing. Raise the limit or lower the load.",
    ),
    "half a head": (
        silent_after(HALF_HEAD), True, {"ttft_timeout_s": 0.2},
        "No first token within 0.2 s (ttft_timeout_s): HOST has sent … bytes, not even complete headers. "
        "Raise the limit or lower the load.",
    ),
    "no token but a role": (
        silent_after(STREAM_HEAD, chunk(event("", delta={"role": "assistant", "content": ""}))), True,
        {"ttft_timeout_s": 0.2},
        "No first token within 0.2 s (ttft_timeout_s): HOST sent its headers after … s and … bytes in all, "
        "but no token. Raise the limit or lower the load.",
    ),
    "keep-alive comments": (
        silent_after(STREAM_HEAD, *[chunk(b": ping\n\n")] * 50), True, {"ttft_timeout_s": 0.2},
        "No first token within 0.2 s (ttft_timeout_s): HOST sent its headers after … s and … bytes in all, "
        "but no token. Raise the limit or lower the load.",
    ),
    "a stream that stops": (
        silent_after(STREAM_HEAD, chunk(event("tree ")), chunk(event("house"))), True,
        {"ttft_timeout_s": 0.15, "timeout_s": 0.3},
        "No complete answer within 0.3 s (timeout_s): HOST sent 10 characters in 2 reads, the last after … s. "
        "Raise the limit, lower the load or set max_tokens.",
    ),
    "a stream without end": (
        silent_after(STREAM_HEAD, *[chunk(event("x"))] * 50), True, {"timeout_s": 0.3},
        None,
    ),
    "a whole answer that does not come": (
        silent_after(), False, {"ttft_timeout_s": 0.05, "timeout_s": 0.2},
        "No complete answer within 0.2 s (timeout_s): HOST has sent nothing. "
        "Raise the limit, lower the load or set max_tokens.",
    ),
    "half a whole answer": (
        silent_after(WHOLE[:-10]), False, {"timeout_s": 0.2},
        "No complete answer within 0.2 s (timeout_s): HOST sent its headers after … s and … bytes in all. "
        "Raise the limit, lower the load or set max_tokens.",
    ),
    "half an answer in JSON to a stream": (
        silent_after(WHOLE[:-10]), True, {"ttft_timeout_s": 0.1, "timeout_s": 0.2},
        "No complete answer within 0.2 s (timeout_s): HOST sent its headers after … s and … bytes in all. "
        "Raise the limit, lower the load or set max_tokens.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMITS)
def test_limits(run, case):
    handler, stream, limits, message = LIMITS[case]
    (attempt,), server = ask(run, handler, stream=stream, **limits)
    if message is not None:
        host = f"127.0.0.1:{server.port}"
        assert without_measures(attempt.failure.message).replace(host, "HOST") == message
    assert attempt.failure.kind == "timeout"
    reached = limits["ttft_timeout_s"] if "ttft" in attempt.failure.message else limits["timeout_s"]
    assert reached * 1e9 - 3 * MS <= attempt.censored_ns < 3e9
    assert attempt.latency_ns is None


def test_what_came_before_a_limit_is_kept(run):
    (attempt,), _ = ask(run, LIMITS["a stream that stops"][0], timeout_s=0.3)
    assert attempt.answer.text == "tree house"
    assert len(attempt.timing.arrivals) == 2
    assert attempt.ttft_ns < 200 * MS


def test_a_limit_closes_the_connection(run):
    attempts, server = ask(run, silent_after(), times=2, timeout_s=0.1)
    assert [attempt.connection_opened for attempt in attempts] == [True, True]
    assert server.connections == 2


def test_a_first_token_in_time_lifts_the_first_limit(run):
    pieces = [STREAM_HEAD, chunk(event("3")), *[b""] * 14, chunk(event("5")), chunk(DONE) + LAST_CHUNK]
    (attempt,), _ = ask(run, silent_after(*pieces), ttft_timeout_s=0.2)
    assert (attempt.failure, attempt.answer.text) == (None, "35")
