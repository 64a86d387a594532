"""Drives one conversation: its turns in order, what each turn sees of the earlier ones, and the tool rounds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from evalkit import wire
from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.endpoint import Endpoint
from evalkit.pacing import CHARACTERS_A_TOKEN, Pacer, Permit, Retry
from evalkit.record import Answer, Attempt, Failure, TurnRecord, Usage

NO_RESULT = "(no result)"


Function = Callable[[str], Awaitable[str]]  # arguments as the model wrote them, in; the result as it reads it, out


def call_function(function: Callable[..., Any], arguments: str) -> str:
    """Call a Python function as a model asked for; what goes wrong is the result, as an API would tell it."""
    try:
        return as_text(function(**json.loads(arguments or "{}")))
    except Exception as error:  # the model called it wrongly, or it failed
        return as_text({"error": f"{type(error).__name__}: {error}"})


def in_threads(functions: Mapping[str, Callable[..., Any]]) -> dict[str, Function]:
    """Python functions for a dialogue, each called in a thread."""

    def awaitable(function: Callable[..., Any]) -> Function:
        return lambda arguments: asyncio.to_thread(call_function, function, arguments)

    return {name: awaitable(function) for name, function in functions.items()}


Keep = Callable[[TurnRecord], Awaitable[bool]]


class Sender(Protocol):
    """What a dialogue needs of a transport."""

    async def send(self, body: bytes, *, stream: bool, due: int, slot: int, number: int = 1, round: int = 0) -> Attempt:
        """One HTTP exchange; a failure is in the attempt, never raised."""


@dataclass(slots=True)
class Asker:
    """How one request is asked: pacing, retries and what the endpoint has turned out not to take.

    Parameters
    ----------
    include_usage : bool
        Ask for token counts in streams; turned off for good when the endpoint refuses ``stream_options``.
    """

    sender: Sender
    endpoint: Endpoint
    stream: bool = True
    pacer: Pacer = field(default_factory=Pacer)
    retry: Retry = field(default_factory=Retry)
    include_usage: bool = True

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, Any] | None = None,
        round: int = 0,
        due: int,
    ) -> list[Attempt]:
        """Ask until there is a good attempt or no more try is worth it; the last attempt decides."""
        attempts: list[Attempt] = []
        tries = 1
        while True:
            include_usage = self.include_usage
            body = wire.request_body(
                messages,
                model=self.endpoint.model,
                stream=self.stream,
                params={**self.endpoint.params, **(params or {})},
                tools=tools,
                include_usage=include_usage,
            )
            permit = await self.pacer.permit(len(body) / CHARACTERS_A_TOKEN)
            slot = time.perf_counter_ns()
            attempt = await self.sender.send(
                body, stream=self.stream, due=due, slot=slot, number=len(attempts) + 1, round=round
            )
            attempts.append(attempt)
            self._settle(permit, attempt)
            failure = attempt.failure
            if failure is None:
                return attempts
            if include_usage and self.stream and wire.refuses_stream_options(failure):
                self.include_usage = False
            elif not (attempt.connection_lost_on_reuse and not attempts[:-1]):
                wait = self.retry.delay_s(failure, tries)
                if wait is None:
                    return attempts
                tries += 1
                await asyncio.sleep(wait)
            due = time.perf_counter_ns()

    def _settle(self, permit: Permit | None, attempt: Attempt) -> None:
        if permit is None:
            return
        usage, answer = attempt.usage or Usage(), attempt.answer or Answer()
        characters = None if attempt.failure else len(answer.text) + len(answer.reasoning)
        self.pacer.settle(permit, usage.prompt_tokens, usage.output_tokens, characters)


@dataclass(frozen=True, slots=True)
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

    async def ask(self, keep: Keep, answered: Mapping[int, TurnRecord] | None = None) -> None:
        """Ask the turns that are not answered yet.

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
                    record = await self._ask_turn(number, [*messages, Message("user", turn.user)])
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

    async def _ask_turn(self, number: int, messages: list[Message]) -> TurnRecord:
        attempts: list[Attempt] = []
        exchange: list[Message] = []
        params = dict(self.conversation.params)
        scheduled = self.due is not None
        due = self.due if self.due is not None and number == 1 else time.perf_counter_ns()
        for round in range(self.max_tool_rounds + 1):
            attempts += await self.asker.ask(
                [*messages, *exchange],
                tools=self.conversation.tools,
                params=params,
                round=round,
                due=due,
            )
            answer = attempts[-1].answer
            if attempts[-1].failure is not None or answer is None or round == self.max_tool_rounds:
                break
            calls = _named(answer.tool_calls, round)
            results = await self._results(calls)
            if results is None:
                break
            exchange += [Message("assistant", answer.text or None, calls), *results]
            due = time.perf_counter_ns()
            # a call that was demanded has been made: demanding it again would never let the answer come
            params.pop("tool_choice", None)
        return TurnRecord(
            self.conversation.id, self.repeat, number, tuple(attempts), tuple(exchange), attempts[-1].failure, scheduled
        )

    async def _results(self, calls: Sequence[ToolCall]) -> list[Message] | None:
        """One result a call; None: there are no calls, or one has no result to give."""
        known = {*self.functions, *self.conversation.tool_results}
        if not calls or any(call.name not in known for call in calls):
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
        answer = record.answer or Answer()
        calls = _named(answer.tool_calls, len(record.exchange))
        text = answer.text or answer.refusal or (None if calls else "")
        unanswered = [Message("tool", NO_RESULT, tool_call_id=call.id) for call in calls]
        return [user, *record.exchange, Message("assistant", text, calls), *unanswered]


def as_text(result: Any) -> str:
    """A function's result as the model reads it: text as it is, anything else as JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent


def _named(calls: Sequence[ToolCall], round: int) -> tuple[ToolCall, ...]:
    """The calls, each with an id: a legacy function call has none, and a result must name its call."""
    return tuple(call if call.id else replace(call, id=f"call_{round}_{number}") for number, call in enumerate(calls))
