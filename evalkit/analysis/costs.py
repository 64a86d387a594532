"""The cost of a run: the tokens reported for its requests, times the price of a million tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.analysis import price_file

if TYPE_CHECKING:
    import pandas as pd

# A request that was refused, or never reached the endpoint, is free. Any other may be billed, and without its tokens
# the cost is not complete. Tokens with a price of 0 are not needed.
_WITHOUT_USAGE = """
    ((prompt_tokens IS NULL AND :prompt > 0) OR (output_tokens IS NULL AND :output > 0))
      AND (error_kind IS NULL OR error_kind IN ('timeout', 'truncated', 'empty', 'protocol', 'cancelled')
        OR coalesce(partial, '') <> '' OR length(coalesce(arrivals, '')) > 0)"""
_MONEY = """(coalesce(prompt_tokens, 0) * :prompt + coalesce(output_tokens, 0) * :output
      + coalesce(cached_tokens, 0) * (:cached - :prompt) + coalesce(cache_write_tokens, 0) * (:cache_write - :prompt)
      ) / 1e6"""
_RUN = f"""
    SELECT sum({_WITHOUT_USAGE}), count(prompt_tokens) + count(output_tokens),
      coalesce(sum(prompt_tokens), 0), coalesce(sum(output_tokens), 0),
      coalesce(sum(cached_tokens), 0), coalesce(sum(cache_write_tokens), 0)
    FROM attempt"""  # noqa: S608 - SQL of our own
_TURNS = f"""
    SELECT c.id AS conversation, t.repeat, t.turn, CASE WHEN a.turn IS NULL THEN 0.0 ELSE a.cost END AS cost
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN (
        SELECT conversation, repeat, turn, CASE WHEN sum({_WITHOUT_USAGE}) = 0 THEN sum({_MONEY}) END AS cost
        FROM attempt GROUP BY conversation, repeat, turn
      ) a ON (a.conversation, a.repeat, a.turn) = (t.conversation, t.repeat, t.turn)
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own


class Price(NamedTuple):
    """The price of a million tokens.

    Parameters
    ----------
    prompt, output : float
        In the currency of the price file.
    source : str
        ``run``: the price when the run was made, which its file stores; ``file``: the present price file.
    cached, cache_write : float or None
        Of prompt tokens read from the endpoint's cache, and written to it. None: as ``prompt``.
    """

    prompt: float
    output: float
    source: str
    cached: float | None = None
    cache_write: float | None = None

    @property
    def by_name(self) -> dict[str, float]:
        """Each price, none of them missing."""
        cached, written = (self.prompt if price is None else price for price in (self.cached, self.cache_write))
        return {"prompt": self.prompt, "output": self.output, "cached": cached, "cache_write": written}


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a run, in the currency of its price.

    Parameters
    ----------
    price : Price
    total : float or None
        Every request counts: retries, rounds of tool results, turns that failed in the end, and turns run again by
        ``resume``. A lower bound unless ``untold`` is 0; None: no tokens were reported.
    untold : int
        Requests that may be billed and whose tokens were not reported.
    turns, right : int
        Number of finished turns, and of answered turns with a score of 1.
    """

    price: Price
    total: float | None
    untold: int
    turns: int
    right: int

    @property
    def complete(self) -> bool:
        """Whether the total is the whole cost."""
        return self.total is not None and not self.untold

    @property
    def per_turn(self) -> float | None:
        """Total / finished turns; None: no total, or no turn."""
        return None if self.total is None or not self.turns else self.total / self.turns

    @property
    def per_right(self) -> float | None:
        """Total / right turns; None: no total, or no right turn."""
        return None if self.total is None or not self.right else self.total / self.right


def stored_price(info: Mapping[str, Any]) -> Price | None:
    """The price stored in a run, from ``store.run_info``; None: there is none."""
    stored = info["settings"].get("price")
    return None if stored is None else _price(stored, "run")


def run_price(info: Mapping[str, Any]) -> Price | None:
    """The price stored in a run, else that of its model in the user's present price file; None: there is neither.

    Raises
    ------
    SettingsError
        The price file is needed but not usable.
    """
    if stored := stored_price(info):
        return stored
    found = price_file.price_if_known(info["endpoint"].get("model", ""))
    return None if found is None else _price(found, "file")


def _price(prices: Sequence[float], source: str) -> Price:
    prompt, output, *of_cache = prices
    cached, cache_write = [*of_cache, None, None][:2]
    return Price(prompt, output, source, cached, cache_write)


def cost(connection: sqlite3.Connection, price: Price, *, turns: int, right: int) -> Cost:
    """Add up the cost of a run.

    Prompt tokens that were read from the endpoint's cache, or written to it, count at their own prices if these are
    known, else at that of prompts. Reasoning tokens count as output.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of a run file.
    price : Price
    turns, right : int
        See ``Cost``.
    """
    prices = price.by_name
    untold, reported, prompt_tokens, output_tokens, cached, written = connection.execute(_RUN, prices).fetchone()
    total = prompt_tokens * price.prompt + output_tokens * price.output
    total += cached * (prices["cached"] - price.prompt) + written * (prices["cache_write"] - price.prompt)
    total /= 1e6
    return Cost(price, total if reported or not untold else None, untold or 0, turns, right)


def by_turn(connection: sqlite3.Connection, price: Price | None) -> pd.DataFrame:
    """The cost of each finished turn.

    Returns
    -------
    DataFrame
        Columns ``conversation, repeat, turn, cost``. A turn that was never requested cost 0. NaN: no price is known,
        or the tokens of a request that may be billed were not reported.
    """
    import pandas as pd

    parameters = (price or Price(0, 0, "run")).by_name
    frame = pd.read_sql_query(_TURNS, connection, params=parameters)
    return frame.assign(cost=frame["cost"].astype("float64") if price else float("nan"))
