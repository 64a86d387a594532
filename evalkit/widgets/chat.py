"""A conversation typed by hand: each answer streams on a thread of its own, and can be looked at as it comes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from evalkit.client import request_body
from evalkit.client.exchange import Exchange
from evalkit.client.redaction import redact_answer
from evalkit.client.transport import Transport
from evalkit.conversation import Message
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.pacing.retries import RetryPolicy
from evalkit.errors import EvalkitError
from evalkit.record import Answer, Attempt

_LOOK_S = 0.1
_REST = 20  # what looks at an answer rests so many times as long as that took


@dataclass(slots=True)
class Said:
    """One message and its answer, as far as it has come.

    Parameters
    ----------
    user : str
    body : mapping
        The request's JSON.
    state : str
        ``streaming``, ``answered``, ``stopped`` (by hand) or ``failed``.
    answer, reasoning : str
    problem : str or None
        Why it failed.
    arrivals : list of (float, int)
        Reads that brought tokens: ms after the request was sent, and token-bearing events in it.
    ttft_ms, latency_ms : float or None
    prompt_tokens, output_tokens : int or None
    flags : tuple of str
        Of the attempt, once it has ended.
    """

    user: str
    body: Mapping[str, Any]
    state: str = "streaming"
    answer: str = ""
    reasoning: str = ""
    problem: str | None = None
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    ttft_ms: float | None = None
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    flags: tuple[str, ...] = ()


class Chat:
    """A conversation with an endpoint.

    Parameters
    ----------
    endpoint : Endpoint
    on_change : callable
        Called with the newest ``Said`` a few times a second while it comes and once when it has ended; on a thread of
        its own, so that what it does delays no read.
    """

    def __init__(self, endpoint: Endpoint, on_change: Callable[[Said], None]) -> None:
        self.endpoint = endpoint
        self.system = ""
        self.said: list[Said] = []
        self._on_change = on_change
        self._asking: _Asking | None = None
        self._watcher: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """An answer is on its way."""
        return self._asking is not None

    def messages(self) -> list[Message]:
        """What the next request begins with: an answer that failed is no part of it, nor is its question."""
        messages = [Message("system", self.system)] if self.system else []
        for said in self.said:
            if said.answer and said.state in ("answered", "stopped"):
                messages += [Message("user", said.user), Message("assistant", said.answer)]
        return messages

    def send(self, text: str) -> None:
        """Ask; returns at once. Nothing happens while an answer is on its way.

        Raises
        ------
        SettingsError
            The endpoint's parameters or key cannot be sent.
        """
        if self.busy:
            return
        Transport.check(self.endpoint)
        messages = [*self.messages(), Message("user", text)]
        body = request_body.request_body(messages, model=self.endpoint.model, stream=True, params=self.endpoint.params)
        said = Said(text, orjson.loads(body))
        self.said.append(said)
        self._asking = _Asking(self.endpoint, messages)
        self._watcher = threading.Thread(
            target=self._watch, args=(said, self._asking), name="evalkit-chat", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """End the answer that is on its way; what has come of it stays. Safe from any thread."""
        if self._asking is not None:
            self._asking.stop()

    def forget(self) -> None:
        """Begin anew."""
        if not self.busy:
            self.said.clear()

    def join(self) -> None:
        """Wait until nothing is on its way."""
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self, said: Said, asking: _Asking) -> None:
        asking.start()
        rest_s = _LOOK_S
        while not asking.ended.wait(rest_s):
            began = time.monotonic()
            asking.note(said)
            self._on_change(said)
            rest_s = max(_LOOK_S, _REST * (time.monotonic() - began))
        asking.conclude(said)
        self._asking = None
        self._on_change(said)


class _Asking(threading.Thread):
    """One request, on a thread that does nothing else."""

    def __init__(self, endpoint: Endpoint, messages: Sequence[Message]) -> None:
        super().__init__(name="evalkit-asking", daemon=True)
        self._endpoint = endpoint
        self._messages = messages
        self._exchange: Exchange | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[list[Attempt]] | None = None
        self._attempt: Attempt | None = None
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self.ended = threading.Event()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)

    def run(self) -> None:
        try:
            asyncio.run(self._ask())
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._error = error
        finally:
            self.ended.set()

    async def _ask(self) -> None:
        async with Transport(self._endpoint) as transport:
            transport.on_exchange = self._begun
            sender = RequestSender(transport, self._endpoint, retry=RetryPolicy(retries=0))
            with self._lock:
                self._loop = asyncio.get_running_loop()
                self._task = asyncio.ensure_future(sender.send_with_retries(self._messages, due=time.perf_counter_ns()))
                if self._stopped:
                    self._task.cancel()
            try:
                self._attempt = (await self._task)[-1]
            finally:
                with self._lock:
                    self._loop = None

    def _begun(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def note(self, said: Said) -> None:
        """What has come so far."""
        exchange = self._exchange
        if exchange is None or exchange.reader is None:
            return
        self._take(
            said, exchange.reader.answer, exchange.sent, exchange.reader.arrivals, exchange.reader.arrival_events
        )

    def conclude(self, said: Said) -> None:
        """What has come of it."""
        attempt = self._attempt
        if attempt is None:
            self.note(said)
            said.state = "stopped" if self._error is None else "failed"
            if self._error is not None:
                told = self._error if isinstance(self._error, EvalkitError) else repr(self._error)
                said.problem = self._without_key(str(told), whole=True)
            return
        timing = attempt.timing
        self._take(said, attempt.answer, timing.sent, timing.arrivals, timing.arrival_events, whole=True)
        said.state = "answered" if attempt.failure is None else "failed"
        said.problem = None if attempt.failure is None else f"{attempt.failure.kind}: {attempt.failure.message}"
        said.flags = attempt.flags
        said.latency_ms = None if attempt.latency_ns is None else attempt.latency_ns / 1e6
        if attempt.usage is not None:
            said.prompt_tokens, said.output_tokens = attempt.usage.prompt_tokens, attempt.usage.output_tokens

    def _take(
        self, said: Said, answer: Answer | None, sent: int, arrivals: Sequence[int], events: Sequence[int],
        *, whole: bool = False,
    ) -> None:  # fmt: skip
        said.arrivals = [((at - sent) / 1e6, count) for at, count in zip(tuple(arrivals), tuple(events), strict=False)]
        said.ttft_ms = said.arrivals[0][0] if said.arrivals else None
        if answer is not None:
            said.answer = self._without_key(answer.text or answer.refusal or "", whole)
            said.reasoning = self._without_key(answer.reasoning, whole)

    def _without_key(self, text: str, whole: bool) -> str:
        """The text without the key, nor with the beginning of one at its end while more may come."""
        key = self._endpoint.key()
        if not key:
            return text
        text = redact_answer(Answer(text), key).text
        if whole:
            return text
        tail = next((n for n in range(min(len(key) - 1, len(text)), 0, -1) if key.startswith(text[-n:])), 0)
        return text[: len(text) - tail]
