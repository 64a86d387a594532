"""One exchange: a request and the part of its answer received so far."""

from __future__ import annotations

import asyncio
import zlib

from evalkit import record
from evalkit.client.answer_reader import AnswerReader
from evalkit.errors import Failure

REDIRECTS = (301, 302, 303, 307, 308)
FOLLOWED = (307, 308)  # other redirects turn a POST into a GET
MAX_REDIRECTS = 3

LEFT_OPEN = record.LEFT_OPEN

# after a finish reason: token counts may follow it, and [DONE]; some endpoints send neither, nor end the stream
GRACE_NS = 2_000_000_000
_FRAMING_NS = 200_000_000  # after [DONE]: wait for the end of the HTTP framing, so that the connection can be kept
_INFLATED = 2**20  # bytes decompressed at a time
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB = 47  # window bits that let zlib detect the format


class Exchange:
    """One request and the part of its answer received so far.

    Attributes
    ----------
    finished : asyncio.Future
        Done when the answer has ended, for whatever reason.
    outcome : str
        How it ended: ``complete`` by the framing, ``done`` (no more is needed), ``closed`` early, ``malformed``,
        ``oversized`` head, ``cancelled`` by evalkit, ``left_open`` (nothing followed the finish reason), or a time
        limit: ``ttft``, ``total``. Empty: never started.
    detail : str
        The message of the parser or the operating system.
    headers_at, end : int or None
        Stamps, as in ``Timing``.
    reader : AnswerReader or None
        None: no headers were received, or a redirect.
    chunked : bool
        Whether the body comes in chunks, by its headers.
    received : int
        Bytes, framing included.
    failure : Failure or None
        Why the connection could not be opened.
    interrupted : bool
        The task that awaited it was cancelled.
    logprobs : bool
        The request asks for the log probabilities of tokens, and they are kept.
    marks : tuple of str
        Flags for the attempt: ``left_open``, ``lenient_http``.
    """

    detail = ""
    first_bytes = b""

    # set for each one, unlike these two: a value of the class takes ten times as long to read as one of the object
    def __init__(
        self, url: str, stream: bool, timeout_s: float, ttft_timeout_s: float | None, logprobs: bool = False
    ) -> None:
        self.outcome = ""
        self.opened = self.chunked = self.interrupted = False
        self.sent = self.received = 0
        self.headers_at: int | None = None
        self.end: int | None = None
        self.status: int | None = None
        self.reader: AnswerReader | None = None
        self.inflater: zlib._Decompress | None = None
        self.failure: Failure | None = None
        self.logprobs = logprobs
        self.marks: tuple[str, ...] = ()
        self.url = url
        self.stream = stream
        self.timeout_s = timeout_s
        self.ttft_timeout_s = ttft_timeout_s if stream else None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.headers: dict[str, str] = {}

    def open_body(self) -> None:
        """Create the reader of the body once the headers are received."""
        assert self.status is not None
        headers = self.headers
        if "content-encoding" in headers and headers["content-encoding"].strip().lower() in _COMPRESSED:
            del headers["content-encoding"]  # not requested, but readable
            self.inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        self.reader = AnswerReader(
            self.status,
            headers.get("content-type"),
            stream_requested=self.stream,
            headers=headers,
            logprobs=self.logprobs,
        )

    def feed(self, body: bytes, at: int) -> None:
        """Add the body bytes of one read.

        Raises
        ------
        zlib.error
            They are not compressed as the headers say.
        """
        reader = self.reader
        if reader is None:
            return
        if self.inflater is None:
            reader.feed(body, at)
            return
        while body and reader.failure is None:
            reader.feed(self.inflater.decompress(body, _INFLATED), at)
            body = self.inflater.unconsumed_tail

    def interrupt(self, at: int) -> None:
        """End the exchange: the task that awaited it was cancelled."""
        self.interrupted = True
        self.outcome = self.outcome or "cancelled"
        self.end = self.end or at

    def next_limit(self) -> tuple[int, str]:
        """The time of the next limit, and the outcome when it is reached."""
        if self.end is not None:
            return self.end + _FRAMING_NS, "done"
        total = self.sent + int(self.timeout_s * 1e9)
        reader = self.reader
        if reader is not None and reader.ended_at and not (reader.arrivals and reader.arrivals[-1] > reader.ended_at):
            return min(reader.ended_at + GRACE_NS, total), LEFT_OPEN
        if self.ttft_timeout_s is not None and (reader is None or (reader.streamed and not reader.arrivals)):
            first = self.sent + int(self.ttft_timeout_s * 1e9)
            if first < total:
                return first, "ttft"
        return total, "total"

    @property
    def redirects(self) -> bool:
        """Whether it ended in a redirect that may be followed."""
        return self.status in FOLLOWED and self.outcome in ("complete", "closed")

    @property
    def lost_on_reuse(self) -> bool:
        """Whether a reused connection was closed before it returned anything."""
        return self.outcome == "closed" and not (self.received or self.opened)

    @property
    def settled(self) -> bool:
        """Whether further bytes of the body would change nothing."""
        return self.reader is not None and (self.reader.done or self.reader.failure is not None)

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body ends only when the connection is closed."""
        return self.reader is not None and not self.chunked and "content-length" not in self.headers
