"""Finds how many parallel requests an endpoint can serve before more of them only wait longer, and adapts to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from evalkit.engine.pacing.slots import Slots

OVERLOADED = frozenset({"server", "connection", "timeout"})  # signs of overload when there are many
LOWER = 0.75
FEWEST = 8  # answers needed to judge a limit
FEWEST_AT_FIRST = 4  # while the limit doubles: an early estimate is enough
PROBE_ROUNDS = 32
HISTORY = 512


@dataclass(frozen=True, slots=True)
class LatencyAtLimit:
    """How long answers took at one limit: time to the first token, then seconds per token."""

    limit: int
    first_s: float
    token_s: float
    tokens: float

    def latency_s(self, tokens: float) -> float:
        """Expected latency of an answer with this many tokens."""
        return self.first_s + self.token_s * tokens


class AdaptiveSlots:
    """Moves the limit of slots to where the endpoint's throughput stops growing, and follows it when that changes.

    It compares latency with a reference latency, and so measures throughput: while all slots are in use, throughput is
    limit / latency (Little's law), so a higher limit pays off as long as latency grows less than the limit does. It
    is overload when latency grew by more than the square root of the limit's growth: then doubling the limit gives
    less than 1.41 times the throughput. This finds the limit of both kinds of server: one that queues requests beyond
    its own slots, and one that puts all of them in a batch and slows down gradually. Comparing with the latency of a
    single request would stop far too early for the second kind.

    So that a long answer is not mistaken for overload, two latencies are compared at the same length: mean time to
    the first token, plus the current mean length times seconds per token after the first. Without a stream all of the
    latency is per token; without token counts the latency is used as it is.

    It works in rounds. A round ends when as many good answers as the limit (at least 8) have come to requests sent
    since it started: only their latency is an effect of the limit. Failures take effect immediately, but not again
    until requests sent after that have failed and the time of one answer has passed.

    - First the limit doubles each round, from 1, until there is overload or a failure; then it returns to the last good
      limit.
    - After that it grows by its square root per round (by 1 where the endpoint refused requests before), if all slots
      were in use. It falls to three quarters on a 429, when a tenth of the requests failed (5xx, connection, time-out),
      or on overload. Latencies vary: a rise within two standard errors of their mean is not overload.
    - When falling to half the limit does not make answers faster, the endpoint itself has become slower. Its latency is
      then the new reference, and the limit goes back up. To detect a reference latency that was too high from the
      start, half the limit is also tried every 32 rounds.

    Parameters
    ----------
    slots : Slots
        Their limit is set, starting at 1.
    clock : callable
        Seconds, monotonic.
    ceiling : int
        The highest limit.

    Attributes
    ----------
    history : list of (float, int)
        Seconds since the start, and the limit set then. Beyond 512 entries every second one is dropped.
    """

    def __init__(self, slots: Slots, clock: Callable[[], float] = time.monotonic, ceiling: int = 1024) -> None:
        self._slots, self._clock, self._ceiling = slots, clock, ceiling
        self._started = self._counts_from = self._lowered_at = clock()
        self._answers: list[tuple[float, float, int]] = []  # seconds to the first token, seconds after it, tokens
        self._failed = self._most_in_use = self._rounds = 0
        self._doubling = True
        self._answer_s = 0.0
        self._reference: LatencyAtLimit | None = None  # the highest limit without overload
        self._fall_history: list[LatencyAtLimit | None] = []  # latencies while the limit fell, highest limit first
        self._before_probe: LatencyAtLimit | None = None  # latency before half the limit was tried
        self._refused: int | None = None
        self.history: list[tuple[float, int]] = []
        self._set(1)

    def note(self, *, kind: str | None, ttft_ns: int | None, latency_ns: int | None, output_tokens: int | None) -> None:
        """Take note of an attempt that has ended.

        Parameters
        ----------
        kind : str or None
            Kind of its failure; None: a good answer.
        ttft_ns : int or None
            None: not streamed, or no token was received.
        latency_ns : int or None
            From ``sent`` to its end, for failures too; None: it was never sent.
        output_tokens : int or None
            None: the server reported no count.
        """
        now, latency_s = self._clock(), (latency_ns or 0) / 1e9
        self._most_in_use = max(self._most_in_use, self._slots.in_use)
        if kind is not None:
            if kind == "rate_limited" or kind in OVERLOADED:
                self._note_failure(kind, now, latency_s)
            return
        if latency_ns is None or now - latency_s < self._counts_from:
            return
        first_s = latency_s if not output_tokens else 0.0 if ttft_ns is None else ttft_ns / 1e9
        self._answers.append((first_s, latency_s - first_s, output_tokens or 0))
        if len(self._answers) >= max(self._slots.limit, FEWEST_AT_FIRST if self._doubling else FEWEST):
            self._end_round(*self._measure())

    def _note_failure(self, kind: str, now: float, latency_s: float) -> None:
        if now - latency_s < self._lowered_at or now - self._lowered_at < self._answer_s:
            return
        limit = self._slots.limit
        self._failed += 1
        if kind != "rate_limited" and self._failed * 10 < limit:
            return
        self._lowered_at = now
        self._fall_history.clear()
        self._before_probe = None
        if kind == "rate_limited":
            self._refused = limit
        if self._doubling and self._reference is not None:
            self._set(self._reference.limit)
        else:
            self._set(int(limit * LOWER))
        self._doubling = False

    def _measure(self) -> tuple[LatencyAtLimit, float]:
        """The round's latency, and its relative standard error."""
        answers, count = self._answers, len(self._answers)
        first_s = sum(first for first, _, _ in answers) / count
        tokens = sum(tokens for _, _, tokens in answers)
        token_s = sum(after for _, after, _ in answers) / tokens if tokens else 0.0
        latency = LatencyAtLimit(min(self._slots.limit, self._most_in_use + 1), first_s, token_s, tokens / count)
        mean = self._answer_s = latency.latency_s(latency.tokens)
        square = sum((first + after - first_s - token_s * tokens) ** 2 for first, after, tokens in answers)
        return latency, math.sqrt(square / count / (count - 1)) / mean if mean and count > 1 else 0.0

    def _end_round(self, latency: LatencyAtLimit, chance: float) -> None:
        self._rounds += 1
        full = latency.limit == self._slots.limit
        if self._before_probe is not None:
            self._end_probe(self._before_probe, latency)
        elif self._doubling:
            self._double(latency, full)
        elif self._overloaded(latency, 1.05 + min(2 * chance, 0.25)):
            self._fall(latency)
        else:
            self._rise(latency, full)

    def _double(self, latency: LatencyAtLimit, full: bool) -> None:
        if not full:
            self._set(self._slots.limit)
        elif self._overloaded(latency, 1.0):
            self._doubling = False
            self._set(self._reference.limit if self._reference else 1)
        else:
            self._reference = latency
            self._doubling = latency.limit < self._ceiling
            self._set(latency.limit * 2)

    def _rise(self, latency: LatencyAtLimit, full: bool) -> None:
        self._fall_history.clear()
        limit = self._slots.limit
        if full:
            self._learn(latency)
            if self._refused is not None and limit > self._refused:
                self._refused = None
            if limit > 1 and self._rounds % PROBE_ROUNDS == 0:
                self._before_probe = latency
                limit //= 2
            else:
                limit += math.isqrt(limit) if self._refused is None else 1
        self._set(limit)

    def _fall(self, latency: LatencyAtLimit) -> None:
        """Lower the limit, unless doing so did not help before."""
        higher = next((past for past in reversed(self._fall_history) if past and past.limit >= 2 * latency.limit), None)
        if higher is not None and not _faster(latency, higher):
            self._accept(higher)
        elif latency.limit == 1:
            self._accept(latency)
        else:
            # the first round of a fall may mix latencies from before and after the endpoint changed: not comparable
            self._fall_history.append(latency if self._fall_history else None)
            self._lowered_at = self._clock()
            self._set(int(latency.limit * LOWER))

    def _end_probe(self, before: LatencyAtLimit, latency: LatencyAtLimit) -> None:
        self._before_probe = None
        self._accept(latency if _faster(latency, before) else before)

    def _accept(self, latency: LatencyAtLimit) -> None:
        self._reference = latency
        self._fall_history.clear()
        self._set(latency.limit)

    def _learn(self, latency: LatencyAtLimit) -> None:
        """Raise the reference when throughput grew with the limit; else let it follow slow changes."""
        reference = self._reference
        if reference is None or (latency.limit >= 1.2 * reference.limit and not self._overloaded(latency, 1.0)):
            self._reference = latency
        elif latency.limit <= reference.limit:
            self._reference = LatencyAtLimit(
                reference.limit,
                0.8 * reference.first_s + 0.2 * latency.first_s,
                0.8 * reference.token_s + 0.2 * latency.token_s,
                latency.tokens,
            )

    def _overloaded(self, latency: LatencyAtLimit, allowance: float) -> bool:
        """Whether latency grew by more than the square root of the limit, compared with the reference."""
        reference = self._reference
        if reference is None:
            return False
        allowed = reference.latency_s(latency.tokens) * math.sqrt(max(1.0, latency.limit / reference.limit)) * allowance
        return 0 < allowed < latency.latency_s(latency.tokens)

    def _set(self, limit: int) -> None:
        """Set the limit and start a round."""
        now = self._clock()
        limit = max(1, min(limit, self._ceiling))
        # queues need the time of one answer to settle at the new limit
        self._counts_from = now if self._doubling else now + self._answer_s
        self._failed = self._most_in_use = 0
        self._answers.clear()
        if not self.history or limit != self._slots.limit:
            self._slots.limit = limit
            self.history.append((now - self._started, limit))
            if len(self.history) > HISTORY:
                del self.history[1:-1:2]


def _faster(latency: LatencyAtLimit, higher: LatencyAtLimit) -> bool:
    """Whether latency fell by more than the square root of the limit: the higher limit only made requests wait."""
    return latency.latency_s(latency.tokens) < higher.latency_s(latency.tokens) * math.sqrt(
        latency.limit / higher.limit
    )
