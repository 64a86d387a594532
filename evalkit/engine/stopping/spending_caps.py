"""Caps on the tokens and the money that a session may spend."""

from __future__ import annotations

from evalkit.engine.pacing.rate_limits import CHARACTERS_PER_TOKEN
from evalkit.record import Answer, Attempt
from evalkit.settings import Settings

PAID = frozenset({"timeout", "truncated", "empty", "protocol"})  # failures of requests that may still be charged


class CapReached(Exception):
    """A cap is reached, and nothing new is sent; the argument is the name of the setting."""


class SpendingCaps:
    """Adds up the tokens and the cost of requests, each as soon as it has ended.

    Every attempt counts, including failed ones, unless the endpoint refused it or it never arrived. Where the server
    reports no token counts, they are estimated at four bytes per token, from the body of the request as it was sent
    (system prompt, tools, history, calls and results of tool rounds) and from the whole answer: a rough cap is better
    than one that is silently ignored.

    Parameters
    ----------
    settings : Settings
        Its ``max_tokens_total``, ``max_cost`` and ``price``.

    Attributes
    ----------
    prompt_tokens, output_tokens : float
    others_tokens, others_cost : float
        What other asking processes of the same run have spent: the caps hold for the sum.
    used_up : str or None
        The cap that is reached: ``max_tokens_total`` or ``max_cost``.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_tokens, self._max_cost = settings.max_tokens_total, settings.max_cost
        self._prompt_price, self._output_price, *of_cache = settings.price or (0.0, 0.0)
        self._cached_price, self._write_price = (*of_cache, self._prompt_price, self._prompt_price)[:2]
        self.prompt_tokens = self.output_tokens = 0.0
        self.others_tokens = self.others_cost = 0.0
        self._cache_discount = 0.0
        self.used_up: str | None = None

    @property
    def cost(self) -> float:
        """In the currency of the prices."""
        tokens = self.prompt_tokens * self._prompt_price + self.output_tokens * self._output_price
        return (tokens - self._cache_discount) / 1e6

    def add(self, attempt: Attempt, sent: int) -> None:
        """Add an attempt that has ended.

        Parameters
        ----------
        attempt : Attempt
        sent : int
            Bytes of the body of its request.
        """
        usage, answer, failure = attempt.usage, attempt.answer or Answer(), attempt.failure
        charged = failure is None or failure.kind in PAID or not answer.empty
        if usage is not None and usage.prompt_tokens is not None:
            self.prompt_tokens += usage.prompt_tokens
            self._cache_discount += (usage.cached_tokens or 0) * (self._prompt_price - self._cached_price)
            self._cache_discount += (usage.cache_write_tokens or 0) * (self._prompt_price - self._write_price)
        elif charged:
            self.prompt_tokens += sent / CHARACTERS_PER_TOKEN
        if usage is not None and usage.output_tokens is not None:
            self.output_tokens += usage.output_tokens
        elif charged:
            self.output_tokens += answer_bytes(answer) / CHARACTERS_PER_TOKEN
        self._compare()

    def note_others(self, tokens: float, cost: float) -> None:
        """Take note of what other asking processes of the run have spent so far."""
        self.others_tokens, self.others_cost = tokens, cost
        self._compare()

    def _compare(self) -> None:
        tokens = self.prompt_tokens + self.output_tokens + self.others_tokens
        if self._max_tokens is not None and tokens >= self._max_tokens:
            self.used_up = "max_tokens_total"
        elif self._max_cost is not None and self.cost + self.others_cost >= self._max_cost:
            self.used_up = "max_cost"

    def check(self) -> None:
        """Raise if a cap is reached.

        Raises
        ------
        UsedUp
        """
        if self.used_up is not None:
            raise CapReached(self.used_up)


def answer_bytes(answer: Answer) -> int:
    """Bytes of the whole answer, including its calls, for estimates."""
    calls = (part for call in answer.tool_calls for part in (call.name, call.arguments))
    return sum(
        len(part.encode(errors="replace")) for part in (answer.text, answer.reasoning, answer.refusal or "", *calls)
    )
