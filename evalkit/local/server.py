"""The embedded endpoint: a real small model on llama.cpp's server, in a process of its own.

The process that uses it starts a child (``python -m evalkit.local``), writes the settings to its standard input and
waits for one line of answer, which the child writes once the model has answered a request. The child ends when its
standard input is closed, which also happens when the parent ends, for whatever reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from evalkit.errors import LocalError, MissingExtra, SettingsError
from evalkit.local import model_file
from evalkit.process.api_keys import key_in, without_keys

KEY_ENV = "EVALKIT_LOCAL_KEY"
SLOTS = 4
SLOT_TOKENS = 2048
_START_S = 600.0  # for a user's own large model on a slow disk
_STOP_S = 5.0
_NICENESS = 5


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running embedded endpoint.

    Parameters
    ----------
    base_url : str
        ``http://127.0.0.1:PORT/v1``.
    model : str
        The name of its model.
    key_env : str
        NAME of the environment variable, set in this process, that holds the API key.
    pid : int
        Id of the server's process.
    wait : callable
        Blocks until the server ends and returns its exit code.
    """

    base_url: str
    model: str
    key_env: str
    pid: int
    wait: Callable[[], int] = field(repr=False, compare=False)


@contextmanager
def serve(*, port: int = 0, key_env: str | None = None) -> Iterator[LocalServer]:
    """Run the embedded endpoint for the duration of the block.

    The model file is downloaded first if there is none. Several endpoints may run in parallel.

    Parameters
    ----------
    port : int
        Port on loopback; 0: a free port.
    key_env : str, optional
        NAME of an environment variable that holds the required API key. None: ``EVALKIT_LOCAL_KEY``, which is set to
        a random key if it is not set.

    Yields
    ------
    LocalServer
        It is ready to answer.

    Raises
    ------
    LocalError
        The model file is not available or the server does not start; the message says why.
    MissingExtra
        The ``local`` extra is not installed.
    SettingsError
        The variable named does not hold a valid key.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingExtra("the embedded endpoint", "local")
    if key_env is None:
        key_env = KEY_ENV
        os.environ.setdefault(KEY_ENV, secrets.token_urlsafe(32))
    _check_key(key_env)
    model = model_file.model_file()
    with tempfile.TemporaryFile() as log, _child(log) as child:
        settings = {
            "parent": os.getpid(),
            "port": port,
            "path": str(model.path),
            "model": model.name,
            "bundled": model.bundled,
        }
        answer = _start(child, settings, key_env)
        if "port" not in answer:
            raise LocalError(_why_not_started(answer, child, log, model))
        yield LocalServer(f"http://127.0.0.1:{answer['port']}/v1", model.name, key_env, child.pid, child.wait)


def _check_key(key_env: str) -> None:
    if key_in(key_env) is None:
        raise SettingsError(f"{key_env} is named as the variable of the API key, but it is not set")


@contextmanager
def _child(log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # the child must find the same modules as this process; an empty entry means the current folder
    env = without_keys(os.environ) | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "evalkit.local"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=env,
        process_group=0,  # a notebook kernel that ends signals its own group and waits for the processes in it
    )
    assert child.stdin
    assert child.stdout
    try:
        yield child
    finally:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def _start(child: subprocess.Popen[bytes], settings: dict[str, Any], key_env: str) -> dict[str, Any]:
    """Send the child its settings and the key, and wait for its answer; empty: it ended without one."""
    assert child.stdin
    assert child.stdout
    overdue = threading.Timer(_START_S, child.kill)
    overdue.start()
    try:
        # no local variable holds the key, since a traceback might show it
        child.stdin.write(json.dumps(settings | {"key": os.environ[key_env]}).encode() + b"\n")
        child.stdin.flush()
        line = child.stdout.readline()
    except BrokenPipeError:
        line = b""
    finally:
        overdue.cancel()
    answer: dict[str, Any] = json.loads(line or "{}")
    return answer


def _why_not_started(
    answer: dict[str, Any], child: subprocess.Popen[bytes], log: IO[bytes], model: model_file.ModelFile
) -> str:
    """The message that says why the server did not start, with the last lines of its log."""
    reason = answer.get("error")
    if reason is None:
        code = child.wait()
        reason = f"its process ended with exit code {code}"
        if code < 0:
            reason = f"its process was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                reason += ", which the system does when memory runs out"
    log.seek(0)
    lines = [re.sub(r"^[\d.]+ [A-Z] ", "", line) for line in log.read().decode(errors="replace").splitlines()]
    last = "".join(f"\n  {line.strip()}" for line in list(dict.fromkeys(filter(None, lines)))[-8:])
    last_lines = f"\nLast lines of its log:{last}" if last else ""
    return f"the embedded endpoint did not start with {model.path}: {reason}{last_lines}"


def main() -> NoReturn:
    """Run the child: serve until standard input is closed or the parent has ended."""
    # Ctrl-C in a terminal reaches the child too; the parent ends the child once its own work is saved
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, args=(settings["parent"],), daemon=True).start()
    os.nice(_NICENESS)
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # the server's standard output goes to its log
        try:
            asyncio.run(_serve(settings, answer))
        except (OSError, RuntimeError, ImportError) as error:
            json.dump({"error": str(error)}, answer)
    # a normal exit would wait for the server's threads
    os._exit(1)


def _end_with_parent(parent: int) -> NoReturn:
    """End this process when its parent ends; also checks the parent id, since a fork may keep the pipe open."""
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 1):
            break
    os._exit(0)


async def _serve(settings: dict[str, Any], answer: IO[str]) -> None:
    from evalkit.local.tool_call_front import Upstream, listen

    try:
        listening = socket.create_server(("127.0.0.1", settings["port"]))
    except (OSError, OverflowError) as error:
        cause = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        reason = f"port {settings['port']} is not available ({cause})"
        raise OSError(f"{reason}: use another, or 0 for a free one") from None
    port = listening.getsockname()[1]
    llama = _llama(settings)
    llama_port = int(llama.listening_address.rsplit(":", 1)[1])
    upstream = Upstream(llama_port, settings["key"], settings["model"], opens_calls=settings["bundled"])
    async with await listen(listening, upstream) as front:
        await _check_answers(port, settings["key"])
        json.dump({"port": port}, answer)
        answer.write("\n")
        answer.flush()
        await front.serve_forever()


def _llama(settings: dict[str, Any]) -> Any:
    """Start llama.cpp's server, behind the front, with its model loaded; it runs on threads of its own."""
    import xllamacpp

    from evalkit.local.tool_call_front import CHAT_TEMPLATE

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = [settings["model"]]
    params.api_keys = [settings["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    if settings["bundled"]:
        params.chat_template = CHAT_TEMPLATE
    # Half the cores, so that the client has the others. The threads spin at barriers: if another process uses one core,
    # as many threads as cores generate a hundred times fewer tokens than one thread does.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, min(8, (os.cpu_count() or 1) // 2))
    # An open connection occupies a thread; without a free one, a new connection waits 5 s until an idle one is dropped.
    params.n_threads_http = 128
    # Otherwise the prompts of past conversations accumulate in memory.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.ui = False
    params.verbosity = 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        raise RuntimeError("llama.cpp cannot load it") from None


async def _check_answers(port: int, key: str) -> None:
    """Request the models through front and server, to check that both answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    status = await reader.readline()
    writer.close()
    if b" 200 " not in status:
        raise RuntimeError(f"it answers {status.decode(errors='replace').strip()!r} to a first request")
