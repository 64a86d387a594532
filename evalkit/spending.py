"""What a session has used of its budgets: tokens and money."""

from __future__ import annotations

from evalkit.pacing import CHARACTERS_A_TOKEN
from evalkit.record import Answer, Attempt, TurnRecord
from evalkit.settings import Settings


class Spending:
    """Adds up what turns have cost.

    Every attempt counts, a failed one too. Where the server counts no tokens, they are estimated, at four characters
    a token: a budget that is silently not kept would be worse than a rough one.

    Parameters
    ----------
    settings : Settings
        Its ``max_tokens_total``, ``max_cost`` and ``price``.

    Attributes
    ----------
    prompt_tokens, output_tokens : float
    """

    def __init__(self, settings: Settings) -> None:
        self._most_tokens, self._most_cost = settings.max_tokens_total, settings.max_cost
        self._prompt_price, self._output_price = settings.price or (0.0, 0.0)
        self.prompt_tokens = self.output_tokens = 0.0
        self.limited = self._most_tokens is not None or self._most_cost is not None

    @property
    def cost(self) -> float:
        """In the currency of the prices."""
        return (self.prompt_tokens * self._prompt_price + self.output_tokens * self._output_price) / 1e6

    def add(self, record: TurnRecord, prompt_characters: int) -> str | None:
        """Add a turn.

        Parameters
        ----------
        record : TurnRecord
        prompt_characters : int
            Of all messages its requests had, for when the server does not count.

        Returns
        -------
        str or None
            The budget that is used up now: ``max_tokens_total`` or ``max_cost``.
        """
        for attempt in record.attempts:
            self._add(attempt, prompt_characters)
        if self._most_tokens is not None and self.prompt_tokens + self.output_tokens >= self._most_tokens:
            return "max_tokens_total"
        if self._most_cost is not None and self.cost >= self._most_cost:
            return "max_cost"
        return None

    def _add(self, attempt: Attempt, prompt_characters: int) -> None:
        usage, answer = attempt.usage, attempt.answer or Answer()
        answered = attempt.failure is None or not answer.empty
        if usage is not None and usage.prompt_tokens is not None:
            self.prompt_tokens += usage.prompt_tokens
        elif answered:
            self.prompt_tokens += prompt_characters / CHARACTERS_A_TOKEN
        if usage is not None and usage.output_tokens is not None:
            self.output_tokens += usage.output_tokens
        elif answered:
            self.output_tokens += (len(answer.text) + len(answer.reasoning)) / CHARACTERS_A_TOKEN
