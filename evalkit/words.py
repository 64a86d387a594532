"""Numbers and findings in words: the same in a terminal, a report and a pull request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

MISSING = "–"
_EXACT = 1e-9  # what sums of scores may be off by, in hundredths
_MORE_DIGITS = 5  # than asked for, at most
STANDS_OUT = 0.05  # a share of reads or requests beyond which it is told


def number(value: float | None, unit: str = "") -> str:
    """With as many digits as it bears; a dash when it is missing."""
    if value is None:
        return MISSING
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def percent(share: float | None, digits: int = 1, unit: str = "%") -> str:
    """A share in hundredths; rounding makes neither 0 nor 100 of what is not. A dash when it is missing."""
    return MISSING if share is None else f"{_rounded(100 * share, digits)}{unit}"


def points(difference: float, digits: int = 1, *, sign: bool = True) -> str:
    """A difference of shares in hundredths, with its sign; 0 only where there is none."""
    shown = _rounded(100 * difference, digits)
    return shown if not sign or shown[:1] in "-<" else f"+{shown}"


def _rounded(value: float, digits: int) -> str:
    near = next((end for end in (0.0, 100.0, -100.0) if abs(value - end) < _EXACT), None)
    if near is not None:
        return f"{near:.{digits}f}"
    shown = (f"{value:.{more}f}" for more in range(digits, digits + _MORE_DIGITS))
    told = next((text for text in shown if float(text) not in (0.0, 100.0, -100.0)), None)
    if told is not None:
        return told
    least = 10.0 ** -(digits + _MORE_DIGITS - 1)
    return (
        f"<{least:.{digits + _MORE_DIGITS - 1}f}" if abs(value) < 1 else f">{100 - least:.{digits + _MORE_DIGITS - 1}f}"
    )


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours; a dash when they are missing."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def rate(accuracy: Mapping[str, Any]) -> str:
    """An accuracy of ``--json`` with its denominator and interval."""
    return MISSING if accuracy["value"] is None else _share(accuracy, f" of {accuracy['n']}")


def _share(share: Mapping[str, Any], more: str = "") -> str:
    shown = f"{percent(share['value'])}{more}"
    return shown if share["low"] is None else f"{shown} ({percent(share['low'])} to {percent(share['high'])})"


def conversations(scores: Mapping[str, Any]) -> str:
    """How right whole conversations were, by ``conversations`` of ``--json``."""
    left_out = f"; {scores['incomplete']} are incomplete" if scores["incomplete"] else ""
    if not scores["n"]:
        return f"conversations: none is complete{left_out}"
    rights = f"all turns right {_share(scores['all_right'])}, last turn right {_share(scores['last_right'])}"
    return f"conversations: {rights}, of {scores['n']}{left_out}"


def repeats(told: Mapping[str, Any]) -> str:
    """How often turns were right over all repeats, by ``repeats`` of ``--json``."""
    if told["once"]["value"] is None:
        return f"over {told['k']} repeats: {MISSING}, not every turn has {told['k']} scores"
    return f"over {told['k']} repeats: right at least once {_share(told['once'])}, each time {_share(told['always'])}"


def accuracy_all(result: Mapping[str, Any]) -> str:
    """Both denominators of a run's accuracy."""
    answered, every = result["accuracy"], result["accuracy_all"]
    note = f", {answered['unscored']} answered turns have no score" if answered["unscored"] else ""
    return f"accuracy over answered turns {rate(answered)}; over all turns {rate(every)}{note}"


