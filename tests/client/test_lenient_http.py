"""HTTP that breaks the rules: what curl reads is read, and the connection is not used again."""

import json
from itertools import pairwise

import httptools
import loops
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from raw_server import DONE, ask, chunk, completion, event, writes

from evalkit.client.lenient_http import LenientResponseParser, are_plain_chunks

pytest_generate_tests = loops.pytest_generate_tests

GOOD = completion("35")
LENGTH = b"Content-Length: %d\r\n" % len(GOOD)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def head(*headers, status=b"HTTP/1.1 200 OK"):
    return status + b"\r\nContent-Type: application/json\r\n" + b"".join(headers) + b"\r\n"


def sized(size, body=GOOD):
    return size % len(body) + b"\r\n" + body + b"\r\n"


READ = {
    "length before chunks": head(b"Content-Length: 0\r\n", CHUNKED) + chunk(GOOD) + END,
    "length after chunks": head(CHUNKED, LENGTH) + chunk(GOOD) + END,
    "wrong length beside chunks": head(CHUNKED, b"Content-Length: -1\r\n") + chunk(GOOD) + END,
    "blanks after a size": head(CHUNKED) + sized(b"%x  ") + END,
    "tab after a size": head(CHUNKED) + sized(b"%x\t") + END,
    "blank before an extension": head(CHUNKED) + sized(b"%x ;a=b") + END,
    "extension of no form": head(CHUNKED) + sized(b"%x; a b@@") + END,
    "equal lengths": head(LENGTH, LENGTH) + GOOD,
    "equal lengths in one header": head(b"Content-Length: %d, %d\r\n" % (len(GOOD), len(GOOD))) + GOOD,
    "lines end in LF": head(LENGTH).replace(b"\r\n", b"\n") + GOOD,
    "one line ends in LF": head(LENGTH.replace(b"\r\n", b"\n")) + GOOD,
    "chunks end in LF": (head(CHUNKED) + chunk(GOOD) + END).replace(b"\r\n", b"\n"),
    "only chunks end in LF": head(CHUNKED) + (chunk(GOOD) + END).replace(b"\r\n", b"\n"),
    "folded header": head(b"X-Note: a\r\n b\r\n", LENGTH) + GOOD,
    "blank before a colon": head(b"Content-Length : %d\r\n" % len(GOOD)) + GOOD,
    "name that is none": head(b"X (a): b\r\n", LENGTH) + GOOD,
    "empty name": head(b": b\r\n", LENGTH) + GOOD,
    "control character": head(b"X-A: \x01\r\n", LENGTH) + GOOD,
    "identity beside a length": head(b"Transfer-Encoding: identity\r\n", LENGTH) + GOOD,
    "two blanks before the status": head(LENGTH, status=b"HTTP/1.1  200 OK") + GOOD,
    "version 2": head(LENGTH, status=b"HTTP/2 200") + GOOD,
}
REFUSED = {
    "different lengths": head(LENGTH, b"Content-Length: 3\r\n") + GOOD,
    "different lengths in one header": head(b"Content-Length: %d, 3\r\n" % len(GOOD)) + GOOD,
    "negative length": head(b"Content-Length: -3\r\n") + GOOD,
    "no length": head(b"Content-Length:\r\n") + GOOD,
    "no colon": head(b"Note\r\n", LENGTH) + GOOD,
    "NUL": head(b"X-A: a\0b\r\n", LENGTH) + GOOD,
    "blank before the first header": head(LENGTH).replace(b"\r\n", b"\r\n ", 1) + GOOD,
    "size with a sign": head(CHUNKED) + sized(b"-%x") + END,
    "size in words": head(CHUNKED) + sized(b"0x%x") + END,
    "more than a chunk": head(CHUNKED) + b"2\r\n" + GOOD + b"\r\n" + END,
    "unknown coding": head(b"Transfer-Encoding: zip\r\n", LENGTH) + GOOD,
}


@pytest.mark.parametrize("name", READ)
def test_read_and_closed(run, name):
    attempts, server = ask(run, writes(READ[name]), stream=False, times=2)
    for attempt in attempts:
        assert (attempt.failure, attempt.answer.text, attempt.usage.output_tokens) == (None, "35", 2)
        assert attempt.flags == ("lenient_http",)
    assert server.connections == 2


