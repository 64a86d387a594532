"""When to give up on an endpoint: its first turns all fail in the same way."""

from __future__ import annotations

from evalkit.record import LASTING_CODES, Failure, TurnRecord

GIVE_UP_AFTER = 5
LASTING = frozenset({"auth", "not_found", "connection"})  # failures that end a resumed run with answers too


class GivingUp:
    """Watches the first turns of a session until one is answered.

    Parameters
    ----------
    has_answers : bool
        The run has answers of an earlier session: only lasting failures count.

    Attributes
    ----------
    cause : (int, str, str) or None
        Number of failures, kind and message of the first; None: there is no reason to give up.
    """

    def __init__(self, *, has_answers: bool) -> None:
        self._has_answers = has_answers
        self._failures: list[Failure] = []
        self._answered = False
        self._most_parallel = 0
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
        if self._answered or self.cause is not None:
            return False
        failure = record.failure
        if failure is not None and failure.kind == "cancelled":
            return False
        if failure is None:
            self._answered = True
            self._failures.clear()
            return False
        self._failures.append(failure)
        self._most_parallel = max(self._most_parallel, parallel)
        return len(self._failures) >= max(GIVE_UP_AFTER, self._most_parallel) and self._decide()

    def decide_at_end(self) -> None:
        """Decide after the last turn, when there may have been too few to give up earlier."""
        if self._failures and not self._has_answers:
            self._decide()

    def _decide(self) -> bool:
        failures = self._failures
        kinds = {failure.kind for failure in failures}
        if len(kinds) != 1 or (self._has_answers and not kinds <= LASTING):
            return False
        if kinds == {"rate_limited"} and not any(failure.code in LASTING_CODES for failure in failures):
            return False
        self.cause = len(failures), failures[0].kind, failures[0].message
        return True
