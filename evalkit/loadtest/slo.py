"""Service-level objectives: limits on the times of a turn, written as ``ttft=200ms,tpot=50ms,latency=2s``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import SettingsError

METRICS = ("ttft", "tpot", "latency")
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "min": 60_000.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(us|ms|s|min)", re.ASCII)


def duration_ms(text: str, what: str) -> float:
    """Milliseconds of a duration such as ``200ms``, ``1.5s`` or ``2min``.

    Parameters
    ----------
    text : str
        A number above 0 and its unit, ``us``, ``ms``, ``s`` or ``min``, without a space.
    what : str
        What the duration is for; the error message starts with it.

    Raises
    ------
    SettingsError
        ``text`` is not such a duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise SettingsError(f"{what} is {text!r}: write a number and its unit (us, ms, s, min), such as 200ms or 1.5s")
    value = float(found[1]) * _MS[found[2]]
    if not 0 < value < float("inf"):
        raise SettingsError(f"{what} is {text!r}: it must be above 0 and finite")
    return value


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits on the times of a turn; a turn meets them if every limited time is known and within its limit.

    Parameters
    ----------
    limits_ms : mapping
        ``ttft``, ``tpot`` or ``latency`` to ms; empty: no objectives.
    """

    limits_ms: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> Slo:
        """Parse the objectives of ``--slo``.

        Raises
        ------
        SettingsError
            Not ``METRIC=DURATION`` separated by commas, an unknown metric, or a metric named twice.
        """
        given: dict[str, str] = {}
        for part in text.split(","):
            name, equals, duration = part.strip().partition("=")
            if not (name and equals and duration):
                raise SettingsError(
                    f"slo {part.strip()!r}: write METRIC=DURATION separated by commas, such as ttft=200ms,latency=2s"
                )
            if name in given:
                raise SettingsError(f"slo names {name} twice: give it one limit")
            given[name] = duration
        return cls.of(given)

    @classmethod
    def of(cls, limits: Mapping[str, str] | str | Slo | None) -> Slo:
        """Objectives from a mapping of metric to duration, ``{"ttft": "200ms"}``, or from text as in ``--slo``.

        Raises
        ------
        SettingsError
            An unknown metric, or a duration that cannot be parsed.
        """
        if isinstance(limits, Slo):
            return limits
        if isinstance(limits, str):
            return cls.parse(limits)
        limits_ms = {}
        for name, limit in (limits or {}).items():
            if name not in METRICS:
                raise SettingsError(
                    f"slo {name!r} is not a known metric: write {', '.join(METRICS[:-1])} or {METRICS[-1]}"
                )
            if not isinstance(limit, str):
                raise SettingsError(f"slo {name} is {limit!r}: write it as text with its unit, such as '200ms'")
            limits_ms[name] = duration_ms(limit, f"slo {name}")
        return cls(limits_ms)

    def __bool__(self) -> bool:
        return bool(self.limits_ms)

    def __str__(self) -> str:
        return ", ".join(f"{name} ≤ {limit:g} ms" for name, limit in self.limits_ms.items())

    def met(self, answered: NDArray[np.bool_], times_ms: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Flag the turns that meet every limit.

        Parameters
        ----------
        answered : ndarray of bool, shape (n,)
            A failed turn meets no limit.
        times_ms : mapping
            Metric to its times, shape (n,); NaN is a missing time, which does not meet a limit.
        """
        met = answered.copy()
        for name, limit in self.limits_ms.items():
            met &= times_ms[name] <= limit
        return met

    def missed(
        self, times_ms: Mapping[str, NDArray[np.float64]], at_least_ms: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.bool_]:
        """Flag the turns that certainly missed a limit, by a time or by a lower bound of one.

        Parameters
        ----------
        times_ms, at_least_ms : mapping
            Metric to times, and to lower bounds of missing times, shape (n,); NaN: not known.
        """
        missed = np.zeros(len(next(iter(times_ms.values()))), dtype=bool)
        for name, limit in self.limits_ms.items():
            missed |= times_ms[name] > limit
            if name in at_least_ms:
                missed |= np.isnan(times_ms[name]) & (at_least_ms[name] > limit)
        return missed

    def missing(self, answered: NDArray[np.bool_], times_ms: Mapping[str, NDArray[np.float64]]) -> dict[str, int]:
        """Metric to the number of answered turns without it; only metrics that have a limit and such turns."""
        counts = {name: int((answered & np.isnan(times_ms[name])).sum()) for name in self.limits_ms}
        return {name: count for name, count in counts.items() if count}
