"""HTTP/1.1 messages of the scripted server: bytes to requests, replies to bytes. Does no I/O.

It has its own parser because the client, which it tests, must not share code with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BadRequest(Exception):
    """The bytes are not a request; ``status`` is the HTTP status to answer with."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(slots=True)
class Request:
    """One request; header names are in lower case, values as sent."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True
    reused: bool = False
    received_ns: int = 0


class RequestReader:
    """Splits a byte stream into requests; does no I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._request: Request | None = None
        self._length: int | None = None  # None: chunked
        self._chunks: list[bytes] = []
        self._trailers = False

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return self._request is not None and self._request.headers.get("expect", "").lower() == "100-continue"

    def feed(self, data: bytes) -> None:
        """Add the bytes that a read returned."""
        self._buffer += data

    def next(self) -> Request | None:
        """The next whole request; None: more bytes are needed.

        Raises
        ------
        BadRequest
            The bytes are not an HTTP/1.1 request, or the request is too large.
        """
        if self._request is None and not self._read_head():
            return None
        body = self._chunked_body() if self._length is None else self._counted_body(self._length)
        if body is None:
            return None
        request = self._request
        assert request is not None
        request.body, self._request = body, None
        return request

    def _read_head(self) -> bool:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: tolerated before a request line
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequest(431, "the request head is longer than 64 KiB")
            return False
        line, *fields = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            raise BadRequest(400, "the request line cannot be read")
        headers: dict[str, str] = {}
        for text in fields:
            name, colon, value = text.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest(400, "a header line cannot be read")
            name, value = name.lower(), value.strip()
            if headers.setdefault(name, value) != value and name in ("content-length", "transfer-encoding"):
                raise BadRequest(400, f"{name} is given twice")
        path, _, query = found[2].partition("?")
        connection = headers.get("connection", "").lower()
        keep_alive = "close" not in connection and (found[3] == "1" or "keep-alive" in connection)
        self._request = Request(found[1], path, query, headers, keep_alive=keep_alive)
        self._length = self._framing(headers)
        return True

    @staticmethod
    def _framing(headers: dict[str, str]) -> int | None:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None:
            if length is not None or coding.lower() != "chunked":
                raise BadRequest(400, "transfer-encoding must be chunked, without a content-length")
            return None
        if length is None:
            return 0
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise BadRequest(400, "content-length is not a number")
        if int(length) > MAX_BODY:
            raise BadRequest(413, "the request body is longer than 64 MiB")
        return int(length)

    def _counted_body(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _chunked_body(self) -> bytes | None:
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return None
            if self._trailers:
                del self._buffer[: end + 2]
                if end:
                    continue
                body = b"".join(self._chunks)
                self._chunks, self._trailers = [], False
                return body
            size = self._buffer[:end].partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
                raise BadRequest(400, "a chunk size cannot be read")
            length = int(size, 16)
            if length + sum(map(len, self._chunks)) > MAX_BODY:
                raise BadRequest(413, "the request body is longer than 64 MiB")
            if length:
                start = end + 2
                if len(self._buffer) < start + length + 2:
                    return None
                if self._buffer[start + length : start + length + 2] != b"\r\n":
                    raise BadRequest(400, "a chunk does not end where its size says")
                self._chunks.append(bytes(self._buffer[start : start + length]))
                del self._buffer[: start + length + 2]
            else:
                self._trailers = True
                del self._buffer[: end + 2]


class Piece(NamedTuple):
    """Bytes due ``at`` ns after the request was received.

    ``kind`` is ``role``, ``token``, ``finish``, ``usage``, ``done``, ``body`` or ``other``. ``raw`` bytes are sent as
    they are, without chunked coding.
    """

    at: int
    kind: str
    data: bytes
    raw: bool = False


@dataclass(slots=True)
class Reply:
    """A planned answer, before any of it is written.

    Parameters
    ----------
    status : int
        0: send no head, only the pieces and the ending.
    headers : dict
        In the order they are sent; the framing headers are filled in.
    pieces : iterable of Piece
        In order of time; may be endless when ``streamed``.
    streamed : bool
        Sent in chunks; otherwise with a content-length, that of all pieces or ``length``.
    head_at : int or None
        When the head is due, ns after the request was received; None: with the first piece.
    ending : str
        ``keep`` the connection; ``close`` it after a complete answer; ``eof``: close it without completing the answer;
        ``reset`` it; ``hang``: write no more and wait for the client to leave.
    length : int or None
        Content-length to send when it is not the true one.
    bare : bool
        The pieces contain the head.
    refuse_s : float
        Seconds from now on for which the server's port refuses new connections.
    id, tokens : str, int
        As the answer reports them to the client.
    request_json : dict or None
        The parsed request body; None: the request was refused.
    """

    status: int
    headers: dict[str, str]
    pieces: Iterable[Piece] = ()
    streamed: bool = False
    head_at: int | None = None
    ending: str = "keep"
    length: int | None = None
    bare: bool = False
    refuse_s: float = 0.0
    id: str = ""
    tokens: int = 0
    request_json: dict[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether the client receives the whole message."""
        return self.ending in ("keep", "close")

    def head(self) -> bytes:
        """Status line and headers, with the framing."""
        if self.bare or not self.status:
            return b""
        if self.streamed:
            self.headers["Transfer-Encoding"] = "chunked"
        else:
            self.pieces = list(self.pieces)
            length = sum(len(piece.data) for piece in self.pieces) if self.length is None else self.length
            self.headers["Content-Length" if "Content-Length" in self.headers else "content-length"] = str(length)
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        return f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}\r\n{lines}\r\n".encode("latin-1")

    def wire(self, piece: Piece) -> bytes:
        """The bytes of a piece as they are sent."""
        data = piece.data
        return b"%x\r\n%b\r\n" % (len(data), data) if self.streamed and not piece.raw else data


def html_reply(status: int, title: str) -> Reply:
    """An error page in the form of nginx."""
    page = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1>"
        "</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    )
    headers = {
        "Server": "nginx/1.22.1",
        "Date": formatdate(usegmt=True),
        "Content-Type": "text/html",
        "Content-Length": "",
        "Connection": "keep-alive",
    }
    return Reply(status, headers, [Piece(0, "other", page.encode())])
