"""Decodes the bytes of a stream to the data of its events: server-sent events, or one JSON value per line."""

from __future__ import annotations

import orjson

from evalkit.client.error_events import error_payload


class EventDecoder:
    """Splits a stream into events, independently of how it is divided into reads.

    Works on bytes: lines end at LF, CRLF or CR and nowhere else, so other characters at which ``str.splitlines`` would
    split are kept, and so are characters divided between reads. Only ``data`` is kept, and errors that stand beside it
    (``error_events.error_payload``); comments and other fields do not belong to an answer. An event without data, or
    with blank data, only keeps the connection alive and is dropped.

    A line of data that is complete JSON is an event of its own, with or without a blank line after it: some endpoints
    separate events by single line ends. JSON without ``data:`` is an event too.
    """

    __slots__ = ("_after_cr", "_looked_at", "_many_lines", "_unfinished")

    def __init__(self) -> None:
        self._unfinished = bytearray()  # with LF as line end
        self._after_cr = False
        self._many_lines = False  # the unfinished event has a line that is not complete JSON
        self._looked_at = 0  # bytes of the unfinished event that are lines without data

    @property
    def held(self) -> int:
        """Bytes of an event whose end is not received yet."""
        return len(self._unfinished)

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that ends in these bytes."""
        if (
            data.endswith(b"\n\n") and data.startswith(b"data: ") and not self._unfinished and b"\r" not in data
        ):  # fast path: nearly every read is whole events,
            payloads = data[6:-2].split(b"\n\ndata: ")
            if b"\n" not in b"".join(payloads):  # each of one line
                self._after_cr = False
                return [payload for each in payloads if (payload := each.strip())]
        data = self._with_plain_ends(data)
        if self._unfinished:
            joins = data[:1] == b"\n" and self._unfinished[-1] == 10
            if not joins and b"\n\n" not in data:
                self._unfinished += data
                return [] if self._many_lines or b"\n" not in data else self._complete_lines()
            data = bytes(self._unfinished) + data
        *blocks, rest = data.split(b"\n\n")
        self._unfinished = bytearray(rest)
        self._many_lines, self._looked_at = False, 0
        payloads = [payload for block in blocks for payload in _events_of(block)]
        return payloads + self._complete_lines() if b"\n" in rest else payloads

    def rest(self) -> bytes:
        """The data of a last event without its blank line; empty: there is none."""
        return b"\n".join(_events_of(bytes(self._unfinished)))

    def _complete_lines(self) -> list[bytes]:
        """The data of lines that are events without a blank line after them."""
        end = self._unfinished.rfind(b"\n")
        data = _data_lines(bytes(self._unfinished[self._looked_at : end]))
        if not data:
            self._looked_at = end + 1
            return []
        if not _is_complete(data[0].strip()):
            self._many_lines = True
            return []
        lines, self._unfinished, self._looked_at = bytes(self._unfinished[:end]), self._unfinished[end + 1 :], 0
        return _events_of(lines)

    def _with_plain_ends(self, data: bytes) -> bytes:
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" not in data:
            return data
        # a CR at the end of the read already ends the line; an LF that follows belongs to it
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class LineDecoder:
    """Splits a stream of JSON values, each on a line of its own."""

    __slots__ = ("_unfinished",)

    def __init__(self) -> None:
        self._unfinished = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a line whose end is not received yet."""
        return len(self._unfinished)

    def feed(self, data: bytes) -> list[bytes]:
        """Every line that ends in these bytes and is not blank."""
        head, end, rest = data.rpartition(b"\n")
        if not end:
            self._unfinished += data
            return []
        lines = bytes(self._unfinished) + head
        self._unfinished = bytearray(rest)
        return [line for each in lines.split(b"\n") if (line := _without_mark(each))]

    def rest(self) -> bytes:
        """A last line without its end; empty: there is none."""
        return _without_mark(bytes(self._unfinished))


def _without_mark(line: bytes) -> bytes:
    """A line of JSON without blanks, and without the mark that begins a record of a JSON text sequence."""
    return line.strip().removeprefix(b"\x1e").lstrip()


def _events_of(block: bytes) -> list[bytes]:
    """The data of the events in a block: its data lines joined, or each of them if it is complete by itself.

    Surrounding blanks are insignificant in JSON and removed.
    """
    if block.startswith(b"data:") and b"\n" not in block:
        payload = block[5:].strip()
        return [payload] if payload else []
    lines = block.split(b"\n")
    data = _data_lines(block)
    if len(data) > 1 and not _is_complete(data[0].strip()):
        data = [b"\n".join(data)]
    others = [line for line in lines if line and not line.startswith((b"data:", b":"))]
    if others:
        joined = b"\n".join(data).strip()
        payload = error_payload(joined, others)
        if payload != joined:
            return [payload]
    return [stripped for line in data if (stripped := line.strip())]


def _data_lines(block: bytes) -> list[bytes]:
    return [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]


def _is_complete(data: bytes) -> bool:
    """Whether a line of data is an event by itself."""
    if data == b"[DONE]":
        return True
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return False
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
