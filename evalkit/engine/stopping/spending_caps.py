"""What a session has used of its budgets: tokens and money."""

from __future__ import annotations

from evalkit.engine.pacing.rate_limits import CHARACTERS_A_TOKEN
from evalkit.record import Answer, Attempt
from evalkit.settings import Settings

PAID = frozenset({"timeout", "truncated", "empty", "protocol"})  # failures of requests that may have been worked on


class CapReached(Exception):
    """A budget of the session is used up, and nothing new is asked; its argument is the name of the setting."""


class SpendingCaps:
    """Adds up what requests have cost, each as soon as it has ended.

    Every attempt counts, a failed one too, unless the endpoint refused it or it never came through. Where the server
    counts no tokens, they are estimated at four bytes a token, from the body of the request as it was sent (system
    prompt, tools, history, calls and results of tool rounds) and from all that was answered: a budget that is silently
    not kept would be worse than a rough one.

    Parameters
    ----------
    settings : Settings
        Its ``max_tokens_total``, ``max_cost`` and ``price``.

    Attributes
    ----------
    prompt_tokens, output_tokens : float
    used_up : str or None
        The budget that is used up: ``max_tokens_total`` or ``max_cost``.
    """

    def __init__(self, settings: Settings) -> None:
        self._most_tokens, self._most_cost = settings.max_tokens_total, settings.max_cost
        self._prompt_price, self._output_price = settings.price or (0.0, 0.0)
        self.prompt_tokens = self.output_tokens = 0.0
        self.used_up: str | None = None

    @property
    def cost(self) -> float:
        """In the currency of the prices."""
        return (self.prompt_tokens * self._prompt_price + self.output_tokens * self._output_price) / 1e6

    def add(self, attempt: Attempt, sent: int) -> None:
        """Add an attempt that has ended.

        Parameters
        ----------
        attempt : Attempt
        sent : int
            Bytes of the body of its request.
        """
        usage, answer, failure = attempt.usage, attempt.answer or Answer(), attempt.failure
        worked_on = failure is None or failure.kind in PAID or not answer.empty
        if usage is not None and usage.prompt_tokens is not None:
            self.prompt_tokens += usage.prompt_tokens
        elif worked_on:
            self.prompt_tokens += sent / CHARACTERS_A_TOKEN
        if usage is not None and usage.output_tokens is not None:
            self.output_tokens += usage.output_tokens
        elif worked_on:
            self.output_tokens += length(answer) / CHARACTERS_A_TOKEN
        if self._most_tokens is not None and self.prompt_tokens + self.output_tokens >= self._most_tokens:
            self.used_up = "max_tokens_total"
        elif self._most_cost is not None and self.cost >= self._most_cost:
            self.used_up = "max_cost"

    def check(self) -> None:
        """Nothing, as long as there is something left.

        Raises
        ------
        UsedUp
        """
        if self.used_up is not None:
            raise CapReached(self.used_up)


def length(answer: Answer) -> int:
    """Bytes of all that an answer holds, its calls included, for estimates."""
    calls = (part for call in answer.tool_calls for part in (call.name, call.arguments))
    return sum(
        len(part.encode(errors="replace")) for part in (answer.text, answer.reasoning, answer.refusal or "", *calls)
    )
