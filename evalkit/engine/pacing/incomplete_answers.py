"""Answers without a finish reason that may be incomplete: nothing in such an answer shows whether all of it came.

A service that ends a stream cleanly although its model crashed or was cut off reveals that in other requests of the
same moment: they fail. So a streamed answer without a finish reason may be incomplete if such a failure came within a
second of its end and after it was sent. Its turn is sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from evalkit.record import UNCONFIRMED, Attempt, TurnRecord

# seven incomplete answers of a real service ended between 128 ms before and 4 ms after such a failure
WINDOW_NS = 1_000_000_000
KINDS = ("empty", "connection", "truncated", "server")
EXPLAINED_CODES = ("length", "content_filter")  # error codes of empty answers that name the cause
MAY_BE_INCOMPLETE = (
    "The answer ended without a finish reason, within a second of a failure of another request, and may be "
    "incomplete. The part that came is kept, and the turn is sent again."
)
SAW_INCOMPLETE = "This turn saw an earlier answer that may be incomplete: both are sent again."
# in messages of failures that say nothing about the model; run files of every version have these words
LOST_ON_REUSE = "just as it was used again"


def may_be_incomplete(sent: Any, end: Any, failed: Any) -> Any:
    """Which unconfirmed answers may be incomplete, as an array of bool.

    Parameters
    ----------
    sent, end : arrays of int
        When their requests were sent and ended (ns).
    failed : array of int
        When other requests failed (ns), in ascending order.
    """
    import numpy as np  # the asking process never calls this, and importing numpy would double its start-up time

    first = np.searchsorted(failed, np.maximum(sent + 1, end - WINDOW_NS))
    within = np.append(failed, np.iinfo(np.int64).max)[first] <= end + WINDOW_NS
    return within & (first < len(failed))


class AskedConversation:
    """A conversation of this session, with its answers so far.

    Parameters
    ----------
    item : ScheduledConversation
    answers : dict
        Turn number to its record, for answered turns that are taken to be complete.
    own_history : bool
        Later turns see the model's own answers: they are retracted along with an answer they saw.

    Attributes
    ----------
    ended : bool
        No turn of it is being sent.
    has_retracted : bool
        It has turns to send again.
    """

    ended = False
    has_retracted = False

    def __init__(self, item: Any, answers: dict[int, TurnRecord], *, own_history: bool = True) -> None:
        self.item = item
        self.answers = answers
        self.own_history = own_history
        self._retractions: dict[int, int] = {}

    def retract(self, record: TurnRecord, most: int) -> bool:
        """Drop an answer, and later ones that saw it; false: it was replaced, or sent again ``most`` times already."""
        first = record.turn
        if self.answers.get(first) is not record or self._retractions.get(first, 0) >= most:
            return False
        self._retractions[first] = self._retractions.get(first, 0) + 1
        self.has_retracted = True
        for turn in [turn for turn in self.answers if turn == first or (self.own_history and turn > first)]:
            del self.answers[turn]
        return True


class IncompleteAnswers:
    """Watches a session for answers that may be incomplete.

    Parameters
    ----------
    most : int
        How often a turn may be sent again for this reason.

    Attributes
    ----------
    ready : deque of AskedConversation
        Conversations that have ended and have retracted answers.
    on_ready : callable
        Called when another conversation is ready.
    on_retract : callable
        Called with a conversation and the number of the turn whose answer is retracted.
    """

    def __init__(self, most: int) -> None:
        self.ready: deque[AskedConversation] = deque()
        self.on_ready: Callable[[], None] = lambda: None
        self.on_retract: Callable[[AskedConversation, int], None] = lambda asked, turn: None
        self._most = most
        self._unconfirmed: deque[tuple[int, int, TurnRecord, AskedConversation]] = deque()  # of the last second
        self._failed = -WINDOW_NS  # end of the latest failure

    def note_answer(self, asked: AskedConversation, record: TurnRecord) -> None:
        """Take note of an answered turn."""
        good = record.attempts[-1]
        if UNCONFIRMED not in good.flags or not (good.streamed and self._most):
            return
        sent, end = good.timing.sent, good.timing.end
        if end is None:
            return
        while self._unconfirmed and self._unconfirmed[0][1] < end - WINDOW_NS:
            self._unconfirmed.popleft()
        if _close(sent, end, self._failed):  # an earlier failure would be no closer
            self._retract(asked, record)
        else:
            self._unconfirmed.append((sent, end, record, asked))

    def note_failure(self, attempt: Attempt) -> None:
        """Take note of a failed attempt."""
        failure, failed = attempt.failure, attempt.timing.end
        if failure is None or failure.kind not in KINDS or failed is None or not self._most:
            return
        if failure.code in EXPLAINED_CODES or attempt.connection_lost_on_reuse:
            return
        self._failed = max(self._failed, failed)
        answers, self._unconfirmed = self._unconfirmed, deque()
        for sent, end, record, asked in answers:
            if _close(sent, end, failed):
                self._retract(asked, record)

    def end(self, asked: AskedConversation) -> None:
        """Take note that a conversation has ended."""
        asked.ended = True
        if asked.has_retracted:
            self._add(asked)

    def _retract(self, asked: AskedConversation, record: TurnRecord) -> None:
        had_retracted = asked.has_retracted
        if asked.retract(record, self._most):
            self.on_retract(asked, record.turn)
            if asked.ended and not had_retracted:
                self._add(asked)

    def _add(self, asked: AskedConversation) -> None:
        self.ready.append(asked)
        self.on_ready()


def _close(sent: int, end: int, failed: int) -> bool:
    return sent < failed and abs(end - failed) <= WINDOW_NS
