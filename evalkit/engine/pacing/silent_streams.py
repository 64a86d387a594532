"""Streams that end without text and without a cause: a whole answer to the same messages may name it.

Some services report an error of the model or its provider in a whole answer, with a status and a text, but end a stream
as if it were complete, or close the connection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from evalkit.engine.pacing.retries import slows_all
from evalkit.errors import Failure
from evalkit.record import Attempt

MOST_UNEXPLAINED = 3  # whole answers in a row that name no cause: then no more are requested
SILENT = ("empty", "connection")
_UNEXPLAINED = (*SILENT, "truncated", "timeout", "cancelled")  # kinds that name no cause without a code
_GOOD = (
    "The same request without a stream was answered: either the endpoint has recovered, then run this turn again, or "
    "it fails in streams only, then do not request them (--no-stream, stream=False)."
)
_SHOWED = "The same request without a stream shows the cause. {cause}"
_NEITHER = "The same request without a stream failed too ({kind})."


@dataclass(slots=True)
class SilentStreams:
    """Decides whether the cause of a failed stream is asked for, and words it.

    Attributes
    ----------
    unexplained : int
        Whole answers in a row that named no cause.
    """

    unexplained: int = 0

    def is_unexplained(self, failure: Failure | None) -> bool:
        """Whether a failed stream says nothing about its cause, and a whole answer may name it."""
        return (
            failure is not None
            and failure.kind in SILENT
            and failure.code is None
            and failure.http_status is not None
            and 200 <= failure.http_status < 300
            and self.unexplained < MOST_UNEXPLAINED
        )

    def explained(self, silent: Failure, whole: Attempt) -> Attempt:
        """The attempt at a whole answer as the last one of a turn whose stream failed.

        It is never the answer of the turn: a stream was requested, and the times of a whole answer are others. If it
        names a cause, its kind and code are those of the turn.

        Parameters
        ----------
        silent : Failure
            Of the stream.
        whole : Attempt
            As it ended.
        """
        what, cause = silent.message.partition(". ")[0], whole.failure
        if cause is None:
            self.unexplained += 1
            return whole._replace(answer=None, failure=replace(silent, message=f"{what}. {_GOOD}"))
        # a refusal that passes is about the question for the cause
        if slows_all(cause) or (cause.kind in _UNEXPLAINED and cause.code is None):
            self.unexplained += 1
            message = f"{silent.message} {_NEITHER.format(kind=cause.kind)}"
            return whole._replace(answer=None, failure=replace(silent, message=message))
        self.unexplained = 0
        return whole._replace(failure=replace(cause, message=f"{what}. {_SHOWED.format(cause=cause.message)}"))
