"""How workers share a run's slots and its requests and tokens per minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.cluster.worker_sessions import LEASE_S
from evalkit.engine.pacing.minute_window import COUNTED_S
from evalkit.engine.saving.process_messages import Share
from evalkit.settings import Settings

# What a worker was allowed counts for this long after its share was lowered or it was lost: for a minute, and as long
# as a worker that nobody hears of may go on before.
COUNTS_S = COUNTED_S + LEASE_S
LEAST_FRACTION = 1e-6  # below it, a share is a rounding error
LEAST_TPM = 10_000  # a share of fewer tokens would be one long request, which may go alone


def most_workers(settings: Settings) -> int:
    """Over how many workers a run can be spread; its concurrency is a number."""
    limits = [int(settings.concurrency or 1)]
    if settings.rpm is not None:
        limits.append(max(int(settings.rpm), 1))
    if settings.tpm is not None:
        limits.append(max(int(settings.tpm / LEAST_TPM), 1))
    return min(limits)


def slots(total: int, workers: Sequence[str]) -> dict[str, int]:
    """Each worker's conversations in parallel; the sum is the total."""
    return {name: (total + place) // len(workers) for place, name in enumerate(reversed(workers))}


@dataclass(slots=True)
class _Allowed:
    """A worker's share, and the higher ones that still count, with the time until which they do."""

    now: float = 0.0
    earlier: deque[tuple[float, float]] = field(default_factory=deque)

    def highest(self, now: float) -> float:
        while self.earlier and self.earlier[0][0] <= now:
            self.earlier.popleft()
        return max([self.now, *(share for _, share in self.earlier)])

    def lower(self, share: float, now: float) -> None:
        self.earlier.append((now + COUNTS_S, self.now))
        self.now = share


class BudgetShares:
    """Shares of the requests and tokens per minute, as fractions of 1, that hold in every window of 60 seconds.

    A share is lowered immediately and raised only with what no other worker may have used in the last minute. So a
    worker that joins gets its share a minute after the others have given theirs up. That of a lost one is free after a
    minute too, also where another process has its address: the names are those of sessions, each of which has its own.
    """

    def __init__(self) -> None:
        self._allowed: dict[str, _Allowed] = {}

    def update(self, live: Sequence[str], now: float) -> dict[str, float]:
        """The share of each live session, from now on; ``now`` is in seconds, monotonic."""
        for name in live:
            self._allowed.setdefault(name, _Allowed())
        for name, allowed in list(self._allowed.items()):
            goal = 1 / len(live) if name in live else 0.0
            if allowed.now > goal:
                allowed.lower(goal, now)
            if name not in live and allowed.highest(now) == 0:
                del self._allowed[name]
        for name in live:
            others = sum(each.highest(now) for other, each in self._allowed.items() if other != name)
            allowed = self._allowed[name]
            allowed.now = max(allowed.now, min(1 / len(live), 1.0 - others))
        return {name: max(self._allowed[name].now, 0.0) for name in live}


class RunShares:
    """What each worker may use: its slots, its requests and tokens per minute, and what the others have spent.

    Parameters
    ----------
    settings : Settings
        Of the whole run.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._budget = BudgetShares()

    def of(self, ready: Sequence[str], spent: Mapping[str, tuple[float, float]], now: float) -> dict[str, Share]:
        """The share of each session that has one.

        Parameters
        ----------
        ready : sequence of str
            Sessions; where there are too many, the first ones are used.
        spent : mapping
            Tokens and cost of each session so far, also of those that have ended.
        now : float
            Seconds, monotonic.
        """
        settings = self._settings
        used = ready[: most_workers(settings)]
        limited = settings.rpm is not None or settings.tpm is not None
        fractions = self._budget.update(used, now) if limited else dict.fromkeys(used, 1.0)
        with_share = [session for session, fraction in fractions.items() if fraction > LEAST_FRACTION]
        parallel = slots(int(settings.concurrency or 1), with_share)
        tokens, cost = (sum(each) for each in zip((0.0, 0.0), *spent.values(), strict=True))
        return {
            session: Share(
                parallel[session],
                None if settings.rpm is None else settings.rpm * fractions[session],
                None if settings.tpm is None else settings.tpm * fractions[session],
                tokens - spent[session][0],
                cost - spent[session][1],
            )
            for session in with_share
        }
