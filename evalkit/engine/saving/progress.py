"""How far a run has come."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """How far a run has come; every number counts committed turns or scores.

    Parameters
    ----------
    total : int or None
        Turns of the whole run; None: the dataset was not checked first.
    kept : int
        Turns answered in earlier sessions.
    answered, errors : int
        Turns of this session.
    right : float
        Sum of the run's own scores, including earlier sessions.
    scored : int
        Answered turns with such a score, including earlier sessions.
    errors_by_kind : Counter
    stopping : bool
        Nothing new is sent; requests in flight have a few seconds to end.
    dashboard : str or None
        Address of a page that shows the cluster that sends the requests, http or https; None: there is none.
    """

    total: int | None = None
    kept: int = 0
    answered: int = 0
    errors: int = 0
    right: float = 0.0
    scored: int = 0
    errors_by_kind: Counter[str] = field(default_factory=Counter)
    began_ns: int = field(default_factory=time.perf_counter_ns)
    stopping: bool = False
    dashboard: str | None = None

    @property
    def done(self) -> int:
        """Turns of this session that are in the run file."""
        return self.answered + self.errors

    @property
    def turns_per_s(self) -> float:
        """Answered turns of this session per second."""
        return self.answered / self._elapsed_s

    @property
    def _elapsed_s(self) -> float:
        return max((time.perf_counter_ns() - self.began_ns) / 1e9, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds left at the rate so far; None: unknown."""
        if self.total is None or not self.done:
            return None
        return max(self.total - self.kept - self.done, 0) * self._elapsed_s / self.done
