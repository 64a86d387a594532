"""Drives one conversation: its turns in order, what each turn sees of earlier ones, and tool rounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from evalkit.client import answer_reader, request_body
from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_fallbacks import DEMANDS, RequestFallbacks, without_rounds
from evalkit.engine.asking.tool_functions import AsyncFunction, as_text
from evalkit.engine.pacing.adaptive_slots import AdaptiveSlots
from evalkit.engine.pacing.incomplete_answers import IncompleteAnswers
from evalkit.engine.pacing.rate_limits import CHARACTERS_PER_TOKEN, Permit, RateLimiter
from evalkit.engine.pacing.retries import Pause, RetryPolicy
from evalkit.engine.pacing.slots import Slots
from evalkit.engine.stopping.spending_caps import CapReached, SpendingCaps, answer_bytes
from evalkit.record import Answer, Attempt, Failure, Interrupted, TurnRecord, Usage, with_call_ids

Keep = Callable[[TurnRecord], Awaitable[bool]]

NOT_RETRIED = "Not tried again: {cap} is used up."
NOT_FINISHED = "Not finished: {cap} is used up, and the model was still calling functions."


class Sender(Protocol):
    """The part of a transport that a dialogue needs."""

    async def send(self, body: bytes, *, stream: bool, due: int, slot: int, number: int = 1, round: int = 0) -> Attempt:
        """Make one HTTP exchange; a failure is in the attempt, never raised."""


@dataclass(slots=True)
class Asker:
    """Sends one request at a time: with pacing, retries, and fallbacks for what the endpoint does not accept.

    Parameters
    ----------
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

    sender: Sender
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

    async def ask(
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
                attempt = await self.sender.send(
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
            if include_usage and self.stream and answer_reader.refuses_stream_options(failure):
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


@dataclass(slots=True)
class Dialogue:
    """One repeat of one conversation.

    Parameters
    ----------
    history : str
        ``own`` or ``golden``.
    functions : mapping
        Function name to the coroutine function that calls it; set in code, never by a dataset. They take precedence
        over the conversation's ``tool_results``.
    max_tool_rounds : int
        How many times a turn may call functions before its answer is accepted as it is.
    due : int or None
        When the first turn is due by a schedule of arrivals, on the clock of the time stamps; None: closed loop.
    """

    asker: Asker
    conversation: Conversation
    repeat: int = 1
    history: str = "own"
    functions: Mapping[str, AsyncFunction] = field(default_factory=dict)
    max_tool_rounds: int = 4
    due: int | None = None
    # of the current turn, in case it is cancelled: attempts of its finished requests, those of the current one, calls
    _attempts: list[Attempt] = field(default_factory=list, init=False)
    _current: list[Attempt] = field(default_factory=list, init=False)
    _exchange: list[Message] = field(default_factory=list, init=False)

    async def ask(self, keep: Keep, answered: Mapping[int, TurnRecord] | None = None) -> None:
        """Send the turns that are not answered yet, until a spending cap is reached.

        Parameters
        ----------
        keep : callable
            Awaited with each turn when it ends; false ends the conversation there.
        answered : mapping of int to TurnRecord
            Turns answered in an earlier session: they are not sent again, but later turns see them.
        """
        answered = answered or {}
        messages = self.conversation.opening()
        failed: TurnRecord | None = None
        for number, turn in enumerate(self.conversation.turns, start=1):
            record = answered.get(number)
            if record is None:
                if failed is not None:
                    record = self._not_sent(number, failed)
                else:
                    try:
                        record = await self._ask_turn(number, [*messages, Message("user", turn.user)])
                    except CapReached:
                        return
                    except asyncio.CancelledError:
                        if (interrupted := self._interrupted(number)) is not None:
                            await keep(interrupted)
                        raise
                if not await keep(record):
                    return
                if record.failure is not None and self.history == "own":
                    failed = failed or record
            if number < len(self.conversation.turns) and failed is None:
                messages += self._seen_later(turn, record)

    def _not_sent(self, number: int, failed: TurnRecord) -> TurnRecord:
        kind = failed.failure.kind if failed.failure else "cancelled"
        message = f"Not sent: turn {failed.turn} failed ({kind}), and this turn needs its answer."
        failure = Failure("cancelled", message)
        return TurnRecord(self.conversation.id, self.repeat, number, failure=failure, scheduled=self.due is not None)

    def _interrupted(self, number: int) -> TurnRecord | None:
        """The turn that was running when its session ended; None: nothing was sent.

        It is stored: leaving slow answers out would make the times look better than they are.
        """
        attempts, exchange = (*self._attempts, *self._current), tuple(self._exchange)
        if not attempts:
            return None
        failure, answer = attempts[-1].failure, attempts[-1].answer
        record = TurnRecord(self.conversation.id, self.repeat, number, attempts, exchange, None, self.due is not None)
        if failure is None and answer is not None and not answer.tool_calls:
            return record  # its answer came at that moment
        running = failure is not None and failure.kind == "cancelled"
        what = "its request was running" if running else "it waited for a retry or a tool's result"
        why = f"The session ended while {what}: 'evalkit resume' sends this turn again."
        return record._replace(failure=Failure("cancelled", why))

    async def _ask_turn(self, number: int, messages: list[Message]) -> TurnRecord:
        unfinished: Failure | None = None
        attempts: list[Attempt] = []
        exchange: list[Message] = []
        self._attempts, self._current, self._exchange = attempts, [], exchange
        scheduled = self.due is not None
        due = self.due if self.due is not None and number == 1 else time.perf_counter_ns()
        for round in range(self.max_tool_rounds + 1):
            try:
                attempts += await self.asker.ask(
                    [*messages, *exchange] if exchange else messages,
                    tools=self.conversation.tools,
                    params=self.conversation.params,
                    round=round,
                    due=due,
                    attempts=self._current,
                )
            except CapReached as cap:
                if not attempts:
                    raise
                unfinished = Failure("cancelled", NOT_FINISHED.format(cap=cap))
                break
            self._current = []
            answer = attempts[-1].answer
            if attempts[-1].failure is not None or answer is None or round == self.max_tool_rounds:
                break
            if not answer.tool_calls:
                break
            calls = with_call_ids(answer.tool_calls, number, round)
            results = await self._results(calls)
            if results is None:
                break
            exchange += [Message("assistant", answer.text or None, calls), *results]
            due = time.perf_counter_ns()
        failure = unfinished or attempts[-1].failure
        return TurnRecord(
            self.conversation.id, self.repeat, number, tuple(attempts), tuple(exchange), failure, scheduled
        )

    async def _results(self, calls: Sequence[ToolCall]) -> list[Message] | None:
        """One result per call; None: at least one call has none."""
        known = {*self.functions, *self.conversation.tool_results}
        if any(call.name not in known for call in calls):
            return None
        return [Message("tool", await self._result(call), tool_call_id=call.id) for call in calls]

    async def _result(self, call: ToolCall) -> str:
        function = self.functions.get(call.name)
        if function is None:
            return as_text(self.conversation.tool_results[call.name])
        return await function(call.arguments)

    def _seen_later(self, turn: Turn, record: TurnRecord) -> list[Message]:
        """The messages of this turn that later turns see."""
        user = Message("user", turn.user)
        if self.history == "golden":
            return [user, Message("assistant", turn.assistant)]
        return [user, *record.seen_later]
