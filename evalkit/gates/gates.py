"""Gates: limits that a run has to keep, written as ``accuracy>=0.8``, ``ttft_p95.high<=400ms`` or ``errors<=1%``.

A metric is one entry of ``METRICS``; whatever has a value and perhaps an interval can be one. A metric that is missing
keeps no limit: its gate is missed, and says why.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from evalkit.analysis.measures import Measures, RunMeasures, opened, snapshot
from evalkit.errors import SettingsError
from evalkit.runfile.plain_transcripts import Transcript, plain, transcripts
from evalkit.stats.estimate import Estimate

EXAMPLES = "accuracy>=0.8, accuracy.low>=0.75, ttft_p95<=400ms, errors<=1%"
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
BOUNDS = ("low", "high")
SHOWN = 3  # transcripts that ``check`` tells

# what a number may be followed by, and how much one of it is in the unit that values have
_UNITS = {
    "share": {"": Decimal(1), "%": Decimal("0.01")},
    "time": {"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000), "min": Decimal(60_000)},
    "number": {"": Decimal(1)},
}
_NUMBER = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[^\s\d.]*)\s*", re.ASCII)
_LEFT = re.compile(r"\s*(?P<metric>\w+)(?:\[(?P<turn>\d{1,9})\])?(?:\.(?P<bound>\w*))?\s*", re.ASCII)
_OPERATOR = re.compile("|".join(map(re.escape, sorted(OPERATORS, key=len, reverse=True))))


@dataclass(frozen=True, slots=True)
class Metric:
    """Something of a run that a gate can limit.

    Parameters
    ----------
    kind : str
        ``share`` (0 to 1), ``time`` (ms) or ``number``.
    find : callable
        The run, and all its turns or those of one index, to an Estimate.
    interval : bool
        The Estimate has limits.
    by_turn : bool
        There is one of each turn index.
    """

    kind: str
    find: Callable[[RunMeasures, Measures], Estimate]
    interval: bool = True
    by_turn: bool = True


def _errors(_: RunMeasures, part: Measures) -> Estimate:
    finished = part.turns - part.interrupted
    share = (finished - part.answered) / finished if finished else None
    return Estimate(share, None, None, finished, None if finished else "no turn is finished")


def _complete(run: RunMeasures, part: Measures) -> Estimate:
    if run.planned is None:
        return Estimate(None, None, None, 0, "the dataset was not read to its end, so how much is planned is not known")
    share = part.turns / run.planned if run.planned else None
    return Estimate(share, None, None, run.planned, None if run.planned else "no turn is planned")


def unfinished(run: RunMeasures) -> str | None:
    """What to know before believing a gate of a run that has not ended; None: every planned turn has."""
    if run.planned is None:
        return "the run may be unfinished: its dataset was not read to its end"
    missing = run.planned - run.all.turns
    return f"the run is unfinished: {missing:,} of {run.planned:,} turns are not asked" if missing else None


def _quantile(metric: str, name: str, _: RunMeasures, part: Measures) -> Estimate:
    estimate: Estimate = getattr(part, f"{metric}_ms")[name]
    return estimate


def _turns_per_s(run: RunMeasures, part: Measures) -> Estimate:
    return Estimate(run.turns_per_s, None, None, part.turns, "no session has ended a turn")


def _cost(run: RunMeasures, part: Measures) -> Estimate:
    if run.cost is None:
        return Estimate(None, None, None, part.turns, "the price of the model is not known")
    if run.cost.complete:
        return Estimate(run.cost.total, None, None, part.turns)
    least = "" if run.cost.total is None else f" it is at least {run.cost.total:.6g}, but"
    return Estimate(None, None, None, part.turns, f"{least} {run.cost.untold:,} requests told no tokens".strip())


METRICS: dict[str, Metric] = {
    "accuracy": Metric("share", lambda _, part: part.accuracy.mean),
    "accuracy_all": Metric("share", lambda _, part: part.accuracy_all.mean),
    "errors": Metric("share", _errors, interval=False),
    "complete": Metric("share", _complete, interval=False, by_turn=False),
    **{
        f"{metric}_{name}": Metric("time", partial(_quantile, metric, name))
        for metric in ("ttft", "latency", "tpot", "schedule_latency")
        for name in ("p50", "p95", "p99")
    },
    "turns_per_s": Metric("number", _turns_per_s, interval=False, by_turn=False),
    "cost": Metric("number", _cost, interval=False, by_turn=False),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit.

    Parameters
    ----------
    text : str
        As it was written.
    metric : str
        A name in ``METRICS``.
    turn : int or None
        Only turns of this index.
    bound : str or None
        ``low`` or ``high`` limit of the interval; None: the value.
    operator : str
        A name in ``OPERATORS``.
    limit : float
        In the unit of the metric: 0 to 1, ms, or a plain number.
    """

    text: str
    metric: str
    turn: int | None
    bound: str | None
    operator: str
    limit: float

    @property
    def limits_errors(self) -> bool:
        """It says how many of all turns may fail."""
        return self.metric == "errors" and self.turn is None and self.operator in ("<=", "<")

    @property
    def limits_missing(self) -> bool:
        """It says how much of the run must have ended."""
        return self.metric == "complete" and self.operator in (">=", ">")

    @property
    def left(self) -> str:
        """What is limited, without the limit."""
        turn = "" if self.turn is None else f"[{self.turn}]"
        return f"{self.metric}{turn}{'' if self.bound is None else f'.{self.bound}'}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What came of a gate.

    Parameters
    ----------
    text : str
        The gate.
    value : float or None
        Of its metric: 0 to 1, ms, or a plain number. None: missing.
    met : bool or None
        None: the metric is missing, which counts as missed.
    words : str
        The value, or why it is missing.
    """

    text: str
    value: float | None
    met: bool | None
    words: str

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"gate": self.text, "value": self.value, "met": self.met, "words": self.words}


class HasMeasures(Protocol):
    """A run, such as ``evalkit.Run``."""

    path: Path

    def measures(self) -> RunMeasures:
        """The run in numbers."""


def parse(text: str) -> Gate:
    """Read a gate: ``METRIC``, perhaps ``[TURN]`` and ``.low`` or ``.high``, an operator, a number and its unit.

    Raises
    ------
    SettingsError
        It is written in another way; the message says where, and what there is.
    """
    comparison = _OPERATOR.search(text)
    if comparison is None:
        left = _LEFT.match(text)
        raise _wrong(
            text, left.end() if left else 0, f"there is no comparison ({', '.join(OPERATORS)}), as in {EXAMPLES}; "
            "a shell wants quotes around it",
        )  # fmt: skip
    name, turn, bound = _parse_left(text, comparison.start())
    limit = _parse_limit(text, comparison.end(), name)
    return Gate(text.strip(), name, turn, bound, comparison[0], limit)


def _parse_left(text: str, end: int) -> tuple[str, int | None, str | None]:
    found = _LEFT.match(text, 0, end)
    if found is None:
        raise _wrong(text, 0, f"there is no metric before {text[end]!r}; there are: {', '.join(METRICS)}")
    name = found["metric"]
    if name not in METRICS:
        close = get_close_matches(name, METRICS, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise _wrong(text, found.start("metric"), f"there is no metric {name!r}{meant}, but {', '.join(METRICS)}")
    if found.end() != end:
        raise _wrong(
            text, found.end(), f"{text[found.end() : end].strip()!r} is not understood: write {name}, "
            f"{name}[TURN] or {name}.low, then {', '.join(OPERATORS)}",
        )  # fmt: skip
    metric, turn, bound = METRICS[name], found["turn"], found["bound"]
    if turn is not None and not metric.by_turn:
        raise _wrong(text, found.start("turn"), f"{name} is of the whole run: leave [{turn}] out")
    if turn is not None and int(turn) == 0:
        raise _wrong(text, found.start("turn"), "turns are counted from 1")
    if bound is not None and bound not in BOUNDS:
        raise _wrong(text, found.start("bound"), f"{bound!r} is no bound of an interval: there are low and high")
    if bound is not None and not metric.interval:
        raise _wrong(text, found.start("bound"), f"{name} has no interval: leave .{bound} out")
    return name, None if turn is None else int(turn), bound


def _parse_limit(text: str, begin: int, name: str) -> float:
    kind = METRICS[name].kind
    found = _NUMBER.fullmatch(text, begin)
    if found is None:
        raise _wrong(text, begin, f"{text[begin:].strip()!r} is not a number with its unit, such as {_such_as(kind)}")
    unit = _UNITS[kind].get(found["unit"])
    if unit is None:
        what = f"the unit {found['unit']!r} does not fit" if found["unit"] else "a time needs its unit"
        raise _wrong(text, found.start("unit"), f"{what}: {name} is limited by {_such_as(kind)}")
    limit = float(Decimal(found["number"]) * unit)
    if kind == "share" and limit > 1:
        raise _wrong(text, found.start("number"), f"{name} is at most 1, or 100%: write {_such_as(kind)}")
    if limit == float("inf"):
        raise _wrong(text, found.start("number"), "this number is too large")
    return limit


def _such_as(kind: str) -> str:
    return {"share": "0.8 or 80%", "time": "400ms (units: us, ms, s, min)", "number": "a plain number, as 0.5"}[kind]


def _wrong(text: str, position: int, problem: str) -> SettingsError:
    return SettingsError(f"gate {text!r}, character {position + 1}: {problem}")


def evaluate(gates: Sequence[Gate], run: RunMeasures) -> list[GateResult]:
    """Hold a run against gates; pure."""
    return [_evaluate(gate, run) for gate in gates]


def warning_of(gates: Sequence[Gate], run: RunMeasures) -> str | None:
    """What to warn of beside the gates; None: nothing, or one of them says how much must have ended."""
    known = unfinished(run)
    if known is None or not gates or any(gate.limits_missing for gate in gates):
        return None
    return f"gates were checked although {known}. Add the gate 'complete>=100%', or go on with 'evalkit resume'"


def _evaluate(gate: Gate, run: RunMeasures) -> GateResult:
    metric = METRICS[gate.metric]
    part = run.all if gate.turn is None else next((part for part in run.by_turn if part.turn == gate.turn), None)
    if part is None:
        return GateResult(gate.text, None, None, f"{gate.left} is missing: no turn {gate.turn} is finished")
    estimate = metric.find(run, part)
    value = estimate.value if gate.bound is None else getattr(estimate, gate.bound)
    if value is None:
        reason = estimate.reason or "the data do not bound it on that side"
        return GateResult(gate.text, None, None, f"{gate.left} is missing: {reason}")
    met = OPERATORS[gate.operator](value, gate.limit)
    left_out = ""
    if gate.metric in ("errors", "accuracy_all") and part.interrupted:
        left_out = f", without {part.interrupted:,} cancelled when the session ended"
    return GateResult(gate.text, value, met, f"{gate.left} is {_in_words(metric, gate, estimate, value)}{left_out}")


def _in_words(metric: Metric, gate: Gate, estimate: Estimate, value: float) -> str:
    def shown(number: float | None) -> str:
        if number is None:
            return "–"
        # as many digits as it takes to see on which side of the limit it lies, and that it is not all or nothing
        ends = (gate.limit, 0.0, 1.0) if metric.kind == "share" else (gate.limit,)
        digits = next((d for d in (4, 6, 9) if all(_rounds_truly(number, end, d) for end in ends)), 17)
        return f"{number:.{digits}g}{' ms' if metric.kind == 'time' else ''}"

    words = shown(value) + {"share": " of", "time": " over"}.get(metric.kind, "")
    if metric.kind != "number":
        words += f" {estimate.n:,} {'planned ' if gate.metric == 'complete' else ''}turns"
    if gate.bound is None and (estimate.low is not None or estimate.high is not None):
        words += f" (95 % interval {shown(estimate.low)} to {shown(estimate.high)})"
    return words


def _rounds_truly(number: float, limit: float, digits: int) -> bool:
    return (float(f"{number:.{digits}g}") < limit) == (number < limit) and (
        (float(f"{number:.{digits}g}") > limit) == (number > limit)
    )


def check(run: HasMeasures, *gates: str) -> None:
    """Hold a run against gates, for those who test in pytest.

    Of an unfinished run it warns, unless a gate says how much must have ended: ``complete>=100%``.

    Parameters
    ----------
    run : Run
        Just made, as ``evaluate`` returns it, or ``Run(FILE)``.
    *gates : str
        As ``--fail-under`` takes them. Turns that failed are no fault unless a gate says so: ``errors<=1%``.

    Raises
    ------
    AssertionError
        A gate is missed; the message tells each such gate, and the first turns that failed or are wrong.
    SettingsError
        A gate that cannot be read, or none at all.

    Examples
    --------
    >>> def test_model():  # doctest: +SKIP
    ...     ek.check(ek.evaluate("data.jsonl", endpoint), "accuracy>=0.8", "ttft_p95<=400ms", "errors<=1%")
    """
    __tracebackhide__ = True
    if not gates:
        raise SettingsError(f"check holds a run against gates, and none is given, such as {EXAMPLES}")
    parsed = [parse(gate) for gate in gates]
    with snapshot(run.path):
        measures = run.measures()
        results = evaluate(parsed, measures)
        missed = [result for result in results if not result.met]
        told = _what_is_missed(run.path, missed, len(results)) if missed else None
    if (warning := warning_of(parsed, measures)) is not None:
        warnings.warn(f"{run.path}: {warning}", stacklevel=2)
    if told is not None:
        raise AssertionError(told)


def _what_is_missed(path: Path, missed: Sequence[GateResult], gates: int) -> str:
    lines = [f"{len(missed)} of {gates} gates missed by {path}:"]
    lines += [f"  {result.text}: {result.words}" for result in missed]
    with opened(path) as connection:
        first = list(islice(filter(_fault, transcripts(connection)), SHOWN))
    for transcript in first:
        turn = _fault(transcript)
        lines.append(f"\nconversation {transcript.conversation}, repeat {transcript.repeat}, up to turn {turn}:")
        lines.append(transcript.up_to(turn or 0))
    return plain("\n".join(lines))


def _fault(transcript: Transcript) -> int | None:
    """The first turn that failed or is wrong."""
    return next((said.turn for said in transcript.turns if said.verdict in ("error", "wrong")), None)
