"""What a gate can limit: the metrics of a run, by name.

A metric is one entry of ``METRICS``; anything with a value and perhaps an interval can be one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from evalkit.analysis.measures import Measures, RunMeasures
from evalkit.stats.estimate import Estimate

if TYPE_CHECKING:
    from evalkit.analysis.accuracy.by_conversation import RepeatScores


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a run that a gate can limit.

    Parameters
    ----------
    kind : str
        ``share`` (0 to 1), ``time`` (ms) or ``number``.
    find : callable
        From the run, and the measures of all its turns or of those with one index, to an Estimate. Of k repeats also
        from k; None: all repeats of the run.
    interval : bool
        Whether the Estimate has limits.
    by_turn : bool
        Whether it exists for each turn index.
    noun : str
        What its Estimate counts.
    of_k : bool
        Whether it is over k repeats.
    left_out : callable
        From the run, and k, to what is left out, in words; empty if nothing is.
    """

    kind: str
    find: Callable[..., Estimate]
    interval: bool = True
    by_turn: bool = True
    noun: str = "turns"
    of_k: bool = False
    left_out: Callable[[RunMeasures, int | None], str] = lambda run, k: ""


def _errors(_: RunMeasures, part: Measures) -> Estimate:
    finished = part.turns - part.interrupted
    share = (finished - part.answered) / finished if finished else None
    return Estimate(share, None, None, finished, None if finished else "no turn is finished")


def _complete(run: RunMeasures, part: Measures) -> Estimate:
    if run.planned is None:
        reason = "the number of planned turns is unknown, because the dataset was not read to its end"
        return Estimate(None, None, None, 0, reason)
    share = part.turns / run.planned if run.planned else None
    return Estimate(share, None, None, run.planned, None if run.planned else "no turn is planned")


def _quantile(metric: str, name: str, _: RunMeasures, part: Measures) -> Estimate:
    estimate: Estimate = getattr(part, f"{metric}_ms")[name]
    return estimate


def _turns_per_s(run: RunMeasures, part: Measures) -> Estimate:
    return Estimate(run.turns_per_s, None, None, part.turns, "no session has finished a turn")


def _cost(run: RunMeasures, part: Measures) -> Estimate:
    if run.cost is None:
        return Estimate(None, None, None, part.turns, "the price of the model is not known")
    if run.cost.complete:
        return Estimate(run.cost.total, None, None, part.turns)
    at_least = "" if run.cost.total is None else f"it is at least {run.cost.total:.6g}, but "
    return Estimate(None, None, None, part.turns, f"{at_least}{run.cost.untold:,} requests reported no tokens")


def _all_right(run: RunMeasures, _: Measures) -> Estimate:
    scores = run.conversations
    if scores.all_right.value is None:
        return Estimate(None, None, None, 0, f"none of {scores.incomplete:,} conversations is complete")
    return scores.all_right


def _incomplete(run: RunMeasures, _: int | None) -> str:
    count = run.conversations.incomplete
    return f"{_counted(count, 'conversation')} with a turn that failed or has no score" if count else ""


def _over_repeats(run: RunMeasures, k: int | None) -> RepeatScores | Estimate:
    """The scores over k repeats, or the reason why there are none."""
    scores = run.repeats
    if scores is None:
        return Estimate(None, None, None, 0, "the run has one repeat: run it with --repeats")
    if k is None or k == scores.of:
        return scores if scores.k == scores.of else scores.at(scores.of)
    if not 1 <= k <= scores.of:
        return Estimate(None, None, None, 0, f"k is {k}, and the run has {scores.of} repeats")
    return scores.at(k)


def _pass(share: str, run: RunMeasures, _: Measures, k: int | None = None) -> Estimate:
    scores = _over_repeats(run, k)
    if isinstance(scores, Estimate):
        return scores
    found: Estimate = getattr(scores, share)
    if found.value is not None:
        return found
    best = next((smaller for smaller in range(scores.k - 1, 0, -1) if (scores.turns.n >= smaller).any()), None)
    hint = "" if best is None else f"; a smaller k has: at most {best}"
    return Estimate(None, None, None, 0, f"no turn has {_counted(scores.k, 'score')}{hint}")


def _short_of_k(run: RunMeasures, k: int | None) -> str:
    scores = _over_repeats(run, k)
    if isinstance(scores, Estimate) or not scores.left_out:
        return ""
    return f"{_counted(scores.left_out, 'turn')} with fewer than {_counted(scores.k, 'score')}"


def _worst_turn(run: RunMeasures, _: Measures) -> Estimate:
    scores = _over_repeats(run, None)
    return scores if isinstance(scores, Estimate) else scores.worst_turn()


def _failed_repeats(run: RunMeasures, _: int | None) -> str:
    scores = _over_repeats(run, None)
    if isinstance(scores, Estimate):
        return ""
    missing = int((scores.of - scores.turns.n).sum()) + scores.never_scored * scores.of
    return f"{_counted(missing, 'repeat')} of a turn that failed or has no score" if missing else ""


METRICS: dict[str, Metric] = {
    "accuracy": Metric("share", lambda _, part: part.accuracy.mean),
    "accuracy_all": Metric("share", lambda _, part: part.accuracy_all.mean),
    "errors": Metric("share", _errors, interval=False),
    "all_right": Metric("share", _all_right, by_turn=False, noun="conversations", left_out=_incomplete),
    "pass@k": Metric("share", partial(_pass, "once"), by_turn=False, of_k=True, left_out=_short_of_k),
    "pass^k": Metric("share", partial(_pass, "always"), by_turn=False, of_k=True, left_out=_short_of_k),
    "worst_turn": Metric("share", _worst_turn, interval=False, by_turn=False, left_out=_failed_repeats),
    "complete": Metric("share", _complete, interval=False, by_turn=False),
    **{
        f"{metric}_{name}": Metric("time", partial(_quantile, metric, name))
        for metric in ("ttft", "latency", "tpot", "schedule_latency")
        for name in ("p50", "p95", "p99")
    },
    "turns_per_s": Metric("number", _turns_per_s, interval=False, by_turn=False),
    "cost": Metric("number", _cost, interval=False, by_turn=False),
}


def _counted(count: int, noun: str) -> str:
    """A count and its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
