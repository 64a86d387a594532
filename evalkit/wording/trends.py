"""What charts say in words: sentences that claim a difference only where its interval leaves 0 out.

A title that may make several claims takes wider intervals, so that of equal things one title in twenty claims any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from scipy import special

from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.wording import run_results

if TYPE_CHECKING:
    from evalkit.analysis.measures import RunMeasures

MOST = 12
_FREEDOM = 10  # of the Student's t that an interval is widened by: few conversations may stand behind it
NO_TURN = "No finished turn in this run yet"


def all_failed(run: RunMeasures) -> str:
    """Why no turn of a run was answered."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in run.all.errors.items())
    return f"No turn was answered: {run.all.turns:,} failed ({kinds})"


def first_tokens(run: RunMeasures) -> list[str]:
    """Why first-token times are not what they seem."""
    trust = run.trust
    return run_results.streams(trust.streams, trust.streams_at_once, trust.streams_first_read_late)


def change(
    what: str, estimates: Sequence[tuple[int | None, Estimate]], form: Callable[[float], str], among: int = 1
) -> str:
    """How the first turn index compares with the last that has a quarter of its samples; empty: nothing to tell.

    ``among``: as ``direction`` takes it.
    """
    told = [(turn, estimate, form(estimate.value)) for turn, estimate in estimates if estimate.value is not None]
    if not told:
        return ""
    (first, start, at_first), (last, end, at_last) = told[0], [row for row in told if 4 * row[1].n >= told[0][1].n][-1]
    if first == last:
        return f"{what}: {at_first} in turn {first}"
    said = direction(independent_difference(start, end), "falls", "rises", among)
    if said is None:
        return f"{what}: {at_first} in turn {first}, {at_last} in turn {last}, no clear difference"
    return f"{what} {said} from {at_first} in turn {first} to {at_last} in turn {last}"


def direction(difference: Estimate, down: str, up: str, among: int = 1) -> str | None:
    """``down`` or ``up`` where the interval of a difference leaves 0 out; None: it does not, or there is none.

    ``among``: the claims that a title may make. The interval, of 95 %, is widened so that it holds for all of them at
    once (Bonferroni).
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None:
        return None
    wider = special.stdtrit(_FREEDOM, 1 - 0.025 / among) / special.stdtrit(_FREEDOM, 0.975)
    if value - wider * (value - low) > 0:
        return up
    return down if value + wider * (high - value) < 0 else None


def some(rows: Sequence[str]) -> str:
    """Rows with semicolons, the first dozen of them."""
    left_out = len(rows) - MOST
    return "; ".join([*rows[:MOST], *([f"and {left_out:,} more"] if left_out > 0 else [])])


def listed(names: Sequence[str], more: int = 0) -> str:
    """Names with commas and an *and*, and how many are not named."""
    parts = [*names, f"{more:,} more"] if more > 0 else list(names)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"
