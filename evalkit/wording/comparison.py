"""What a comparison of two runs shows, in sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, number, p_value, points, points_rounded_up, signed

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Contrast
    from evalkit.comparing.conditions import ConditionDifference
    from evalkit.comparing.effects import TimeEffects
    from evalkit.comparing.pairing import LeftOut


LEVEL = 0.05  # for p-values that are corrected for multiple comparisons
TIMES = {"ttft": "TTFT", "latency": "latency"}
OWN_HISTORY_COST = "the cost of the model's own earlier answers"
_LONGEST = 60  # characters of a value or a label
_BEFORE = 20  # characters shown before the first difference of two long values


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
    """Say which of two is better, by how much and with what interval, or what difference could not be detected.

    Parameters
    ----------
    names : sequence of str
        The first and the second.
    difference : Estimate
        Second − first, of rates between 0 and 1.
    clusters : str
        The independent units behind the interval, such as "12 conversations".
    corrected_p : float, optional
        The p-value, corrected for the ``family`` of comparisons that this one belongs to.
    smallest : float, optional
        The smallest difference that this many clusters can detect; None: the largest that the interval includes.
    differing : int, optional
        How many clusters differ, if these are too few for a test.
    equal : bool
        True if the scores of every pair are equal.
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None:
        return f"nothing to compare: {difference.reason}"
    if low is None or high is None:
        return f"no difference can be shown: {difference.reason}"
    if low > 0 or high < 0:
        better, least, most = (names[1], low, high) if low > 0 else (names[0], -high, -low)
        shares = [points(share, sign=False) for share in (abs(value), least, most)]
        claim = f"{better} is better by {shares[0]} points (95 % interval {shares[1]} to {shares[2]})"
        if family > 1 and corrected_p is not None and corrected_p >= LEVEL:
            return f"{claim}, which may be chance among {family:,} comparisons (corrected p {p_value(corrected_p)})"
        return claim
    detectable = max(high, -low) if smallest is None else smallest
    all_equal = f"all {difference.n:,} pairs have equal scores, and " if equal else ""
    what = "any difference" if detectable >= 1 else f"a difference under {points_rounded_up(detectable)} points"
    if differing:
        only = f"only {differing} of {clusters} {'differs' if differing == 1 else 'differ'}"
        return f"no difference shown: {only}, too few to detect {what}"
    return f"no difference shown: {all_equal}{clusters} are too few to detect {what}"


def decidable(smallest: float | None) -> str:
    """Return the smallest difference that can be shown, in points; ``none`` if even the largest could not be."""
    if smallest is None:
        return MISSING
    return "none" if smallest > 1 else points_rounded_up(smallest)


