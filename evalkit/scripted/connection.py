"""Connections of the scripted server: replies are written on their schedule and stamped as they are written."""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

from evalkit.scripted.http_messages import BadRequest, Piece, Reply, Request, RequestReader
from evalkit.scripted.request_log import LogEntry, RequestLog

_BATCH = 256  # pieces written before other connections get a turn
_BACKLOG = 1024 * 1024  # bytes a client may pipeline behind a request in progress


class Clock:
    """Calls functions at absolute times of CLOCK_MONOTONIC, accurate to some tens of µs.

    The loop's own timers have a resolution of 1 ms and may fire early; a kernel timer does neither. Where the kernel
    has no such timer, the loop's timers are used.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._armed = 0
        self._libc: Any = ctypes.CDLL(None)
        self._fd = -1
        if hasattr(self._libc, "timerfd_create"):
            self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._tick)

    def call_at(self, due_ns: int, call: Callable[[], None]) -> None:
        """Call a function once, at ``due_ns`` or just after it."""
        if self._fd < 0:
            self._loop.call_later(max(0.0, (due_ns - time.monotonic_ns()) / 1e9), call)
            return
        heapq.heappush(self._heap, (due_ns, next(self._order), call))
        self._arm()

    def close(self) -> None:
        """Drop all pending calls."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._heap.clear()

    def _arm(self) -> None:
        due = self._heap[0][0]
        if due != self._armed:
            self._armed = due
            # struct itimerspec: interval (none), then the time; absolute
            spec = struct.pack("@llll", 0, 0, *divmod(max(due, 1), 1_000_000_000))
            self._libc.timerfd_settime(self._fd, 1, spec, None)

    def _tick(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._fd, 8)
        self._armed = 0
        calls, now = [], time.monotonic_ns()
        while self._heap and self._heap[0][0] <= now:
            calls.append(heapq.heappop(self._heap)[2])
        for call in calls:  # calls that these schedule wait for the next turn of the loop, even if already due
            call()
        if self._heap:
            self._arm()


class ServerSlots:
    """Limits how many requests are answered in parallel; the others wait in the order of arrival.

    Parameters
    ----------
    count : int or None
        None: no limit.
    """

    def __init__(self, count: int | None) -> None:
        self._free = count
        self._queue: deque[tuple[PendingReply, Callable[[], None]]] = deque()

    def take(self, pending: PendingReply, begin: Callable[[], None]) -> bool:
        """Whether a slot is free; if not, ``begin`` is called as soon as one is."""
        if self._free is None:
            return True
        if not self._free:
            pending.waits = True
            self._queue.append((pending, begin))
            return False
        self._free -= 1
        return True

    def give_back(self, pending: PendingReply, free_ns: int) -> None:
        """Release the slot of a reply that has ended; it is free since ``free_ns``."""
        if self._free is None:
            return
        if pending.waits:  # its client left before it got a slot; it is skipped when its turn comes
            pending.waits = False
            return
        while self._queue:
            following, begin = self._queue.popleft()
            if following.waits:
                following.waits = False
                # counted from when the slot was due to be free: late writes must not slow the server below its law
                following.begin(max(free_ns, following.request.received_ns))
                asyncio.get_running_loop().call_soon(begin)
                return
        self._free += 1


class PendingReply:
    """A reply in progress: which of its bytes are due, and which are written."""

    def __init__(self, request: Request, reply: Reply, entry: LogEntry | None, prompt: int) -> None:
        self.request, self.reply, self.entry, self.prompt = request, reply, entry, prompt
        self.waits = False  # for a slot
        self.slotted = entry is not None and reply.status == 200
        self.last_due_ns = request.received_ns
        self._head = reply.head()
        self._pieces: Iterator[Piece] = iter(() if request.method == "HEAD" else reply.pieces)
        self._next = next(self._pieces, None)
        self._head_at = reply.head_at if reply.head_at is not None else self._next.at if self._next else 0

    @property
    def due_ns(self) -> int | None:
        """When the next bytes are due; None: there are no more."""
        if self._head:
            return self._started_ns + self._head_at
        return None if self._next is None else self._started_ns + self._next.at

    def begin(self, started_ns: int) -> None:
        """Start the schedule: the reply has a slot."""
        self._started_ns = started_ns
        if self.entry is not None:
            self.entry.begun_ns = started_ns

    def take(self, now_ns: int) -> tuple[bytes, int | None]:
        """The bytes due by now, at most one batch, and the due time of the first token or body among them."""
        elapsed, out = now_ns - self._started_ns, []
        token_at: int | None = None
        if self._head and self._head_at <= elapsed:
            out.append(self._head)
            self._head = b""
        piece, wire = self._next, self.reply.wire
        if not self._head:
            while piece is not None and piece.at <= elapsed and len(out) < _BATCH:
                out.append(wire(piece))
                self.last_due_ns = self._started_ns + piece.at
                if token_at is None and piece.kind in ("token", "body"):
                    token_at = piece.at
                piece = next(self._pieces, None)
            self._next = piece
        if piece is None and not self._head and self.reply.streamed and self.reply.complete:
            out.append(b"0\r\n\r\n")
        return b"".join(out), token_at

    def stamp(self, now_ns: int, due_ns: int, token_at: int | None) -> None:
        """Log a write."""
        if (entry := self.entry) is None:
            return
        entry.late_ns = max(entry.late_ns, now_ns - due_ns)
        if token_at is not None:
            if entry.last_ns is None:
                entry.due_ns = self._started_ns + token_at
                entry.first_ns = now_ns if self.reply.streamed else None
            entry.last_ns = now_ns
        if self.due_ns is None and self.reply.complete:
            entry.end_ns = now_ns


