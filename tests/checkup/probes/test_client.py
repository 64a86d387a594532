"""The client of the probes against answers that never end: limits of size and of time hold for each."""

import asyncio
import contextlib
import itertools
import time

import pytest
from behaving import behaving, reply

from evalkit.checkup.probes.client import ProbeClient
from evalkit.endpoint import Endpoint

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def asked(answer, limit_s=5.0, **more):
    """The reply to one request, and how long it took; ``answer`` accepts the file to write to."""

    def write(file):
        with contextlib.suppress(OSError):  # the client left
            answer(file)

    async def send(base_url):
        async with ProbeClient(Endpoint(base_url, "m"), limit_s) as client:
            return await client.send(b"{}", **more)

    with behaving(lambda request: write) as (base_url, _):
        began = time.monotonic()
        return asyncio.run(send(base_url)), time.monotonic() - began


def endless(first, again):
    def answer(file):
        file.write(first)
        for number in itertools.count():
            file.write(again % number if b"%d" in again else again)

    return answer


@pytest.mark.parametrize(("first", "again"), [
    (HEAD, b"x-%d: " + b"a" * 1_000 + b"\r\n"),
    (HEAD + b"x: ", b"a" * 1_000),
    (b"", b"HTTP/1.1 100 Continue\r\nx: " + b"a" * 500 + b"\r\n\r\n"),
    (CHUNKED + b"0\r\n", b"x-%d: " + b"a" * 1_000 + b"\r\n"),
    (CHUNKED + b"5;x=", b"a" * 1_000),
], ids=["many headers", "one header", "interim answers", "trailers", "a chunk's extension"])  # fmt: skip
def test_headers_without_end_are_a_failure(first, again):
    got, took_s = asked(endless(first, again), limit_s=20.0)
    assert got.failure == "more than 64 KiB of headers"
    assert took_s < 5


def test_long_headers_of_an_answer_are_read():
    got, _ = asked(lambda file: file.write(reply({"a": 1}, x_long="a" * 60_000)))
    assert (got.failure, got.json) == ("", {"a": 1})


@pytest.mark.parametrize("more", [{}, {"leave_after": 10**9}])
def test_the_time_limit_holds_for_tiny_chunks(more):
    got, took_s = asked(endless(CHUNKED, b"1\r\nx\r\n" * 10_000), limit_s=0.5, **more)
    assert got.failure in ("no end of the answer within 0.5 s", "the body is longer than 4 MiB")
    assert took_s < 3
    assert len(got.reads) < 20_000, "one for each read, not for each chunk"
    assert got.reads == sorted(set(got.reads))
    assert got.reads[-1][1] == len(got.body)


def test_one_time_limit_holds_for_all_redirects():
    def slowly(file):
        time.sleep(0.3)
        file.write(reply(b"", 307, location="/v1/chat/completions?again"))

    got, took_s = asked(slowly, limit_s=0.5)
    assert (got.status, got.failure, got.redirects) == (None, "no answer within 0.5 s", 1)
    assert took_s < 0.9


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_a_client_leaves_after_so_many_events_however_they_are_divided(size):
    stream = b"".join(b"data: {}\n\n" for _ in range(6))

    def answer(file):
        file.write(HEAD + b"content-type: text/event-stream\r\n\r\n")
        for start in range(0, len(stream), size):
            file.write(stream[start : start + size])
            file.flush()
            time.sleep(0.005)
        time.sleep(0.2)

    got, _ = asked(answer, leave_after=4)
    assert (got.left, got.failure) == (True, "")
    assert got.body.count(b"data:") == (4 if size < 10 else 6)


def test_done_is_seen_though_it_is_divided_between_reads():
    def answer(file):
        file.write(HEAD + b"content-type: text/event-stream\r\n\r\ndata: {}\n\nda")
        for part in (b"ta: [DO", b"NE]\n\n"):
            file.flush()
            time.sleep(0.05)
            file.write(part)
        file.flush()
        time.sleep(3)

    got, took_s = asked(answer)
    assert (got.left_open, got.failure) == (True, "")
    assert took_s < 2


def test_what_follows_an_answer_in_its_read_does_not_change_it():
    got, _ = asked(lambda file: file.write(reply({"a": 1}) + reply({"b": 2}, 500)))
    assert (got.status, got.json, got.failure) == (200, {"a": 1}, "")