def shortened(text: str) -> str:
    """Return the beginning of a text, where it is long."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def condition_value(value: Any) -> str:
    """Return the value of a condition, short; ``none`` where a run has none."""
    return shortened(_text(value))


def condition_values(difference: ConditionDifference) -> tuple[str, str]:
    """Return both values of a condition, short; long ones that begin alike start shortly before they differ."""
    first, second = _text(difference.first), _text(difference.second)
    alike = next((at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), len(first))
    if shortened(first) == shortened(second) and alike > _BEFORE:
        first, second = (f"…{text[alike - _BEFORE :]}" for text in (first, second))
    return shortened(first), shortened(second)


def differing(
    first: str, second: str, differs: Sequence[ConditionDifference], quoted: Callable[[str], str] = str
) -> str:
    """Say in which conditions two runs differ, by their labels; ``quoted`` marks values, which may be anything."""
    if not differs:
        return f"{first} and {second} have the same settings"
    listed = []
    for each in differs:
        values = map(quoted, condition_values(each))
        named = (f"{label} {value}" for label, value in zip((first, second), values, strict=True))
        listed.append(f"{each.what.removeprefix('parameter ')} ({', '.join(named)})")
    return f"{first} and {second} differ in {', '.join(listed)}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def left_out(left_out: LeftOut, first: str, second: str) -> str:
    """Say why turns are left out of the pairs of two runs, by their labels; empty if none is."""
    turns = (
        (left_out.failed_first, f"failed in {first}"),
        (left_out.failed_second, f"failed in {second}"),
        (left_out.failed_both, "failed in both"),
        (left_out.only_first, f"finished in {first} only"),
        (left_out.only_second, f"finished in {second} only"),
        (left_out.unscored, "without a score"),
        (left_out.no_target, "with nothing to score"),
    )
    conversations = (
        (left_out.conversations_only_first, f"in {first} only"),
        (left_out.conversations_only_second, f"in {second} only"),
        (left_out.conversations_changed, "different in the two"),
    )
    groups = (("turns", turns), ("conversations", conversations))
    parts = [f"{noun} {listed}" for noun, counts in groups if (listed := _counts(counts))]
    return f"left out: {'; '.join(parts)}" if parts else ""


def unknown_times(times: TimeEffects, first: str, second: str) -> str | None:
    """Say which differences of times are unknown because of time-outs in two runs, by their labels; None if none is."""
    names, cut = [], (0, 0)
    for metric, title in TIMES.items():
        if any(times.lower_bounds[metric]):
            unknown = [name for name, found in times.quantiles[metric].items() if found.difference.value is None]
            names += [f"{title} {name}" for name in unknown]
            cut = max(cut, times.lower_bounds[metric], key=sum)
    if not names:
        return None
    return (
        f"the difference in {' and '.join(names)} is unknown: of {times.pairs['latency']:,} turns, {cut[0]:,} timed "
        f"out or were cut off in {first} and {cut[1]:,} in {second}, so their times are only lower bounds"
    )


def lower_bounds(times: TimeEffects, first: str, second: str) -> str:
    """Say how many times of two runs are lower bounds; empty if none is."""
    parts = [
        f"{title} {counts[0]:,} in {first} and {counts[1]:,} in {second}"
        for metric, title in TIMES.items()
        if any(counts := times.lower_bounds[metric])
    ]
    return f"lower bounds, from turns that timed out or were cut off: {', '.join(parts)}" if parts else ""


def median_latency(contrast: Contrast) -> str | None:
    """Say which of two runs is faster at the median, if that is shown; None: there is no latency to compare.

    Where every turn has the same difference there is no interval, and neither is called faster.
    """
    first, second = contrast.first.label, contrast.second.label
    found = contrast.times[0].quantiles["latency"]["p50"]
    low, high = found.difference.low, found.difference.high
    if found.difference.value is None or found.first is None or found.second is None:
        return None
    medians = f"median latency {number(found.first, ' ms')} in {first} and {number(found.second, ' ms')} in {second}"
    shown = f"{second} − {first} {_time_difference(found.difference)} ms"
    if bound := [label for label, is_bound in zip((first, second), contrast.client_bound, strict=True) if is_bound]:
        shown += f"; times of {' and '.join(bound)} may be the client's own"
    if low is None or high is None:
        return f"{medians[0].upper()}{medians[1:]}, {shown}; there is no interval."
    if low <= 0 <= high:
        return f"No difference in speed shown: {medians}, {shown}."
    return f"{first if low > 0 else second} is faster: {medians}, {shown}."


def time_rows(times: TimeEffects) -> list[tuple[str, tuple[str, str, str, str]]]:
    """Return the table of times: the name of each row, then its pairs, both runs in ms, and the difference."""
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
    """A difference of times in ms with its interval; if it is unknown, the bound that is known."""
    value, low, high = difference.value, difference.low, difference.high
    if value is not None:
        limits = [MISSING if limit is None else _signed(limit) for limit in (low, high)]
        return _signed(value) if low is high is None else f"{_signed(value)} ({limits[0]} to {limits[1]})"
    if low is None and high is None:
        return MISSING
    return f"at least {_signed(low)}" if low is not None else f"at most {_signed(high or 0.0)}"


def _signed(value: float) -> str:
    return signed(value, number)


def _counts(counts: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{why} {count:,}" for count, why in counts if count)
