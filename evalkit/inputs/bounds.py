"""Numbers as settings may have them, finite and no larger than clocks hold; values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalkit.errors import SettingsError

LONGEST_S = 366 * 86_400  # a year: stamps and timers hold it, and longer is no limit
MOST = 10**12
MOST_RATE = 10**9  # a second: the gaps are whole nanoseconds


def check_above_0(name: str, value: Any, most: float = MOST, unit: str = "") -> None:
    """Refuse what is no number above 0, or is not finite, or absurdly large; None, for no limit, is let through.

    Raises
    ------
    SettingsError
        It names the setting.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        what = f"a number of {unit} above 0" if unit else "above 0"
        raise SettingsError(f"{name} is {value!r}: it must be {what}")
    if value > most:
        raise SettingsError(f"{name} is {value!r}: it must be {most:,} {unit} at most".replace("  ", " "))


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number of ``least`` or more, or is absurdly large; None is let through.

    Raises
    ------
    SettingsError
        It names the setting.
    """
    if value is None:
        return
    if type(value) is not int or value < least:
        raise SettingsError(f"{name} is {value!r}: it must be a whole number, {least} or more")
    if value > MOST:
        raise SettingsError(f"{name} is {value!r}: it must be {MOST:,} at most")


def check_json(what: str, values: Mapping[str, Any]) -> None:
    """Refuse numbers that JSON has no word for.

    Raises
    ------
    SettingsError
        It says which of the values: ``the parameter logit_bias.50256 is nan``.
    """
    if found := not_json(values):
        raise SettingsError(f"{what} {found}: JSON has no such number")


def not_json(value: Any) -> str | None:
    """The first number in a value that JSON has no word for, as ``logit_bias.50256 is nan``; None: there is none."""
    rest: list[tuple[str, Any]] = [("", value)]
    while rest:
        place, value = rest.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return f"{place[1:]} is {value}"
        if isinstance(value, Mapping):
            rest += [(f"{place}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list | tuple):
            rest += [(f"{place}.{number}", inner) for number, inner in enumerate(value)]
        elif hasattr(value, "tolist"):  # NumPy's
            rest.append((place, value.tolist()))
    return None
