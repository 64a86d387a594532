"""Accuracy over conversations with an anytime-valid interval: it holds however often, and whenever, it is looked at."""

from __future__ import annotations

import math

import numpy as np

from evalkit.stats.arrays import Floats
from evalkit.stats.estimate import Estimate

CAP = 0.75  # the largest share of the capital that a bet may lose
_HALVINGS = 30  # halvings of an interval from 0 to 1, which leave 1e-9


class ConfidenceSequence:
    """A betting confidence sequence for the share of right turns, over conversations of unequal length.

    With probability ``confidence`` the truth is in the interval after every conversation, so a run may be stopped by
    what the interval shows. An interval for a fixed number of conversations, looked at repeatedly, misses the truth far
    more often than its level.

    The truth m is E(s) / E(n), of conversations with n scored turns and the sum s of their scores. If it is m, then
    ``g = (s − m n) / N`` has mean 0 and is between −m and 1 − m, where N is the largest number of turns of a
    conversation. Betting an amount λ on it each time turns a capital of 1 into ``Π (1 + λ g)``. That is a nonnegative
    martingale, which ever reaches 2/α with a probability of at most α/2 (Ville). All m are ruled out against which bets
    that more is right, or that less is right, have won that much. The capital is monotonic in m, so the remaining m are
    an interval.

    This is the hedged capital of Waudby-Smith and Ramdas (2024), with two differences. The bets are on whole
    conversations rather than single turns, which are correlated. And the bets are made for a goal, the half-width at
    which to stop: ``λ = μ / (v + μ²)``, their approximation of the bet with the fastest growth of capital, against the
    accuracies at a distance of the goal; v is the variance of g and ``μ = goal · (mean of n) / N``, both from the
    previous conversations and one more of the largest length with variance 1/4. No bet loses more than 3/4 of the
    capital. The goal is reached with two to three times the conversations that a fixed-sample interval needs, and five
    times near accuracies of 0 and 1, where a single wrong conversation costs most of the capital. Bets without a goal
    need three to seven times as many at medium accuracies.

    Parameters
    ----------
    most_turns : int
        The largest number of scored turns of a conversation.
    goal : float
        Half-width of the interval, 0 to 1, that the bets are made for; the interval is valid at any other width too.
    confidence : float
        Two-sided level.

    Attributes
    ----------
    conversations : int
        Number of conversations with scored turns so far.

    Notes
    -----
    The guarantee holds for conversations in random order, so that each is expected to be as difficult as any other,
    given those before. It does not hold for a dataset sorted by difficulty, nor for conversations in groups. The order
    must not depend on the answers either: do not add conversations as they end, since short ones end first.

    References
    ----------
    I. Waudby-Smith, A. Ramdas, J. R. Stat. Soc. B 86 (2024) 1–27.
    J. Ville, Étude critique de la notion de collectif (1939).
    """

    def __init__(self, most_turns: int, goal: float, confidence: float = 0.95) -> None:
        if most_turns < 1:
            raise ValueError(f"most_turns is {most_turns}: it must be at least 1")
        if not 0 < goal < 1:
            raise ValueError(f"goal is {goal}: it must be between 0 and 1")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}: it must be between 0 and 1")
        self.conversations = 0
        self._most_turns, self._goal = most_turns, goal
        self._threshold = math.log(2 / (1 - confidence))  # logarithm of the capital that rules out a candidate
        self._right, self._turns = 0.0, 0
        self._new: list[tuple[float, int]] = []
        self._seen: Floats = np.empty((2, 0))  # sum and number of scores, one column per conversation
        self._bets: Floats = np.empty(0)
        self._low, self._low_wrong = 0.0, 0.0  # lower limits of the share of right turns and of wrong turns

    def add(self, total: float, turns: int) -> None:
        """Add the next conversation.

        Parameters
        ----------
        total : float
            Sum of its scores, each from 0 to 1.
        turns : int
            Number of scored turns. A conversation without any is ignored.

        Raises
        ------
        ValueError
            There are more turns than ``most_turns``, or scores are outside 0 to 1.
        """
        if not 0 <= turns <= self._most_turns:
            raise ValueError(f"a conversation has {turns} scored turns: it must have from 0 to {self._most_turns}")
        if not -1e-9 <= total <= turns + 1e-9:
            raise ValueError(f"{turns} scores from 0 to 1 cannot add up to {total}")
        if turns:
            self.conversations += 1
            self._right += total
            self._turns += turns
            self._new.append((total, turns))

    @property
    def value(self) -> float | None:
        """The share of right turns so far; None: no turn is scored."""
        return self._right / self._turns if self._turns else None

    @property
    def reached(self) -> bool:
        """Whether the half-width is at most the goal; faster than ``half_width``, with a hardly later answer."""
        value = self.value
        if value is None:
            return False
        self._update()
        low, low_wrong = value - self._goal, 1 - value - self._goal
        if low > self._low and self._capital(low, wrong=False) >= self._threshold:
            self._low = low
        if low_wrong > self._low_wrong and self._capital(low_wrong, wrong=True) >= self._threshold:
            self._low_wrong = low_wrong
        return self._low >= low and self._low_wrong >= low_wrong and not self._crossed

    @property
    def interval(self) -> Estimate:
        """The share of right turns with its limits, which never widen; ``n`` is the number of scored turns.

        It has no value before a turn is scored. It has no limits when they have crossed, which has a probability of at
        most 1 − ``confidence`` when conversations are in random order.
        """
        value = self.value
        if value is None:
            return Estimate(None, None, None, 0, "no conversation has ended with a scored turn")
        self._update()
        self._low = self._ruled_out(self._low, wrong=False)
        self._low_wrong = self._ruled_out(self._low_wrong, wrong=True)
        if self._crossed:
            reason = "the limits have crossed: the conversations are not in random order, shuffle the dataset"
            return Estimate(value, None, None, self._turns, reason)
        return Estimate(value, self._low, 1 - self._low_wrong, self._turns)

    @property
    def half_width(self) -> float | None:
        """The larger distance from the value to a limit; None: there are no limits."""
        interval = self.interval
        if interval.value is None or interval.low is None or interval.high is None:
            return None
        return max(interval.value - interval.low, interval.high - interval.value)

    @property
    def _crossed(self) -> bool:
        return self._low > 1 - self._low_wrong

    def _update(self) -> None:
        if self._new:
            self._seen = np.concatenate([self._seen, np.array(self._new, dtype=np.float64).T], axis=1)
            self._new.clear()
            right, turns = self._seen
            self._bets = bets(right, turns, self._most_turns, self._goal)

    def _capital(self, candidate: float, *, wrong: bool) -> float:
        """Logarithm of the capital of bets that the share of right turns, or of wrong turns, is above the candidate."""
        right, turns = self._seen
        return float(gains(turns - right if wrong else right, turns, self._bets, self._most_turns, candidate).sum())

    def _ruled_out(self, low: float, *, wrong: bool) -> float:
        """The largest candidate that is ruled out, by halving; a bet against 1 wins nothing."""
        if self._capital(low, wrong=wrong) < self._threshold:
            return low
        high = 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._capital(middle, wrong=wrong) >= self._threshold:
                low = middle
            else:
                high = middle
        return low


