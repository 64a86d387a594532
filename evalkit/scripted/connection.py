"""Connections of the scripted server: replies written on their schedule, with true stamps."""

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
from evalkit.scripted.request_log import Entry, Stats

_BATCH = 256  # pieces written before other connections get their turn
_BACKLOG = 1024 * 1024  # bytes a client may pipeline behind a request under way


class Clock:
    """Calls at absolute times of CLOCK_MONOTONIC, to some tens of µs.

    The loop's own timers count whole milliseconds and may fire early; a timer of the kernel does neither. Where
    there is none, the loop's are used.
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
        """Call once, at or just after ``due_ns``."""
        if self._fd < 0:
            self._loop.call_later(max(0.0, (due_ns - time.monotonic_ns()) / 1e9), call)
            return
        heapq.heappush(self._heap, (due_ns, next(self._order), call))
        self._arm()

    def close(self) -> None:
        """Forget all calls."""
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
        for call in calls:  # what these put off, however shortly, waits for the next turn of the loop
            call()
        if self._heap:
            self._arm()


class Slots:
    """How many requests are answered at once; the others wait, first come, first served.

    Parameters
    ----------
    count : int or None
        None: there is no end of them.
    """

    def __init__(self, count: int | None) -> None:
        self._free = count
        self._queue: deque[tuple[Exchange, Callable[[], None]]] = deque()

    def take(self, exchange: Exchange, begin: Callable[[], None]) -> bool:
        """Whether there is a slot now; else ``begin`` is called as soon as there is one."""
        if self._free is None:
            return True
        if not self._free:
            exchange.waits = True
            self._queue.append((exchange, begin))
            return False
        self._free -= 1
        return True

    def give_back(self, exchange: Exchange, free_ns: int) -> None:
        """The exchange has come to its end; its slot is free since ``free_ns``."""
        if self._free is None:
            return
        if exchange.waits:  # its client left before it had one; it is passed over when its turn comes
            exchange.waits = False
            return
        while self._queue:
            following, begin = self._queue.popleft()
            if following.waits:
                following.waits = False
                # counted from when the slot was due to be free: late writes do not make the server slower than its law
                following.begin(max(free_ns, following.request.received_ns))
                asyncio.get_running_loop().call_soon(begin)
                return
        self._free += 1


class Exchange:
    """A reply under way: what of it is due, and what of it has been written."""

    def __init__(self, request: Request, reply: Reply, entry: Entry | None, prompt: int) -> None:
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
        """When the next bytes are due; None: all have been taken."""
        if self._head:
            return self._begun_ns + self._head_at
        return None if self._next is None else self._begun_ns + self._next.at

    def begin(self, begun_ns: int) -> None:
        """It has a slot: its times count from now on."""
        self._begun_ns = begun_ns
        if self.entry is not None:
            self.entry.begun_ns = begun_ns

    def take(self, now_ns: int) -> tuple[bytes, int | None]:
        """Bytes due by now, at most a batch, and when the first token or body among them was due."""
        elapsed, out = now_ns - self._begun_ns, []
        told_at: int | None = None
        if self._head and self._head_at <= elapsed:
            out.append(self._head)
            self._head = b""
        piece, wire = self._next, self.reply.wire
        if not self._head:
            while piece is not None and piece.at <= elapsed and len(out) < _BATCH:
                out.append(wire(piece))
                self.last_due_ns = self._begun_ns + piece.at
                if told_at is None and piece.kind in ("token", "body"):
                    told_at = piece.at
                piece = next(self._pieces, None)
            self._next = piece
        if piece is None and not self._head and self.reply.streamed and self.reply.complete:
            out.append(b"0\r\n\r\n")
        return b"".join(out), told_at

    def stamp(self, now_ns: int, due_ns: int, told_at: int | None) -> None:
        """Enter a write."""
        if (entry := self.entry) is None:
            return
        entry.late_ns = max(entry.late_ns, now_ns - due_ns)
        if told_at is not None:
            if entry.last_ns is None:
                entry.due_ns = self._begun_ns + told_at
                entry.first_ns = now_ns if self.reply.streamed else None
            entry.last_ns = now_ns
        if self.due_ns is None and self.reply.complete:
            entry.end_ns = now_ns


class Connection(asyncio.Protocol):
    """One client connection: requests are answered one after another, each on its schedule.

    A request pipelined behind another counts as received when that one has been answered.

    Parameters
    ----------
    respond : callable
        Request to reply, entry (None: not one to enter) and the prompt's fingerprint.
    clock : Clock
    stats : Stats
    peers : set
        Where it enters itself while it is open.
    slots : Slots
    """

    def __init__(
        self,
        respond: Callable[[Request], tuple[Reply, Entry | None, int]],
        clock: Clock,
        stats: Stats,
        peers: set[Connection],
        slots: Slots,
    ) -> None:
        self._respond, self._clock, self._stats, self._peers = respond, clock, stats, peers
        self._slots = slots
        self._reader = RequestReader()
        self._exchange: Exchange | None = None
        self._open = self._armed = self._paused = self._continued = False
        self._writable = True
        self._served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the client."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._fd = self._socket.fileno()
        self._open = True
        self._stats.connected()
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        self._open = False
        self._stats.open -= 1
        self._peers.discard(self)
        if self._exchange is not None:
            self._settle(self._exchange, aborted=True)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is served."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable = True
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer what they complete."""
        received = time.monotonic_ns()
        self._reader.feed(data)
        if self._exchange is None:
            self._serve(received)
        elif len(self._reader) > _BACKLOG:
            self._transport.pause_reading()
            self._paused = True

    def close(self, ending: str = "reset") -> None:
        """End the connection; ``reset`` does so at once, with what was not yet sent lost."""
        if not self._open:
            return
        self._open = False
        if ending == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def _serve(self, received: int) -> None:
        """Take up the requests at hand, until one has to wait for its time."""
        while self._open and self._exchange is None:
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

    def _begin(self, request: Request, reply: Reply, entry: Entry | None = None, prompt: int = 0) -> None:
        if not request.keep_alive and reply.ending == "keep":
            reply.headers["connection"] = "close"
            reply.ending = "close"
        exchange = self._exchange = Exchange(request, reply, entry, prompt)
        if exchange.slotted and not self._slots.take(exchange, self._advance):
            return
        exchange.begin(request.received_ns)
        self._pump()

    def _advance(self) -> None:
        """Go on after a wait: with the reply under way, then with requests that came meanwhile."""
        self._pump()
        if self._paused and self._exchange is None and self._open:
            self._paused = False
            self._transport.resume_reading()
        self._serve(time.monotonic_ns())

    def _on_time(self) -> None:
        self._armed = False
        self._advance()

    def _pump(self) -> None:
        """Write what is due of the reply under way, and see to what comes next."""
        exchange = self._exchange
        if exchange is None or exchange.waits or not self._open or not self._writable:
            return
        due, now = exchange.due_ns, time.monotonic_ns()
        if due is not None and due <= now:
            data, told_at = exchange.take(now)
            now = time.monotonic_ns()
            self._write(data)
            exchange.stamp(now, due, told_at)
            due = exchange.due_ns
        if due is None:
            self._end(exchange)
        elif not self._armed and self._open:
            self._armed = True
            self._clock.call_at(due, self._on_time)

    def _end(self, exchange: Exchange) -> None:
        ending = exchange.reply.ending
        if ending == "hang":
            return
        self._settle(exchange)
        if ending != "keep":
            self.close(ending)

    def _settle(self, exchange: Exchange, aborted: bool = False) -> None:
        self._exchange = None
        if exchange.entry is not None:
            exchange.entry.aborted = aborted
            self._stats.finish(exchange.entry, exchange.prompt)
        if exchange.slotted:
            self._slots.give_back(exchange, time.monotonic_ns() if aborted else exchange.last_due_ns)

    def _write(self, data: bytes) -> None:
        """Write at once: a loop that gathers writes until its next turn would make the stamps too early."""
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
