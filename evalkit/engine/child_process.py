"""Starts the asking process, and ends it: the parent's end of the line between the two."""

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
from typing import Any, Self

from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import FrameReader, Message
from evalkit.process import forks

_READ = 2**20
_LAST_WORDS_S = 3.0  # an asking process whose line is closed ends at once, unless it is frozen
_LEFT_TO_US = {signal.SIGINT, signal.SIGTERM}  # sent to the whole group by terminals and job runners


class ChildProcess:
    """An asking process on its way, and the line to it; one class owns the lock and the order of what is sent.

    It starts while its parent sees to dataset and run file, and waits for its task. Nothing goes out before that, and
    nothing that is sent ever waits for the other end. When the block ends, or its parent, so does it.

    Attributes
    ----------
    code : int or None
        Its exit code, once the line is closed.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._frames = FrameReader()
        self._unsent = bytearray()
        self._given = False
        self._sending = threading.Lock()
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        forks.close_in_forks(self._line.fileno())
        self._poll = select.poll()
        with theirs:
            self._child = _start(theirs)

    def give(self, task: Any) -> None:
        """Hand over what is to be asked, before all that was sent until now."""
        with self._sending:
            self._given = True
            self._unsent[:0] = process_messages.frame(process_messages.Start(process_messages.pack(task)))
            self._flush()

    def send(self, message: Message) -> None:
        """Send a message, as far as there is room for it now, and the rest with ``receive``. Safe from any thread."""
        with self._sending:
            self._unsent += process_messages.frame(message)
            if self._given:
                self._flush()

    def receive(self, wait_ms: int) -> list[Message] | None:
        """What has come, or comes within so long; None: the process is gone."""
        with self._sending:
            if self._given:
                self._flush()
            writing = self._given and bool(self._unsent)
            if self._line.fileno() < 0:
                return None
            self._poll.register(self._line, select.POLLIN | (select.POLLOUT if writing else 0))
        if not self._poll.poll(wait_ms):
            return []
        try:
            data = self._line.recv(_READ)
        except BlockingIOError:  # there is room to write
            return []
        except OSError:  # the spool has what was under way
            return None
        return self._frames.feed(data) if data else None

    def kill(self) -> None:
        """End it at once; what it had received is in the spool. Safe from any thread."""
        self._child.kill()

    def close(self) -> None:
        """Close the line, which ends the process if nothing else has, and wait for it."""
        with self._sending:
            if self._line.fileno() >= 0:
                forks.forget(self._line.fileno())
                with suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)  # seen at the other end whoever else holds a copy
                self._line.close()
        try:
            self.code = self._child.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self.code = self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._line.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:  # it is gone, or the line is closed: that is for ``receive`` to find
            self._unsent.clear()


def _start(line: socket.socket) -> subprocess.Popen[bytes]:
    """The process: of our group, so that Ctrl-Z stops both, and deaf to what is ours to handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_US)
    try:
        return subprocess.Popen(  # noqa: S603
            [
                sys.executable,
                "-P",
                "-c",
                "from evalkit.engine.asking.session import main; main()",
                str(line.fileno()),
                str(os.getpid()),
            ],
            pass_fds=(line.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=_standard_error(),  # whatever is printed there is no result of ours
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _standard_error() -> int:
    try:
        os.fstat(2)
    except OSError:  # it is closed
        return subprocess.DEVNULL
    return 2
