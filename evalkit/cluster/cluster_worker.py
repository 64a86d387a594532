"""One worker as the client sees it: what it has, what is to be sent to it, and its clock."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import replace
from enum import Enum
from typing import Any
from uuid import uuid4

from evalkit.cluster.conversation_feed import FedConversation
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import (
    End,
    FinishedTurns,
    FrameReader,
    Message,
    RetractAnswer,
    SessionStarted,
    Share,
)

CLOCK_READINGS = 3  # the one with the shortest way there and back counts
AHEAD_S = 0.6  # a worker has conversations for this long beyond its slots: two exchanges and their ways
ENDED_S = 3.0  # an ended conversation is remembered for this long: an answer is retracted within a second
_SMOOTHING = 0.5


class Stage(Enum):
    """What a worker is doing."""

    OPENING = "checks that requests can be made"
    WAITING = "is ready, and has no share yet"
    CLOCK = "has its clock read"
    ASKING = "sends requests"
    ENDED = "has sent its last message"


class ClusterWorker:
    """One worker of the cluster.

    Parameters
    ----------
    address : str
        As Dask names it.

    Attributes
    ----------
    stage : Stage
    session : str
        Name of its asking process.
    facts : dict
        From ``worker_sessions.open_session``.
    future : Future or None
        The task that is running for it.
    asked_s : float
        When that was submitted, monotonic.
    conversations : dict
        What it has, by position and repeat, with those of which it sends a retracted answer again.
    spent : (float, float)
        Tokens and cost.
    turns : int
        Received from it.
    end : End or None
        Its last message.
    share : Share or None
        The last one sent to it.
    tasks : int
        How many were submitted for it.
    started : bool
        The session was started on it.
    ready : bool
        Its asking process has reported that.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.stage = Stage.OPENING
        self.session = uuid4().hex
        self.facts: dict[str, Any] = {}
        self.future: Any = None
        self.asked_s = 0.0
        self.conversations: dict[tuple[int, int], FedConversation] = {}
        self.spent = (0.0, 0.0)
        self.turns = 0
        self.end: End | None = None
        self.share: Share | None = None
        self.tasks = 0
        self.started = self.ready = False
        self._ended: OrderedDict[tuple[int, int], tuple[float, FedConversation]] = OrderedDict()  # the earliest first
        self._outbox = bytearray()
        self._frames = FrameReader()
        self._readings: list[tuple[int, int]] = []  # length of the way there and back, offset
        self._asked_ns = 0
        self._per_s = 0.0  # conversations that ended, smoothed
        self._received_s: float | None = None

    @property
    def asking(self) -> bool:
        """Whether it sends requests, and its last message has not come."""
        return self.stage is Stage.ASKING

    def set_share(self, share: Share | None) -> None:
        """Give it a share of the limits; None: it has none yet, so it is given nothing to send."""
        if share is not None and self.stage is Stage.WAITING:
            self.stage = Stage.CLOCK
        if share is not None and share != self.share and self.started:
            self.send(share)
        self.share = share

    def task(self, task: SessionTask, passed_s: float, *, others_answered: bool) -> SessionTask:
        """The run's task as it gets it, this long after the start of the session."""
        share, settings = self.share, task.settings
        assert share is not None
        left_s = settings.max_time_s
        if left_s is not None:
            left_s = max(left_s - passed_s, 0.001)
        return replace(
            task, data=None, runfile=None, fingerprint={}, resumed=False,
            settings=replace(
                settings, concurrency=share.slots, rpm=share.rpm, tpm=share.tpm, max_time_s=left_s, scorer=None,
                columns=None, until_ci=None,
            ),
            has_answers=task.has_answers or others_answered,
            clock_offset_ns=self.clock_offset_ns,
            asked_from={"host": self.facts["host"], "worker": self.address},
        )  # fmt: skip

    # -- its clock

    def ask_clock(self) -> None:
        """Take note that its clock is being read."""
        self._asked_ns = time.perf_counter_ns()

    def note_clock(self, there_ns: int) -> bool:
        """Take note of a reading; return whether there are enough."""
        now = time.perf_counter_ns()
        self._readings.append((now - self._asked_ns, (now + self._asked_ns) // 2 - there_ns))
        return len(self._readings) >= CLOCK_READINGS

    @property
    def clock_offset_ns(self) -> int:
        """What makes its stamps those of this machine's clock; 0 where both may be the same clock."""
        way, offset = min(self._readings)
        return 0 if abs(offset) <= way // 2 else offset

    @property
    def clock_error_ms(self) -> float | None:
        """At most how far the offset is off; None: its clock was not read."""
        return min(self._readings)[0] / 2e6 if self._readings else None

    # -- what it has

    def room(self, *, ahead: bool) -> int:
        """How many more conversations it is to get: for its slots, and ``ahead`` for a while beyond; it has a share."""
        assert self.share is not None
        slots = self.share.slots
        beyond = max(2, math.ceil(slots / 4), math.ceil(self._per_s * AHEAD_S)) if ahead else 0
        return max(slots + beyond - len(self.conversations), 0)

    def give(self, conversations: list[FedConversation]) -> None:
        """Give it conversations."""
        if conversations:
            self.conversations.update((each.key, each) for each in conversations)
            self.send(process_messages.Conversations([each.item for each in conversations]))

    def send(self, message: Message) -> None:
        """Have a message sent with the next exchange."""
        self._outbox += process_messages.frame(message)

    def take_outbox(self) -> bytes:
        """What is to be sent now."""
        taken = bytes(self._outbox)
        self._outbox.clear()
        return taken

    def receive(self, data: bytes) -> list[Message]:
        """The messages that are complete; what the worker has is updated by them."""
        messages = self._frames.feed(data)
        ended = 0
        for message in messages:
            if isinstance(message, FinishedTurns):
                ended += self._note_turns(message.turns)
            elif isinstance(message, RetractAnswer):
                self._note_retracted(message)
            elif isinstance(message, process_messages.Spent):
                self.spent = message.tokens, message.cost
            elif isinstance(message, SessionStarted):
                self.ready = True
            elif isinstance(message, End):
                self.end, self.stage = message, Stage.ENDED
        self._note_rate(ended)
        self._forget_ended()
        return messages

    def _note_turns(self, turns: list[Any]) -> int:
        ended, now = 0, time.monotonic()
        self.turns += len(turns)
        for _, last, turn, _ in turns:
            position, repeat, number = turn[1][:3]
            found = self.conversations.get((position, repeat))
            if found is None:
                continue
            found.retracted.discard(number)
            if last and not found.retracted:
                self._ended[found.key] = now, self.conversations.pop(found.key)
                ended += 1
        return ended

    def _note_retracted(self, message: RetractAnswer) -> None:
        """Take note that it sends a turn again, and later ones if they saw it: then the conversation ends again."""
        key = message.position, message.repeat
        if key in self._ended:
            self.conversations[key] = self._ended.pop(key)[1]
        if key in self.conversations:
            self.conversations[key].retracted.add(message.turn)

    def _forget_ended(self) -> None:
        """Forget what ended long ago; called once all that has arrived is noted, however late that is."""
        limit = time.monotonic() - ENDED_S
        while self._ended and next(iter(self._ended.values()))[0] < limit:
            self._ended.popitem(last=False)

    def _note_rate(self, ended: int) -> None:
        now = time.monotonic()
        if self._received_s is not None and now > self._received_s:
            self._per_s += _SMOOTHING * (ended / (now - self._received_s) - self._per_s)
        self._received_s = now
