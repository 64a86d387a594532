"""One step of a load test in numbers: read from its run file, warm-up and tail left out."""

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
from evalkit.loadtest.slo import Slo
from evalkit.runfile import store
from evalkit.runfile.schema import INTERRUPTED, JOIN_SCORE
from evalkit.stats import proportions, quantiles
from evalkit.stats.arrays import Whole
from evalkit.stats.estimate import Estimate

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NS_PER_MS = 1e6
_NS_PER_S = 1e9
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
    """What one load came to.

    Warm-up: the conversations begun first are left out whole, with all their turns. The load is whole from the end of
    the last of them till there is no work for some slot: the first end of a conversation after the last one was begun
    (with a rate: till the last one was begun). What was asked after that is left out too.

    A rate (turns, tokens, goodput a second) is taken over that window: each turn counts with the part of its time,
    from due to end, that lies inside. Counting ends instead would err by a whole round of the slots, which often end
    together. Times, errors and accuracy are of all turns that are not left out.

    Parameters
    ----------
    load : int or float
        Conversations at once, or conversations begun a second.
    path : Path
        Its run file.
    warm_up : int
        Conversations left out.
    turns, answered : int
        Turns that are not left out, and those among them with an answer.
    errors : dict
        Error kind to number of turns, the most frequent first; ``cancelled`` ones the end of the step cut off.
    window_s : float or None
        Length of the window. None: the load was never whole, ask more conversations a step; no rate is known then.
    turns_per_s : float or None
        Answered turns a second.
    output_tokens_per_s : float or None
        None: not every answered turn tells its tokens.
    goodput : float or None
        Answered turns a second that met every objective. None: there is none.
    within_slo : float or None
        Share of the turns that met every objective; failed ones did not. A turn that the end of the step cut off before
        it had missed one is in neither. None: there is none.
    unknown : dict
        Metric with an objective to the number of answered turns that do not tell it, and so did not meet it.
    ttft_ms, tpot_ms, latency_ms, schedule_latency_ms : dict
        ``p50``, ``p95``, ``p99`` to Estimate, in ms; the last is missing without a rate. A time-out, or a turn that the
        end of the step cut off, is a lower bound of its latencies.
    accuracy : Estimate
        Mean score over answered and scored turns.
    loop_lag_p99_ms : float or None
    client_bound : bool or None
        See ``stats.client_bound``.
    interrupted : int
        Turns that the end of the step cut off: they are among ``errors``, but the endpoint did not fail.
    realised_rate : float or None
        Conversations a second that were really due, from the first to the last after the warm-up. None: without a rate.
    arrivals_seed : int or None
        Of Poisson arrivals.
    streams : (int, int, int)
        Answers that were streamed; those that came nearly at once; and those whose first read may have been late: see
        ``sessions.Trust``.
    scores : StepScores
        Of all turns that were answered, warm-up and tail included: steps are compared by the turns they share.
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
        """Turns that the endpoint, or the way to it, failed."""
        return self.turns - self.answered - self.interrupted

    @property
    def error_share(self) -> float:
        """Failed turns among all that were not cut off."""
        whole = self.turns - self.interrupted
        return self.failed / whole if whole else 0.0

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
        Its run file.
    load : float
        Concurrency or rate.
    warm_up : int
        The first conversations begun, so many, are left out; all but one at most.
    open_loop : bool
        ``load`` is a rate.
    slo : Slo

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with store.reading(path) as connection:
        rows = np.fromiter(connection.execute(_TURNS), dtype=_COLUMNS)
        names = _cluster_names(connection, rows["position"])
        lag = _loop_lag_p99_ms(connection)
        settings = store.run_info(connection)["settings"]
    streamed = bool(settings.get("stream", True))
    talks = _Talks.of(rows)
    warm_up = min(warm_up, max(len(talks.begin) - 1, 0))
    warm = talks.first(warm_up)
    window = talks.window(warm, open_loop=open_loop)
    due = np.where(np.isnan(rows["due"]), talks.end[talks.of_turn], rows["due"])
    kept = ~warm[talks.of_turn] & (due < window[1])
    # its turns lie in the window in part, also those that are kept out of the times
    inside = np.where(~warm[talks.of_turn], _share_inside(due, rows["end"], window), 0.0)
    answered = np.array([kind is None for kind in rows["kind"]], dtype=bool)
    times = {name: rows[name] / _NS_PER_MS for name in ("ttft", "tpot", "latency", "schedule_latency")}
    bound = np.where(answered, np.nan, rows["censored"] / _NS_PER_MS)
    late = np.where(np.isnan(bound), np.nan, (rows["end"] - due) / _NS_PER_MS)  # from the schedule on
    # without streaming TTFT does not exist, so that nothing bounds it
    no_token = bound if streamed else np.full(len(rows), np.nan)
    if open_loop:  # what a user of the endpoint waits for begins when the schedule wanted it
        limited = {**times, "latency": times["schedule_latency"]}
        least = {"ttft": no_token, "latency": late}
    else:
        limited, least = times, {"ttft": no_token, "latency": bound}
    met = slo.met(answered, limited)
    open_still = rows["interrupted"] & ~slo.missed(limited, least)
    window_s = (window[1] - window[0]) / _NS_PER_S if window[1] > window[0] else None

    def per_s(amounts: NDArray[Any]) -> float | None:
        return None if window_s is None else float((inside * amounts).sum()) / window_s

    good = kept & answered
    tokens_told = bool(answered.any()) and not np.isnan(rows["tokens"][answered & (inside > 0)]).any()
    scored = good & ~np.isnan(rows["score"])
    streams = good & ~np.isnan(rows["ttft"])
    # the load is these conversations, asked over and over: what hangs together is the turns of one asking
    asked = talks.of_turn[kept]
    ttft = _bounded(times["ttft"][kept], no_token[kept], asked)
    latency = _bounded(times["latency"][kept], bound[kept], asked)
    return Step(
        load=load,
        path=path,
        warm_up=warm_up,
        turns=int(kept.sum()),
        answered=int(good.sum()),
        errors=dict(Counter(rows["kind"][kept & ~answered].tolist()).most_common()),
        window_s=window_s,
        turns_per_s=per_s(answered),
        output_tokens_per_s=per_s(np.where(answered, np.nan_to_num(rows["tokens"]), 0.0)) if tokens_told else None,
        goodput=per_s(met) if slo else None,
        within_slo=float(met[kept & ~open_still].mean()) if slo and (kept & ~open_still).any() else None,
        unknown=slo.missing(good, limited),
        ttft_ms=ttft,
        tpot_ms=_quantiles(times["tpot"][kept], asked),
        latency_ms=latency,
        schedule_latency_ms=_bounded(
            times["schedule_latency"][kept], late[kept] if open_loop else np.full(int(kept.sum()), np.nan), asked
        ),
        accuracy=proportions.proportion(rows["score"][scored], _numbered(names)[scored]),
        loop_lag_p99_ms=lag,
        client_bound=client_trust.client_bound(lag, (ttft if streamed else latency)["p50"].value),
        interrupted=int((rows["interrupted"] & kept).sum()),
        realised_rate=talks.rate(warm) if open_loop else None,
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
    found: dict[tuple[int, int], list[float]] = {}
    owner: dict[tuple[int, int], str] = {}
    for place in np.flatnonzero(answered & ~np.isnan(rows["score"])).tolist():
        key = int(rows["position"][place]), int(rows["turn"][place])
        found.setdefault(key, []).append(float(rows["score"][place]))
        owner[key] = names[place]
    return {key: (sum(values) / len(values), owner[key]) for key, values in found.items()}


@dataclass(frozen=True, slots=True)
class _Talks:
    """Begin and end of each conversation that was asked, in ns; ``of_turn`` is the place of each turn's."""

    begin: Floats
    end: Floats
    of_turn: NDArray[np.intp]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> _Talks:
        _, of_turn = np.unique(rows[["position", "repeat"]], return_inverse=True)
        count = int(of_turn.max()) + 1 if len(rows) else 0
        begin, end = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(begin, of_turn, np.where(np.isnan(rows["due"]), np.inf, rows["due"]))
        for stamp in ("due", "sent", "end"):
            np.maximum.at(end, of_turn, np.where(np.isnan(rows[stamp]), -np.inf, rows[stamp]))
        return cls(begin, end, of_turn)

    def first(self, count: int) -> Flags:
        """Flag the first so many conversations begun."""
        flags = np.zeros(len(self.begin), dtype=bool)
        flags[np.argsort(self.begin, kind="stable")[:count]] = True
        return flags

    def rate(self, warm: Flags) -> float | None:
        """Conversations begun a second, from the first to the last after the warm-up; None: fewer than two."""
        begins = self.begin[~warm & np.isfinite(self.begin)]
        span = float(begins.max() - begins.min()) if len(begins) > 1 else 0.0
        return (len(begins) - 1) / span * _NS_PER_S if span else None

    def window(self, warm: Flags, *, open_loop: bool) -> tuple[float, float]:
        """When the load was whole; see ``Step``."""
        if not len(self.begin):
            return 0.0, 0.0
        start = self.end[warm].max() if warm.any() else self.begin.min()
        last = self.begin.max()
        stop = last if open_loop else self.end[self.end > last].min(initial=np.inf)
        return float(start), float(stop) if stop < np.inf else float(self.end.max())


