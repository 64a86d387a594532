"""Prices of models from the user's price file; evalkit has no prices of its own.

::

    ["gpt-4o-mini"]      # the model's name as the endpoint knows it
    prompt = 0.15        # per million tokens
    output = 0.60
    cached = 0.075       # prompt tokens read from the endpoint's cache; default: as prompt
    cache_write = 0.15   # prompt tokens written to it; default: as prompt
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from evalkit.errors import SettingsError
from evalkit.inputs.bounds import MOST

VARIABLE = "EVALKIT_PRICES"
_EXAMPLE = 'write it as:\n["{model}"]\nprompt = 0.15   # per million tokens\noutput = 0.60'


def default_path() -> Path:
    """The file named by EVALKIT_PRICES, else ``~/.config/evalkit/prices.toml``."""
    name = os.environ.get(VARIABLE)
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(name) if name else folder / "evalkit" / "prices.toml"


def price_of(model: str, path: Path | str | None = None) -> tuple[float, ...]:
    """The prices of a million tokens of a model.

    Parameters
    ----------
    model : str
    path : path-like, optional
        The price file; None: ``default_path()``.

    Returns
    -------
    float, float, optionally float, float
        For prompts and for output, for cached prompts and for prompts written to the cache, in the currency of the
        file. The latter two only if the file has one of them.

    Raises
    ------
    SettingsError
        There is no file, it is not TOML, it lacks the model, or a price is not a number from 0 up.
    """
    path = Path(path) if path is not None else default_path()
    table, example = _table(path, model), _EXAMPLE.format(model=model)
    if table is None:
        raise SettingsError(f"there is no price file {path}, which is needed for the cost: {example}")
    if model not in table:
        known = ", ".join(table) or "none"
        raise SettingsError(f"the price file {path} has no model {model!r} (it has: {known}): {example}")
    return _prices(path, model, table)


def price_if_known(model: str) -> tuple[float, ...] | None:
    """``price_of`` with ``default_path()``; None: there is no such file, or the model is not in it.

    Raises
    ------
    SettingsError
        The file is not TOML, or a price of the model is not a number from 0 up; or EVALKIT_PRICES names a file that
        does not exist.
    """
    path = default_path()
    table = _table(path, model)
    if table is None and os.environ.get(VARIABLE):
        raise SettingsError(f"there is no price file {path}, which {VARIABLE} names: correct the name, or unset it")
    return _prices(path, model, table) if table is not None and model in table else None


def _table(path: Path, model: str) -> dict[str, Any] | None:
    """The content of the price file; None: there is no file."""
    example = _EXAMPLE.format(model=model)
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the price file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the price file {path} is not TOML ({error}): {example}") from None
    if model not in table and _without_quotes(table, model):
        raise SettingsError(
            f"the price file {path} has {model!r} without quotes, which makes a table in a table: {example}"
        )
    return table


def _without_quotes(table: Any, model: str) -> bool:
    """Whether the file has ``[gpt-4.1]`` instead of ``["gpt-4.1"]``."""
    for part in model.split("."):
        table = table.get(part) if isinstance(table, dict) else None
    return isinstance(table, dict)


def _prices(path: Path, model: str, table: dict[str, Any]) -> tuple[float, ...]:
    prices = table[model] if isinstance(table[model], dict) else {}
    found = {name: _price(path, model, prices, name) for name in ("prompt", "output")}
    if "cached" in prices or "cache_write" in prices:
        for name in ("cached", "cache_write"):
            found[name] = _price(path, model, prices, name) if name in prices else found["prompt"]
    return tuple(found.values())


def _price(path: Path, model: str, prices: dict[str, Any], name: str) -> float:
    price = prices.get(name)
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= MOST:
        raise SettingsError(f"the price file {path} needs a number from 0 up as {name} of {model!r}")
    return float(price)
