"""Finds how many requests at once an endpoint takes before more of them only wait longer, and follows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from evalkit.engine.pacing.slots import Slots

OVERLOADED = frozenset({"server", "connection", "timeout"})  # signs of overload when they come in numbers
LOWER = 0.75
FEWEST = 8  # answers to judge a limit by
FEWEST_AT_FIRST = 4  # while doubling from 1: a first guess, soon
PROBE_ROUNDS = 32
HISTORY = 512


@dataclass(frozen=True, slots=True)
class LatencyAtLimit:
    """How long answers took at one limit: time to the first token, and seconds a token after that."""

    limit: int
    first_s: float
    token_s: float
    tokens: float

    def latency_s(self, tokens: float) -> float:
        """Of an answer of so many tokens."""
        return self.first_s + self.token_s * tokens


class AdaptiveSlots:
    """Moves a gate's limit to the knee of the endpoint's throughput, and after it.

    What it goes by is latency relative to the best, and by that throughput itself: as long as the gate is full,
    throughput is limit / latency (Little's law), so a higher limit is worth it just as long as latency grows less than
    the limit does. It counts as overload when latency grew by more than the square root of that, when doubling the
    limit gives less than 1.41 times the throughput. Both kinds of server bend there: one that queues what is
    beyond its slots, and one that puts all in a batch and gets slower bit by bit, where latency against that of a
    single request would stop far too early.

    So that a long answer is not taken for overload, latencies of two times are compared at one length: mean time to
    the first token, plus this time's mean length times seconds a token after the first. Without a stream all of
    latency is by the token; without token counts latency is taken as it is.

    It works in rounds. A round has seen as many good answers as the limit (8 at least), of requests begun since it
    started; only then latency speaks of the limit. A failure is reacted to at once, but not again before requests
    begun after that have failed and the time of one answer has passed.

    - At first the limit doubles each round, from 1, until that is overload or fails; it goes back to the last good one.
    - From then on it grows by its square root a round (by 1 where the endpoint refused before), if it was used to the
      full, and falls to three quarters on a 429, when a tenth of it failed (5xx, connection, time-out), or on overload.
      Latencies scatter: what two standard errors of their mean explain is no overload.
    - When falling to half does not make answers faster, the endpoint itself has become slower. That is then taken as
      the normal latency, and the limit goes back up. So that a normal latency that was too high to begin with is
      found out, it also tries half the limit every 32 rounds.

    Parameters
    ----------
    gate : Gate
        Its limit is set, from 1 on.
    clock : callable
        Seconds, monotonic.
    ceiling : int
        The highest limit.

    Attributes
    ----------
    history : list of (float, int)
        Seconds since the start, and the limit set then. Beyond 512 entries every other is dropped.
    """

    def __init__(self, gate: Slots, clock: Callable[[], float] = time.monotonic, ceiling: int = 1024) -> None:
        self._gate, self._clock, self._ceiling = gate, clock, ceiling
        self._began = self._since = self._lowered = clock()
        self._answers: list[tuple[float, float, int]] = []  # seconds to the first token, after it, tokens
        self._failed = self._busiest = self._rounds = 0
        self._doubling = True
        self._answer_s = 0.0
        self._good: LatencyAtLimit | None = None  # the highest limit at which latency was what it should be
        self._descent: list[LatencyAtLimit | None] = []  # what latency was on the way down, highest limit first
        self._probed: LatencyAtLimit | None = None  # what latency was before half the limit was tried
        self._refused: int | None = None
        self.history: list[tuple[float, int]] = []
        self._set(1)

    def note(self, *, kind: str | None, ttft_ns: int | None, latency_ns: int | None, output_tokens: int | None) -> None:
        """An attempt has ended.

        Parameters
        ----------
        kind : str or None
            Of its failure; None: a good answer.
        ttft_ns : int or None
            None: not streamed, or no token came.
        latency_ns : int or None
            From ``sent`` to its end, of failures too; None: it was never sent.
        output_tokens : int or None
            None: not counted.
        """
        now, latency_s = self._clock(), (latency_ns or 0) / 1e9
        self._busiest = max(self._busiest, self._gate.inside)
        if kind is not None:
            if kind == "rate_limited" or kind in OVERLOADED:
                self._note_failure(kind, now, latency_s)
            return
        if latency_ns is None or now - latency_s < self._since:
            return
        first_s = latency_s if not output_tokens else 0.0 if ttft_ns is None else ttft_ns / 1e9
        self._answers.append((first_s, latency_s - first_s, output_tokens or 0))
        if len(self._answers) >= max(self._gate.limit, FEWEST_AT_FIRST if self._doubling else FEWEST):
            self._end_round(*self._measured())

    def _note_failure(self, kind: str, now: float, latency_s: float) -> None:
        if now - latency_s < self._lowered or now - self._lowered < self._answer_s:
            return
        limit = self._gate.limit
        self._failed += 1
        if kind != "rate_limited" and self._failed * 10 < limit:
            return
        self._lowered = now
        self._descent.clear()
        self._probed = None
        if kind == "rate_limited":
            self._refused = limit
        if self._doubling and self._good is not None:
            self._set(self._good.limit)
        else:
            self._set(int(limit * LOWER))
        self._doubling = False

    def _measured(self) -> tuple[LatencyAtLimit, float]:
        """The round's pace, and how far its latency may be off by chance, relative to it."""
        answers, count = self._answers, len(self._answers)
        first_s = sum(first for first, _, _ in answers) / count
        tokens = sum(tokens for _, _, tokens in answers)
        token_s = sum(after for _, after, _ in answers) / tokens if tokens else 0.0
        pace = LatencyAtLimit(min(self._gate.limit, self._busiest + 1), first_s, token_s, tokens / count)
        mean = self._answer_s = pace.latency_s(pace.tokens)
        square = sum((first + after - first_s - token_s * tokens) ** 2 for first, after, tokens in answers)
        return pace, math.sqrt(square / count / (count - 1)) / mean if mean and count > 1 else 0.0

    def _end_round(self, pace: LatencyAtLimit, chance: float) -> None:
        self._rounds += 1
        full = pace.limit == self._gate.limit
        if self._probed is not None:
            self._end_probe(self._probed, pace)
        elif self._doubling:
            self._double(pace, full)
        elif self._overloaded(pace, 1.05 + min(2 * chance, 0.25)):
            self._fall(pace)
        else:
            self._rise(pace, full)

    def _double(self, pace: LatencyAtLimit, full: bool) -> None:
        if not full:
            self._set(self._gate.limit)
        elif self._overloaded(pace, 1.0):
            self._doubling = False
            self._set(self._good.limit if self._good else 1)
        else:
            self._good = pace
            self._doubling = pace.limit < self._ceiling
            self._set(pace.limit * 2)

    def _rise(self, pace: LatencyAtLimit, full: bool) -> None:
        self._descent.clear()
        limit = self._gate.limit
        if full:
            self._learn(pace)
            if self._refused is not None and limit > self._refused:
                self._refused = None
            if limit > 1 and self._rounds % PROBE_ROUNDS == 0:
                self._probed = pace
                limit //= 2
            else:
                limit += math.isqrt(limit) if self._refused is None else 1
        self._set(limit)

    def _fall(self, pace: LatencyAtLimit) -> None:
        """Lower the limit, unless that has not helped before."""
        above = next((past for past in reversed(self._descent) if past and past.limit >= 2 * pace.limit), None)
        if above is not None and not _faster(pace, above):
            self._accept(above)
        elif pace.limit == 1:
            self._accept(pace)
        else:
            # the first on the way down may have seen the endpoint both before and after it changed: not to go by
            self._descent.append(pace if self._descent else None)
            self._lowered = self._clock()
            self._set(int(pace.limit * LOWER))

    def _end_probe(self, before: LatencyAtLimit, pace: LatencyAtLimit) -> None:
        self._probed = None
        self._accept(pace if _faster(pace, before) else before)

    def _accept(self, pace: LatencyAtLimit) -> None:
        self._good = pace
        self._descent.clear()
        self._set(pace.limit)

    def _learn(self, pace: LatencyAtLimit) -> None:
        """Move the good pace up when throughput grew with the limit; else let it follow slow changes."""
        good = self._good
        if good is None or (pace.limit >= 1.2 * good.limit and not self._overloaded(pace, 1.0)):
            self._good = pace
        elif pace.limit <= good.limit:
            self._good = LatencyAtLimit(
                good.limit,
                0.8 * good.first_s + 0.2 * pace.first_s,
                0.8 * good.token_s + 0.2 * pace.token_s,
                pace.tokens,
            )

    def _overloaded(self, pace: LatencyAtLimit, allowance: float) -> bool:
        """Whether latency grew by more than the square root of the limit, against the good pace."""
        good = self._good
        if good is None:
            return False
        allowed = good.latency_s(pace.tokens) * math.sqrt(max(1.0, pace.limit / good.limit)) * allowance
        return 0 < allowed < pace.latency_s(pace.tokens)

    def _set(self, limit: int) -> None:
        """Begin a round."""
        now = self._clock()
        limit = max(1, min(limit, self._ceiling))
        # a queue takes the time of an answer to become what the new limit makes of it
        self._since = now if self._doubling else now + self._answer_s
        self._failed = self._busiest = 0
        self._answers.clear()
        if not self.history or limit != self._gate.limit:
            self._gate.limit = limit
            self.history.append((now - self._began, limit))
            if len(self.history) > HISTORY:
                del self.history[1:-1:2]


def _faster(pace: LatencyAtLimit, above: LatencyAtLimit) -> bool:
    """Whether latency fell with the limit by more than its square root: the higher limit only made requests wait."""
    return pace.latency_s(pace.tokens) < above.latency_s(pace.tokens) * math.sqrt(pace.limit / above.limit)
