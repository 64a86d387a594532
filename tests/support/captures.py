"""The recorded answers in ``tests/wire``, and a socket server that plays one of them back."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "client" / "wire"
_TIMING = re.compile(rb"^# +[\d.]+ +(\d+) b", re.MULTILINE)
_PAUSE_S = 0.002  # between two reads, so that the kernel does not join them


@dataclass(frozen=True)
class Capture:
    """``reads``: the raw answer as it came, read by read; ``cut``: the connection was closed before its end."""

    name: str
    reads: tuple[bytes, ...]
    cut: bool

    @property
    def raw(self) -> bytes:
        return b"".join(self.reads)

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def body_reads(self) -> list[bytes]:
        """The body without its HTTP framing, cut where the reads were."""
        chunked = self.headers.get("transfer-encoding") == "chunked"
        start, total = self.raw.index(b"\r\n\r\n") + 4, 0
        ends = [total := total + len(read) for read in self.reads]
        spans = list(_chunks(self.raw, start)) if chunked else [(start, len(self.raw))]
        pieces, begin = [], 0
        for end in ends:
            parts = [self.raw[max(a, begin) : min(b, end)] for a, b in spans if a < end and b > begin]
            pieces.append(b"".join(parts))
            begin = end
        return [piece for piece in pieces if piece]


def names() -> list[str]:
    return sorted(path.name for path in FOLDER.glob("*.txt"))


def load(name: str) -> Capture:
    data = (FOLDER / name).read_bytes()
    head, _, rest = data.partition(b"# ---- raw response")
    raw, _, timing = rest.partition(b"\n")[2].rpartition(b"\n# ---- timing")
    cut = b"curl rc=18 " in head
    if b"...[trimmed" in raw:
        return Capture(name, _with_chunks_of_their_own(raw), cut)
    raw = _with_true_length(raw)
    reads, begin = [], 0
    for length in (int(found) for found in _TIMING.findall(timing)):
        reads.append(raw[begin : begin + length])
        begin += length
    return Capture(name, tuple(reads), cut)


@asynccontextmanager
async def serve(capture: Capture) -> AsyncIterator[str]:
    """A server that answers every request with the capture; gives its base URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(length.group(1)) if length else 0)
                for read in capture.reads:
                    writer.write(read)
                    await writer.drain()
                    await asyncio.sleep(_PAUSE_S)
                if capture.cut:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def _chunks(raw: bytes, at: int):
    """Where the content of each HTTP chunk begins and ends."""
    while at < len(raw):
        line = raw.index(b"\r\n", at)
        size = int(raw[at:line], 16)
        if size == 0:
            return
        yield line + 2, line + 2 + size
        at = line + 2 + size + 2


def _with_chunks_of_their_own(raw: bytes) -> tuple[bytes, ...]:
    head, _, body = raw.partition(b"\r\n\r\n")
    events = [line + b"\n\n" for line in body.split(b"\n") if line.startswith(b"data: ")]
    chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
    return (head + b"\r\n\r\n" + chunks[0], *chunks[1:])


def _with_true_length(raw: bytes) -> bytes:
    head, gap, body = raw.partition(b"\r\n\r\n")
    return re.sub(rb"(?i)(\r\ncontent-length: )\d+", rb"\g<1>%d" % len(body), head) + gap + body
