"""What a gate can limit: the metrics of a run, by name.

A metric is one entry of ``METRICS``; anything with a value and perhaps an interval can be one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from evalkit.analysis.measures import Measures, RunMeasures
from evalkit.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a run that a gate can limit.

    Parameters
    ----------
    kind : str
        ``share`` (0 to 1), ``time`` (ms) or ``number``.
    find : callable
        From the run, and the measures of all its turns or of those with one index, to an Estimate.
    interval : bool
        Whether the Estimate has limits.
    by_turn : bool
        Whether it exists for each turn index.
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
