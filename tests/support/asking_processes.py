"""Asking processes that share their imports: each is a fork of a process that has imported what they need.

A run starts an asking process, which imports for 0.3 s of processor time before it sends a request, and the tests make
a thousand runs. So the process that runs tests starts one process that imports once and forks for each run. A fork gets
what ``child_process`` gives a process that it starts: socket, process id of the parent, working directory, environment,
standard error and blocked signals. It is a child of the process that runs tests, too.

Commands in processes of their own start real asking processes. So do tests with the fixture ``real_asking_process``.
"""

from __future__ import annotations

import array
import ctypes
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

from evalkit.engine import child_process

POSSIBLE = sys.platform == "linux"
REAL_START = child_process._start
_SET_CHILD_SUBREAPER = 36  # of prctl(2): a process whose parent has ended becomes our child
_CODE = "from asking_processes import fork_on_request; main = fork_on_request(); main()"


class Forked:
    """What ``child_process`` uses of ``subprocess.Popen``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = os.pidfd_open(pid)
        self._waiting = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        with self._waiting:
            if self.returncode is None:
                if not select.select([self._end], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("the asking process", timeout or 0)
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                os.close(self._end)
            return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The process that forks, started when it is first needed, and the connection to it."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._asking = threading.Lock()
        self._libc = ctypes.CDLL(None)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, connection: socket.socket) -> Forked | subprocess.Popen[bytes]:
        """In place of ``child_process._start``."""
        errors = child_process._standard_error()
        if os.getpid() != self._parent or errors == subprocess.DEVNULL:
            return REAL_START(connection)
        given = pickle.dumps((Path.cwd(), dict(os.environ), list(filter(None, sys.path)), self._parent))
        descriptors = array.array("i", (connection.fileno(), errors))
        with self._asking:
            if self._process is None:
                self._open()
            self._libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                self._socket.sendmsg([given], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
                return Forked(int(self._socket.recv(32)))
            finally:
                self._libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def _open(self) -> None:
        self._socket, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with remote:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, str(remote.fileno())],
                pass_fds=(remote.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def close(self) -> None:
        if self._process is not None:
            self._socket.close()
            self._process.wait(10)


@contextmanager
def forked() -> Iterator[None]:
    """Runs of this process fork their asking processes, where that is possible."""
    if not POSSIBLE:
        yield
        return
    forks = Forks()
    with mock.patch.object(child_process, "_start", forks.start):
        yield
    forks.close()


def fork_on_request() -> Callable[[], None]:
    """In the process that forks: it returns in each fork only, with what is to be called there."""
    import uvloop  # noqa: F401

    from evalkit.engine.asking.session import main

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            given, descriptors = _received(requests)
            if not given:
                os._exit(0)
            if (pid := _fork()) is None:
                break
            requests.send(str(pid).encode())
            for descriptor in descriptors:
                os.close(descriptor)
    _take_over(*pickle.loads(given), *descriptors)
    return main


def _received(requests: socket.socket) -> tuple[bytes, list[int]]:
    descriptors = array.array("i")
    given, ancillary, _, _ = requests.recvmsg(2**20, socket.CMSG_SPACE(2 * descriptors.itemsize))
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    return given, list(descriptors)


def _fork() -> int | None:
    """None in the fork; here its process id, once the process between has ended and the fork is our parent's child."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid:
            os.write(writing, str(pid).encode())
            os._exit(0)
    else:
        os.waitpid(between, 0)
    found = os.read(reading, 32) if between else None
    os.close(reading)
    os.close(writing)
    return int(found) if found else None


def _take_over(folder: Path, environment: dict[str, str], path: list[str], parent: int, link: int, errors: int) -> None:
    end = time.monotonic() + 10
    while os.getppid() != parent and time.monotonic() < end:  # the process between has not ended
        time.sleep(0.001)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    os.close(errors)
    sys.argv[1:] = [str(link), str(parent)]
