from __future__ import annotations

import asyncio
import itertools
import json
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.local.tool_call_front import ErrorReply, Upstream, listen, with_opening

KEY = "k3y"
MODEL = "tiny"
OPENING = {"role": "assistant", "content": "<tool_call>\n"}
USER = {"role": "user", "content": "What is the sum of 12 + 23?"}
ADD = {"type": "function", "function": {"name": "add", "parameters": {}}}
MULTIPLY = {"type": "function", "function": {"name": "multiply", "parameters": {}}}
NAMED = {"type": "function", "function": {"name": "multiply"}}
TOOLS = {"messages": [USER], "tools": [ADD, MULTIPLY]}


def test_a_required_call_is_begun_and_ends_after_one() -> None:
    assert with_opening({**TOOLS, "tool_choice": "required", "seed": 1}) == {
        "messages": [USER, OPENING],
        "tools": [ADD, MULTIPLY],
        "tool_choice": "required",
        "seed": 1,
        "parallel_tool_calls": False,
        "stop": ["</tool_call>"],
    }


def test_a_named_call_leaves_that_tool_alone() -> None:
    changed = with_opening({**TOOLS, "tool_choice": NAMED})
    assert isinstance(changed, dict)
    assert changed["tools"] == [MULTIPLY]
    assert changed["tool_choice"] == "required"
    assert changed["messages"] == [USER, OPENING]


@pytest.mark.parametrize(
    ("given_stop", "sent_stop"),
    [("END", ["END", "</tool_call>"]), (["a", "b"], ["a", "b", "</tool_call>"]), (None, ["</tool_call>"]), (5, 5)],
)
def test_own_stop_words_are_kept(given_stop: Any, sent_stop: Any) -> None:
    changed = with_opening({**TOOLS, "tool_choice": "required", "stop": given_stop})
    assert isinstance(changed, dict)
    assert changed["stop"] == sent_stop


def test_parallel_calls_asked_for_are_not_stopped() -> None:
    changed = with_opening({**TOOLS, "tool_choice": "required", "parallel_tool_calls": True})
    assert isinstance(changed, dict)
    assert changed["parallel_tool_calls"] is True
    assert "stop" not in changed


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [USER]},
        {"messages": [USER], "tool_choice": "required"},
        {"messages": [USER], "tools": [], "tool_choice": "required"},
        {"messages": "none", "tools": [ADD], "tool_choice": "required"},
        {"messages": [USER], "tools": "add", "tool_choice": "required"},
        TOOLS,
        {**TOOLS, "tool_choice": "auto"},
        {**TOOLS, "tool_choice": "none"},
        {**TOOLS, "tool_choice": None},
    ],
)
def test_what_requires_no_call_is_left_as_it_is(request_: dict[str, Any]) -> None:
    assert with_opening(request_) is request_


def test_a_named_function_that_is_no_tool_is_refused() -> None:
    choice = {"type": "function", "function": {"name": "divide"}}
    assert with_opening({**TOOLS, "tool_choice": choice}) == ErrorReply(
        400, "tool_choice names 'divide', which is none of the tools.", "tool_choice", "invalid_value"
    )


def test_a_model_with_tools_of_its_own_gets_no_opening() -> None:
    request = {**TOOLS, "tool_choice": "required"}
    assert Upstream(1, KEY, MODEL, opens_calls=False).prepare(request) is request


def test_the_key_is_in_no_repr() -> None:
    assert repr(Upstream(1, KEY, MODEL, opens_calls=True)) == "Upstream(port=1, model='tiny', opens_calls=True)"


