"""Prices of models, from a small file of the user's own: evalkit knows none, and guesses none.

::

    ["gpt-4o-mini"]      # the model's name as the endpoint knows it
    prompt = 0.15        # for a million tokens
    output = 0.60
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from evalkit.errors import SettingsError
from evalkit.inputs.bounds import MOST

VARIABLE = "EVALKIT_PRICES"
_EXAMPLE = 'write it like:\n["{model}"]\nprompt = 0.15   # for a million tokens\noutput = 0.60'


def default_path() -> Path:
    """The file that EVALKIT_PRICES names, else ``~/.config/evalkit/prices.toml``."""
    named = os.environ.get(VARIABLE)
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(named) if named else folder / "evalkit" / "prices.toml"


def price_of(model: str, path: Path | str | None = None) -> tuple[float, float]:
    """What a million tokens of a model cost.

    Parameters
    ----------
    model : str
    path : path-like, optional
        The price file; None: ``default_path()``.

    Returns
    -------
    float, float
        Of prompts and of output, in whatever currency the file is in.

    Raises
    ------
    SettingsError
        No such file, no TOML, no such model, or no numbers from 0 up.
    """
    path = Path(path) if path is not None else default_path()
    table, how = _table(path, model), _EXAMPLE.format(model=model)
    if table is None:
        raise SettingsError(f"there is no price file {path}, and a cost needs the model's prices: {how}")
    if model not in table:
        known = ", ".join(table) or "none"
        raise SettingsError(f"the price file {path} has no model {model!r} (it has: {known}): {how}")
    return _prices(path, model, table)


def price_if_known(model: str) -> tuple[float, float] | None:
    """``price_of`` by ``default_path()``; None: there is no such file, or the model is not in it.

    Raises
    ------
    SettingsError
        There is a file, but it is no TOML, or has no numbers from 0 up for the model; or EVALKIT_PRICES names a file
        that is not there.
    """
    path = default_path()
    table = _table(path, model)
    if table is None and os.environ.get(VARIABLE):
        raise SettingsError(f"there is no price file {path}, which {VARIABLE} names: correct the name, or unset it")
    return _prices(path, model, table) if table is not None and model in table else None


def _table(path: Path, model: str) -> dict[str, Any] | None:
    """What the price file says; None: there is none."""
    how = _EXAMPLE.format(model=model)
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the price file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the price file {path} is no TOML ({error}): {how}") from None
    if model not in table and _without_quotes(table, model):
        raise SettingsError(
            f"the price file {path} has {model!r} without quotes, and a dot then makes a table in a table: {how}"
        )
    return table


def _without_quotes(table: Any, model: str) -> bool:
    """Whether ``[gpt-4.1]`` was written where ``["gpt-4.1"]`` is meant."""
    for part in model.split("."):
        table = table.get(part) if isinstance(table, dict) else None
    return isinstance(table, dict)


def _prices(path: Path, model: str, table: dict[str, Any]) -> tuple[float, float]:
    prices = table[model] if isinstance(table[model], dict) else {}
    return _price(path, model, prices, "prompt"), _price(path, model, prices, "output")


def _price(path: Path, model: str, prices: dict[str, Any], name: str) -> float:
    price = prices.get(name)
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= MOST:
        raise SettingsError(f"the price file {path} has no number from 0 up for {model!r}, {name}")
    return float(price)