def bets(right: Floats, turns: Floats, most_turns: int, goal: float) -> Floats:
    """The λ of each conversation, from those before it; see ``ConfidenceSequence``.

    Parameters
    ----------
    right, turns : ndarray, shape (…, conversations)
        Sum and number of the scores of each conversation.

    Returns
    -------
    ndarray, shape (…, conversations)
    """
    before = np.arange(1.0, right.shape[-1] + 1)  # conversations before, and the assumed one
    seen = np.cumsum(turns, axis=-1) + most_turns
    mean = (np.cumsum(right, axis=-1) + most_turns / 2) / seen
    squares = ((right - mean * turns) / most_turns) ** 2
    variance = (np.cumsum(squares, axis=-1) - squares + 0.25) / before
    edge = goal * (seen - turns) / (before * most_turns)
    return np.asarray(edge / (variance + edge * edge))


def gains(right: Floats, turns: Floats, bets: Floats, most_turns: int, candidate: float) -> Floats:
    """Growth of the logarithm of the capital with each conversation, by bets that more is right than a candidate.

    Parameters
    ----------
    right, turns, bets : ndarray, shape (…, conversations)
    candidate : float
        A share of right turns, 0 to 1.

    Returns
    -------
    ndarray, shape (…, conversations)
        Its sum falls as the candidate rises.
    """
    capped = np.minimum(bets, CAP / candidate) if candidate > 0 else bets
    return np.log1p(capped * (right - candidate * turns) / most_turns)
