"""Starts and ends the asking process, and exchanges messages with it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import FrameReader, Message
from evalkit.process import forks

if TYPE_CHECKING:
    from evalkit.engine.asking.session_task import SessionTask

_READ_BYTES = 2**20
_EXIT_S = 3.0  # an asking process ends immediately when its connection closes, unless it is frozen
_BLOCKED_SIGNALS = {signal.SIGINT, signal.SIGTERM}  # terminals and job runners send them to the whole process group


class AskingSide(Protocol):
    """What a session needs of the process, or the processes, that send its requests."""

    exit_code: int | None
    dashboard: str | None  # address of a page that shows what sends the requests

    def start(self, task: SessionTask) -> None:
        """Send the task, ahead of all messages so far."""

    def send(self, message: Message) -> None:
        """Send a message without blocking. Safe from any thread."""

    def receive(self, wait_ms: int) -> list[Message] | None:
        """The messages that arrive within this time; None: nothing more comes."""

    def kill(self) -> None:
        """Stop sending requests immediately. Safe from any thread."""

    def close(self) -> None:
        """End it."""


class ChildProcess:
    """The asking process, and the connection to it; this class alone holds the lock and decides the order of messages.

    The process starts while the parent checks dataset and run file, and waits for its task. Nothing is sent before the
    task, and sending never blocks. The process ends with the ``with`` block, or with its parent.

    Attributes
    ----------
    exit_code : int or None
        Set when the connection has been closed.
    dashboard : None
        One process has none.
    """

    dashboard: str | None = None

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self._frames = FrameReader()
        self._unsent = bytearray()
        self._has_task = False
        self._sending = threading.Lock()
        self._socket, remote = socket.socketpair()
        self._socket.setblocking(False)
        forks.close_in_forks(self._socket.fileno())
        self._poll = select.poll()
        with remote:
            self._process = _start(remote)

    def start(self, task: SessionTask) -> None:
        """Send the task, ahead of all messages so far."""
        with self._sending:
            self._has_task = True
            self._unsent[:0] = process_messages.frame(process_messages.Start(process_messages.pack(task)))
            self._flush()

    def send(self, message: Message) -> None:
        """Send what the socket accepts now; ``receive`` sends the rest. Safe from any thread."""
        with self._sending:
            self._unsent += process_messages.frame(message)
            if self._has_task:
                self._flush()

    def send_bytes(self, messages: bytes) -> None:
        """Send messages that are bytes already, as ``send`` does."""
        with self._sending:
            self._unsent += messages
            if self._has_task:
                self._flush()

    def receive(self, wait_ms: int) -> list[Message] | None:
        """The messages that arrive within this time; None: the process has ended."""
        data = self.receive_bytes(wait_ms)
        return None if data is None else self._frames.feed(data)

    def receive_bytes(self, wait_ms: int) -> bytes | None:
        """The same before it is split into messages."""
        with self._sending:
            if self._has_task:
                self._flush()
            writing = self._has_task and bool(self._unsent)
            if self._socket.fileno() < 0:
                return None
            self._poll.register(self._socket, select.POLLIN | (select.POLLOUT if writing else 0))
        if not self._poll.poll(wait_ms):
            return b""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:  # only writing is possible
            return b""
        except OSError:  # the spool has what did not arrive
            return None
        return data or None

    def kill(self) -> None:
        """Kill the process; what it received is in the spool. Safe from any thread."""
        self._process.kill()

    def close(self) -> None:
        """Close the connection, which ends the process if it still runs, and wait for it."""
        with self._sending:
            if self._socket.fileno() >= 0:
                forks.forget(self._socket.fileno())
                with suppress(OSError):  # the other end sees a shutdown even if another process holds a copy
                    self._socket.shutdown(socket.SHUT_RDWR)
                self._socket.close()
        try:
            self.exit_code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:  # the process or the connection is gone: ``receive`` notices
            self._unsent.clear()


def _start(connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process: in our group, so that Ctrl-Z stops both, and with the signals blocked that we handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603
            [
                sys.executable,
                "-P",
                "-c",
                "from evalkit.engine.asking.asking_process import main; main()",
                str(connection.fileno()),
                str(os.getpid()),
            ],
            pass_fds=(connection.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=_standard_error(),  # standard output is for results only
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _standard_error() -> int:
    try:
        os.fstat(2)
    except OSError:  # closed
        return subprocess.DEVNULL
    return 2
