"""One step of a load test, measured from its run file without warm-up and tail."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from evalkit.analysis import client_trust
from evalkit.loadtest.accuracy_over_load import StepScores
from evalkit.loadtest.measurement_window import NS_PER_S, ConversationSpans, Flags, Floats, share_inside
from evalkit.loadtest.slo import Slo
from evalkit.runfile import store
from evalkit.runfile.schema import INTERRUPTED, JOIN_SCORE
from evalkit.stats import proportions, quantiles
from evalkit.stats.arrays import Whole
from evalkit.stats.estimate import Estimate

_NS_PER_MS = 1e6
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_TURNS = f"""
    SELECT t.conversation, t.repeat, a.due_ns, t.sent_ns, t.end_ns, t.ttft_ns, t.tpot_ns, t.latency_ns, t.censored_ns,
      t.schedule_latency_ns, t.output_tokens, s.value, t.error_kind, {INTERRUPTED}, t.turn,
      coalesce(instr(t.flags, 'buffered'), 0), coalesce(instr(t.flags, 'first_read_late'), 0)
    FROM turn t
      LEFT JOIN (SELECT conversation, repeat, turn, min(due_ns) AS due_ns FROM attempt GROUP BY 1, 2, 3) a
        USING (conversation, repeat, turn)
      {JOIN_SCORE}"""  # noqa: S608 - SQL of our own
_COLUMNS = np.dtype(
    [("position", "i8"), ("repeat", "i8")]
    + [
        (name, "f8")
        for name in (
            "due", "sent", "end", "ttft", "tpot", "latency", "censored", "schedule_latency", "tokens", "score",
        )
    ]
    + [("kind", "O"), ("interrupted", "?"), ("turn", "i8"), ("at_once", "?"), ("first_read_late", "?")]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """The results of one load.

    Warm-up: the conversations that started first are left out with all their turns. The load is complete from the end
    of the last of them until a slot runs out of work: the first end of a conversation after the last one has started
    (with a rate: until the last one has started). Turns that are due after that are left out too.

    Turns, tokens and goodput per second are measured in that window: each turn counts with the share of its time, from
    due to end, that lies inside. Counting ends instead could be off by a round of all slots, which often end together.
    Times, errors and accuracy cover all turns that are not left out.

    Parameters
    ----------
    load : int or float
        Conversations in parallel, or conversations started per second.
    path : Path
        Run file of the step.
    warm_up : int
        Number of conversations left out.
    turns, answered : int
        Turns that are not left out, and those of them with an answer.
    errors : dict
        Error kind to number of turns, the most frequent first; ``cancelled`` turns were cut off by the end of the step.
    window_s : float or None
        Length of the window. None: the load was never complete, so that the values per second are missing too; run
        more conversations per step.
    turns_per_s : float or None
        Answered turns per second.
    output_tokens_per_s : float or None
        None: not every answered turn reports its tokens.
    goodput : float or None
        Answered turns per second that met every objective. None: no objectives.
    within_slo : float or None
        Share of the turns that met every objective; failed turns did not. A turn that the end of the step cut off
        before it missed one counts on neither side. None: no objectives.
    unknown : dict
        Metric with an objective to the number of answered turns without that metric, which so did not meet it.
    ttft_ms, tpot_ms, latency_ms, schedule_latency_ms : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms; the last is missing without a rate. A time-out, or a turn that the
        end of the step cut off, gives a lower bound of its latencies.
    accuracy : Estimate
        Mean score over answered and scored turns.
    loop_lag_p99_ms : float or None
        p99 of the client's event-loop lag.
    client_bound : bool or None
        Whether the client limited the times: see ``analysis.client_trust.client_bound``.
    interrupted : int
        Turns that the end of the step cut off: they are among ``errors``, but the endpoint did not fail.
    realised_rate : float or None
        Conversations per second that were due, from the first to the last after the warm-up. None: without a rate.
    arrivals_seed : int or None
        Seed of Poisson arrivals.
    streams : (int, int, int)
        Streamed answers; those of them that arrived nearly all at one time; those whose first read may have been late:
        see ``analysis.client_trust``.
    scores : StepScores
        Scores of all answered turns, warm-up and tail included: steps are compared on the turns that they share.
    """

    load: float
    path: Path
    warm_up: int
    turns: int
    answered: int
    errors: dict[str, int]
    window_s: float | None
    turns_per_s: float | None
    output_tokens_per_s: float | None
    goodput: float | None
    within_slo: float | None
    unknown: dict[str, int]
    ttft_ms: dict[str, Estimate]
    tpot_ms: dict[str, Estimate]
    latency_ms: dict[str, Estimate]
    schedule_latency_ms: dict[str, Estimate]
    accuracy: Estimate
    loop_lag_p99_ms: float | None
    client_bound: bool | None
    interrupted: int = 0
    realised_rate: float | None = None
    arrivals_seed: int | None = None
    streams: tuple[int, int, int] = (0, 0, 0)
    scores: StepScores = field(default_factory=dict, repr=False, compare=False)

    @property
    def failed(self) -> int:
        """Turns that failed because of the endpoint or the network."""
        return self.turns - self.answered - self.interrupted

    @property
    def error_share(self) -> float:
        """Share of failed turns among those that were not cut off."""
        finished = self.turns - self.interrupted
        return self.failed / finished if finished else 0.0

    def to_json(self, name: str) -> dict[str, Any]:
        """One row of ``--json``; ``name`` is ``concurrency`` or ``rate``. Missing values are None."""
        times = ("ttft_ms", "tpot_ms", "latency_ms", "schedule_latency_ms")
        accuracy = self.accuracy
        return {
            name: self.load,
            "run": str(self.path),
            "warm_up": self.warm_up,
            "turns": self.turns,
            "answered": self.answered,
            "errors": self.errors,
            "window_s": self.window_s,
            "turns_per_s": self.turns_per_s,
            "output_tokens_per_s": self.output_tokens_per_s,
            "goodput": self.goodput,
            "within_slo": self.within_slo,
            "unknown": self.unknown,
            **{time: {q: estimate.value for q, estimate in getattr(self, time).items()} for time in times},
            "accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high, "n": accuracy.n},
            "trust": {
                "loop_lag_p99_ms": self.loop_lag_p99_ms,
                "client_bound": self.client_bound,
                **dict(zip(("streams", "streams_at_once", "streams_first_read_late"), self.streams, strict=True)),
            },
            "interrupted": self.interrupted,
            "realised_rate": self.realised_rate,
            "arrivals_seed": self.arrivals_seed,
        }


def read_step(path: Path, load: float, *, warm_up: int, open_loop: bool, slo: Slo) -> Step:
    """Measure the run of one step.

    Parameters
    ----------
    path : Path
        Run file of the step.
    load : float
        Concurrency or rate.
    warm_up : int
        Number of conversations, those that started first, to leave out; at least one is kept.
    open_loop : bool
        Whether ``load`` is a rate.
    slo : Slo
        Objectives; may be empty.

    Raises
    ------
    RunFileError
        The file is not a readable run file.
    """
    with store.reading(path) as connection:
        rows = np.fromiter(connection.execute(_TURNS), dtype=_COLUMNS)
        names = _cluster_names(connection, rows["position"])
        lag = _loop_lag_p99_ms(connection)
        settings = store.run_info(connection)["settings"]
    streamed = bool(settings.get("stream", True))
    spans = ConversationSpans.of(rows)
    warm_up = min(warm_up, max(len(spans.start) - 1, 0))
    warm = spans.first(warm_up)
    window = spans.window(warm, open_loop=open_loop)
    due = np.where(np.isnan(rows["due"]), spans.end[spans.of_turn], rows["due"])
    counted = ~warm[spans.of_turn] & (due < window[1])
    # turns that are left out of the times can still lie in the window in part
    inside = np.where(~warm[spans.of_turn], share_inside(due, rows["end"], window), 0.0)
    answered = np.array([kind is None for kind in rows["kind"]], dtype=bool)
    times = {name: rows[name] / _NS_PER_MS for name in ("ttft", "tpot", "latency", "schedule_latency")}
    bound = np.where(answered, np.nan, rows["censored"] / _NS_PER_MS)
    late = np.where(np.isnan(bound), np.nan, (rows["end"] - due) / _NS_PER_MS)  # from the scheduled time on
    # without streaming there is no TTFT, and no bound of it
    no_token = bound if streamed else np.full(len(rows), np.nan)
    if open_loop:  # a user waits from the scheduled time on
        limited = {**times, "latency": times["schedule_latency"]}
        at_least = {"ttft": no_token, "latency": late}
    else:
        limited, at_least = times, {"ttft": no_token, "latency": bound}
    met = slo.met(answered, limited)
    undecided = rows["interrupted"] & ~slo.missed(limited, at_least)
    window_s = (window[1] - window[0]) / NS_PER_S if window[1] > window[0] else None

    def per_s(amounts: NDArray[Any]) -> float | None:
        return None if window_s is None else float((inside * amounts).sum()) / window_s

    good = counted & answered
    tokens_known = bool(answered.any()) and not np.isnan(rows["tokens"][answered & (inside > 0)]).any()
    scored = good & ~np.isnan(rows["score"])
    streams = good & ~np.isnan(rows["ttft"])
    # the conversations repeat as often as the load needs: turns are correlated within one repeat of a conversation
    repeat_of_turn = spans.of_turn[counted]
    ttft = _bounded(times["ttft"][counted], no_token[counted], repeat_of_turn)
    latency = _bounded(times["latency"][counted], bound[counted], repeat_of_turn)
    return Step(
        load=load,
        path=path,
        warm_up=warm_up,
        turns=int(counted.sum()),
        answered=int(good.sum()),
        errors=dict(Counter(rows["kind"][counted & ~answered].tolist()).most_common()),
        window_s=window_s,
        turns_per_s=per_s(answered),
        output_tokens_per_s=per_s(np.where(answered, np.nan_to_num(rows["tokens"]), 0.0)) if tokens_known else None,
        goodput=per_s(met) if slo else None,
        within_slo=float(met[counted & ~undecided].mean()) if slo and (counted & ~undecided).any() else None,
        unknown=slo.missing(good, limited),
        ttft_ms=ttft,
        tpot_ms=_quantiles(times["tpot"][counted], repeat_of_turn),
        latency_ms=latency,
        schedule_latency_ms=_bounded(
            times["schedule_latency"][counted],
            late[counted] if open_loop else np.full(int(counted.sum()), np.nan),
            repeat_of_turn,
        ),
        accuracy=proportions.proportion(rows["score"][scored], _cluster_numbers(names)[scored]),
        loop_lag_p99_ms=lag,
        client_bound=client_trust.client_bound(lag, (ttft if streamed else latency)["p50"].value),
        interrupted=int((rows["interrupted"] & counted).sum()),
        realised_rate=spans.rate(warm) if open_loop else None,
        arrivals_seed=settings.get("arrivals_seed"),
        streams=(
            int(streams.sum()),
            int((streams & rows["at_once"]).sum()),
            int((streams & rows["first_read_late"]).sum()),
        ),
        scores=_scores(rows, answered, names),
    )


def _scores(rows: NDArray[Any], answered: Flags, names: list[str]) -> StepScores:
    """Mean score of each turn over its repeats, with its cluster."""
    scores: dict[tuple[int, int], list[float]] = {}
    clusters: dict[tuple[int, int], str] = {}
    for row in np.flatnonzero(answered & ~np.isnan(rows["score"])).tolist():
        key = int(rows["position"][row]), int(rows["turn"][row])
        scores.setdefault(key, []).append(float(rows["score"][row]))
        clusters[key] = names[row]
    return {key: (sum(values) / len(values), clusters[key]) for key, values in scores.items()}


def _quantiles(values: Floats, clusters: Whole) -> dict[str, Estimate]:
    return _bounded(values, np.full(len(values), np.nan), clusters)


def _bounded(values: Floats, at_least: Floats, clusters: Whole) -> dict[str, Estimate]:
    """Quantiles in which the lower bound of a time-out takes the place of the missing time."""
    timed_out = np.isnan(values) & ~np.isnan(at_least)
    times = np.where(timed_out, at_least, values)
    known = ~np.isnan(times)
    estimates = quantiles.quantiles(
        times[known], tuple(_QUANTILES.values()), timed_out[known], clusters=clusters[known]
    )
    return dict(zip(_QUANTILES, estimates, strict=True))


def _cluster_names(connection: sqlite3.Connection, positions: NDArray[np.int64]) -> list[str]:
    """The name of each turn's cluster, a conversation or a group of them; it is the same in every step."""
    groups: Mapping[int, str | None] = dict(connection.execute("SELECT position, cluster FROM conversation"))
    return [
        f"conversation {position}" if groups[position] is None else f"group {groups[position]}"
        for position in positions.tolist()
    ]


def _cluster_numbers(names: list[str]) -> Whole:
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1] if names else np.zeros(0, dtype=np.intp)


def _loop_lag_p99_ms(connection: sqlite3.Connection) -> float | None:
    trusts = connection.execute("SELECT trust FROM session WHERE trust IS NOT NULL")
    lags = [orjson.loads(trust).get("loop_lag_p99_ms") for (trust,) in trusts]
    return max((float(lag) for lag in lags if lag is not None), default=None)
