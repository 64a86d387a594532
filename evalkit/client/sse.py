"""Decodes server-sent events: from the bytes of a stream to the data of its events."""

from __future__ import annotations


class EventDecoder:
    """Splits a stream into events, independently of how it is divided into reads.

    Works on bytes: lines end at LF, CRLF or CR and nowhere else, so other characters at which ``str.splitlines`` would
    split are kept, and so are characters divided between reads. Only ``data`` is kept; comments and other fields do
    not belong to an answer. An event without data, or with blank data, only keeps the connection alive and is dropped.
    """

    __slots__ = ("_after_cr", "_unfinished")

    def __init__(self) -> None:
        self._unfinished = bytearray()  # with LF as line end
        self._after_cr = False

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
            if data.count(b"\n") == 2 * len(payloads):  # each of one line
                self._after_cr = False
                return [payload for each in payloads if (payload := each.strip())]
        data = self._with_plain_ends(data)
        if self._unfinished:
            joins = data[:1] == b"\n" and self._unfinished[-1] == 10
            if not joins and b"\n\n" not in data:
                self._unfinished += data
                return []
            data = bytes(self._unfinished) + data
        *blocks, rest = data.split(b"\n\n")
        self._unfinished = bytearray(rest)
        return [payload for block in blocks if (payload := _data_of(block))]

    def rest(self) -> bytes:
        """The data of a last event without its blank line; empty: there is none."""
        return _data_of(bytes(self._unfinished))

    def _with_plain_ends(self, data: bytes) -> bytes:
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" not in data:
            return data
        # a CR at the end of the read already ends the line; an LF that follows belongs to it
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes:
    """The data lines of one event, joined; surrounding blanks are insignificant in JSON and removed."""
    if block.startswith(b"data:") and b"\n" not in block:
        return block[5:].strip()
    lines = (line[5:] for line in block.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines).strip()