def _share_inside(due: Floats, end: Floats, window: tuple[float, float]) -> Floats:
    """Which part of each span from due to end lies in the window."""
    overlap = np.minimum(end, window[1]) - np.maximum(due, window[0])
    share: Floats = np.nan_to_num(np.clip(overlap, 0.0, None) / np.maximum(end - due, 1.0))
    return share


def _quantiles(values: Floats, clusters: Whole) -> dict[str, Estimate]:
    return _bounded(values, np.full(len(values), np.nan), clusters)


def _bounded(values: Floats, at_least: Floats, clusters: Whole) -> dict[str, Estimate]:
    """Quantiles in which a time-out, known by its lower bound, stands for a missing value."""
    timed_out = np.isnan(values) & ~np.isnan(at_least)
    times = np.where(timed_out, at_least, values)
    there = ~np.isnan(times)
    told = quantiles.quantiles(times[there], tuple(_QUANTILES.values()), timed_out[there], clusters=clusters[there])
    return dict(zip(_QUANTILES, told, strict=True))


def _cluster_names(connection: sqlite3.Connection, positions: NDArray[np.int64]) -> list[str]:
    """A name for each turn, the same for turns of one conversation or one group of conversations, in every step."""
    groups: Mapping[int, str | None] = dict(connection.execute("SELECT position, cluster FROM conversation"))
    return [
        f"conversation {place}" if groups[place] is None else f"group {groups[place]}" for place in positions.tolist()
    ]


def _numbered(names: list[str]) -> Whole:
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1] if names else np.zeros(0, dtype=np.intp)


def _loop_lag_p99_ms(connection: sqlite3.Connection) -> float | None:
    trusts = connection.execute("SELECT trust FROM session WHERE trust IS NOT NULL")
    lags = [orjson.loads(trust).get("loop_lag_p99_ms") for (trust,) in trusts]
    return max((float(lag) for lag in lags if lag is not None), default=None)
