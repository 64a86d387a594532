"""Reads HTTP answers that break the rules of HTTP but have one meaning, as curl does.

Proxies and small servers send a Content-Length beside chunks, blanks after the size of a chunk, header lines that end
in LF. Such an answer is read here after the strict parser has refused it. Where two readers could disagree about where
an answer ends, the next one on the connection could be forged: so the connection is closed after it.
"""

from __future__ import annotations

import re
from typing import Protocol

import httptools

_STATUS_LINE = re.compile(rb"HTTP/(?:1\.[01]|[23](?:\.0)?)[ \t]+([1-9][0-9][0-9])(?:[ \t].*)?", re.DOTALL)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LONGEST_LINE = 64 * 1024
_NO_BODY = (204, 304)

# what is expected next
_STATUS, _HEADER, _UNTIL_CLOSE, _COUNTED, _CHUNK_SIZE, _CHUNK, _CHUNK_END, _TRAILER, _ENDED = range(9)


class Callbacks(Protocol):
    """What an ``httptools`` parser calls, too."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""

    def on_headers_complete(self) -> None:
        """All headers."""

    def on_body(self, body: bytes) -> None:
        """A part of the body, without its framing."""

    def on_message_complete(self) -> None:
        """The end of the answer, or of an interim one."""


_DIGITS = tuple(len(f"{size:x}") for size in range(2**12))  # of the size of a chunk


def are_plain_chunks(data: bytes, pieces: list[bytes], begins: bool) -> bool:
    """Whether a read is whole chunks with nothing but digits before each, by its length, as nearly every read is.

    ``begins``: the end of the headers is in it.
    """
    start = data.find(b"\r\n\r\n") + 4 if begins else 0
    stop = len(data) - 5 if data.endswith(b"\r\n0\r\n\r\n") else len(data)
    if not pieces or data.startswith(pieces[0], start):
        return False  # a chunk is divided between reads,
    if data.endswith(pieces[-1], start, stop) or data.endswith(pieces[-1], start):
        return False  # maybe in what looks like the end of the body
    sizes = [*map(len, pieces)]
    if max(sizes) >= len(_DIGITS):
        return False
    first = start + _DIGITS[sizes[0]]
    return (
        stop - start == sum(sizes) + 4 * len(sizes) + sum(map(_DIGITS.__getitem__, sizes))  # two line ends each
        and data[first : first + 2] == b"\r\n" == data[stop - 2 : stop]
        and data[start:first].isalnum()
    )


class LenientResponseParser:
    """A parser with the methods of ``httptools.HttpResponseParser`` that a connection uses.

    Accepted besides what the rules allow: lines that end in LF, lengths beside chunks (the chunks count), several equal
    lengths, blanks around the size of a chunk, extensions of any form, folded headers, header names that are none (such
    headers are left out), blanks before a colon, and blanks or nothing for the reason of a status. Refused: different
    or negative lengths, a transfer coding other than chunks, a header without colon, NUL.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._rest = b""
        self._expected = _STATUS
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._left = 0

    def get_status_code(self) -> int:
        """The status of the answer."""
        return self._status

    def should_keep_alive(self) -> bool:
        """Never: another reader may see the end of this answer elsewhere."""
        return False

    def feed_data(self, data: bytes) -> None:
        """Parse the bytes of one read.

        Raises
        ------
        httptools.HttpParserError
            The answer has no single meaning, or it is not HTTP.
        """
        data = self._rest + data
        self._rest = b""
        while data and self._expected != _ENDED:
            if self._expected in (_COUNTED, _CHUNK, _UNTIL_CLOSE):
                data = self._take_body(data)
                continue
            line, end, after = data.partition(b"\n")
            if self._expected == _STATUS and not (line.startswith(b"HTTP/") or b"HTTP/".startswith(line)):
                raise httptools.HttpParserError("Expected HTTP/")
            if not end:
                if len(line) > _LONGEST_LINE:
                    raise httptools.HttpParserError("Line too long")
                self._rest = data
                return
            data = after
            self._take_line(line[:-1] if line.endswith(b"\r") else line)

    def _take_body(self, data: bytes) -> bytes:
        if self._expected == _UNTIL_CLOSE:
            self._callbacks.on_body(data)
            return b""
        self._callbacks.on_body(data[: self._left])
        taken = min(len(data), self._left)
        self._left -= taken
        if not self._left:
            if self._expected == _CHUNK:
                self._expected = _CHUNK_END
            else:
                self._end()
        return data[taken:]

    def _take_line(self, line: bytes) -> None:
        if self._expected == _STATUS:
            match = _STATUS_LINE.fullmatch(line)
            if match is None:
                raise httptools.HttpParserError("Invalid status line")
            self._status, self._headers, self._expected = int(match.group(1)), [], _HEADER
        elif self._expected == _HEADER:
            self._take_header(line)
        elif self._expected == _CHUNK_END:
            if line:
                raise httptools.HttpParserError("Expected LF after chunk data")
            self._expected = _CHUNK_SIZE
        elif self._expected == _CHUNK_SIZE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise httptools.HttpParserError("Invalid character in chunk size")
            self._left = int(match.group(1), 16)
            self._expected = _CHUNK if self._left else _TRAILER
        elif not line:  # of the trailers, which are ignored
            self._end()

    def _take_header(self, line: bytes) -> None:
        if not line:
            self._headers_complete()
        elif b"\0" in line:
            raise httptools.HttpParserError("Invalid header value char")
        elif line[:1] in b" \t":
            if not self._headers:
                raise httptools.HttpParserError("Unexpected space after start line")
            name, value = self._headers[-1]
            self._headers[-1] = name, value + b" " + line.strip()
        else:
            name, colon, value = line.partition(b":")
            if not colon:
                raise httptools.HttpParserError("Invalid header token")
            self._headers.append((name.rstrip(), value.strip()))

    def _headers_complete(self) -> None:
        codings = self._values(b"transfer-encoding")
        lengths = set(self._values(b"content-length"))
        if set(codings) - {b"chunked", b"identity"}:
            raise httptools.HttpParserError("Unknown transfer coding")
        chunked = b"chunked" in codings
        if not chunked and (len(lengths) > 1 or not all(length.isdigit() for length in lengths)):
            raise httptools.HttpParserError("Different or invalid Content-Length")
        for name, value in self._headers:
            if _NAME.fullmatch(name):
                self._callbacks.on_header(name, value)
        self._callbacks.on_headers_complete()
        if self._status < 200:
            self._callbacks.on_message_complete()
            self._expected = _STATUS
        elif self._status in _NO_BODY:
            self._end()
        elif chunked:
            self._expected = _CHUNK_SIZE
        elif lengths:
            self._expected, self._left = _COUNTED, int(lengths.pop())
            if not self._left:
                self._end()
        else:
            self._expected = _UNTIL_CLOSE

    def _values(self, of: bytes) -> list[bytes]:
        """The values of a header, separated by commas or in several headers."""
        values = (value for name, value in self._headers if name.lower() == of)
        return [part.strip().lower() for value in values for part in value.split(b",")]

    def _end(self) -> None:
        self._expected = _ENDED
        self._callbacks.on_message_complete()
