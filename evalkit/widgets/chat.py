"""A conversation typed by hand: each answer streams on its own thread and can be read while it arrives."""

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
from evalkit.scorers.reading.think_block import split

_POLL_S = 0.1
_PAUSE_FACTOR = 20  # after each update the watcher pauses this many times as long as the update took


@dataclass(slots=True)
class ChatTurn:
    """One message and its answer, complete or still streaming.

    Parameters
    ----------
    user : str
    body : mapping
        The request's JSON.
    state : str
        ``streaming``, ``answered``, ``stopped`` (by the user) or ``failed``.
    answer, reasoning : str
    problem : str or None
        Why the answer failed.
    arrivals : list of (float, int)
        Reads that brought tokens: ms after the request was sent, and token-bearing events in it.
    ttft_ms, latency_ms : float or None
    prompt_tokens, output_tokens : int or None
    flags : tuple of str
        Flags of the attempt, once it has ended.
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
        Called with the latest turn a few times a second while it streams, and once when it has ended; on a separate
        thread, so that it delays no read.
    """

    def __init__(self, endpoint: Endpoint, on_change: Callable[[ChatTurn], None]) -> None:
        self.endpoint = endpoint
        self.system = ""
        self.turns: list[ChatTurn] = []
        self._on_change = on_change
        self._request: _StreamingRequest | None = None
        self._watcher: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """True while an answer is streaming."""
        return self._request is not None

    def messages(self) -> list[Message]:
        """Return the history of the next request. A failed answer and its question are not part of it."""
        messages = [Message("system", self.system)] if self.system else []
        for turn in self.turns:
            if turn.answer and turn.state in ("answered", "stopped"):
                messages += [Message("user", turn.user), Message("assistant", turn.answer)]
        return messages

    def send(self, text: str) -> None:
        """Send a message and return immediately. Does nothing while an answer is streaming.

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
        turn = ChatTurn(text, orjson.loads(body))
        self.turns.append(turn)
        self._request = _StreamingRequest(self.endpoint, messages)
        self._watcher = threading.Thread(
            target=self._watch, args=(turn, self._request), name="evalkit-chat", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """Stop the streaming answer; what has arrived is kept. Safe to call from any thread."""
        if self._request is not None:
            self._request.stop()

    def clear(self) -> None:
        """Start a new conversation. Does nothing while an answer is streaming."""
        if not self.busy:
            self.turns.clear()

    def join(self) -> None:
        """Wait until no answer is streaming."""
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self, turn: ChatTurn, request: _StreamingRequest) -> None:
        request.start()
        pause_s = _POLL_S
        while not request.ended.wait(pause_s):
            began = time.monotonic()
            request.update(turn)
            self._on_change(turn)
            pause_s = max(_POLL_S, _PAUSE_FACTOR * (time.monotonic() - began))
        request.finish(turn)
        self._request = None
        self._on_change(turn)


class _StreamingRequest(threading.Thread):
    """One request, on its own thread."""

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
            transport.on_exchange = self._on_exchange
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

    def _on_exchange(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def update(self, turn: ChatTurn) -> None:
        """Copy what has arrived so far."""
        exchange = self._exchange
        if exchange is None or exchange.reader is None:
            return
        self._copy(
            turn, exchange.reader.answer, exchange.sent, exchange.reader.arrivals, exchange.reader.arrival_events
        )

    def finish(self, turn: ChatTurn) -> None:
        """Copy the result."""
        attempt = self._attempt
        if attempt is None:
            self.update(turn)
            turn.state = "stopped" if self._error is None else "failed"
            if self._error is not None:
                message = self._error if isinstance(self._error, EvalkitError) else repr(self._error)
                turn.problem = self._without_key(str(message), whole=True)
            return
        timing = attempt.timing
        self._copy(turn, attempt.answer, timing.sent, timing.arrivals, timing.arrival_events, whole=True)
        turn.state = "answered" if attempt.failure is None else "failed"
        turn.problem = None if attempt.failure is None else f"{attempt.failure.kind}: {attempt.failure.message}"
        turn.flags = attempt.flags
        turn.latency_ms = None if attempt.latency_ns is None else attempt.latency_ns / 1e6
        if attempt.usage is not None:
            turn.prompt_tokens, turn.output_tokens = attempt.usage.prompt_tokens, attempt.usage.output_tokens

    def _copy(
        self, turn: ChatTurn, answer: Answer | None, sent: int, arrivals: Sequence[int], events: Sequence[int],
        *, whole: bool = False,
    ) -> None:  # fmt: skip
        turn.arrivals = [((at - sent) / 1e6, count) for at, count in zip(tuple(arrivals), tuple(events), strict=False)]
        turn.ttft_ms = turn.arrivals[0][0] if turn.arrivals else None
        if answer is not None:
            text, reasoning = split(answer.text)
            turn.answer = self._without_key(text or answer.refusal or "", whole)
            turn.reasoning = self._without_key(answer.reasoning or reasoning, whole)

    def _without_key(self, text: str, whole: bool) -> str:
        """Remove the key and other secrets, and while more may arrive, also the beginning of one at the end."""
        for secret in self._endpoint.secrets():
            text = redact_answer(Answer(text), secret).text
            if not whole:
                most = min(len(secret) - 1, len(text))
                tail = next((n for n in range(most, 0, -1) if secret.startswith(text[-n:])), 0)
                text = text[: len(text) - tail]
        return text
