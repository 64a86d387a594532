"""An OpenAI-compatible server with scripted answers, a seeded latency law and faults.

For tests, benchmarks and ``evalkit calibrate``: it knows when each token left, so what a client says of its times can
be held against the truth. It shares no code with ``wire``, so that a misreading cannot cancel itself out.

    with serve(Script(law=Law(ttft_ms=50, itl_ms=10))) as server:
        ...  # ask server.base_url
        server.stats()

or ``python -m evalkit.scripted --ttft-ms 50 --itl-ms 10``, which prints the base URL and runs until interrupted.
``GET /stats`` tells what the server saw; ``/stats?log`` adds an entry for each request, ``/stats?reset`` starts anew.
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
from evalkit.scripted import faults, profile_openai, profile_taskingai
from evalkit.scripted.connection import Clock, Connection, Slots
from evalkit.scripted.http_messages import Piece, Reply, Request
from evalkit.scripted.request_log import Entry, Stats
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
_PROMPT = 80  # characters of a prompt that an entry keeps
_REPLIES: dict[str, Callable[[Script, Request, int], Reply]] = {
    "openai": profile_openai.reply,
    "taskingai": profile_taskingai.reply,
}
_STOP_S = 5.0
try:
    import uvloop

    _LOOP: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:  # there is none for this platform
    _LOOP = asyncio.new_event_loop


class ScriptedServer:
    """The server itself, on the loop that starts it; loopback only.

    Parameters
    ----------
    script : Script
        What it does.
    port : int
        0: a free one.

    Raises
    ------
    SettingsError
        An unknown profile or fault, options a fault does not have, or no slot at all.
    """

    def __init__(self, script: Script, port: int = 0) -> None:
        if script.profile not in PROFILES:
            raise SettingsError(f"the profile {script.profile!r} is not known: use one of {', '.join(PROFILES)}")
        if script.law.slots is not None and script.law.slots < 1:
            raise SettingsError(f"a server with {script.law.slots} slots would never answer: give it 1 or more")
        own = profile_taskingai.FAULTS if script.profile == "taskingai" else {}
        self._faults = faults.bind(script.faults, own)
        self._script, self.port = script, port
        self._reply = _REPLIES[script.profile]
        self._stats = Stats()
        self._number = 0
        self._met = [0] * len(self._faults)
        self._peers: set[Connection] = set()
        self._slots = Slots(script.law.slots)
        self._opening: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """Where to ask: ``http://127.0.0.1:PORT/v1``."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self) -> None:
        """Listen."""
        self._clock = Clock(asyncio.get_running_loop())
        try:
            await self._listen()
        except OSError as error:
            self._clock.close()
            raise SettingsError(f"port {self.port} of {HOST} cannot be used: {error.strerror}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
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
        """What the server saw; with ``log`` an entry for each request, ``scripted_stats.Entry`` as a dict."""
        return self._stats.to_json(log)

    async def _listen(self, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, HOST, self.port, backlog=4096)

    def _turn_deaf(self, seconds: float) -> None:
        if self._opening is None or self._opening.done():
            self._server.close()
            self._opening = asyncio.get_running_loop().create_task(self._listen(seconds))

    def _connection(self) -> Connection:
        return Connection(self._respond, self._clock, self._stats, self._peers, self._slots)

    def _respond(self, request: Request) -> tuple[Reply, Entry | None, int]:
        if request.path == "/stats":
            return self._stats_reply(request.query.split("&")), None, 0
        chat = request.method == "POST" and request.path.endswith("/chat/completions")
        if not chat:
            return self._reply(self._script, request, 0), None, 0
        self._number += 1
        entry = Entry(self._number, request.received_ns)
        try:
            reply, ask = self._chat(request, entry)
        except Exception as error:  # the script's own answer function, most likely: its author wants to see it
            problem = f"the script failed: {type(error).__name__}: {error}"
            reply, ask = profile_openai.error_reply(profile_openai.Refusal(500, problem), entry.number), None
        if reply.deaf_s:
            self._turn_deaf(reply.deaf_s)
        entry.status, entry.streamed, entry.tokens = reply.status, reply.streamed, reply.tokens
        return reply, entry, self._stats.begin(entry, None if ask is None else ask["messages"])

    def _chat(self, request: Request, entry: Entry) -> tuple[Reply, dict[str, Any] | None]:
        """The reply with its fault, if one hits it, and the body it answers."""
        moved = request.path.startswith(faults.MOVED)
        request.path = request.path.removeprefix(faults.MOVED)
        reply = self._reply(self._script, request, entry.number)
        entry.id, ask = reply.id, reply.ask
        if ask is not None:
            prompt = last_user_text(ask)
            entry.prompt = prompt[:_PROMPT]
            if reply.status == 200 and not moved:
                return self._hit(reply, request, entry, prompt), ask
        return reply, ask

    def _hit(self, reply: Reply, request: Request, entry: Entry, prompt: str) -> Reply:
        """What the first fault that hits makes of the reply."""
        for place, (fault, apply) in enumerate(self._faults):
            spent = fault.times is not None and self._met[place] >= fault.times
            if not spent and fault.hits(entry.number, prompt) and (changed := apply(reply, request)) is not None:
                self._met[place] += 1
                entry.fault = fault.name or fault.kind
                return changed
        return reply

    def _stats_reply(self, wishes: Sequence[str]) -> Reply:
        body = orjson.dumps(self._stats.to_json("log" in wishes))
        if "reset" in wishes:
            self._stats.reset()
        return Reply(200, {"content-type": "application/json"}, [Piece(0, "other", body)])


class ScriptedHandle:
    """A running server, seen from outside: asks it over HTTP, wherever it runs."""

    def __init__(self, base_url: str, script: Script) -> None:
        self.base_url = base_url
        self.model = script.model
        self.port = int(base_url.rsplit(":", 1)[1].partition("/")[0])

    def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """Counts and percentiles, as ``Stats.to_json`` gives them; this look-up's own connection is among ``open``.

        With ``reset`` they and the log start anew after it; request numbers go on.
        """
        counts: dict[str, Any] = self._get("/stats?reset" if reset else "/stats")
        return counts

    def log(self) -> list[Entry]:
        """An entry for every chat-completion request, in the order they were received."""
        return [Entry(**entry) for entry in self._get("/stats?log")["log"]]

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def serve(script: Script | None = None, *, process: bool = False) -> Iterator[ScriptedHandle]:
    """A scripted server for as long as the block runs.

    Parameters
    ----------
    script : Script, optional
        None: ``Script()``.
    process : bool
        In a process of its own, so that it takes nothing from the client's interpreter; it ends with this one, however
        this one ends. The script must then be picklable. Else in a thread with a loop of its own.

    Yields
    ------
    ScriptedHandle

    Raises
    ------
    SettingsError
        As ``ScriptedServer`` does, or the process does not start.
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
    ScriptedServer(script)  # a script that cannot be served is told here, not in the other process
    try:
        packed = pickle.dumps(script)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        problem = (
            "the script cannot be handed to another process: its answer must be a function of a module, or an object"
        )
        raise SettingsError(f"{problem} of a module's class ({error})") from None
    code = "from evalkit.scripted.server import _child; _child()"
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # an interrupt from the terminal is ours to handle
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        try:
            child.stdin.write(packed)
            child.stdin.flush()
            line = child.stdout.readline().decode().strip()
            if not line:
                raise SettingsError("the scripted server's process ended before it served; its own words stand above")
            yield line
        finally:
            child.stdin.close()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _child() -> None:
    """Serve the script on standard input until that is closed, as it is when the parent ends."""
    script = pickle.load(sys.stdin.buffer)  # noqa: S301  our own parent wrote it
    gc.disable()  # its pauses would be in the stamps, and what it looks for does not come about here

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
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: a free one (default)")
    parser.add_argument("--profile", choices=PROFILES, default="openai", help="whose habits it has")
    parser.add_argument("--ttft-ms", type=float, default=0.0, help="time to the first token, ms")
    parser.add_argument("--itl-ms", type=float, default=0.0, help="time between tokens, ms")
    parser.add_argument("--tokens", type=int, default=20, help="tokens of the default answer")
    parser.add_argument("--jitter", type=float, default=0.0, help="spread of the log of both times; 0: none")
    parser.add_argument("--slots", type=int, help="requests answered at once; more wait (default: no end of them)")
    parser.add_argument("--seed", type=int, default=0, help="of jitter, faults and wrong answers")
    parser.add_argument("--answer", choices=("tokens", "echo", "arithmetic", "calling"), default="tokens")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of wrong answers, with --answer arithmetic")
    parser.add_argument("--model", action="append", default=[], help="a model that exists; none named: all do")
    parser.add_argument("--key-env", metavar="NAME", help="environment variable that holds the key to ask for")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND[=SHARE]", help="may be given again")
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
