"""Checks of settings: numbers must be finite and fit into clocks and timers, other values into JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalkit.errors import SettingsError

LONGEST_S = 366 * 86_400  # a year: fits into stamps and timers, and a longer time is not a limit
MOST = 10**12
MOST_RATE = 10**9  # per second: the gaps are whole nanoseconds


def check_above_0(name: str, value: Any, most: float = MOST, unit: str = "") -> None:
    """Check that a value is a finite number above 0 and at most ``most``; None, for no limit, is accepted.

    Raises
    ------
    SettingsError
        The value is not; the message names the setting.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        expected = f"a number of {unit} above 0" if unit else "above 0"
        raise SettingsError(f"{name} is {value!r}: it must be {expected}")
    if value > most:
        raise SettingsError(f"{name} is {value!r}: it must be {most:,} {unit} at most".replace("  ", " "))


def check_whole(name: str, value: Any, least: int) -> None:
    """Check that a value is a whole number from ``least`` to ``MOST``; None is accepted.

    Raises
    ------
    SettingsError
        The value is not; the message names the setting.
    """
    if value is None:
        return
    if type(value) is not int or value < least:
        raise SettingsError(f"{name} is {value!r}: it must be a whole number, {least} or more")
    if value > MOST:
        raise SettingsError(f"{name} is {value!r}: it must be {MOST:,} at most")


def check_json(what: str, values: Mapping[str, Any]) -> None:
    """Check that values contain no number that JSON cannot represent.

    Raises
    ------
    SettingsError
        They do; the message names the value: ``the parameter logit_bias.50256 is nan``.
    """
    if found := not_json(values):
        raise SettingsError(f"{what} {found}: JSON has no such number")


def not_json(value: Any) -> str | None:
    """The first number in a value that JSON cannot represent, as ``logit_bias.50256 is nan``; None: there is none."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return f"{place[1:]} is {value}"
        if isinstance(value, Mapping):
            pending += [(f"{place}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(f"{place}.{number}", inner) for number, inner in enumerate(value)]
        elif hasattr(value, "tolist"):  # a NumPy array or number
            pending.append((place, value.tolist()))
    return None