def test_read_in_pieces(run):
    for raw in (READ["length before chunks"], READ["lines end in LF"], READ["extension of no form"]):
        pieces = [raw[at : at + 7] for at in range(0, len(raw), 7)]
        (attempt,), _ = ask(run, writes(*pieces, pause=0.001), stream=False)
        assert (attempt.failure, attempt.answer.text, attempt.flags) == (None, "35", ("lenient_http",))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(run, name):
    (attempt,), _ = ask(run, writes(REFUSED[name], close=True), stream=False)
    assert attempt.failure.kind == "protocol"
    assert "breaks the rules of HTTP" in attempt.failure.message
    assert attempt.answer is None


def test_a_stream(run):
    begin = head(b"Content-Length: 0\r\n", CHUNKED).replace(b"application/json", b"text/event-stream")
    end = chunk(event("5") + event(finish_reason="stop") + DONE) + END
    attempts, server = ask(run, writes(begin, chunk(event("3")), end, pause=0.02), times=2)
    for attempt in attempts:
        assert (attempt.failure, attempt.answer.text, attempt.flags) == (None, "35", ("lenient_http",))
        assert len(attempt.timing.arrivals) == 2
        assert attempt.timing.headers < attempt.timing.arrivals[0] < attempt.timing.arrivals[1]
    assert server.connections == 2


def test_blanks_after_the_size_of_a_later_chunk(run):
    """They have one meaning: a stream is not lost to them, although its beginning cannot be parsed again."""
    begin = head(CHUNKED).replace(b"application/json", b"text/event-stream")
    pieces = (begin, chunk(event("3")), sized(b"%x   ", event("5")), chunk(event(finish_reason="stop") + DONE) + END)
    attempts, server = ask(run, writes(*pieces, pause=0.02), times=2)
    for attempt in attempts:
        assert (attempt.failure, attempt.answer.text, attempt.flags) == (None, "35", ("lenient_http",))
    assert server.connections == 2


HALF = len(GOOD) // 2
PADDED_LATER = {
    "second chunk": chunk(GOOD[:HALF]) + sized(b"%x  ", GOOD[HALF:]) + END,
    "second chunk, tab": chunk(GOOD[:HALF]) + sized(b"%x\t", GOOD[HALF:]) + END,
    "second chunk, extension": chunk(GOOD[:HALF]) + sized(b"%x ;a=b", GOOD[HALF:]) + END,
    "third chunk": chunk(GOOD[:9]) + chunk(GOOD[9:HALF]) + sized(b"%X ", GOOD[HALF:]) + END,
    "last chunk": chunk(GOOD) + b"0 \r\n\r\n",
    "last chunk with trailers": chunk(GOOD) + b"0\t \r\nX-Sum: 3\r\n\r\n",
    "last chunk of zeros": chunk(GOOD) + b"000   \r\n\r\n",
}


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("name", PADDED_LATER)
def test_blanks_after_the_size_of_any_chunk(run, name, size):
    raw = PADDED_LATER[name]
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)] if size else [raw]
    attempts, server = ask(run, writes(head(CHUNKED), *pieces, pause=0.001), stream=False, times=2)
    for attempt in attempts:
        assert (attempt.failure, attempt.answer.text, attempt.flags) == (None, "35", ("lenient_http",))
    assert server.connections == 2


def test_blanks_in_an_answer_are_none_of_its_framing(run):
    body = completion("x").replace(b'"x"', b'" \\t35 ;"').replace(b", ", b" ,\t \r\n ")
    for raw in (head(b"X-A: a \r\n", CHUNKED) + chunk(body[:20]) + chunk(body[20:]) + END,
                head(b"Content-Length: %d \r\n" % len(body)) + body):  # fmt: skip
        attempts, server = ask(run, writes(raw), stream=False, times=2)
        assert [(attempt.answer.text, attempt.flags) for attempt in attempts] == [(" \t35 ;", ())] * 2
        assert server.connections == 1