class ClientConnection(asyncio.Protocol):
    """One client's connection: requests are answered one after another, each on its schedule.

    A request pipelined behind another counts as received when the earlier one is answered.

    Parameters
    ----------
    respond : callable
        Accepts a request and returns its reply, its log entry (None: not logged) and the prompt's fingerprint.
    clock : Clock
    log : RequestLog
    peers : set
        The open connections; it adds and removes itself.
    slots : ServerSlots
    """

    def __init__(
        self,
        respond: Callable[[Request], tuple[Reply, LogEntry | None, int]],
        clock: Clock,
        log: RequestLog,
        peers: set[ClientConnection],
        slots: ServerSlots,
    ) -> None:
        self._respond, self._clock, self._log, self._peers = respond, clock, log, peers
        self._slots = slots
        self._reader = RequestReader()
        self._pending: PendingReply | None = None
        self._open = self._armed = self._paused = self._continued = False
        self._writable = True
        self._served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._fd = self._socket.fileno()
        self._open = True
        self._log.connected()
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Deregister the connection: the client has left, or the server has closed it."""
        self._open = False
        self._log.open -= 1
        self._peers.discard(self)
        if self._pending is not None:
            self._settle(self._pending, aborted=True)

    def pause_writing(self) -> None:
        """Stop writing: the client reads more slowly than the server writes."""
        self._writable = False

    def resume_writing(self) -> None:
        """Continue writing: the client has caught up."""
        self._writable = True
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Add the bytes of a read and answer the requests that they complete."""
        received = time.monotonic_ns()
        self._reader.feed(data)
        if self._pending is None:
            self._serve(received)
        elif len(self._reader) > _BACKLOG:
            self._transport.pause_reading()
            self._paused = True

    def close(self, ending: str = "reset") -> None:
        """Close the connection; ``reset`` does so immediately and drops what is not sent yet."""
        if not self._open:
            return
        self._open = False
        if ending == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def _serve(self, received: int) -> None:
        """Answer the requests received so far, until a reply has to wait for its due time."""
        while self._open and self._pending is None:
            try:
                request = self._reader.next()
            except BadRequest as error:
                body = Piece(0, "body", f"{error}\n".encode())
                self._begin(Request(), Reply(error.status, {"content-type": "text/plain"}, [body], ending="close"))
                return
            if request is None:
                if self._reader.wants_continue and not self._continued:
                    self._continued = True
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            request.received_ns, request.reused, self._continued = received, self._served > 0, False
            self._served += 1
            self._begin(request, *self._respond(request))

    def _begin(self, request: Request, reply: Reply, entry: LogEntry | None = None, prompt: int = 0) -> None:
        if not request.keep_alive and reply.ending == "keep":
            reply.headers["connection"] = "close"
            reply.ending = "close"
        pending = self._pending = PendingReply(request, reply, entry, prompt)
        if pending.slotted and not self._slots.take(pending, self._advance):
            return
        pending.begin(request.received_ns)
        self._pump()

    def _advance(self) -> None:
        """Continue after a wait: with the reply in progress, then with requests received since."""
        self._pump()
        if self._paused and self._pending is None and self._open:
            self._paused = False
            self._transport.resume_reading()
        self._serve(time.monotonic_ns())

    def _on_time(self) -> None:
        self._armed = False
        self._advance()

    def _pump(self) -> None:
        """Write the bytes of the reply in progress that are due, and schedule the next ones."""
        pending = self._pending
        if pending is None or pending.waits or not self._open or not self._writable:
            return
        due, now = pending.due_ns, time.monotonic_ns()
        if due is not None and due <= now:
            data, token_at = pending.take(now)
            now = time.monotonic_ns()
            self._write(data)
            pending.stamp(now, due, token_at)
            due = pending.due_ns
        if due is None:
            self._end(pending)
        elif not self._armed and self._open:
            self._armed = True
            self._clock.call_at(due, self._on_time)

    def _end(self, pending: PendingReply) -> None:
        ending = pending.reply.ending
        if ending == "hang":
            return
        self._settle(pending)
        if ending != "keep":
            self.close(ending)

    def _settle(self, pending: PendingReply, aborted: bool = False) -> None:
        self._pending = None
        if pending.entry is not None:
            pending.entry.aborted = aborted
            self._log.finish(pending.entry, pending.prompt)
        if pending.slotted:
            self._slots.give_back(pending, time.monotonic_ns() if aborted else pending.last_due_ns)

    def _write(self, data: bytes) -> None:
        """Write immediately: a loop that collects writes until its next turn would make the stamps too early."""
        if self._transport.get_write_buffer_size() == 0:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._transport.abort()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._transport.write(data)
