"""A run checked against its gates, limits such as ``accuracy>=0.8``.

A gate whose metric is missing is missed, and gives the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from evalkit.analysis.measures import RunMeasures, opened, snapshot
from evalkit.errors import SettingsError
from evalkit.gates.gate_expression import EXAMPLES, OPERATORS, Gate, parse
from evalkit.gates.metrics import METRICS, Metric
from evalkit.runfile.plain_text import plain
from evalkit.runfile.plain_transcripts import up_to
from evalkit.runfile.transcripts import Transcript, transcripts
from evalkit.stats.estimate import Estimate

SHOWN = 3  # transcripts in the message of ``check``


def unfinished_reason(run: RunMeasures) -> str | None:
    """Why a run is or may be unfinished; None: every planned turn has ended."""
    if run.planned is None:
        return "the run may be unfinished: its dataset was not read to its end"
    missing = run.planned - run.all.turns
    return f"the run is unfinished: {missing:,} of {run.planned:,} turns are missing" if missing else None


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of a gate.

    Parameters
    ----------
    text : str
        The gate, as it was written.
    value : float or None
        Value of its metric: 0 to 1, ms, or a plain number. None: missing.
    met : bool or None
        None: the metric is missing, which counts as missed.
    words : str
        A sentence with the value, or with the reason why it is missing.
    """

    text: str
    value: float | None
    met: bool | None
    words: str

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"gate": self.text, "value": self.value, "met": self.met, "words": self.words}


@runtime_checkable
class HasMeasures(Protocol):
    """A run, such as ``evalkit.Run``."""

    path: Path

    def measures(self) -> RunMeasures:
        """The run in numbers."""


class HasVerdict(Protocol):
    """A verdict of a comparison."""

    @property
    def words(self) -> str:
        """It as a sentence."""


class HasFailing(Protocol):
    """The verdicts of a comparison."""

    @property
    def verdicts(self) -> Sequence[HasVerdict]:
        """All of them."""

    def failing(self, fail_on: str) -> Sequence[HasVerdict]:
        """Those that fail a test."""


class HasVerdicts(Protocol):
    """A comparison, as returned by ``evalkit.compare``."""

    def verdicts(self, *margins: str) -> HasFailing:
        """The verdicts by these margins."""


def results_of(gates: Sequence[Gate], run: RunMeasures) -> list[GateResult]:
    """Check a run against gates; reads no file."""
    return [_evaluate(gate, run) for gate in gates]


def warning_if_unfinished(gates: Sequence[Gate], run: RunMeasures) -> str | None:
    """The warning that gates were checked on an unfinished run; None: it has ended, or a gate limits that too."""
    reason = unfinished_reason(run)
    if reason is None or not gates or any(gate.limits_missing for gate in gates):
        return None
    return (
        f"gates were checked although {reason}. Add the gate 'complete>=100%', or finish the run with 'evalkit resume'"
    )


def _evaluate(gate: Gate, run: RunMeasures) -> GateResult:
    metric = METRICS[gate.metric]
    part = run.all if gate.turn is None else next((part for part in run.by_turn if part.turn == gate.turn), None)
    if part is None:
        return GateResult(gate.text, None, None, f"{gate.left} is missing: no turn {gate.turn} is finished")
    estimate = metric.find(run, part, gate.k) if metric.of_k else metric.find(run, part)
    value = estimate.value if gate.bound is None else getattr(estimate, gate.bound)
    if value is None:
        reason = estimate.reason or "the data give no limit on that side"
        return GateResult(gate.text, None, None, f"{gate.left} is missing: {reason}")
    met = OPERATORS[gate.operator](value, gate.limit)
    left_out = ""
    if gate.metric in ("errors", "accuracy_all") and part.interrupted:
        turns = f"{part.interrupted:,} turn{'s' * (part.interrupted != 1)}"
        left_out = f", without {turns} cancelled when the session ended"
    elif without := metric.left_out(run, gate.k):
        left_out = f", without {without}"
    return GateResult(gate.text, value, met, f"{gate.left} is {_in_words(metric, gate, estimate, value)}{left_out}")


