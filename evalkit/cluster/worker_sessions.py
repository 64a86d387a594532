"""What runs on a worker: it starts an asking process there, and passes bytes between it and the writer.

Each function is a Dask task for one worker. An asking process outlives the tasks, so it keeps its connections and
never waits for a batch to end. It is killed when no task has come for a while: then the client has gone, and nobody
would store what is received.
"""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from typing import Any

import evalkit
from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import readiness
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.child_process import ChildProcess
from evalkit.errors import EvalkitError

LEASE_S = 15.0  # without a task for this long, the asking process is killed
UNUSED_S = 900.0  # the same before its session has started: a large dataset takes long to check
COLLECT_S = 0.02  # between two reads from the asking process, which sends small messages all the time
MOST_BYTES = 4 * 2**20  # of one exchange
_URGENT = (b'["call",', b'["end",')  # messages that are passed on immediately
_sessions: dict[str, _WorkerSession] = {}
_lock = threading.Lock()


class _WorkerSession:
    """An asking process on this worker, and until when it may go on without a task."""

    def __init__(self) -> None:
        self.child = ChildProcess()
        self.lock = threading.Lock()
        self.expires_s = time.monotonic() + UNUSED_S
        threading.Thread(target=self._watch, name="evalkit-lease", daemon=True).start()

    def _watch(self) -> None:
        while self.child.exit_code is None:
            time.sleep(1.0)
            if time.monotonic() > self.expires_s:
                self.child.kill()
                self.child.close()


def open_session(session: str, version: str, endpoint: Endpoint, wait_ready: float | None) -> dict[str, Any]:
    """Start an asking process, after a check that requests can be made from here.

    Returns
    -------
    dict
        ``problem``: why not, with ``error``, the name of the error's class; else ``host``, ``process`` and ``has_key``.
    """
    facts: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid(), "python": platform.python_version()}
    if evalkit.__version__ != version:
        why = f"it has evalkit {evalkit.__version__}, and the run was started with {version}: install the same version"
        return {"problem": why, "error": "SettingsError"}
    try:
        Transport.check(endpoint)
        facts["has_key"] = endpoint.key() is not None
        readiness.wait_until_ready(endpoint, wait_ready, report=lambda text: None)
    except EvalkitError as error:
        return {"problem": str(error), "error": type(error).__name__}
    with _lock:
        _sessions[session] = _WorkerSession()
    return facts


def clock() -> int:
    """The monotonic clock of the worker, in ns."""
    return time.perf_counter_ns()


def exchange(session: str, task: SessionTask | None, messages: bytes, wait_s: float) -> bytes | None:
    """Pass messages to the asking process; return what it sends meanwhile.

    Parameters
    ----------
    session : str
    task : SessionTask or None
        The first exchange starts the session.
    messages : bytes
    wait_s : float

    Returns
    -------
    bytes or None
        None: this worker has no such session, or its process has ended.
    """
    found = _sessions.get(session)
    if found is None:
        return None
    with found.lock:
        found.expires_s = time.monotonic() + wait_s + LEASE_S
        if task is not None:
            found.child.start(task)
        if messages:
            found.child.send_bytes(messages)
        return _received(found.child, wait_s)


def _received(child: ChildProcess, wait_s: float) -> bytes | None:
    deadline = time.monotonic() + wait_s
    parts: list[bytes] = []
    size = 0
    while (left := deadline - time.monotonic()) > 0 or not parts:
        data = child.receive_bytes(max(int(left * 1000), 0))
        if data is None:
            return b"".join(parts) if parts else None
        parts.append(data)
        size += len(data)
        if size > MOST_BYTES or any(name in data for name in _URGENT):
            break
        time.sleep(min(COLLECT_S, max(deadline - time.monotonic(), 0)))  # fewer and larger reads
    return b"".join(parts)


def close_session(session: str) -> None:
    """End the asking process."""
    with _lock:
        found = _sessions.pop(session, None)
    if found is not None:
        found.child.kill()
        found.child.close()
