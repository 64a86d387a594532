"""Server-sent events: the bytes of a stream in, the data of its events out."""

from __future__ import annotations


class EventDecoder:
    """Cuts a stream into events, whatever the reads it comes in.

    Works on bytes: lines end at LF, CRLF or CR and nowhere else, so a character that ``str.splitlines`` would
    break at stays whole, and so does one cut by a read. Only ``data`` is kept; comments and the other fields
    say nothing about an answer. An event without data, or with blank data, is a sign of life and is dropped.
    """

    __slots__ = ("_after_cr", "_unfinished")

    def __init__(self) -> None:
        self._unfinished = bytearray()  # line ends are LF in here
        self._after_cr = False

    @property
    def held(self) -> int:
        """Bytes kept of an event whose end has not come."""
        return len(self._unfinished)

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that ends in these bytes."""
        if (
            data.endswith(b"\n\n") and data.startswith(b"data: ") and not self._unfinished and b"\r" not in data
        ):  # nearly every read: whole events
            payloads = data[6:-2].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(payloads):  # of one line each
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
        """The data of the event that the end of the stream left without its blank line; empty: none."""
        return _data_of(bytes(self._unfinished))

    def _with_plain_ends(self, data: bytes) -> bytes:
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" not in data:
            return data
        # a CR at the very end is a line end already; the LF that may follow belongs to it
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes:
    """The data lines of one event as one; blanks around them mean nothing in JSON."""
    if block.startswith(b"data:") and b"\n" not in block:
        return block[5:].strip()
    lines = (line[5:] for line in block.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines).strip()
