"""How a session of a run ends."""

from __future__ import annotations

from enum import StrEnum


class SessionOutcome(StrEnum):
    """How a session ended; the run file keeps the value.

    A budget that is used up, and an accuracy that is known well enough, have the name of the setting that says so.
    """

    DONE = "done"
    STOPPED = "stopped"  # by an interrupt or a watcher
    UNUSABLE = "unusable"  # the endpoint was given up
    FAILED = "failed"  # by an error of its own: a full disk, a dataset that changed
    MAX_TIME = "max_time_s"
    MAX_TOKENS = "max_tokens_total"
    MAX_COST = "max_cost"
    UNTIL = "until_ci"

    @property
    def flag(self) -> str | None:
        """The flag whose budget is used up; None: it was not for a budget."""
        return f"--{self.removesuffix('_s').replace('_', '-')}" if self.startswith("max_") else None
