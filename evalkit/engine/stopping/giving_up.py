"""When to give an endpoint up: many first failures, all alike, and no answer among them."""

from __future__ import annotations

from evalkit.record import LASTING_CODES, Failure, TurnRecord

GIVE_UP_AFTER = 5
LASTING = frozenset({"auth", "not_found", "connection"})  # what ends a run also after it has had answers


class GivingUp:
    """Watches the first turns of a session, until one is answered.

    Parameters
    ----------
    kept : bool
        The run has answers of an earlier session: only lasting failures count.

    Attributes
    ----------
    cause : (int, str, str) or None
        Number of failures, and kind and message of the first; None: no reason to give up.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._failures: list[Failure] = []
        self._answered = False
        self._most = 0
        self.cause: tuple[int, str, str] | None = None

    def note(self, record: TurnRecord, under_way: int) -> bool:
        """Take in a turn; whether to give up now.

        Parameters
        ----------
        record : TurnRecord
        under_way : int
            Conversations under way. The first turn of every one of them counts: one slow answer among many refusals is
            an answer.
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
        self._most = max(self._most, under_way)
        return len(self._failures) >= max(GIVE_UP_AFTER, self._most) and self._judge()

    def judge_all(self) -> None:
        """All has been asked, and that was perhaps less than it takes to give up on the way."""
        if self._failures and not self._kept:
            self._judge()

    def _judge(self) -> bool:
        failures = self._failures
        kinds = {failure.kind for failure in failures}
        if len(kinds) != 1 or (self._kept and not kinds <= LASTING):
            return False
        if kinds == {"rate_limited"} and not any(failure.code in LASTING_CODES for failure in failures):
            return False
        self.cause = len(failures), failures[0].kind, failures[0].message
        return True