def test_an_answer_smuggled_behind_another_is_not_taken_for_the_next(run):
    forged = head(b"Content-Length: %d\r\n" % len(completion("99"))) + completion("99")
    raw = head(b"Content-Length: 5\r\n", CHUNKED) + chunk(GOOD) + END + forged
    attempts, server = ask(run, writes(raw), stream=False, times=2)
    assert [attempt.answer.text for attempt in attempts] == ["35", "35"]
    assert server.connections == 2


def test_an_ordinary_answer_has_no_flag_and_keeps_its_connection(run):
    attempts, server = ask(run, writes(head(CHUNKED) + chunk(GOOD) + END), stream=False, times=2)
    assert [attempt.flags for attempt in attempts] == [(), ()]
    assert server.connections == 1


class Heard:
    def __init__(self):
        self.headers, self.body, self.ends, self.statuses = [], b"", 0, []
        self.parser = LenientResponseParser(self)

    def on_header(self, name, value):
        self.headers.append((name, value))

    def on_headers_complete(self):
        self.statuses.append(self.parser.get_status_code())

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.ends += 1


def feed(raw, size):
    heard = Heard()
    for at in range(0, len(raw), size):
        heard.parser.feed_data(raw[at : at + size])
    return heard


@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
def test_the_division_into_reads_does_not_matter(size):
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    for name, raw in READ.items():
        heard = feed(interim + raw, size)
        assert (heard.body, heard.statuses, heard.ends) == (GOOD, [100, 200], 2), name
        assert json.loads(heard.body)["choices"]
        assert heard.parser.should_keep_alive() is False
    for raw in REFUSED.values():
        with pytest.raises(httptools.HttpParserError):
            feed(raw, size)


def test_what_is_no_http_is_refused_at_its_first_bytes():
    for raw in (b"\x15\x03\x01", b"SSH-2.0-x", b"<html>", b"ICY 200 OK\r\n"):
        with pytest.raises(httptools.HttpParserError, match="Expected HTTP/"):
            Heard().parser.feed_data(raw)


class Pieces:
    """The pieces of a body as the parser gives them."""

    def __init__(self):
        self.pieces, self.has_head = [], False

    def on_headers_complete(self):
        self.has_head = True

    def on_body(self, body):
        self.pieces.append(body)


PIECE = st.binary(min_size=1, max_size=40) | st.sampled_from(
    [b"5 \r\n", b"\r\n", b"1a\r\n\r\n", b"0\r\n\r\n", b"\r\n0\r\n\r\n"]
)


@example(pieces=[b"a", b"ab", b"abcd", b"\r\n0\r\n\r\n"], padded=1, padding=b" " * 7, cuts={118})
@given(
    pieces=st.lists(PIECE, min_size=1, max_size=5),
    padded=st.integers(0, 9),
    padding=st.sampled_from([b" ", b"  ", b"\t", b" " * 7]),
    cuts=st.sets(st.integers(1, 300), max_size=6),
)
def test_a_read_with_a_padded_size_is_never_taken_for_whole_plain_chunks(pieces, padded, padding, cuts):
    raw, blanks = head(CHUNKED), None
    for number, piece in enumerate(pieces):
        raw += b"%x" % len(piece)
        if number == padded:
            blanks = range(len(raw), len(raw) + len(padding))
            raw += padding
        raw += b"\r\n" + piece + b"\r\n"
    raw += b"0\r\n\r\n"
    heard = Pieces()
    parser = httptools.HttpResponseParser(heard)
    parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
    places = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    for start, stop in pairwise(places):
        before, had_head = len(heard.pieces), heard.has_head
        parser.feed_data(raw[start:stop])
        if are_plain_chunks(raw[start:stop], heard.pieces[before:], heard.has_head and not had_head):
            assert blanks is None or not set(blanks) & set(range(start, stop))
    assert b"".join(heard.pieces) == b"".join(pieces)


def test_a_stream_read_at_once_is_whole_plain_chunks():
    events = [event(f"tok{number}") for number in range(20)]
    raw = b"".join(map(chunk, events))
    assert are_plain_chunks(raw, events, False)
    assert are_plain_chunks(head(CHUNKED) + raw + END, events, True)
    assert not are_plain_chunks(raw.replace(b"\r\n", b" \r\n", 1), events, False)
