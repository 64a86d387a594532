"""How a session of a run ends."""

from __future__ import annotations

from enum import StrEnum


class SessionOutcome(StrEnum):
    """How a session ended; the run file stores the value.

    A limit that was reached, and an accuracy that is known well enough, have the name of their setting.
    """

    DONE = "done"
    STOPPED = "stopped"  # by an interrupt or a watcher
    UNUSABLE = "unusable"  # gave up on the endpoint
    FAILED = "failed"  # by an error such as a full disk or a changed dataset
    MAX_TIME = "max_time_s"
    MAX_TOKENS = "max_tokens_total"
    MAX_COST = "max_cost"
    UNTIL_CI = "until_ci"

    @property
    def flag(self) -> str | None:
        """The flag of the limit that was reached; None: another reason ended the session."""
        return f"--{self.removesuffix('_s').replace('_', '-')}" if self.startswith("max_") else None
