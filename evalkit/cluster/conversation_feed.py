"""The conversations of a run that no worker has yet: those of the schedule, and those of lost workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.conversation import Conversation
from evalkit.engine.asking.schedule import Schedule, ScheduledConversation
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.pacing.arrivals import Arrivals
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import RetractAnswer
from evalkit.runfile import store

READ_S = 0.05  # longest skipping of answered rows before workers are looked after
_FAILED = "SELECT turn FROM turn WHERE (conversation, repeat) = (?, ?) AND status <> 'answered'"


@dataclass(slots=True)
class FedConversation:
    """A conversation that a worker has, or is to get.

    Parameters
    ----------
    position, repeat : int
    conversation : Conversation
    item : list
        Its item in the message ``Conversations``.
    due_ns : int or None
        When it is due, in ns after the start of the schedule; None: in its turn.
    retracted : set of int
        Turns whose answers were retracted, and that were not received again yet.
    """

    position: int
    repeat: int
    conversation: Conversation
    item: list[Any]
    due_ns: int | None
    retracted: set[int] = field(default_factory=set)

    @property
    def key(self) -> tuple[int, int]:
        """Position and repeat."""
        return self.position, self.repeat


class ConversationFeed:
    """Gives out conversations, first those that were given back.

    Parameters
    ----------
    task : SessionTask
        Of the whole run.

    Attributes
    ----------
    sent_again : int
        Turns of conversations that were given back and taken again, without those answered before.
    """

    def __init__(self, task: SessionTask) -> None:
        assert task.data is not None
        assert task.runfile is not None
        settings = task.settings
        schedule = Schedule(task.data, settings, task.runfile if task.resumed else None, task.fingerprint)
        self._items = iter(schedule)
        self._read_all = False
        self._due: Iterator[int] | None = None
        if settings.rate is not None:
            self._due = iter(Arrivals(settings.rate, settings.arrivals, settings.arrivals_seed or 0))
        self._runfile: Path = task.runfile
        self._returned: deque[FedConversation] = deque()
        self._failed: list[RetractAnswer] = []
        self._next: FedConversation | None = None
        self.sent_again = 0
        self._read()

    @property
    def exhausted(self) -> bool:
        """Whether all were taken; some may be given back."""
        return self._read_all and self._next is None and not self._returned

    def due_ns(self) -> int | None:
        """When the next one is due, in ns after the start of the session; None: in its turn, or there is none now."""
        self._read()
        following = self._returned[0] if self._returned else self._next
        return None if following is None else following.due_ns

    def take(self) -> FedConversation | None:
        """The next conversation; None: there is none now, and unless all were taken there may be one later."""
        if self._returned:
            return self._with_answers(self._returned.popleft())
        self._read()
        taken, self._next = self._next, None
        if taken is not None:
            self._read()
        return taken

    def take_failed(self) -> list[RetractAnswer]:
        """Failed turns of conversations that were taken again: they are sent again, and count once."""
        taken, self._failed = self._failed, []
        return taken

    def give_back(self, conversations: list[FedConversation]) -> None:
        """Take back what a lost worker had; the turns received from it must be in the run file when it is taken."""
        self._returned += conversations

    def _read(self) -> None:
        """Read the next one, unless it is there, or answered rows must be skipped for longer than ``READ_S``."""
        if self._next is not None or self._read_all:
            return
        deadline = time.monotonic() + READ_S
        for item in self._items:
            if item is not None:
                self._next = self._fed(item, None if self._due is None else next(self._due))
                return
            if time.monotonic() >= deadline:
                return
        self._read_all = True

    def _fed(self, scheduled: ScheduledConversation, due: int | None) -> FedConversation:
        position, conversation, repeat, answered = scheduled
        packed = process_messages.pack(dict(answered)) if answered else None
        item = [position, conversation.to_json(), repeat, packed, None]
        return FedConversation(position, repeat, conversation, item, due)

    def _with_answers(self, lost: FedConversation) -> FedConversation:
        with closing(store.open_to_read(self._runfile)) as reader:
            answered = store.answered_turns(reader, lost.conversation, lost.position, lost.repeat)
            failed = reader.execute(_FAILED, lost.key).fetchall()
        self._failed += [RetractAnswer(lost.position, lost.repeat, turn, later=False) for (turn,) in failed]
        self.sent_again += len(lost.conversation.turns) - len(answered)
        scheduled = ScheduledConversation(lost.position, lost.conversation, lost.repeat, answered)
        return self._fed(scheduled, lost.due_ns)
