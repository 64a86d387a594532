"""Whether a run is better, no worse or worse than the baseline, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, counted, money, number, percent, points, signed

if TYPE_CHECKING:
    from evalkit.comparing.margin_expression import Margin

IN_4_OF_5 = "in 4 of 5 cases"
_ROUNDING_ERROR = 1e-9
_ORDER = ("worse", "cannot tell", "no worse", "better")


def unit(margin: Margin) -> str:
    """The unit of a change: ``points``, ``%`` of the baseline, or ``ms``."""
    if margin.relative:
        return "%"
    return "ms" if margin.metric.startswith(("ttft", "latency")) else "points"


def base(count: int, confidence: float, noun: str) -> str:
    """What margins mean and how several of them are corrected; ``noun`` is the kind of cluster."""
    meaning = "margins of accuracy and errors are in percentage points, those of times and cost in % of the baseline"
    if count == 1:
        return f"{meaning}; intervals are 95 % intervals by {noun}"
    return (
        f"{meaning}; Bonferroni: each of the {count:,} intervals is a {level(confidence)} interval by {noun}, so that "
        "all of them hold in 95 % of cases"
    )


def level(confidence: float) -> str:
    """A confidence, such as ``98.3 %``."""
    return f"{100 * confidence:.3g} %" if confidence < 0.999 else f"{100 * confidence:.4g} %"


def change(margin: Margin, estimate: Estimate, confidence: float = 0.0) -> str:
    """The change with its interval, and its level if it is given."""
    form = _form(margin)
    if estimate.value is None and estimate.low is None and estimate.high is None:
        return MISSING
    shown = "unknown" if estimate.value is None else f"{form(estimate.value)} {unit(margin)}"
    if estimate.value is not None and abs(estimate.value) < _ROUNDING_ERROR:
        shown = f"0 {unit(margin)}"
    if estimate.low is None and estimate.high is None:
        return shown
    what = f"{level(confidence)} interval " if confidence else ""
    low, high = (MISSING if limit is None else form(limit) for limit in (estimate.low, estimate.high))
    return f"{shown} ({what}{low} to {high})"


def allowed(margin: Margin) -> str:
    """How much worse the metric may be, such as ``−2 points``."""
    amount = margin.amount if unit(margin) == "ms" else 100 * margin.amount
    return f"{'−' if margin.sign < 0 else '+'}{amount:.6g} {unit(margin)}"


def verdict(
    name: str, margin: Margin, result: str, estimate: Estimate, *, more: int | None, noun: str, confidence: float
) -> str:
    """The verdict on one metric of a run, with the numbers behind it.

    Parameters
    ----------
    name : str
        The label of the run.
    more : int or None
        How many more conversations or groups would tell.
    noun : str
        ``conversation`` or ``group``.
    """
    text = f"{name} {margin.left}: {result}"
    if estimate.value is None and estimate.low is None and estimate.high is None:
        return f"{text}: {estimate.reason}"
    same = f", the same in every {noun}" if estimate.low is estimate.high is None and result != "cannot tell" else ""
    text += f": {change(margin, estimate, confidence)}{same}, {allowed(margin)} allowed"
    if result != "cannot tell":
        return text
    return f"{text}; {would_tell(more, noun, estimate.reason)}"


def would_tell(more: int | None, noun: str, reason: str | None) -> str:
    """How many more conversations would tell, or why that is not known."""
    if more is None:
        return reason or "how many more conversations would tell is not known"
    return f"about {rounded(more, noun)} would tell {IN_4_OF_5}"


def rounded(more: int, noun: str) -> str:
    """A number of further conversations with two digits, rounded up."""
    step = 10 ** max(len(str(more)) - 2, 0)
    return counted(-(-more // step) * step, f"more {noun}")


def headline(results: Sequence[tuple[str, str]]) -> str:
    """All verdicts in one line: each run by its label, and how many margins have which verdict."""
    runs = dict.fromkeys(name for name, _ in results)
    parts = []
    for name in runs:
        counts = Counter(result for label, result in results if label == name)
        if len(counts) == 1:
            parts.append(f"{name}: {next(iter(counts))}")
        else:
            parts.append(f"{name}: " + ", ".join(f"{result} {counts[result]}" for result in _ORDER if counts[result]))
    return "; ".join(parts)


def value(margin: Margin, number_of_run: float | None) -> str:
    """The metric of one run."""
    if margin.metric == "cost":
        return money(number_of_run)
    if margin.metric.startswith(("ttft", "latency")):
        return number(number_of_run, " ms")
    return percent(number_of_run)


def ranked(rank: int, worst_rank: int, label: str) -> tuple[str, str]:
    """The rank of a run, or the ranks it may have, and its label."""
    return (str(rank) if rank == worst_rank else f"{rank}–{worst_rank}"), label


def groups(turns: int, tests: int) -> str:
    """What the letters of ranked runs mean."""
    return (
        f"runs with a common letter are not shown to differ, over {counted(turns, 'turn')} answered and scored in all "
        f"runs; p corrected by Holm's method over {counted(tests, 'pairwise test')}"
    )


def failed_calls(name: str, failed: int, of: int, *, limited: bool) -> str | None:
    """A note on turns that failed in a run and are in no accuracy; None: there are none."""
    if not failed:
        return None
    hint = "" if limited else ". A margin 'errors +1%' limits failures, 'accuracy_all' counts them as not right"
    them = "it" if failed == 1 else "them"
    return f"{counted(failed, 'turn')} of {of:,} failed in {name}: accuracy and cost leave {them} out{hint}"


def _form(margin: Margin) -> Callable[[float], str]:
    if unit(margin) == "ms":
        return lambda value: signed(value, number)
    if margin.relative:
        return lambda value: signed(value, lambda size: percent(size, unit=""))
    return lambda value: points(value).replace("-", "−")
