"""An OpenAI-compatible server with scripted answers, a seeded latency law and faults.

For tests, benchmarks and ``evalkit calibrate``: it logs when each token was sent, so the times that a client reports
can be compared with the true ones. It shares no code with ``client``, so that both cannot misread in the same way.

    with serve(Script(law=Law(ttft_ms=50, itl_ms=10))) as server:
        ...  # send requests to server.base_url
        server.stats()

or ``python -m evalkit.scripted --ttft-ms 50 --itl-ms 10``, which prints the base URL and runs until interrupted.
``GET /stats`` returns the server's counts; ``/stats?log`` adds an entry per request, ``/stats?reset`` resets both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson

from evalkit.errors import SettingsError
from evalkit.scripted import answer_faults, faults, profile_openai, profile_taskingai, taskingai_faults
from evalkit.scripted.connection import ClientConnection, Clock, ServerSlots
from evalkit.scripted.http_messages import Piece, Reply, Request
from evalkit.scripted.request_log import LogEntry, RequestLog
from evalkit.scripted.script import (
    PROFILES,
    Arithmetic,
    Call,
    Calling,
    Fault,
    Law,
    Numbered,
    Script,
    echo,
    last_user_text,
)

__all__ = [
    "Arithmetic",
    "Call",
    "Calling",
    "Fault",
    "Law",
    "Numbered",
    "Script",
    "ScriptedHandle",
    "ScriptedServer",
    "echo",
    "serve",
]

HOST = "127.0.0.1"
_PROMPT = 80  # characters of a prompt stored in a log entry
_REPLIES: dict[str, Callable[[Script, Request, int], Reply]] = {
    "openai": profile_openai.reply,
    "taskingai": profile_taskingai.reply,
}
_STOP_S = 5.0
try:
    import uvloop

    _LOOP: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:  # not available for this platform
    _LOOP = asyncio.new_event_loop


class ScriptedServer:
    """The server, on the event loop that starts it; it listens on loopback only.

    Parameters
    ----------
    script : Script
        What it does.
    port : int
        0: a free port.

    Raises
    ------
    SettingsError
        The profile, a fault or an option of a fault is not known, or the law is not valid.
    """

    def __init__(self, script: Script, port: int = 0) -> None:
        if script.profile not in PROFILES:
            raise SettingsError(f"the profile {script.profile!r} is not known: use one of {', '.join(PROFILES)}")
        script.law.check()
        own = taskingai_faults.FAULTS if script.profile == "taskingai" else {}
        self._faults = faults.bind(script.faults, own)
        self._script, self.port = script, port
        self._reply = _REPLIES[script.profile]
        self._log = RequestLog()
        self._number = 0
        self._hits = [0] * len(self._faults)
        self._peers: set[ClientConnection] = set()
        self._slots = ServerSlots(script.law.slots)
        self._opening: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """The base URL, ``http://127.0.0.1:PORT/v1``."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self) -> None:
        """Start to listen."""
        self._clock = Clock(asyncio.get_running_loop())
        try:
            await self._listen()
        except OSError as error:
            self._clock.close()
            raise SettingsError(f"port {self.port} of {HOST} cannot be used: {error.strerror}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._opening is not None:
            self._opening.cancel()
        self._server.close()
        for peer in tuple(self._peers):
            peer.close()
        self._clock.close()
        while self._peers:  # noqa: ASYNC110  each leaves on one of the loop's next turns
            await asyncio.sleep(0)
        await self._server.wait_closed()

    def stats(self, log: bool = False) -> dict[str, Any]:
        """The counts; with ``log`` also an entry per request, ``request_log.LogEntry`` as a dict."""
        return self._log.to_json(log)

    async def _listen(self, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, HOST, self.port, backlog=4096)

    def _refuse_connections(self, seconds: float) -> None:
        if self._opening is None or self._opening.done():
            self._server.close()
            self._opening = asyncio.get_running_loop().create_task(self._listen(seconds))

    def _connection(self) -> ClientConnection:
        return ClientConnection(self._respond, self._clock, self._log, self._peers, self._slots)

    def _respond(self, request: Request) -> tuple[Reply, LogEntry | None, int]:
        if request.path == "/stats":
            return self._stats_reply(request.query.split("&")), None, 0
        chat = request.method == "POST" and request.path.endswith("/chat/completions")
        if not chat:
            return self._reply(self._script, request, 0), None, 0
        self._number += 1
        entry = LogEntry(self._number, request.received_ns)
        try:
            reply, body = self._chat(request, entry)
        except Exception as error:  # most likely from the script's answer function, whose author needs to see it
            problem = f"the script failed: {type(error).__name__}: {error}"
            reply, body = profile_openai.error_reply(profile_openai.ApiError(500, problem), entry.number), None
        if reply.refuse_s:
            self._refuse_connections(reply.refuse_s)
        entry.status, entry.streamed, entry.tokens = reply.status, reply.streamed, reply.tokens
        return reply, entry, self._log.begin(entry, None if body is None else body["messages"])

    def _chat(self, request: Request, entry: LogEntry) -> tuple[Reply, dict[str, Any] | None]:
        """The reply, changed by the fault that hits it, if any, and the request body."""
        moved = request.path.startswith(answer_faults.MOVED)
        request.path = request.path.removeprefix(answer_faults.MOVED)
        reply = self._reply(self._script, request, entry.number)
        entry.id, body = reply.id, reply.request_json
        if body is not None:
            prompt = last_user_text(body)
            entry.prompt = prompt[:_PROMPT]
            if reply.status == 200 and not moved:
                return self._with_fault(reply, request, entry, prompt), body
        return reply, body

    def _with_fault(self, reply: Reply, request: Request, entry: LogEntry, prompt: str) -> Reply:
        """The reply, changed by the first fault that hits the request."""
        for place, (fault, apply) in enumerate(self._faults):
            used_up = fault.times is not None and self._hits[place] >= fault.times
            if not used_up and fault.hits(entry.number, prompt) and (changed := apply(reply, request)) is not None:
                self._hits[place] += 1
                entry.fault = fault.name or fault.kind
                return changed
        return reply

    def _stats_reply(self, options: Sequence[str]) -> Reply:
        body = orjson.dumps(self._log.to_json("log" in options))
        if "reset" in options:
            self._log.reset()
        return Reply(200, {"content-type": "application/json"}, [Piece(0, "other", body)])


class ScriptedHandle:
    """A running server, in this process or another: its log is read over HTTP."""

    def __init__(self, base_url: str, script: Script) -> None:
        self.base_url = base_url
        self.model = script.model
        self.port = int(base_url.rsplit(":", 1)[1].partition("/")[0])

    def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """Counts and percentiles, as in ``RequestLog.to_json``; ``open`` includes the connection of this query.

        With ``reset`` the counts and the log are reset after it; request numbers continue.
        """
        counts: dict[str, Any] = self._get("/stats?reset" if reset else "/stats")
        return counts

    def log(self) -> list[LogEntry]:
        """An entry for every chat-completion request, in the order they were received."""
        return [LogEntry(**entry) for entry in self._get("/stats?log")["log"]]

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def serve(script: Script | None = None, *, process: bool = False) -> Iterator[ScriptedHandle]:
    """Run a scripted server for the duration of the block.

    Parameters
    ----------
    script : Script, optional
        None: ``Script()``.
    process : bool
        Run it in a process of its own, so that it takes no time from the client's interpreter. The process ends when
        this one ends, for whatever reason. The script must be picklable. False: run it in a thread with its own loop.

    Yields
    ------
    ScriptedHandle

    Raises
    ------
    SettingsError
        As for ``ScriptedServer``, or the process does not start.
    """
    script = script or Script()
    with (_in_process if process else _in_thread)(script) as base_url:
        yield ScriptedHandle(base_url, script)


@contextmanager
def _in_thread(script: Script) -> Iterator[str]:
    started: Future[tuple[str, Callable[[], object]]] = Future()

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        server = ScriptedServer(script)
        await server.start()
        started.set_result((server.base_url, partial(loop.call_soon_threadsafe, done.set)))
        await done.wait()
        await server.stop()

    def work() -> None:
        try:
            _run(run())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work, name="scripted server", daemon=True)
    thread.start()
    base_url, stop = started.result()
    try:
        yield base_url
    finally:
        stop()
        thread.join()


