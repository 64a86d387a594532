"""Bytes of a stream to the data of its events."""

import time

import pytest
from dialects import unhurried
from hypothesis import given
from hypothesis import strategies as st
from streams import cut

from evalkit.client.sse import EventDecoder


def decode(*reads: bytes) -> list[bytes]:
    decoder = EventDecoder()
    return [data for read in reads for data in decoder.feed(read)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_at_lf_crlf_and_cr(end):
    assert decode(end.join([b"data: 1", b"", b"data: 2", b"", b""])) == [b"1", b"2"]


def test_line_ends_may_be_mixed():
    assert decode(b"data: 1\r\n\ndata: 2\r\rdata: 3\n\r\n") == [b"1", b"2", b"3"]


def test_space_after_the_colon_may_be_missing():
    assert decode(b"data:[DONE]\n\ndata: [DONE]\n\n") == [b"[DONE]", b"[DONE]"]


def test_several_data_lines_make_one_event():
    assert decode(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n 1}']


def test_comments_other_fields_and_empty_data_are_dropped():
    assert decode(b": ping\n\nevent: x\nid: 7\nretry: 5\n\ndata\n\ndata:\n\ndata: \n\n") == []
    assert decode(b": ping\nevent: x\ndata: 1\nid: 7\n\n") == [b"1"]


def test_separators_of_unicode_do_not_end_a_line():
    inside = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg".encode()
    assert decode(b"data: " + inside + b"\n\n") == [inside]


def test_event_is_given_when_its_blank_line_is_complete_and_not_before():
    decoder = EventDecoder()
    assert decoder.feed(b"data: 1\n") == []
    assert decoder.held == 8
    assert decoder.feed(b"\ndata: 2") == [b"1"]
    assert decoder.feed(b"\r\n\r") == [b"2"]
    assert decoder.feed(b"\n") == []
    assert decoder.held == 0


def test_crlf_cut_between_its_two_bytes_is_one_line_end():
    assert decode(b"data: 1\r", b"\ndata: 2\r", b"\n\r", b"\n") == [b"1\n 2"]


def test_read_that_is_one_event_by_itself_still_belongs_to_what_came_before():
    assert decode(b'data: {"a":\n', b"data: {}\n\n") == [b'{"a":\n {}']
    assert decode(b"data: {}\r\rdata: {1}\n\n") == [b"{}", b"{1}"]


@pytest.mark.parametrize("line", [b": waiting\n", b":\r\n", b"event: ping\r", b"id: 7\nretry: 5\n", b"x" * 50 + b"\n"])
def test_lines_without_data_take_time_in_proportion_to_their_number(line):
    def took(count):
        decoder = EventDecoder()
        began = time.process_time()
        for _ in range(count):
            assert decoder.feed(line) == []
        took = time.process_time() - began
        assert decoder.feed(b'data: {"a": 1}\n') == [b'{"a": 1}']
        assert decoder.feed(line) == []
        assert decoder.feed(b"data: 1\ndata: 2\n\n") == [b"1\n 2"]
        return took

    assert took(20_000) < 30 * max(took(2_000), 0.005)


def test_rest_is_the_event_without_its_blank_line():
    decoder = EventDecoder()
    decoder.feed(b"data: 1\n\n: ping\ndata: 2")
    assert decoder.rest() == b"2"


@unhurried
@given(
    st.lists(st.sampled_from([b"data: {", b"}", b"data:", b"\n", b"\r", b"\r\n", b"\n\n", b":", b" x", b"event: y"])),
    st.lists(st.integers(0, 200)),
)
def test_any_cut_gives_the_same_events(fragments, places):
    stream = b"".join(fragments)
    assert decode(*cut(stream, places)) == decode(stream) == by_the_standard(stream)


def by_the_standard(stream: bytes) -> list[bytes]:
    """Line by line as the standard's text goes, on the whole stream at once; a line of whole JSON is an event too."""
    events, data = [], []
    for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            events.append(b"\n".join(data).strip())
            data = []
        elif field == b"data" and not data and value.strip() == b"{}":
            events.append(b"{}")
        elif field == b"data":
            data.append(value)
    return [event for event in events if event]
