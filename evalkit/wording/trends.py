"""Titles of charts: sentences that claim a difference only if its interval excludes 0.

A title that may make several claims uses wider intervals, so that at most one title in twenty claims a difference
between things that are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from scipy import special

from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.wording import run_results

if TYPE_CHECKING:
    from evalkit.analysis.measures import RunMeasures

MAX_ROWS = 12
_DEGREES_OF_FREEDOM = 10  # of Student's t when intervals are widened: there may be few conversations
NO_TURN = "This run has no finished turn yet"


def all_failed(run: RunMeasures) -> str:
    """Say why no turn of a run was answered."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in run.all.errors.items())
    return f"No turn was answered: {run.all.turns:,} failed ({kinds})"


def no_answer(run: RunMeasures) -> str | None:
    """Say why a run has no answer to draw; None if it has one."""
    if not run.by_turn:
        return NO_TURN
    return None if run.all.answered else all_failed(run)


def first_token_warnings(run: RunMeasures) -> list[str]:
    """Return warnings about the first-token times of a run."""
    trust = run.trust
    return run_results.first_token_warnings(trust.streams, trust.streams_at_once, trust.streams_first_read_late)


def change(
    what: str, estimates: Sequence[tuple[int | None, Estimate]], form: Callable[[float], str], among: int = 1
) -> str:
    """Compare the first turn index with the last one that has at least a quarter of its samples.

    Returns an empty string if there is no value. ``among``: see ``direction``.
    """
    known = [(turn, estimate, form(estimate.value)) for turn, estimate in estimates if estimate.value is not None]
    if not known:
        return ""
    (first, start, at_first), (last, end, at_last) = (
        known[0],
        [row for row in known if 4 * row[1].n >= known[0][1].n][-1],
    )
    if first == last:
        return f"{what}: {at_first} in turn {first}"
    verb = direction(independent_difference(start, end), "falls", "rises", among)
    if verb is None:
        return f"{what}: {at_first} in turn {first}, {at_last} in turn {last}, no clear difference"
    return f"{what} {verb} from {at_first} in turn {first} to {at_last} in turn {last}"


def direction(difference: Estimate, down: str, up: str, among: int = 1) -> str | None:
    """Return ``down`` or ``up`` if the interval of a difference excludes 0, else None.

    ``among``: how many claims a title may make. The 95 % interval is widened so that it holds for all of them together
    (Bonferroni).
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None:
        return None
    widening = special.stdtrit(_DEGREES_OF_FREEDOM, 1 - 0.025 / among) / special.stdtrit(_DEGREES_OF_FREEDOM, 0.975)
    if value - widening * (value - low) > 0:
        return up
    return down if value + widening * (high - value) < 0 else None


def first_rows(rows: Sequence[str]) -> str:
    """Join the first dozen rows with semicolons, and say how many more there are."""
    left_out = len(rows) - MAX_ROWS
    return "; ".join([*rows[:MAX_ROWS], *([f"and {left_out:,} more"] if left_out > 0 else [])])


def listed(names: Sequence[str], more: int = 0) -> str:
    """Join names with commas and *and*; ``more`` counts those that are not named."""
    parts = [*names, f"{more:,} more"] if more > 0 else list(names)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"