@contextmanager
def _in_process(script: Script) -> Iterator[str]:
    ScriptedServer(script)  # raises for an invalid script here rather than in the other process
    try:
        packed = pickle.dumps(script)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        problem = (
            "the script cannot be sent to another process: its answer must be a function of a module, or an object"
        )
        raise SettingsError(f"{problem} of a module's class ({error})") from None
    code = "from evalkit.scripted.server import _child; _child()"
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # this process handles an interrupt from the terminal
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        try:
            child.stdin.write(packed)
            child.stdin.flush()
            line = child.stdout.readline().decode().strip()
            if not line:
                raise SettingsError("the scripted server's process ended before it served; see its own error above")
            yield line
        finally:
            child.stdin.close()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _child() -> None:
    """Serve the script read from standard input until that is closed, which happens when the parent ends."""
    script = pickle.load(sys.stdin.buffer)  # noqa: S301  the parent process wrote it
    gc.disable()  # its pauses would delay the stamps, and no reference cycles build up here

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        server = ScriptedServer(script)
        await server.start()
        print(server.base_url, flush=True)
        loop.add_reader(sys.stdin.fileno(), done.set)
        await done.wait()
        loop.remove_reader(sys.stdin.fileno())
        await server.stop()

    _run(run())


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_LOOP) as runner:
        runner.run(work)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; the base URL is printed on one line."""
    parser = argparse.ArgumentParser("python -m evalkit.scripted", description="A scripted OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: a free port (default)")
    parser.add_argument("--profile", choices=PROFILES, default="openai", help="the service to imitate")
    parser.add_argument("--ttft-ms", type=float, default=0.0, help="time to the first token, ms")
    parser.add_argument("--itl-ms", type=float, default=0.0, help="time between tokens, ms")
    parser.add_argument("--tokens", type=int, default=20, help="tokens of the default answer")
    parser.add_argument("--jitter", type=float, default=0.0, help="spread of the logarithm of both times; 0: none")
    parser.add_argument("--slots", type=int, help="requests answered in parallel (default: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="seed of jitter, faults and wrong answers")
    parser.add_argument("--answer", choices=("tokens", "echo", "arithmetic", "calling"), default="tokens")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of wrong answers, with --answer arithmetic")
    parser.add_argument("--model", action="append", default=[], help="a model that exists; without any, all do")
    parser.add_argument("--key-env", metavar="NAME", help="environment variable that holds the required API key")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND[=SHARE]", help="a fault; may be repeated")
    given = parser.parse_args(arguments)
    if given.key_env and not os.environ.get(given.key_env):
        parser.error(f"{given.key_env} is named as the variable of the key, but it is not set")
    answers = {"tokens": None, "echo": echo, "arithmetic": Arithmetic(given.wrong, given.seed), "calling": Calling()}
    try:
        script = Script(
            profile=given.profile,
            law=Law(given.ttft_ms, given.itl_ms, given.tokens, given.jitter, given.seed, given.slots),
            answer=answers[given.answer],
            faults=[_fault(text, given.seed) for text in given.fault],
            key=os.environ.get(given.key_env) if given.key_env else None,
            models=tuple(given.model),
        )
        _run(_until_interrupted(ScriptedServer(script, given.port)))
    except SettingsError as error:
        parser.error(str(error))


def _fault(text: str, seed: int) -> Fault:
    kind, _, share = text.partition("=")
    try:
        return Fault(kind, float(share or 1), seed=seed)
    except ValueError:
        raise SettingsError(f"--fault {text}: a share from 0 to 1 was expected after the equals sign") from None


async def _until_interrupted(server: ScriptedServer) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    await server.start()
    gc.disable()
    print(server.base_url, flush=True)
    await done.wait()
    await server.stop()
