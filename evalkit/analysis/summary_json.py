"""The object that ``--json`` prints of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evalkit.analysis.costs import Cost
from evalkit.analysis.measures import Measures, RunMeasures, Source, measured
from evalkit.engine.stopping.accuracy_goal import GoalStatus
from evalkit.stats.estimate import Estimate


def summary_json(data: Source | RunMeasures) -> dict[str, Any]:
    """Summarise a run as one JSON object; missing values are None.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures

    Returns
    -------
    dict
        ``run`` is the run's name. ``wrong`` counts answered turns whose score is below 1, in ``accuracy`` and in
        ``accuracy_all`` alike: a failed turn lowers ``accuracy_all`` but is not wrong. In ``accuracy`` ``n`` and
        ``unscored`` add up to ``answered``, in ``accuracy_all`` to ``turns``. ``schedule_latency_ms`` is None in closed
        loop. ``interrupted`` counts turns that were in flight when their session ended; they count in ``errors``, as
        ``cancelled``, and in ``unscored`` of ``accuracy_all``. ``by_tag`` has the 50 tags with the most turns, and
        ``tags_left_out`` counts the others. ``conversations`` has the fields of ``by_conversation.ConversationScores``,
        ``repeats`` those of ``by_conversation.RepeatScores``, or is None without repeats; ``doubt`` says why the
        interval of ``accuracy`` may be too short, or is None; ``scoring`` is the number of the scoring that all scores
        are from: 0 is the run's own. ``tokens`` are sums of what the endpoint reported; ``trust`` has the fields of
        ``client_trust.Trust``. ``cost`` is None when no price is known; ``complete`` is false when its total is a lower
        bound, and ``price_from`` is ``run`` or ``file``: see ``costs.Price``. ``until`` is None for a run without
        ``--until``, and ``arrivals`` for one in closed loop. ``planned`` counts the turns of the complete run; None:
        not known. ``retries`` has the fields of ``quantiles.Retries``, ``answering_models`` those of
        ``AnsweringModels``, and ``ignored_parameters`` is as ``IgnoredParameters.to_json`` makes it. ``caveats`` has
        the fields of ``caveats.Caveats``; ``imported`` says where an imported run is from, or is None. ``incomplete``
        has ``cut_off`` and ``unconfirmed``: the number of such ``answers``, and ``accuracy_without`` them, or None if
        there are none. ``raised_limits`` has the fields of ``raised_limits.RaisedLimit`` for each time that cut-off
        answers were sent again. ``checkup`` is None for a run without ``--checkup``; ``concerns`` are the verdicts of
        probes that touch the run.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    run = measured(data)
    return {
        "run": run.name,
        **_measures_json(run.all),
        "by_turn": [{"turn": row.turn, **_measures_json(row)} for row in run.by_turn],
        "by_tag": [row.to_json() for row in run.by_tag],
        "tags_left_out": run.tags_left_out,
        "conversations": run.conversations.to_json(),
        "repeats": None if run.repeats is None else run.repeats.to_json(),
        "doubt": run.all.accuracy.doubt,
        "scoring": run.scoring,
        "tokens": {"prompt": run.prompt_tokens, "output": run.output_tokens, **run.token_parts},
        "trust": asdict(run.trust),
        "wall_s": run.wall_s,
        "turns_per_s": run.turns_per_s,
        "cost": None if run.cost is None else _cost_json(run.cost),
        "until": None if run.until is None else _until_json(run.until),
        "arrivals": None if run.arrivals is None else dict(run.arrivals),
        "planned": run.planned,
        "ignored_parameters": None if run.ignored is None else run.ignored.to_json(),
        "answering_models": None if run.models is None else run.models.to_json(),
        "caveats": run.caveats._asdict(),
        "imported": None if run.imported is None else dict(run.imported),
        "incomplete": {name: answers.to_json() for name, answers in run.incomplete.items()},
        "raised_limits": [limit._asdict() for limit in run.raised_limits],
        "checkup": None if run.checkup is None else run.checkup.to_json(),
    }


def _measures_json(row: Measures) -> dict[str, Any]:
    def values(quantiles: dict[str, Estimate]) -> dict[str, float | None]:
        return {name: estimate.value for name, estimate in quantiles.items()}

    return {
        "turns": row.turns,
        "answered": row.answered,
        "errors": row.errors,
        "accuracy": row.accuracy.to_json(),
        "accuracy_all": row.accuracy_all.to_json(),
        "ttft_ms": values(row.ttft_ms),
        "latency_ms": values(row.latency_ms),
        "tpot_ms": values(row.tpot_ms),
        "schedule_latency_ms": values(row.schedule_latency_ms),
        "interrupted": row.interrupted,
        "turn_time_ms": values(row.turn_time_ms),
        "retries": row.retries._asdict(),
    }


def _cost_json(cost: Cost) -> dict[str, Any]:
    return {
        "total": cost.total,
        "complete": cost.complete,
        "untold": cost.untold,
        "per_turn": cost.per_turn,
        "per_right": cost.per_right,
        "prompt_price": cost.price.prompt,
        "output_price": cost.price.output,
        "cached_price": cost.price.cached,
        "cache_write_price": cost.price.cache_write,
        "price_from": cost.price.source,
    }


def _until_json(result: GoalStatus) -> dict[str, Any]:
    names = ("ci", "reached", "value", "low", "high", "conversations")
    return {name: getattr(result, name) for name in names}