def request_bytes(body: bytes, *headers: str, path: str = "/v1/chat/completions", key: str = KEY) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Authorization: Bearer {key}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Behind:
    """A server on loopback that keeps what it was asked and answers with the bytes it is given, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.asked: list[tuple[list[str], bytes]] = []
        self.gone = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[:-2]
                length = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length")]
                self.asked.append((lines, await reader.readexactly(sum(length))))
                for piece in self.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        writer.close()


async def through_front(behind: Behind, *writes: bytes, until: bytes | None = None) -> bytes:
    """Write to the front of ``behind`` piece by piece; what came back, up to ``until`` or the end."""
    server = await asyncio.start_server(behind, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    upstream = Upstream(server.sockets[0].getsockname()[1], KEY, MODEL, opens_calls=True)
    async with server, await listen(listening, upstream):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        for piece in writes:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        came = await (reader.read() if until is None else reader.readuntil(until))
        writer.close()
        await writer.wait_closed()
        if behind.asked:
            await behind.gone.wait()
    return came


BODY = json.dumps({"model": MODEL, "messages": [USER], "text": "löschen"}).encode()
CHUNKED = (
    b"Transfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%s\r\n" % (9, BODY[:9])
    + b"%x\r\n%s\r\n0\r\n\r\n"
    % (
        len(BODY) - 9,
        BODY[9:],
    )
)
HEAD = b"POST /v1/chat/completions?a=1 HTTP/1.1\r\nHost: here\r\nX-Odd:  kept\r\nAuthorization: Bearer k3y\r\n"


@settings(max_examples=40, deadline=None)
@given(
    framed=st.sampled_from([b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY), CHUNKED]),
    cuts=st.lists(st.integers(0, len(HEAD) + len(CHUNKED)), max_size=4),
)
def test_any_cut_of_two_requests_reaches_the_server_whole(framed: bytes, cuts: list[int]) -> None:
    sent = (HEAD + framed) * 2
    edges = [0, *sorted(cuts), len(sent)]
    behind = Behind(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    pieces = [sent[start:end] for start, end in itertools.pairwise(edges)]
    came = asyncio.run(through_front(behind, *pieces, until=b"okHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    assert came.count(b"ok") == 2
    for lines, body in behind.asked:
        assert body == BODY
        assert lines[0] == "POST /v1/chat/completions?a=1 HTTP/1.1"
        assert lines[1:] == ["Host: here", "X-Odd: kept", "Authorization: Bearer k3y", f"Content-Length: {len(BODY)}"]


def test_an_answer_comes_back_byte_for_byte() -> None:
    pieces = (b"HTTP/1.1 200 OK\r\nServer: odd\r\n", b"Content-", b"Length: 5\r\n\r\n\x00\xff", b"\r\n\x01")
    came = asyncio.run(through_front(Behind(*pieces), request_bytes(BODY), until=b"\x01"))
    assert came == b"".join(pieces)


def test_a_stream_asks_the_server_to_say_that_it_hangs_up() -> None:
    body = json.dumps({"stream": True, "messages": [USER]}).encode()
    behind = Behind(b"HTTP/1.1 200 OK\r\n\r\n.")
    asyncio.run(through_front(behind, request_bytes(body, "Connection: keep-alive"), until=b"\r\n\r\n."))
    ((lines, sent),) = behind.asked
    assert sent == body
    assert [line for line in lines if line.lower().startswith("connection")] == ["Connection: close"]


def test_the_rewritten_body_has_its_own_length() -> None:
    body = json.dumps({**TOOLS, "tool_choice": "required"}).encode()
    behind = Behind(b"HTTP/1.1 200 OK\r\n\r\n.")
    asyncio.run(through_front(behind, request_bytes(body), until=b"\r\n\r\n."))
    ((_, sent),) = behind.asked
    assert json.loads(sent) == with_opening(json.loads(body))


def test_another_model_is_not_found() -> None:
    behind = Behind()
    came = asyncio.run(through_front(behind, request_bytes(b'{"model": "big"}')))
    head, body = came.split(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 404 Not Found"
    assert json.loads(body) == {
        "error": {
            "message": "The model 'big' does not exist here. This server has 'tiny'.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert behind.asked == []


@pytest.mark.parametrize("body", [b'{"model": "big"}', json.dumps({**TOOLS, "tool_choice": "required"}).encode()])
def test_without_the_key_the_server_has_the_word(body: bytes) -> None:
    behind = Behind(b"HTTP/1.1 401 Unauthorized\r\n\r\n.")
    came = asyncio.run(through_front(behind, request_bytes(body, key="other"), until=b"\r\n\r\n."))
    assert came == b"HTTP/1.1 401 Unauthorized\r\n\r\n."
    assert behind.asked[0][1] == body


@pytest.mark.parametrize("body", [b'{"model": ', b"[1]", b"", b"\xff"])
def test_a_malformed_body_is_the_servers_to_refuse(body: bytes) -> None:
    behind = Behind(b"HTTP/1.1 400 Bad Request\r\n\r\n.")
    asyncio.run(through_front(behind, request_bytes(body), until=b"\r\n\r\n."))
    assert behind.asked[0][1] == body


def test_a_client_that_waits_for_continue_is_told_to() -> None:
    async def ask() -> bytes:
        behind = Behind(b"HTTP/1.1 200 OK\r\n\r\n.")
        head = request_bytes(BODY, "Expect: 100-continue")[: -len(BODY)]
        return await through_front(behind, head, BODY, until=b"\r\n\r\n")

    assert asyncio.run(ask()) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_what_is_no_http_is_refused() -> None:
    came = asyncio.run(through_front(Behind(), b"\x16\x03\x01 hello\r\n\r\n"))
    assert came.startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_server_that_is_gone_ends_the_connection() -> None:
    async def ask() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = taken.getsockname()[1]
        listening = socket.create_server(("127.0.0.1", 0))
        async with await listen(listening, Upstream(nobody, KEY, MODEL, opens_calls=True)):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            try:
                writer.write(request_bytes(BODY))
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(ask()) == b""
