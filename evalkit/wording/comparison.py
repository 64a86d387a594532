"""The effect of a comparison in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.stats.estimate import Estimate
from evalkit.wording import numbers
from evalkit.wording.numbers import MISSING, number

if TYPE_CHECKING:
    from evalkit.comparing.effects import TimeEffects
    from evalkit.comparing.pairing import LeftOut


LEVEL = 0.05  # of a p that is corrected for the comparisons made beside it
TIMES = {"ttft": "TTFT", "latency": "latency"}
COST = "what the model's own earlier answers cost it"


def effect(
    names: Sequence[str],
    difference: Estimate,
    *,
    clusters: str,
    corrected_p: float | None = None,
    family: int = 1,
    smallest: float | None = None,
    differing: int | None = None,
    equal: bool = False,
) -> str:
    """Which of two is better, by how much and how sure that is; or that it cannot be told, and what could be.

    Parameters
    ----------
    names : sequence of str
        Of the first and the second.
    difference : Estimate
        Second − first, of rates between 0 and 1.
    clusters : str
        What the interval stands on: "12 conversations".
    corrected_p : float, optional
        p after correction for the ``family`` of comparisons that this is one of.
    smallest : float, optional
        The smallest difference that so many clusters would show; None: as much as the interval leaves possible.
    differing : int, optional
        How many of the clusters differ, where these are too few for a test.
    equal : bool
        The scores of every pair are equal.
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None:
        return f"nothing to compare: {difference.reason}"
    if low is None or high is None:
        return f"no difference can be shown: {difference.reason}"
    if low > 0 or high < 0:
        better, least, most = (names[1], low, high) if low > 0 else (names[0], -high, -low)
        told = f"{better} is better by {points(abs(value))} points, 95 % {points(least)} to {points(most)}"
        if family > 1 and corrected_p is not None and corrected_p >= LEVEL:
            return (
                f"{told}; that is within chance among {family:,} comparisons (corrected p {probability(corrected_p)})"
            )
        return told
    undecided = max(high, -low) if smallest is None else smallest
    alike = f"all {difference.n:,} pairs have equal scores, and " if equal else ""
    what = "any difference" if undecided >= 1 else f"a difference under {ceiling(undecided)} points"
    if differing:
        only = f"only {differing} of {clusters} {'differs' if differing == 1 else 'differ'}"
        return f"no difference shown: {only}, too few to decide {what}"
    return f"no difference shown: {alike}{clusters} cannot decide {what}"


def left_out(left_out: LeftOut, first: str, second: str) -> str:
    """Why turns are not among the pairs of two runs, which are called by their labels; empty: all are."""
    turns = (
        (left_out.failed_first, f"failed in {first}"),
        (left_out.failed_second, f"failed in {second}"),
        (left_out.failed_both, "failed in both"),
        (left_out.only_first, f"finished in {first} only"),
        (left_out.only_second, f"finished in {second} only"),
        (left_out.unscored, "without a score"),
        (left_out.no_target, "not to be scored"),
    )
    conversations = (
        (left_out.conversations_only_first, f"in {first} only"),
        (left_out.conversations_only_second, f"in {second} only"),
        (left_out.conversations_changed, "not the same in both"),
    )
    groups = (("turns", turns), ("conversations", conversations))
    parts = [f"{noun} {listed}" for noun, counts in groups if (listed := _listed(counts))]
    return f"left out: {'; '.join(parts)}" if parts else ""


def unknown_times(times: TimeEffects, first: str, second: str) -> str | None:
    """Which differences of times are not known for time-outs, of runs that are called by their labels; None: none."""
    names, lost = [], (0, 0)
    for metric, title in TIMES.items():
        if any(times.lower_bounds[metric]):
            unknown = [name for name, found in times.quantiles[metric].items() if found.difference.value is None]
            names += [f"{title} {name}" for name in unknown]
            lost = max(lost, times.lower_bounds[metric], key=sum)
    if not names:
        return None
    return (
        f"the difference of {' and '.join(names)} is not known: of {times.pairs['latency']:,} turns {lost[0]:,} timed "
        f"out or were cut off in {first} and {lost[1]:,} in {second}, so that their times are lower bounds"
    )


def lower_bounds(times: TimeEffects, first: str, second: str) -> str:
    """How many of the times of two runs are lower bounds; empty: none is."""
    told = [
        f"{title} {counts[0]:,} in {first} and {counts[1]:,} in {second}"
        for metric, title in TIMES.items()
        if any(counts := times.lower_bounds[metric])
    ]
    return f"lower bounds, of turns that timed out or were cut off: {', '.join(told)}" if told else ""


def time_rows(times: TimeEffects) -> list[tuple[str, tuple[str, str, str, str]]]:
    """The table of times: what each row is of; its pairs, both runs in ms, and the difference."""
    return [
        (
            f"{title} {name}",
            (
                f"{times.pairs[metric]:,}",
                number(effect.first),
                number(effect.second),
                _time_difference(effect.difference),
            ),
        )
        for metric, title in TIMES.items()
        for name, effect in times.quantiles[metric].items()
    ]


def _time_difference(difference: Estimate) -> str:
    """A difference of times in ms with its interval; where it is not known, what it is at least or at most."""
    value, low, high = difference.value, difference.low, difference.high
    if value is not None:
        ends = [MISSING if limit is None else _signed(limit) for limit in (low, high)]
        return _signed(value) if low is high is None else f"{_signed(value)} ({ends[0]} to {ends[1]})"
    if low is None and high is None:
        return MISSING
    return f"at least {_signed(low)}" if low is not None else f"at most {_signed(high or 0.0)}"


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{number(abs(value))}"


def _listed(counts: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{why} {count:,}" for count, why in counts if count)


def points(rate: float) -> str:
    """A difference of rates in points of a hundred."""
    return numbers.points(rate, sign=False)


def ceiling(rate: float) -> str:
    """The same, rounded up: whole points from ten on."""
    hundredths = 100 * rate - 1e-9
    return f"{math.ceil(hundredths)}" if hundredths > 10 else f"{math.ceil(10 * hundredths) / 10:.1f}"


def probability(p: float | None) -> str:
    """A p with two digits, and never 0."""
    if p is None:
        return "–"
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 1e-3 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
