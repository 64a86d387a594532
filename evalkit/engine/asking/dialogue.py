"""Drives one conversation: its turns in order, what each turn sees of the earlier ones, and the tool rounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from evalkit.client import error_answers, request_body
from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_fallbacks import DEMANDS, Concessions, without_rounds
from evalkit.engine.asking.tool_functions import Function, as_text
from evalkit.engine.pacing.adaptive_slots import Knee
from evalkit.engine.pacing.rate_limits import CHARACTERS_A_TOKEN, Pacer, Permit
from evalkit.engine.pacing.retries import Pause, Retry
from evalkit.engine.pacing.slots import Gate
from evalkit.engine.pacing.unconfirmed_answers import Doubts
from evalkit.engine.stopping.spending_caps import Spending, UsedUp, length
from evalkit.record import Answer, Attempt, Failure, Interrupted, TurnRecord, Usage, named

Keep = Callable[[TurnRecord], Awaitable[bool]]

NOT_AGAIN = "Not tried again: {budget} is used up."
NOT_FINISHED = "Not finished: {budget} is used up, and the model was still calling functions."


class Sender(Protocol):
    """What a dialogue needs of a transport."""

    async def send(self, body: bytes, *, stream: bool, due: int, slot: int, number: int = 1, round: int = 0) -> Attempt:
        """One HTTP exchange; a failure is in the attempt, never raised."""


@dataclass(slots=True)
class Asker:
    """How one request is asked: pacing, retries and what the endpoint has turned out not to take.

    Parameters
    ----------
    pacer : Pacer
        Requests and tokens per minute.
    retry : Retry
    pause : Pause
        Holds all requests back while the endpoint asks to wait.
    gate, knee : Gate and Knee, or None
        How many requests may be under way, and what adapts that; None: nothing here limits them.
    spending : Spending or None
        Budgets of the session: once one is used up, no request goes any more. None: there are none.
    include_usage : bool
        Ask for token counts in streams; turned off for good when the endpoint refuses ``stream_options``.
    concessions : Concessions
        What else it has turned out not to take.
    doubts : Doubts or None
        Told of every attempt that fails; None: nobody asks answers in doubt again.
    """

    sender: Sender
    endpoint: Endpoint
    stream: bool = True
    pacer: Pacer = field(default_factory=Pacer)
    retry: Retry = field(default_factory=Retry)
    pause: Pause = field(default_factory=Pause)
    gate: Gate | None = None
    knee: Knee | None = None
    spending: Spending | None = None
    include_usage: bool = True
    concessions: Concessions = field(default_factory=Concessions)
    doubts: Doubts | None = None

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, Any] | None = None,
        round: int = 0,
        due: int,
        kept: list[Attempt] | None = None,
    ) -> list[Attempt]:
        """Ask until there is a good attempt or no more try is worth it; the last attempt decides.

        Each attempt goes into ``kept``, which is empty, as it ends: there they are when the caller is cancelled.

        Raises
        ------
        UsedUp
            A budget was used up before the first attempt.
        """
        attempts: list[Attempt] = [] if kept is None else kept
        concessions, rounds_tried = self.concessions, False
        wanted = params = {**self.endpoint.params, **params} if params else self.endpoint.params
        sent = concessions.history(messages)
        if round:  # a call that was demanded has been made: demanding it again would never let the answer come
            params = {name: value for name, value in params.items() if name not in DEMANDS}
        tries = 1
        if self.retry.budget is not None:
            self.retry.budget.note_first_try()
        while True:
            include_usage = self.include_usage
            demanded = concessions.params(params)
            body = request_body.request_body(
                sent,
                model=self.endpoint.model,
                stream=self.stream,
                params=demanded,
                tools=tools,
                include_usage=include_usage,
            )
            try:
                permit = None if self._unhindered else await self._admitted(body, params)
            except UsedUp as over:
                if not attempts:
                    raise
                return [*attempts[:-1], _noted(attempts[-1], NOT_AGAIN.format(budget=over))]
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
                self.leave()
            if flags := concessions.flags(wanted, messages, sent):
                attempt = attempt._replace(flags=tuple(sorted({*attempt.flags, *flags})))
            attempts.append(attempt)
            failure = attempt.failure
            if permit is not None:
                self._settle(permit, attempt)
            if self.spending is not None:
                self.spending.add(attempt, len(body))
            if self.knee is not None:
                self._tell(self.knee, attempt)
            if failure is None:
                concessions.note_answer(messages, sent)
                return attempts
            if self.doubts is not None:
                self.doubts.note_failure(attempt)
            if failure.retry_after_s is not None and failure.retry_after_s <= self.retry.longest_s:
                self.pause.hold(failure.retry_after_s)  # nobody waits longer; such a request just fails
            if include_usage and self.stream and error_answers.refuses_stream_options(failure):
                self.include_usage = False
            elif concessions.refuses_demand(demanded, failure):
                pass
            elif not rounds_tried and concessions.may_refuse_rounds(sent, failure):
                rounds_tried, sent = True, without_rounds(sent)
            elif not (attempt.connection_lost_on_reuse and not attempts[:-1]):
                wait, note = self.retry.ruling(failure, tries)
                if wait is None:
                    if note:
                        attempts[-1] = _noted(attempt, note)
                    return attempts
                if self.spending is not None and self.spending.used_up is not None:
                    return [*attempts[:-1], _noted(attempt, NOT_AGAIN.format(budget=self.spending.used_up))]
                tries += 1
                if rounds_tried:
                    sent = concessions.history(messages)
                await asyncio.sleep(wait)
            due = time.perf_counter_ns()

    @property
    def _unhindered(self) -> bool:
        return self.gate is None and self.spending is None and not self.pause.on and self.pacer.unlimited

    async def _admitted(self, body: bytes, params: Mapping[str, Any]) -> Permit | None:
        """Wait until the request may go: it has its permit and its place in the gate then."""
        limits = (params.get(name) for name in ("max_completion_tokens", "max_tokens"))
        most = next((limit for limit in limits if type(limit) is int and limit > 0), None)
        return await self.pacer.permit(len(body) / CHARACTERS_A_TOKEN, most, door=self)

    def look(self) -> None:
        """A request that waits is told when a budget is used up."""
        if self.spending is not None:
            self.spending.check()

    async def enter(self) -> None:
        """Wait for the end of a pause and for a place in the gate, which no request holds while it waits."""
        gate, pause = self.gate, self.pause
        while True:
            if pause.on:
                await pause.wait()
            if gate is not None and not gate.try_enter():
                await gate.enter()
            try:
                self.look()
            except UsedUp:
                self.leave()
                raise
            if not pause.on:
                return
            self.leave()

    def leave(self) -> None:
        """Give the place in the gate to the next."""
        if self.gate is not None:
            self.gate.leave()

    def _settle(self, permit: Permit, attempt: Attempt) -> None:
        usage, answer = attempt.usage or Usage(), attempt.answer or Answer()
        characters = None if attempt.failure or usage.output_tokens is not None else length(answer)
        self.pacer.settle(permit, usage.prompt_tokens, usage.output_tokens, characters)

    def _tell(self, knee: Knee, attempt: Attempt) -> None:
        timing, failure = attempt.timing, attempt.failure
        knee.note(
            kind=None if failure is None else failure.kind,
            ttft_ns=attempt.ttft_ns,
            latency_ns=None if timing.end is None else timing.end - timing.sent,
            output_tokens=None if attempt.usage is None else attempt.usage.output_tokens,
        )


def _noted(attempt: Attempt, note: str) -> Attempt:
    """A failed attempt whose message says why it is not tried again."""
    failure = attempt.failure
    assert failure is not None
    return attempt._replace(failure=replace(failure, message=f"{failure.message} {note}"))


@dataclass(slots=True)
class Dialogue:
    """One conversation, asked once.

    Parameters
    ----------
    history : str
        ``own`` or ``golden``.
    functions : mapping
        Function name to what calls it; given in code, never by a dataset. They win over the conversation's
        ``tool_results``.
    max_tool_rounds : int
        How many times a turn may call functions before its answer is taken as it is.
    due : int or None
        When a schedule of arrivals wanted the first turn, on the clock of the stamps; None: closed loop.
    """

    asker: Asker
    conversation: Conversation
    repeat: int = 1
    history: str = "own"
    functions: Mapping[str, Function] = field(default_factory=dict)
    max_tool_rounds: int = 4
    due: int | None = None
    # of the turn under way, in case it is cancelled: attempts of its finished requests and of the one under way, calls
    _attempts: list[Attempt] = field(default_factory=list, init=False)
    _asked: list[Attempt] = field(default_factory=list, init=False)
    _exchange: list[Message] = field(default_factory=list, init=False)

    async def ask(self, keep: Keep, answered: Mapping[int, TurnRecord] | None = None) -> None:
        """Ask the turns that are not answered yet, as long as no budget is used up.

        Parameters
        ----------
        keep : callable
            Awaited with each turn as it ends; false ends the conversation there.
        answered : mapping of int to TurnRecord
            Turns answered in an earlier session: they are not asked, but seen by later turns.
        """
        answered = answered or {}
        messages = self.conversation.opening()
        broken: TurnRecord | None = None
        for number, turn in enumerate(self.conversation.turns, start=1):
            record = answered.get(number)
            if record is None:
                if broken is not None:
                    record = self._never_asked(number, broken)
                else:
                    try:
                        record = await self._ask_turn(number, [*messages, Message("user", turn.user)])
                    except UsedUp:
                        return
                    except asyncio.CancelledError:
                        if (cut := self._interrupted(number)) is not None:
                            await keep(cut)
                        raise
                if not await keep(record):
                    return
                if record.failure is not None and self.history == "own":
                    broken = broken or record
            if number < len(self.conversation.turns) and broken is None:
                messages += self._seen_later(turn, record)

    def _never_asked(self, number: int, broken: TurnRecord) -> TurnRecord:
        kind = broken.failure.kind if broken.failure else "cancelled"
        message = f"Not asked: turn {broken.turn} failed ({kind}), and this turn would have seen its answer."
        failure = Failure("cancelled", message)
        return TurnRecord(self.conversation.id, self.repeat, number, failure=failure, scheduled=self.due is not None)

    def _interrupted(self, number: int) -> TurnRecord | None:
        """A turn that its session did not outlast; None: nothing was sent.

        It is kept, as a slow answer that left no trace would flatter the times.
        """
        attempts, exchange = (*self._attempts, *self._asked), tuple(self._exchange)
        if not attempts:
            return None
        failure, answer = attempts[-1].failure, attempts[-1].answer
        record = TurnRecord(self.conversation.id, self.repeat, number, attempts, exchange, None, self.due is not None)
        if failure is None and answer is not None and not answer.tool_calls:
            return record  # its answer came in that very moment
        under_way = failure is not None and failure.kind == "cancelled"
        what = "an answer was under way" if under_way else "it waited to be asked again or for a tool's result"
        why = f"The session ended while {what}: 'evalkit resume' asks this turn again."
        return record._replace(failure=Failure("cancelled", why))

    async def _ask_turn(self, number: int, messages: list[Message]) -> TurnRecord:
        unfinished: Failure | None = None
        attempts: list[Attempt] = []
        exchange: list[Message] = []
        self._attempts, self._asked, self._exchange = attempts, [], exchange
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
                    kept=self._asked,
                )
            except UsedUp as over:
                if not attempts:
                    raise
                unfinished = Failure("cancelled", NOT_FINISHED.format(budget=over))
                break
            self._asked = []
            answer = attempts[-1].answer
            if attempts[-1].failure is not None or answer is None or round == self.max_tool_rounds:
                break
            if not answer.tool_calls:
                break
            calls = named(answer.tool_calls, number, round)
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
        """One result a call; None: one has no result to give."""
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
        """What later turns see of this one."""
        user = Message("user", turn.user)
        if self.history == "golden":
            return [user, Message("assistant", turn.assistant)]
        return [user, *record.seen_later]
