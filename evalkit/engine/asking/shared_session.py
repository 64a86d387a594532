"""One of several asking processes of a run: conversations and its share of the limits arrive as messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from evalkit.datasets import reader as datasets_reader
from evalkit.engine.asking.parent_link import ParentLink
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.asking.schedule import ScheduledConversation
from evalkit.engine.asking.session import Session
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.pacing.arrivals import Arrivals, wait_until
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import Conversations, NoMore, Share, Spent
from evalkit.engine.stopping.session_outcome import SessionOutcome

SPENT_S = 0.1  # between two reports of what was spent


class ReceivedConversations:
    """The conversations that have arrived and were not started yet, oldest first.

    As an iterator it ends when it is empty, and goes on when more have arrived. A row is parsed when it is due.
    """

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def add(self, items: list[Any]) -> None:
        """Add the items of a message."""
        self._items += items

    def __iter__(self) -> Iterator[ScheduledConversation]:
        return self

    def __next__(self) -> ScheduledConversation:
        if not self._items:
            raise StopIteration
        return _parsed(*self._items.popleft()[:4])

    def take_due(self) -> Iterator[tuple[int, ScheduledConversation]]:
        """All of them, each with the time it is due, in ns on the clock of the run file's machine."""
        while self._items:
            *item, due = self._items.popleft()
            yield due or 0, _parsed(*item)


class SharedSession(Session):
    """Sends what arrives, until there is no more.

    Parameters
    ----------
    task : SessionTask
        Its ``data`` is None.
    link : ParentLink
    """

    def __init__(self, task: SessionTask, link: ParentLink) -> None:
        self._received = ReceivedConversations()
        self._changed = asyncio.Event()
        self._no_more = False
        self._sender: RequestSender | None = None
        super().__init__(task, link)  # a stop may have come before
        link.clock_offset_ns, link.asked_from = task.clock_offset_ns, task.asked_from
        link.on_share = self._on_share
        for message in link.early:
            self._on_share(message)

    def _schedule(self) -> Iterator[ScheduledConversation | None]:
        return iter(self._received)

    async def _send_all(self, sender: RequestSender) -> None:
        self._sender = sender
        reporter = asyncio.create_task(self._report_spending())
        try:
            await super()._send_all(sender)
        finally:
            reporter.cancel()
            self._send_spent()

    async def _until_all_ended(self) -> None:
        while self._tasks or not (self._no_more or self._ended):
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await self._changed.wait()
                self._changed.clear()

    def _end_soon(self, outcome: SessionOutcome) -> None:
        super()._end_soon(outcome)
        if outcome in (SessionOutcome.UNUSABLE, SessionOutcome.FAILED, SessionOutcome.MAX_TIME):
            self._grace.set()
        self._changed.set()

    def _on_share(self, message: Conversations | NoMore | Share) -> None:
        if isinstance(message, Conversations):
            self._received.add(message.items)
        elif isinstance(message, NoMore):
            self._no_more = True
        else:
            self._conversation_slots.limit = message.slots
            self._rate_limiter.set_limits(message.rpm, message.tpm)
            if self._spending is not None:
                self._spending.note_others(message.spent_tokens, message.spent_cost)
                if self._spending.used_up is not None:
                    self._end_soon(SessionOutcome(self._spending.used_up))
        if self._sender is not None and not self._ended:
            self._start_received(self._sender)
        self._changed.set()

    def _start_received(self, sender: RequestSender) -> None:
        if self._settings.rate is None:
            self._fill(sender)
            return
        for due, item in self._received.take_due():
            self._spawn(self._start_when_due(sender, item, due - self._task.clock_offset_ns))

    async def _arrive(self, sender: RequestSender, arrivals: Arrivals) -> None:
        """Start what has arrived before; the schedule is that of all asking processes, and comes with each item."""
        self._start_received(sender)

    async def _start_when_due(self, sender: RequestSender, item: ScheduledConversation, due: int) -> None:
        await wait_until(due)
        await self._conversation_slots.acquire()
        if self._ended:  # maybe while it waited
            self._conversation_slots.release()
            return
        await self._start_conversation_in_slot(sender, item, due)

    async def _report_spending(self) -> None:
        while self._spending is not None:
            await asyncio.sleep(SPENT_S)
            self._send_spent()

    def _send_spent(self) -> None:
        spending = self._spending
        if spending is not None:
            self.link.send(Spent(spending.prompt_tokens + spending.output_tokens, spending.cost))


def _parsed(position: int, row: Any, repeat: int, answered: str | None) -> ScheduledConversation:
    records = None if answered is None else process_messages.unpack(answered)
    return ScheduledConversation(position, datasets_reader.parse_row(row), repeat, records)
