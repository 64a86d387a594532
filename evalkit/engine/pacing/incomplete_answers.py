"""Answers without a finish reason: nothing in them tells half an answer from a whole one.

A service that ends a stream in order although its model has died or was cut off shows that in other requests of the
same moment: they fail. So a streamed answer without a finish reason that ended within a second of such a failure, and
was under way then or had been, is in doubt: it is asked again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from evalkit.record import UNCONFIRMED, Attempt, TurnRecord

WINDOW_NS = 1_000_000_000  # seven half answers of a real service ended 128 ms before to 4 ms after such a failure
KINDS = ("empty", "connection", "truncated", "server")
CHOSEN = ("length", "content_filter")  # error codes of empty answers that say why
MAY_BE_INCOMPLETE = (
    "It ended without a finish reason, within a second of a failure of another request, and may be half an answer. The "
    "part that came is kept, and the turn is asked again."
)
SAW_INCOMPLETE = "It had seen an earlier answer that may be half: both are asked again."
LOST_ON_REUSE = "A kept connection was closed"  # how the message begins of a failure that says nothing of the model


def may_be_incomplete(sent: Any, end: Any, failed: Any) -> Any:
    """Which unconfirmed answers are in doubt, as an array of flags.

    Parameters
    ----------
    sent, end : arrays of int
        When their requests were sent and ended (ns).
    failed : array of int
        When other requests failed, in order.
    """
    import numpy as np  # not for the asking process, which takes as long to start as numpy to import

    first = np.searchsorted(failed, np.maximum(sent + 1, end - WINDOW_NS))
    within = np.append(failed, np.iinfo(np.int64).max)[first] <= end + WINDOW_NS
    return within & (first < len(failed))


class AskedConversation:
    """A conversation of a session, and its answers so far.

    Parameters
    ----------
    item : tuple
        What the schedule gave.
    answers : dict
        Turn to its record, of answered turns that are not in doubt.
    own : bool
        Later turns see the model's own answers: they are in doubt with it.

    Attributes
    ----------
    over : bool
        It is not being asked.
    doubtful : bool
        It has turns to ask again.
    """

    def __init__(self, item: Any, answers: dict[int, TurnRecord], *, own: bool = True) -> None:
        self.item = item
        self.answers = answers
        self.own = own
        self.over = self.doubtful = False
        self._again: dict[int, int] = {}

    def doubt(self, record: TurnRecord, most: int) -> bool:
        """Note that an answer is in doubt; false: it is not the turn's any more, or was asked again often enough."""
        first = record.turn
        if self.answers.get(first) is not record or self._again.get(first, 0) >= most:
            return False
        self._again[first] = self._again.get(first, 0) + 1
        self.doubtful = True
        for turn in [turn for turn in self.answers if turn == first or (self.own and turn > first)]:
            del self.answers[turn]
        return True


class IncompleteAnswers:
    """Watches a session for answers in doubt.

    Parameters
    ----------
    most : int
        How often a turn is asked again for that.

    Attributes
    ----------
    ready : deque of Talk
        Conversations that are over, with answers in doubt.
    on_ready : callable
        Called when there is another.
    on_doubt : callable
        Called with a conversation and the turn of it that is in doubt.
    """

    def __init__(self, most: int) -> None:
        self.ready: deque[AskedConversation] = deque()
        self.on_ready: Callable[[], None] = lambda: None
        self.on_doubt: Callable[[AskedConversation, int], None] = lambda talk, turn: None
        self._most = most
        self._answers: deque[tuple[int, int, TurnRecord, AskedConversation]] = (
            deque()
        )  # of the last second, not in doubt
        self._failed = -WINDOW_NS  # the last time

    def note_answer(self, talk: AskedConversation, record: TurnRecord) -> None:
        """Take in a turn that is answered."""
        good = record.good
        if good is None or UNCONFIRMED not in good.flags or not (good.streamed and self._most):
            return
        sent, end = good.timing.sent, good.timing.end
        if end is None:
            return
        while self._answers and self._answers[0][1] < end - WINDOW_NS:
            self._answers.popleft()
        if _close(sent, end, self._failed):  # an earlier failure would be no closer
            self._doubt(talk, record)
        else:
            self._answers.append((sent, end, record, talk))

    def note_failure(self, attempt: Attempt) -> None:
        """Take in an attempt that failed."""
        failure, failed = attempt.failure, attempt.timing.end
        if failure is None or failure.kind not in KINDS or failed is None or not self._most:
            return
        if failure.code in CHOSEN or attempt.connection_lost_on_reuse:
            return
        self._failed = max(self._failed, failed)
        answers, self._answers = self._answers, deque()
        for sent, end, record, talk in answers:
            if _close(sent, end, failed):
                self._doubt(talk, record)

    def end(self, talk: AskedConversation) -> None:
        """A conversation is not being asked any more."""
        talk.over = True
        if talk.doubtful:
            self._add(talk)

    def _doubt(self, talk: AskedConversation, record: TurnRecord) -> None:
        known = talk.doubtful
        if talk.doubt(record, self._most):
            self.on_doubt(talk, record.turn)
            if talk.over and not known:
                self._add(talk)

    def _add(self, talk: AskedConversation) -> None:
        self.ready.append(talk)
        self.on_ready()


def _close(sent: int, end: int, failed: int) -> bool:
    return sent < failed and abs(end - failed) <= WINDOW_NS
