"""The scripted server's HTTP: any cut of the bytes gives the same requests; what is no request is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scripted.http_messages import BadRequest, Reply, Request, RequestReader

HEAD = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer Kk\r\n"
BODIES = [
    (HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    (HEAD + b"content-length: 0\r\n\r\n", b""),
    (HEAD + b"\r\n", b""),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\n\r\n", b"hello"),
    (HEAD + b"Transfer-Encoding: Chunked\r\n\r\nA\r\n0123\r\n\r\n89\r\n0\r\nTrailer: x\r\n\r\n", b"0123\r\n\r\n89"),
    (b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", b""),
]


def read_all(chunks):
    reader, found = RequestReader(), []
    for chunk in chunks:
        reader.feed(chunk)
        while (request := reader.next()) is not None:
            found.append(request)
    return found, len(reader)


@given(st.lists(st.sampled_from(BODIES), max_size=4), st.lists(st.integers(0, 600), max_size=12))
def test_any_cut_gives_the_same_requests(sent, places):
    whole = b"".join(raw for raw, _ in sent)
    cuts = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    requests, left = read_all([whole[a:b] for a, b in pairwise(cuts)])
    assert [request.body for request in requests] == [body for _, body in sent]
    assert left == 0


def test_a_request_is_read_field_by_field():
    (found,), _ = read_all([BODIES[0][0]])
    assert found == Request(
        "POST",
        "/v1/chat/completions",
        "x=1",
        {"host": "a", "authorization": "Bearer Kk", "content-length": "5"},
        b"hello",
    )


@pytest.mark.parametrize(
    ("line", "fields", "keep_alive"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "Connection: close\r\n", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", True),
    ],
)
def test_keep_alive(line, fields, keep_alive):
    (found,), _ = read_all([f"GET / {line}\r\n{fields}\r\n".encode()])
    assert found.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("raw", "status", "problem"),
    [
        (b"hello\r\n\r\n", 400, "the request line cannot be read"),
        (b"GET / HTTP/2\r\n\r\n", 400, "the request line cannot be read"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "a header line cannot be read"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "a header line cannot be read"),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400, "content-length is not a number"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "content-length is given twice"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", 413, "the request body is longer than 64 MiB"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n", 413, "the request body is longer than 64 MiB"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400, "a chunk size cannot be read"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400, "a chunk does not end where its size says"),
        (
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            400,
            "transfer-encoding must be chunked, without a content-length",
        ),
        (b"GET /" + b"a" * 70_000, 431, "the request head is longer than 64 KiB"),
    ],
)
def test_what_is_no_request_is_refused(raw, status, problem):
    with pytest.raises(BadRequest, match=f"^{problem}$") as caught:
        read_all([raw])
    assert caught.value.status == status


def test_a_head_claims_the_length_of_the_pieces_in_the_place_kept_for_it():
    assert Reply(200, {"content-length": "", "server": "x"}).head() == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nserver: x\r\n\r\n"
    )
