"""The conversations of a run that no worker has yet: those of the schedule, and those of lost workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.conversation import Conversation
from evalkit.engine.asking.schedule import Schedule, ScheduledConversation
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.pacing.arrivals import Arrivals
from evalkit.engine.saving import process_messages
from evalkit.runfile import store


@dataclass(slots=True)
class FedConversation:
    """A conversation that a worker has, or is to get.

    Parameters
    ----------
    position, repeat : int
    conversation : Conversation
    item : list
        Its item in the message ``Conversations``.
    left : int
        Turns not received yet.
    due_ns : int or None
        When it is due, in ns after the start of the schedule; None: in its turn.
    """

    position: int
    repeat: int
    conversation: Conversation
    item: list[Any]
    left: int
    due_ns: int | None

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
    exhausted : bool
        There are none now; some may be given back.
    """

    def __init__(self, task: SessionTask) -> None:
        assert task.data is not None
        assert task.runfile is not None
        settings = task.settings
        schedule = Schedule(task.data, settings, task.runfile if task.resumed else None, task.fingerprint)
        self._items = (item for item in schedule if item is not None)
        self._due: Iterator[int] | None = None
        if settings.rate is not None:
            self._due = iter(Arrivals(settings.rate, settings.arrivals, settings.arrivals_seed or 0))
        self._runfile: Path = task.runfile
        self._returned: deque[FedConversation] = deque()
        self._next = self._read()

    @property
    def exhausted(self) -> bool:
        """Whether there are none now."""
        return self._next is None and not self._returned

    def due_ns(self) -> int | None:
        """When the next one is due, in ns after the start of the session; None: in its turn."""
        following = self._returned[0] if self._returned else self._next
        return None if following is None else following.due_ns

    def take(self) -> FedConversation | None:
        """The next conversation; None: there is none now."""
        if self._returned:
            return self._with_answers(self._returned.popleft())
        taken, self._next = self._next, None
        if taken is not None:
            self._next = self._read()
        return taken

    def give_back(self, conversations: list[FedConversation]) -> None:
        """Take back what a lost worker had; the turns received from it must be in the run file when it is taken."""
        self._returned += conversations

    def _read(self) -> FedConversation | None:
        item = next(self._items, None)
        return None if item is None else self._fed(item, None if self._due is None else next(self._due))

    def _fed(self, scheduled: ScheduledConversation, due: int | None) -> FedConversation:
        position, conversation, repeat, answered = scheduled
        packed = process_messages.pack(dict(answered)) if answered else None
        item = [position, conversation.to_json(), repeat, packed, None]
        return FedConversation(position, repeat, conversation, item, len(conversation.turns) - len(answered or {}), due)

    def _with_answers(self, lost: FedConversation) -> FedConversation:
        with closing(store.open_to_read(self._runfile)) as reader:
            answered = store.answered_turns(reader, lost.conversation, lost.position, lost.repeat)
        scheduled = ScheduledConversation(lost.position, lost.conversation, lost.repeat, answered)
        return self._fed(scheduled, lost.due_ns)
