"""What a run has cost: the tokens that were told of its requests, times the price of a million of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.analysis import price_file

if TYPE_CHECKING:
    import pandas as pd

# A request that was refused, or never came through, is not paid for. Any other may be, and one that may be and did not
# tell its tokens leaves the cost open. What costs nothing need not be told.
_UNTOLD = """
    ((prompt_tokens IS NULL AND :prompt > 0) OR (output_tokens IS NULL AND :output > 0))
      AND (error_kind IS NULL OR error_kind IN ('timeout', 'truncated', 'empty', 'protocol', 'cancelled')
        OR coalesce(partial, '') <> '' OR length(coalesce(arrivals, '')) > 0)"""
_MONEY = "(coalesce(prompt_tokens, 0) * :prompt + coalesce(output_tokens, 0) * :output) / 1e6"
_RUN = f"""
    SELECT sum({_UNTOLD}), count(prompt_tokens) + count(output_tokens),
      coalesce(sum(prompt_tokens), 0), coalesce(sum(output_tokens), 0)
    FROM attempt"""  # noqa: S608 - SQL of our own
_TURNS = f"""
    SELECT c.id AS conversation, t.repeat, t.turn, CASE WHEN a.turn IS NULL THEN 0.0 ELSE a.cost END AS cost
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN (
        SELECT conversation, repeat, turn, CASE WHEN sum({_UNTOLD}) = 0 THEN sum({_MONEY}) END AS cost
        FROM attempt GROUP BY conversation, repeat, turn
      ) a ON (a.conversation, a.repeat, a.turn) = (t.conversation, t.repeat, t.turn)
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own


class Price(NamedTuple):
    """What a million tokens cost.

    Parameters
    ----------
    prompt, output : float
        In whatever currency the price file is in.
    source : str
        ``run``: it held when the run was made, and the run keeps it; ``file``: the price file as it is now.
    """

    prompt: float
    output: float
    source: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run has cost, in the currency of its price.

    Parameters
    ----------
    price : Price
    total : float or None
        Every request counts: retries, rounds of tool results, turns that failed in the end, and those asked again by
        ``resume``. A lower bound unless ``untold`` is 0; None: no request told its tokens.
    untold : int
        Requests that may be paid for and did not tell their tokens.
    turns, right : int
        Finished turns, and answered ones among them whose score is 1.
    """

    price: Price
    total: float | None
    untold: int
    turns: int
    right: int

    @property
    def complete(self) -> bool:
        """The total is all of it."""
        return self.total is not None and not self.untold

    @property
    def per_turn(self) -> float | None:
        """Total / finished turns; None: no total, or no turn."""
        return None if self.total is None or not self.turns else self.total / self.turns

    @property
    def per_right(self) -> float | None:
        """Total / right turns; None: no total, or no right turn."""
        return None if self.total is None or not self.right else self.total / self.right


def kept_price(info: Mapping[str, Any]) -> Price | None:
    """The price that a run keeps, from what ``store.run_info`` tells; None: it keeps none."""
    kept = info["settings"].get("price")
    return None if kept is None else Price(kept[0], kept[1], "run")


def price(info: Mapping[str, Any]) -> Price | None:
    """The price that a run keeps, else that of its model in the user's price file as it is now; None: neither is there.

    Raises
    ------
    SettingsError
        The price file is needed and cannot be used.
    """
    if kept := kept_price(info):
        return kept
    now = price_file.price_if_known(info["endpoint"].get("model", ""))
    return None if now is None else Price(now[0], now[1], "file")


def cost(connection: sqlite3.Connection, price: Price, *, turns: int, right: int) -> Cost:
    """Add up what a run has cost.

    Cached and reasoning tokens are not told apart: prompts count at the price of prompts whether or not the endpoint
    had them cached, and reasoning is output.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of a run file.
    price : Price
    turns, right : int
        See ``Cost``.
    """
    parameters = {"prompt": price.prompt, "output": price.output}
    untold, told, prompt_tokens, output_tokens = connection.execute(_RUN, parameters).fetchone()
    total = (prompt_tokens * price.prompt + output_tokens * price.output) / 1e6
    return Cost(price, total if told or not untold else None, untold or 0, turns, right)


def by_turn(connection: sqlite3.Connection, price: Price | None) -> pd.DataFrame:
    """What each finished turn has cost.

    Returns
    -------
    DataFrame
        Columns ``conversation, repeat, turn, cost``. A turn that was never asked cost 0. NaN: no price is known, or a
        request of it may be paid for and did not tell its tokens.
    """
    import pandas as pd

    parameters = {"prompt": price.prompt if price else 0, "output": price.output if price else 0}
    frame = pd.read_sql_query(_TURNS, connection, params=parameters)
    return frame.assign(cost=frame["cost"].astype("float64") if price else float("nan"))
