"""Sends a request until it is answered: pacing, retries, and fallbacks for what an endpoint does not accept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from evalkit.client import error_answers, request_body
from evalkit.conversation import Message
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_fallbacks import DEMANDS, RequestFallbacks, without_rounds
from evalkit.engine.pacing.adaptive_slots import AdaptiveSlots
from evalkit.engine.pacing.incomplete_answers import IncompleteAnswers
from evalkit.engine.pacing.rate_limits import CHARACTERS_PER_TOKEN, Permit, RateLimiter
from evalkit.engine.pacing.retries import Pause, RetryPolicy
from evalkit.engine.pacing.slots import Slots
from evalkit.engine.stopping.spending_caps import CapReached, SpendingCaps, answer_bytes
from evalkit.record import Answer, Attempt, Interrupted, Usage

NOT_RETRIED = "Not tried again: {cap} is used up."


class SupportsSend(Protocol):
    """The part of a transport that a request needs."""

    async def send(self, body: bytes, *, stream: bool, due: int, slot: int, number: int = 1, round: int = 0) -> Attempt:
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
        Request token counts in streams; turned off for the session when the endpoint refuses ``stream_options``.
    fallbacks : RequestFallbacks
        What else the endpoint does not accept.
    incomplete_answers : IncompleteAnswers or None
        Takes note of every failed attempt; None: answers that may be incomplete are not sent again.
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
        fallbacks, rounds_left_out = self.fallbacks, False
        requested = params = {**self.endpoint.params, **params} if params else self.endpoint.params
        sent = fallbacks.history(messages)
        if round:  # the demanded call has been made: demanding it again would prevent an answer forever
            params = {name: value for name, value in params.items() if name not in DEMANDS}
        tries = 1
        if self.retry.budget is not None:
            self.retry.budget.note_first_try()
        while True:
            include_usage = self.include_usage
            accepted = fallbacks.params(params)
            body = request_body.request_body(
                sent,
                model=self.endpoint.model,
                stream=self.stream,
                params=accepted,
                tools=tools,
                include_usage=include_usage,
            )
            try:
                permit = None if self._may_go_now else await self._admit(body, params)
            except CapReached as cap:
                if not attempts:
                    raise
                return [*attempts[:-1], _with_note(attempts[-1], NOT_RETRIED.format(cap=cap))]
            slot = time.perf_counter_ns()
            number = len(attempts) + 1
            try:
                attempt = await self.transport.send(
                    body, stream=self.stream, due=due, slot=slot, number=number, round=round
                )
            except Interrupted as interrupted:
                attempts.append(interrupted.attempt)
                raise
            finally:
                self.release()
            if flags := fallbacks.flags(requested, messages, sent):
                attempt = attempt._replace(flags=tuple(sorted({*attempt.flags, *flags})))
            attempts.append(attempt)
            failure = attempt.failure
            if permit is not None:
                self._settle(permit, attempt)
            if self.spending is not None:
                self.spending.add(attempt, len(body))
            if self.adaptive_slots is not None:
                self._note(self.adaptive_slots, attempt)
            if failure is None:
                fallbacks.note_answer(messages, sent)
                return attempts
            if self.incomplete_answers is not None:
                self.incomplete_answers.note_failure(attempt)
            if failure.retry_after_s is not None and failure.retry_after_s <= self.retry.longest_s:
                self.pause.hold(failure.retry_after_s)  # a longer wait fails this request only
            if include_usage and self.stream and error_answers.refuses_stream_options(failure):
                self.include_usage = False
            elif fallbacks.refuses_demand(accepted, failure):
                pass
            elif not rounds_left_out and fallbacks.may_refuse_rounds(sent, failure):
                rounds_left_out, sent = True, without_rounds(sent)
            elif not (attempt.connection_lost_on_reuse and not attempts[:-1]):
                wait, note = self.retry.decide(failure, tries)
                if wait is None:
                    if note:
                        attempts[-1] = _with_note(attempt, note)
                    return attempts
                if self.spending is not None and self.spending.used_up is not None:
                    return [*attempts[:-1], _with_note(attempt, NOT_RETRIED.format(cap=self.spending.used_up))]
                tries += 1
                if rounds_left_out:
                    sent = fallbacks.history(messages)
                await asyncio.sleep(wait)
            due = time.perf_counter_ns()

    @property
    def _may_go_now(self) -> bool:
        return self.slots is None and self.spending is None and not self.pause.on and self.rate_limiter.unlimited

    async def _admit(self, body: bytes, params: Mapping[str, Any]) -> Permit | None:
        """Wait until the request may go: then it has its permit and its slot."""
        limits = (params.get(name) for name in ("max_completion_tokens", "max_tokens"))
        most = next((limit for limit in limits if type(limit) is int and limit > 0), None)
        return await self.rate_limiter.permit(len(body) / CHARACTERS_PER_TOKEN, most, slots=self)

    def check(self) -> None:
        """Raise ``CapReached`` once a spending cap is reached, also for requests that wait."""
        if self.spending is not None:
            self.spending.check()

    async def acquire(self) -> None:
        """Wait for the end of a pause and for a slot; no request holds a slot during a pause."""
        slots, pause = self.slots, self.pause
        while True:
            if pause.on:
                await pause.wait()
            if slots is not None and not slots.try_acquire():
                await slots.acquire()
            try:
                self.check()
            except CapReached:
                self.release()
                raise
            if not pause.on:
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


def _with_note(attempt: Attempt, note: str) -> Attempt:
    """The failed attempt, with a message that says why it is not tried again."""
    failure = attempt.failure
    assert failure is not None
    return attempt._replace(failure=replace(failure, message=f"{failure.message} {note}"))
