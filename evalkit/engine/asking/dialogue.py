"""Drives one conversation: its turns in order, what each turn sees of earlier ones, and tool rounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evalkit.conversation import Conversation, Message, ToolCall, Turn, stored_result
from evalkit.datasets.content_parts import FROM_FILE, file_name
from evalkit.datasets.part_files import PartFiles
from evalkit.datasets.reader import check_golden
from evalkit.engine.asking.tool_functions import AsyncFunction, as_text
from evalkit.engine.stopping.spending_caps import CapReached
from evalkit.errors import DatasetError, Failure
from evalkit.record import Attempt, TurnRecord, with_call_ids

Keep = Callable[[TurnRecord], Awaitable[bool]]
NOT_FINISHED = "Not finished: {cap} is used up, and the model was still calling functions."


def check_history(conversation: Conversation, history: str) -> None:
    """Raise ``DatasetError`` if the history is golden, and a golden answer that a later turn would see is missing."""
    if history == "golden":
        check_golden(conversation)


class SendsRequests(Protocol):
    """The part of a ``RequestSender`` that a dialogue needs."""

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
        """Send until an attempt is good or no further try is worthwhile."""


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
    files : PartFiles or None
        The files that content parts may name. None: there are none, and such a part is an error.
    seed : int or None
        Sent as the request parameter ``seed``, unless the conversation has one of its own.
    """

    sender: SendsRequests
    conversation: Conversation
    repeat: int = 1
    history: str = "own"
    functions: Mapping[str, AsyncFunction] = field(default_factory=dict)
    max_tool_rounds: int = 4
    due: int | None = None
    files: PartFiles | None = None
    seed: int | None = None
    # of the current turn, in case it is cancelled: attempts of its finished requests, those of the current one, calls
    _attempts: Sequence[Attempt] = field(default=(), init=False)
    _current: list[Attempt] = field(default_factory=list, init=False)
    _exchange: Sequence[Message] = field(default=(), init=False)

    async def run(self, keep: Keep, answered: Mapping[int, TurnRecord] | None = None) -> None:
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
        has_parts = self.conversation.has_parts
        if has_parts:
            messages = [await self._loaded(message) for message in messages]
        failed: TurnRecord | None = None
        for number, turn in enumerate(self.conversation.turns, start=1):
            record = answered.get(number)
            user = Message("user", turn.user, parts=turn.parts)
            if has_parts:
                user = await self._loaded(user)
            if record is None:
                if failed is not None:
                    record = self._not_sent(number, failed)
                else:
                    try:
                        record = await self._ask_turn(number, [*messages, user])
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
                messages += self._seen_later(user, turn, record)

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
        params = self.conversation.params
        if self.seed is not None:
            params = {"seed": self.seed, **params}
        due = self.due if self.due is not None and number == 1 else time.perf_counter_ns()
        for round in range(self.max_tool_rounds + 1):
            try:
                attempts += await self.sender.send_with_retries(
                    [*messages, *exchange] if exchange else messages,
                    tools=self.conversation.tools,
                    params=params,
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
            exchange += [Message("assistant", answer.text or None, calls, extra=answer.extra), *results]
            due = time.perf_counter_ns()
        failure = unfinished or attempts[-1].failure
        return TurnRecord(
            self.conversation.id, self.repeat, number, tuple(attempts), tuple(exchange), failure, scheduled
        )

    async def _results(self, calls: Sequence[ToolCall]) -> list[Message] | None:
        """One result per call; None: at least one call has none."""
        stored = self.conversation.tool_results
        if not all(call.name in self.functions or stored_result(stored, call)[0] for call in calls):
            return None
        return [Message("tool", await self._result(call), tool_call_id=call.id, name=call.name) for call in calls]

    async def _result(self, call: ToolCall) -> str:
        function = self.functions.get(call.name)
        if function is None:
            return as_text(stored_result(self.conversation.tool_results, call)[1])
        return await function(call.arguments)

    async def _loaded(self, message: Message) -> Message:
        """The message with the content of the files that its parts name."""
        if not any(FROM_FILE in part or file_name(part) for part in message.parts):
            return message
        if self.files is None:
            raise DatasetError(
                "a part of a message names a file, and only a run of a dataset has a folder for files: "
                "give its content as a data URL"
            )
        return await asyncio.to_thread(self.files.loaded, message)  # reading and hashing would delay other answers

    def _seen_later(self, user: Message, turn: Turn, record: TurnRecord) -> list[Message]:
        """The messages of this turn that later turns see."""
        if self.history == "golden":
            return [user, Message("assistant", turn.assistant)]
        return [user, *record.seen_later]