def _in_words(metric: Metric, gate: Gate, estimate: Estimate, value: float) -> str:
    def shown(number: float | None) -> str:
        if number is None:
            return "–"
        # enough digits to see on which side of the limit it lies, and that a share is not exactly 0 or 1
        ends = (gate.limit, 0.0, 1.0) if metric.kind == "share" else (gate.limit,)
        digits = next((d for d in (4, 6, 9) if all(_rounds_truly(number, end, d) for end in ends)), 17)
        return f"{Decimal(f'{number:.{digits}g}'):f}{' ms' if metric.kind == 'time' else ''}"

    words = shown(value) + {"share": " of", "time": " over"}.get(metric.kind, "")
    if metric.kind != "number":
        words += f" {estimate.n:,} {'planned ' if gate.metric == 'complete' else ''}{metric.noun}"
    if gate.bound is None and (estimate.low is not None or estimate.high is not None):
        words += f" (95 % interval {shown(estimate.low)} to {shown(estimate.high)})"
    return words


def _rounds_truly(number: float, limit: float, digits: int) -> bool:
    return (float(f"{number:.{digits}g}") < limit) == (number < limit) and (
        (float(f"{number:.{digits}g}") > limit) == (number > limit)
    )


def check(run: HasMeasures | HasVerdicts, *gates: str, fail_on: str | None = None) -> None:
    """Check a run against gates, or a comparison against margins, for tests in pytest.

    Warns about an unfinished run, unless a gate says how much must have ended: ``complete>=100%``.

    Parameters
    ----------
    run : Run or Comparison
        As returned by ``evaluate``, or ``Run(FILE)``; or as returned by ``compare``.
    *gates : str
        For a run in the form of ``--fail-under``. Failed turns are allowed unless a gate limits them: ``errors<=1%``.
        For a comparison in the form of ``--allow``: ``accuracy -2%``, ``ttft_p95 +10%``.
    fail_on : str, optional
        Of a comparison, what fails: ``worse`` (default; also a metric that is missing), or ``not-shown``: also what
        nobody can tell yet.

    Raises
    ------
    AssertionError
        A gate is missed. The message lists every missed gate and the first turns that failed or are wrong. Or a run is
        worse than its margin allows. The message lists the verdicts.
    SettingsError
        A gate cannot be parsed, or no gate is given.

    Examples
    --------
    >>> def test_model():  # doctest: +SKIP
    ...     ek.check(ek.evaluate("data.jsonl", endpoint), "accuracy>=0.8", "ttft_p95<=400ms", "errors<=1%")
    >>> def test_prompt():  # doctest: +SKIP
    ...     ek.check(ek.compare("runs/base.evalkit", "runs/new.evalkit"), "accuracy -2%", "cost +5%")
    """
    __tracebackhide__ = True
    if not isinstance(run, HasMeasures):
        _check_comparison(run, gates, fail_on or "worse")
        return
    if fail_on is not None:
        raise SettingsError("fail_on is for a comparison: a run either meets its gates or not. Omit it")
    if not gates:
        raise SettingsError(f"check needs at least one gate, such as {EXAMPLES}")
    parsed = [parse(gate) for gate in gates]
    with snapshot(run.path):
        measures = run.measures()
        results = results_of(parsed, measures)
        missed = [result for result in results if not result.met]
        message = _missed_message(run.path, missed, len(results)) if missed else None
    if (warning := warning_if_unfinished(parsed, measures)) is not None:
        warnings.warn(f"{run.path}: {warning}", stacklevel=2)
    if message is not None:
        raise AssertionError(message)


def _check_comparison(comparison: HasVerdicts, margins: Sequence[str], fail_on: str) -> None:
    __tracebackhide__ = True
    found = comparison.verdicts(*margins)
    failing = found.failing(fail_on)
    if failing:
        lines = [f"{len(failing)} of {len(found.verdicts)} verdicts fail ({fail_on}):"]
        raise AssertionError(plain("\n".join([*lines, *(f"  {each.words}" for each in failing)])))


def _missed_message(path: Path, missed: Sequence[GateResult], gates: int) -> str:
    lines = [f"{len(missed)} of {gates} gates missed by {path}:"]
    lines += [f"  {result.text}: {result.words}" for result in missed]
    with opened(path) as connection:
        first = list(islice(filter(_first_bad_turn, transcripts(connection)), SHOWN))
    for transcript in first:
        turn = _first_bad_turn(transcript)
        lines.append(f"\nconversation {transcript.conversation}, repeat {transcript.repeat}, up to turn {turn}:")
        lines.append(up_to(transcript, turn or 0))
    return plain("\n".join(lines))


def _first_bad_turn(transcript: Transcript) -> int | None:
    """The first turn that failed or is wrong."""
    return next((turn.turn for turn in transcript.turns if turn.verdict in ("error", "wrong")), None)