def verdict(result: Mapping[str, Any], model: str) -> str:
    """What came of a run, in two sentences.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    model : str
    """
    turns, answered, accuracy = result["turns"], result["answered"], result["accuracy"]
    if not turns:
        return f"{model} has no finished turn yet."
    how_many = f"all {turns:,}" if answered == turns else f"{answered:,} of {turns:,}"
    told = f"{model} answered {how_many} turns" if answered else f"{model} answered none of {turns:,} turns"
    if accuracy["value"] is not None:
        graded = abs(accuracy["n"] * (1 - accuracy["value"]) - accuracy["wrong"]) > 1e-6 * accuracy["n"]
        told += (
            f", with a mean score of {percent(accuracy['value'])} over {accuracy['n']:,} scored ones"
            if graded
            else f", and {percent(accuracy['value'])} of {accuracy['n']:,} scored ones were right"
        )
        if accuracy["low"] is not None:
            told += f" (95 % interval {percent(accuracy['low'])} to {percent(accuracy['high'])})"
    elif answered:
        told += "; none of the answers is scored"
    latency, ttft = result["latency_ms"]["p50"], result["ttft_ms"]["p50"]
    if latency is None:
        return f"{told}."
    first = "" if ttft is None else f", median time to first token {number(ttft, ' ms')}"
    return f"{told}. Median latency {number(latency, ' ms')}{first}."


def trust(told: Mapping[str, Any], slots: int | str) -> tuple[str, bool]:
    """How far the times of a run can be trusted, and whether that is a warning.

    Parameters
    ----------
    told : mapping
        ``trust`` of ``--json``.
    slots : int or str
        The run's concurrency.
    """
    notes = "".join(f"; {note}" for note in _what_stands_out(told, slots))
    if told["client_bound"] is None:
        return f"trust: not measured: the run is too short, or has not ended{notes}", False
    lag = number(told["loop_lag_p99_ms"], " ms")
    if told["client_bound"]:
        return (
            f"trust: CLIENT-BOUND, event-loop lag p99 {lag} is much beside these times: they are partly the client's"
            f"{notes}",
            True,
        )
    return f"trust: good, event-loop lag p99 {lag}{notes}", False


def _what_stands_out(told: Mapping[str, Any], slots: int | str) -> Iterator[str]:
    reads, several = told["reads"], told["reads_with_several_events"]
    if reads and several is not None and several > STANDS_OUT * reads:
        share = percent(several / reads, 0)
        yield f"{share} of reads held several events: gaps between tokens are coarser than they were sent"
    opened, attempts = told["attempts_on_new_connections"], told["attempts"]
    # every slot has to open one
    if opened > STANDS_OUT * attempts and not (isinstance(slots, int) and opened <= slots):
        yield f"{opened} of {attempts} requests needed a new connection"


def cost(told: Mapping[str, Any]) -> str:
    """What a run cost, by ``cost`` of ``--json``."""
    least = "" if told["complete"] else "at least "
    untold = "" if told["complete"] else f"; {told['untold']} requests told no tokens"
    now = "; by the price file as it is now: the run keeps no price" if told["price_from"] == "file" else ""
    if told["total"] is None:
        return f"cost: {MISSING}{untold}{now}"
    right = "" if told["per_right"] is None else f", {money(told['per_right'])} a right answer"
    return f"cost: {least}{money(told['total'])}, {money(told['per_turn'])} a turn{right}{untold}{now}"


def money(value: float | None) -> str:
    """To the hundredth, and smaller amounts to three digits; never with an exponent. A dash when it is missing."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    return f"{value:,.{max(2, 2 - math.floor(math.log10(value)))}f}"


def until(told: Mapping[str, Any]) -> tuple[str, bool]:
    """How well the accuracy is known, of a run that was to end when it is, and whether that is a warning.

    Parameters
    ----------
    told : mapping
        ``until`` of ``--json``.
    """
    value, low, high, goal = told["value"], told["low"], told["high"], f"--until ci={told['ci']:g}"
    if value is None:
        return f"{goal} is not reached: no conversation has ended with a scored turn", True
    after = f"after {told['conversations']} conversations: accuracy {percent(value)}"
    if low is None or high is None:
        why = "its limits have crossed: the conversations do not come in random order, shuffle the dataset"
        return f"{goal} is not reached {after}, {why}", True
    known = f"{after}, within ± {100 * max(value - low, high - value):.2g} points at any time (95 %, anytime-valid)"
    return (f"stopped {known}", False) if told["reached"] else (f"{goal} is not reached {known}", True)
