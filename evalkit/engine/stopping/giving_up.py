"""When to give up on an endpoint: its first turns all fail in the same way, or its quota is used up."""

from __future__ import annotations

from evalkit.engine.pacing.retries import renews_later
from evalkit.errors import Failure
from evalkit.record import TurnRecord

GIVE_UP_AFTER = 5
LASTING = frozenset({"auth", "not_found", "connection"})  # failures that end a resumed run with answers too


class GivingUp:
    """Watches the first turns of a session until one is answered, and all turns for a quota that is used up.

    Parameters
    ----------
    has_answers : bool
        The run has answers of an earlier session: only lasting failures count.

    Attributes
    ----------
    cause : (int, str, str) or None
        Number of failures, kind and message of the first; None: there is no reason to give up. A number of 0: a quota
        was used up after answers.
    """

    def __init__(self, *, has_answers: bool) -> None:
        self._has_answers = has_answers
        self._failures: list[Failure] = []
        self._answered = False
        self._most_parallel = 0
        self._refused = 0  # turns in a row for which a quota was used up
        self.cause: tuple[int, str, str] | None = None

    def note(self, record: TurnRecord, parallel: int) -> bool:
        """Take note of a turn; return whether to give up now.

        Parameters
        ----------
        record : TurnRecord
        parallel : int
            Conversations running now. The first turn of each of them is awaited: one slow answer among many refusals
            is an answer.
        """
        if self.cause is not None:
            return False
        failure = record.failure
        if self._answered:
            return self._note_quota(failure, parallel)
        if failure is not None and failure.kind == "cancelled":
            return False
        if failure is None:
            self._answered = True
            self._failures.clear()
            return False
        self._failures.append(failure)
        self._most_parallel = max(self._most_parallel, parallel)
        return len(self._failures) >= max(GIVE_UP_AFTER, self._most_parallel) and self._decide()

    def _note_quota(self, failure: Failure | None, parallel: int) -> bool:
        """Take note of a turn after answers; return whether nothing but refusals of a quota has come for a while."""
        if failure is None:
            self._refused = 0
        elif renews_later(failure):
            self._refused += 1
            if self._refused >= max(GIVE_UP_AFTER, parallel):
                self.cause = 0, failure.kind, failure.message
        return self.cause is not None

    def decide_at_end(self) -> None:
        """Decide after the last turn, when there may have been too few to give up earlier."""
        if self._failures and not self._has_answers:
            self._decide()

    def _decide(self) -> bool:
        failures = self._failures
        kinds = {failure.kind for failure in failures}
        if len(kinds) != 1:
            return False
        quota = kinds == {"rate_limited"} and any(map(renews_later, failures))
        if kinds == {"rate_limited"} and not quota:
            return False
        if self._has_answers and not (quota or kinds <= LASTING):
            return False
        self.cause = len(failures), failures[0].kind, failures[0].message
        return True
