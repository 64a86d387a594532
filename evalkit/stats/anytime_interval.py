"""Accuracy over conversations with an interval that stays true however often, and whenever, one looks at it."""

from __future__ import annotations

import math

import numpy as np

from evalkit.stats.arrays import Floats
from evalkit.stats.estimate import Estimate

CAP = 0.75  # the share of its capital that a bet may lose at the most
_STEPS = 30  # halvings of an interval within 0 to 1: a billionth is left


class ConfidenceSequence:
    """A betting confidence sequence for the share of right turns, over conversations of unequal length.

    With probability ``confidence`` the truth lies in the interval after every conversation at once, so that a run may
    be ended by what the interval shows. An interval for a fixed number of conversations, looked at again and again,
    misses it far more often than it says.

    The truth m is E(s) / E(n), of conversations with n scored turns and the sum s of their scores. If it is m, then
    ``g = (s − m n) / N`` has the mean 0 and lies between −m and 1 − m, N being the most turns a conversation may have.
    Who bets on it, an amount λ each time, has a capital of 1 at first and then of ``Π (1 + λ g)``. That is a
    nonnegative martingale, which ever reaches 2/α with probability α/2 at most (Ville). Ruled out are all m against
    which bets that more is right, or that less is right, have won so much. The capital falls as m rises, or rises with
    it, so what is left is an interval.

    This is the hedged capital of Waudby-Smith and Ramdas (2024), with two differences. Whole conversations are bet on,
    and not single turns, which resemble each other. And the bets are made for a goal, the half-width at which to stop:
    ``λ = μ / (v + μ²)``, their approximation of the bet that makes capital grow fastest, against the accuracies that
    lie the goal away; v is the variance of g and ``μ = goal · (mean of n) / N``, both from the conversations before,
    with one longest conversation of variance 1/4 taken as seen. No bet loses more than 3/4 of the capital. So the goal
    is reached with two to three times the conversations that a fixed-sample interval takes, and with five times near
    accuracies of 0 and 1, where a single conversation that goes wrong costs most of the capital. Bets for no goal in
    particular take three to seven times as many at medium accuracies.

    Parameters
    ----------
    most_turns : int
        The most scored turns a conversation may have.
    goal : float
        Half-width of the interval, 0 to 1, that the bets are made for; the interval is true at any other width too.
    confidence : float
        Two-sided level.

    Attributes
    ----------
    conversations : int
        Those with scored turns so far.

    Notes
    -----
    The promise is for conversations that come in random order, as drawn: each is, given those before, as hard as any.
    A dataset in order of difficulty has no such promise, nor has one whose conversations belong together. The order in
    which they are added must not depend on how they went: not that in which they end, for short ones end first.

    References
    ----------
    I. Waudby-Smith, A. Ramdas, J. R. Stat. Soc. B 86 (2024) 1–27.
    J. Ville, Étude critique de la notion de collectif (1939).
    """

    def __init__(self, most_turns: int, goal: float, confidence: float = 0.95) -> None:
        if most_turns < 1:
            raise ValueError(f"most_turns is {most_turns}: a conversation has a turn at least")
        if not 0 < goal < 1:
            raise ValueError(f"goal is {goal}: it must lie between 0 and 1")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}: it must lie between 0 and 1")
        self.conversations = 0
        self._most, self._goal = most_turns, goal
        self._enough = math.log(2 / (1 - confidence))  # the logarithm of the capital that rules a candidate out
        self._right, self._turns = 0.0, 0
        self._new: list[tuple[float, int]] = []
        self._seen: Floats = np.empty((2, 0))  # sum and number of scores, a column a conversation
        self._bets: Floats = np.empty(0)
        self._low, self._over = 0.0, 0.0  # ruled out: accuracies below the first, shares of wrong ones below the second

    def add(self, total: float, turns: int) -> None:
        """Add the next conversation.

        Parameters
        ----------
        total : float
            Sum of its scores, each from 0 to 1.
        turns : int
            How many turns were scored. One without any tells nothing and is passed over.

        Raises
        ------
        ValueError
            More turns than there may be, or scores outside 0 to 1.
        """
        if not 0 <= turns <= self._most:
            raise ValueError(f"a conversation has {turns} scored turns: from 0 to {self._most} were announced")
        if not -1e-9 <= total <= turns + 1e-9:
            raise ValueError(f"{turns} scores from 0 to 1 cannot add up to {total}")
        if turns:
            self.conversations += 1
            self._right += total
            self._turns += turns
            self._new.append((total, turns))

    @property
    def value(self) -> float | None:
        """The share of right turns so far; None: no turn was scored."""
        return self._right / self._turns if self._turns else None

    @property
    def reached(self) -> bool:
        """Whether the half-width is the goal at most: quicker than to ask for it, and hardly later."""
        value = self.value
        if value is None:
            return False
        self._take_in()
        low, over = value - self._goal, 1 - value - self._goal
        if low > self._low and self._capital(low, wrong=False) >= self._enough:
            self._low = low
        if over > self._over and self._capital(over, wrong=True) >= self._enough:
            self._over = over
        return self._low >= low and self._over >= over and not self._crossed

    @property
    def interval(self) -> Estimate:
        """The share of right turns with its limits, which never widen; ``n`` is the number of scored turns.

        It has no value before a turn was scored. It has no limits when they have crossed, which happens with a
        probability of at most 1 − ``confidence`` when conversations come in random order.
        """
        value = self.value
        if value is None:
            return Estimate(None, None, None, 0, "no conversation has ended with a scored turn")
        self._take_in()
        self._low = self._ruled_out(self._low, wrong=False)
        self._over = self._ruled_out(self._over, wrong=True)
        if self._crossed:
            why = "the limits have crossed: the conversations do not come in random order, shuffle the dataset"
            return Estimate(value, None, None, self._turns, why)
        return Estimate(value, self._low, 1 - self._over, self._turns)

    @property
    def half_width(self) -> float | None:
        """How far the truth may be from the value: the larger distance to a limit. None: there are no limits."""
        told = self.interval
        if told.value is None or told.low is None or told.high is None:
            return None
        return max(told.value - told.low, told.high - told.value)

    @property
    def _crossed(self) -> bool:
        return self._low > 1 - self._over

    def _take_in(self) -> None:
        if self._new:
            self._seen = np.concatenate([self._seen, np.array(self._new, dtype=np.float64).T], axis=1)
            self._new.clear()
            right, turns = self._seen
            self._bets = bets(right, turns, self._most, self._goal)

    def _capital(self, candidate: float, *, wrong: bool) -> float:
        """Its logarithm, of the bets that more is right than the candidate, or that more is wrong."""
        right, turns = self._seen
        return float(gains(turns - right if wrong else right, turns, self._bets, self._most, candidate).sum())

    def _ruled_out(self, low: float, *, wrong: bool) -> float:
        """The largest candidate that is ruled out, by halving; at 1 nothing can have been won."""
        if self._capital(low, wrong=wrong) < self._enough:
            return low
        high = 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self._capital(middle, wrong=wrong) >= self._enough:
                low = middle
            else:
                high = middle
        return low


def bets(right: Floats, turns: Floats, most_turns: int, goal: float) -> Floats:
    """The λ of every conversation, each from those before it; see ``ConfidenceSequence``.

    Parameters
    ----------
    right, turns : ndarray, shape (…, conversations)
        Sum and number of the scores of each.

    Returns
    -------
    ndarray, shape (…, conversations)
    """
    before = np.arange(1.0, right.shape[-1] + 1)  # conversations, the one that is taken as seen included
    seen = np.cumsum(turns, axis=-1) + most_turns
    mean = (np.cumsum(right, axis=-1) + most_turns / 2) / seen
    squares = ((right - mean * turns) / most_turns) ** 2
    variance = (np.cumsum(squares, axis=-1) - squares + 0.25) / before
    edge = goal * (seen - turns) / (before * most_turns)
    return np.asarray(edge / (variance + edge * edge))


def gains(right: Floats, turns: Floats, bets: Floats, most_turns: int, candidate: float) -> Floats:
    """How the logarithm of the capital grows with each conversation, by bets that more is right than a candidate.

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
    taken = np.minimum(bets, CAP / candidate) if candidate > 0 else bets
    return np.log1p(taken * (right - candidate * turns) / most_turns)
