"""Sends a request until it is answered: pacing, retries, and fallbacks for what an endpoint does not accept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from evalkit.client import request_body
from evalkit.conversation import Message
from evalkit.datasets.content_parts import text_length
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_fallbacks import FittedRequest, RequestFallbacks
from evalkit.engine.pacing.adaptive_slots import AdaptiveSlots
from evalkit.engine.pacing.incomplete_answers import IncompleteAnswers
from evalkit.engine.pacing.loading_wait import LoadingWait
from evalkit.engine.pacing.pause import Pause
from evalkit.engine.pacing.rate_limits import CHARACTERS_PER_TOKEN, Permit, RateLimiter
from evalkit.engine.pacing.retries import RetryPolicy, slows_all
from evalkit.engine.pacing.silent_streams import SilentStreams
from evalkit.engine.pacing.slots import Slots
from evalkit.engine.stopping.spending_caps import CapReached, SpendingCaps, answer_bytes
from evalkit.errors import LOADING, Failure
from evalkit.record import Answer, Attempt, Interrupted, Usage

MEDIA_TOKENS = 1_000  # about what an image in high resolution costs
NOT_RETRIED = "Not tried again: {cap} is used up."


class SupportsSend(Protocol):
    """The part of a transport that a request needs."""

    async def send(
        self, body: bytes, *, stream: bool, due: int, slot: int, number: int = 1, round: int = 0, logprobs: bool = False
    ) -> Attempt:
        """Make one HTTP exchange; a failure is in the attempt, never raised."""


@dataclass(slots=True)
class RequestSender:
    """Sends one request of a conversation at a time, with pacing, retries and fallbacks.

    Parameters
    ----------
    transport : SupportsSend
    endpoint : Endpoint
    stream : bool
        Request streams.
    rate_limiter : RateLimiter
        Requests and tokens per minute.
    retry : RetryPolicy
    pause : Pause
        Holds all requests back while the endpoint asks to wait.
    slots, adaptive_slots : Slots and AdaptiveSlots, or None
        How many requests may run in parallel, and what adapts that number; None: they are not limited here.
    spending : SpendingCaps or None
        Once a cap is reached, no further request is sent. None: there are no caps.
    include_usage : bool
        Request token counts in streams, unless the endpoint refuses ``stream_options``.
    fallbacks : RequestFallbacks
        What else the endpoint does not accept.
    incomplete_answers : IncompleteAnswers or None
        Takes note of every failed attempt; None: answers that may be incomplete are not sent again.
    causes : SilentStreams
        For which failed streams a whole answer is requested, to learn the cause.
    """

    transport: SupportsSend
    endpoint: Endpoint
    stream: bool = True
    rate_limiter: RateLimiter = field(default_factory=RateLimiter)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    pause: Pause = field(default_factory=Pause)
    slots: Slots | None = None
    adaptive_slots: AdaptiveSlots | None = None
    spending: SpendingCaps | None = None
    include_usage: bool = True
    fallbacks: RequestFallbacks = field(default_factory=RequestFallbacks)
    incomplete_answers: IncompleteAnswers | None = None
    causes: SilentStreams = field(default_factory=SilentStreams)

    async def send_with_retries(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, Any] | None = None,
        round: int = 0,
        due: int,
        attempts: list[Attempt] | None = None,
    ) -> list[Attempt]:
        """Send until an attempt is good or no further try is worthwhile; the last attempt decides.

        Each attempt is appended to ``attempts``, an empty list, as it ends: they remain when the caller is cancelled.

        Raises
        ------
        CapReached
            A cap was reached before the first attempt.
        """
        attempts = [] if attempts is None else attempts
        requested = {**self.endpoint.params, **params} if params else self.endpoint.params
        fitted = FittedRequest.of(
            self.fallbacks, messages, requested, stream=self.stream, round=round, include_usage=self.include_usage
        )
        tries, loading = 1, None
        if self.retry.budget is not None:
            self.retry.budget.note_first_try()
        while True:
            accepted = fitted.params_to_send()
            body = fitted.body(self.endpoint.model, tools)
            try:
                attempt = await self._send_once(
                    body, fitted.sent, accepted, attempts, stream=self.stream, due=due, round=round
                )
            except CapReached as cap:
                if not attempts:
                    raise
                return [*attempts[:-1], _with_note(attempts[-1], NOT_RETRIED.format(cap=cap))]
            if flags := fitted.flags(requested):
                attempt = attempt._replace(flags=tuple(sorted({*attempt.flags, *flags})))
            attempts.append(attempt)
            failure = attempt.failure
            if self.adaptive_slots is not None:
                self._note(self.adaptive_slots, attempt)
            if failure is None:
                self.fallbacks.note_answer(fitted)
                if self.pause.on:
                    self.pause.note_answer(_sent_s(attempt))
                return attempts
            if self.incomplete_answers is not None:
                self.incomplete_answers.note_failure(attempt)
            loading = loading or LoadingWait(self.pause)
            loading.note(failure)
            if not loading.alone:
                self._hold_back(failure, attempt)
            if not (fitted.refit(failure) or (attempt.connection_lost_on_reuse and not attempts[:-1])):
                wait, note = self.retry.decide(failure, tries, loading.refused_s, loading.alone)
                if wait is None:
                    if note:
                        attempts[-1] = _with_note(attempt, note)
                    if self.stream and self.causes.is_unexplained(attempts[-1].failure):
                        await self._ask_cause(attempts, fitted.sent, accepted, tools, round)
                    return attempts
                if self.spending is not None and self.spending.used_up is not None:
                    return [*attempts[:-1], _with_note(attempt, NOT_RETRIED.format(cap=self.spending.used_up))]
                tries += failure.pending != LOADING
                fitted.reset()
                await asyncio.sleep(self.pause.left_s if slows_all(failure) and not loading.alone else wait)
            due = time.perf_counter_ns()

    async def _ask_cause(
        self,
        attempts: list[Attempt],
        messages: Sequence[Message],
        params: Mapping[str, Any],
        tools: Sequence[Mapping[str, Any]],
        round: int,
    ) -> None:
        """Send a request whose stream ended without a cause again, without a stream: its error names the cause."""
        body = request_body.request_body(
            messages, model=self.endpoint.model, stream=False, params=params, tools=tools, include_usage=False
        )
        silent = attempts[-1].failure
        assert silent is not None
        with contextlib.suppress(CapReached):
            attempt = await self._send_once(
                body, messages, params, attempts, stream=False, due=time.perf_counter_ns(), round=round
            )
            if attempt.failure is not None:
                self._hold_back(attempt.failure, attempt)
            attempts.append(self.causes.explained(silent, attempt))

    async def _send_once(
        self,
        body: bytes,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        attempts: list[Attempt],
        *,
        stream: bool,
        due: int,
        round: int,
    ) -> Attempt:
        """Send a request once it may go; an attempt that is interrupted is appended to ``attempts``.

        Raises
        ------
        CapReached
            A cap was reached before.
        """
        may_go_now = self.slots is None and self.spending is None and not self.pause.on and self.rate_limiter.unlimited
        permit = None if may_go_now else await self._admit(prompt_bytes(body, messages), params, attempts)
        slot, number = time.perf_counter_ns(), len(attempts) + 1
        logprobs = bool(params.get("logprobs"))
        try:
            attempt = await self.transport.send(
                body, stream=stream, due=due, slot=slot, number=number, round=round, logprobs=logprobs
            )
        except Interrupted as interrupted:
            attempts.append(interrupted.attempt)
            raise
        finally:
            self.release()
        if permit is not None:
            self._settle(permit, attempt)
        if self.spending is not None:
            self.spending.add(attempt, prompt_bytes(body, messages))
        return attempt

    def _hold_back(self, failure: Failure, attempt: Attempt) -> None:
        """Hold all requests back if the failure concerns them; a wait that is too long fails this request only."""
        wait = failure.retry_after_s
        if slows_all(failure):
            if wait is not None or self.retry.retries:  # without retries, the endpoint is taken as it is
                self.pause.back_off(wait, _sent_s(attempt))
            return
        asks_to_wait = wait is not None and wait <= self.retry.longest_s
        if asks_to_wait and not failure.worded_wait:  # words of a server's failure may be about this request alone
            self.pause.hold(wait or 0.0)
        if not self.pause.on:
            return
        if failure.http_status is None or failure.kind == "server" or asks_to_wait:
            self.pause.note_failure(_sent_s(attempt))
        else:
            self.pause.note_answer(_sent_s(attempt))  # it did not refuse to answer

    async def _admit(self, size: int, params: Mapping[str, Any], attempts: Sequence[Attempt]) -> Permit | None:
        """Wait until the request may go: then it has its permit and its slot."""
        # while a model loads any request shows whether it has loaded: one that is refused for ever is not first
        refusals = sum(attempt.failure is None or attempt.failure.pending != LOADING for attempt in attempts)
        limits = (params.get(name) for name in ("max_completion_tokens", "max_tokens"))
        most = next((limit for limit in limits if type(limit) is int and limit > 0), None)
        return await self.rate_limiter.permit(size / CHARACTERS_PER_TOKEN, most, slots=_Place(self, refusals))

    def check(self) -> None:
        """Raise ``CapReached`` once a spending cap is reached, also for requests that wait."""
        if self.spending is not None:
            self.spending.check()

    async def acquire(self, refusals: int = 0) -> None:
        """Wait for the end of a pause and for a slot; no request holds a slot during a pause."""
        slots, pause = self.slots, self.pause
        while True:
            if pause.on:
                await pause.wait(refusals)
            if slots is not None and not slots.try_acquire():
                await slots.acquire()
            try:
                self.check()
            except CapReached:
                self.release()
                raise
            if pause.left_s == 0:
                return
            self.release()

    def release(self) -> None:
        """Give the slot back."""
        if self.slots is not None:
            self.slots.release()

    def _settle(self, permit: Permit, attempt: Attempt) -> None:
        usage, answer = attempt.usage or Usage(), attempt.answer or Answer()
        characters = None if attempt.failure or usage.output_tokens is not None else answer_bytes(answer)
        self.rate_limiter.settle(permit, usage.prompt_tokens, usage.output_tokens, characters)

    def _note(self, adaptive_slots: AdaptiveSlots, attempt: Attempt) -> None:
        timing, failure = attempt.timing, attempt.failure
        adaptive_slots.note(
            kind=None if failure is None else failure.kind,
            ttft_ns=attempt.ttft_ns,
            latency_ns=None if timing.end is None else timing.end - timing.sent,
            output_tokens=None if attempt.usage is None else attempt.usage.output_tokens,
        )


class _Place(NamedTuple):
    """The place of one request in the queue for a permit, by how often it was refused."""

    sender: RequestSender
    refusals: int

    def check(self) -> None:
        self.sender.check()

    async def acquire(self) -> None:
        await self.sender.acquire(self.refusals)

    def release(self) -> None:
        self.sender.release()


def _sent_s(attempt: Attempt) -> float:
    """How long ago it was sent."""
    return (time.perf_counter_ns() - attempt.timing.sent) / 1e9


def prompt_bytes(body: bytes, messages: Sequence[Message]) -> int:
    """The size of a request for an estimate of its tokens: an image counts as 1,000 tokens, whatever its size."""
    media = [part for message in messages if message.parts for part in message.parts if part["type"] != "text"]
    if not media:
        return len(body)
    return max(0, len(body) - sum(map(text_length, media))) + len(media) * MEDIA_TOKENS * CHARACTERS_PER_TOKEN


def _with_note(attempt: Attempt, note: str) -> Attempt:
    """The failed attempt, with a message that says why it is not tried again."""
    failure = attempt.failure
    assert failure is not None
    return attempt._replace(failure=replace(failure, message=f"{failure.message} {note}"))
