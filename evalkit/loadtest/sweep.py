"""A load test: the same dataset asked under one load after another, until the endpoint gives no more."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.datasets import reader
from evalkit.endpoint import Endpoint
from evalkit.engine.pacing import arrivals as schedules
from evalkit.engine.session_thread import Watcher
from evalkit.errors import EndpointError, RunFileError, SettingsError
from evalkit.evaluation import evaluate
from evalkit.inputs.bounds import LONGEST_S, check_above_0
from evalkit.loadtest.accuracy_over_load import accuracy_changes
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import Step, read_step
from evalkit.runfile import file_names
from evalkit.runfile.store import SUFFIX
from evalkit.wording import numbers, run_results

if TYPE_CHECKING:
    import pandas as pd

LEAST_GROWTH = 0.10
LATENCY_ROSE = 0.05  # less is noise
LEAST_WITHIN_SLO = 0.5
MOST_ERRORS = 0.10
DOUBLING = tuple(2**n for n in range(11))
LEAST_CONVERSATIONS = 20
ROUNDS = 4
UNBOUNDED = 1_000_000  # repeats, where time alone ends a step
_WHOLE_OUTCOMES = ("done", "max_time_s")  # how a step ends that came to its end
_OWN_SETTINGS = frozenset({"repeats", "arrivals_seed", "limit", "max_time_s", "check", "name"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What load is put on, step by step, and how long each lasts.

    Parameters
    ----------
    by : str
        ``concurrency``: closed loop; ``rate``: open loop.
    loads : tuple of float
        Conversations at once, or begun a second.
    arrivals : str
        With a rate: ``constant`` or ``poisson``.
    warm_up : int or None
        Conversations left out at the beginning of a step. None: as many as are at once; with a rate, as many as
        begin in a second.
    per_step : int or None
        Conversations after the warm-up. None: four times those at once, or ten seconds' worth of a rate; 20 at least.
    step_time_s : float or None
        In place of ``per_step``: ask nothing new after so many seconds.
    seed : int or None
        Of Poisson arrivals: the n-th step has ``seed + n``, counted from 0. None: drawn, another for each plan.
    """

    by: str
    loads: tuple[float, ...]
    arrivals: str = "constant"
    warm_up: int | None = None
    per_step: int | None = None
    step_time_s: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for load in self.loads:
            if self.by == "concurrency" and (type(load) is not int or load < 1):
                raise SettingsError(f"concurrency {load!r}: each step is a whole number, 1 or more")
            if not 0 < load < math.inf:
                raise SettingsError(f"rate {load!r}: each step is a number above 0, conversations begun a second")
        if not self.loads or any(later <= load for load, later in pairwise(self.loads)):
            shown = ", ".join(f"{load:g}" for load in self.loads) or "none"
            raise SettingsError(f"the steps are {shown}: give them in rising order, such as 1,2,4,8")
        for name, least in (("warm_up", 0), ("per_step", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise SettingsError(f"{name} is {value!r}: it must be a whole number, {least} or more")
        if self.by == "concurrency" and self.arrivals != "constant":
            raise SettingsError(f"arrivals {self.arrivals!r} are those of a rate: give the steps as rates")
        check_above_0("step_time_s", self.step_time_s, LONGEST_S)
        if self.per_step is not None and self.step_time_s is not None:
            raise SettingsError("per_step and step_time_s exclude each other: give a step one of them")
        if self.seed is None and self.arrivals == "poisson":
            object.__setattr__(self, "seed", schedules.new_seed())
        schedules.check_seed(self.seed, self.arrivals)

    @classmethod
    def of(cls, concurrency: Iterable[int] | None, rate: Iterable[float] | None, **more: Any) -> Plan:
        """The plan of a sweep over concurrencies or rates; over neither: 1, 2, 4, … 1,024 at once."""
        if concurrency is not None and rate is not None:
            raise SettingsError("concurrency and rate exclude each other: sweep over one of them")
        if rate is not None:
            return cls("rate", tuple(rate), **more)
        return cls("concurrency", DOUBLING if concurrency is None else tuple(concurrency), **more)

    def warm_up_of(self, load: float) -> int:
        """Conversations left out."""
        return math.ceil(load) if self.warm_up is None else self.warm_up

    def settings_of(self, load: float, data: Path, columns: Mapping[str, str] | None) -> dict[str, Any]:
        """What ``evaluate`` is to do in one step; the dataset is asked round and round if it holds too little."""
        how: dict[str, Any] = {self.by: load}
        if self.by == "rate":
            how["arrivals"] = self.arrivals
        if self.seed is not None:
            how["arrivals_seed"] = self.seed + self.loads.index(load)
        if self.step_time_s is not None:
            reader.check(data, columns=columns)
            # no total is told of a run that time alone ends
            return {**how, "max_time_s": self.step_time_s, "repeats": UNBOUNDED, "check": False}
        usual = max(math.ceil(load * (ROUNDS if self.by == "concurrency" else 10)), LEAST_CONVERSATIONS)
        wanted = self.warm_up_of(load) + (self.per_step or usual)
        held = max(reader.check(data, columns=columns, limit=wanted).conversations, 1)
        repeats = math.ceil(wanted / held)
        return {**how, "repeats": repeats, "limit": math.ceil(wanted / repeats)}

    def file_of(self, folder: Path, load: float) -> Path:
        """The run file of a step."""
        return folder / f"{self.by}-{load:g}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a load test came to.

    Parameters
    ----------
    folder : Path
        Where the run files of the steps are.
    plan : Plan
    slo : Slo
    measured : tuple of Step
        Those that were asked to their end, in their order.
    stopped : str or None
        Why it ended before the last step; None: it did not.
    saturated : bool
        The last step lies beyond what the endpoint can do.
    endpoint : mapping
        ``Endpoint.to_json``: never the key.
    data : Path
    partial : Step or None
        The step that was under way when the test was stopped: what it has is in its run file, but its load was not
        measured. None: none was cut short.
    """

    folder: Path
    plan: Plan
    slo: Slo
    measured: tuple[Step, ...]
    stopped: str | None
    saturated: bool
    endpoint: Mapping[str, Any] = field(repr=False)
    data: Path = field(repr=False)
    partial: Step | None = None

    @property
    def knee(self) -> Step | None:
        """The step with the best goodput; without objectives, the last one before saturation. None: there is none.

        Never the step that is itself called saturated.
        """
        sound = self.measured[:-1] if self.saturated else self.measured
        if self.slo:
            best = max(sound, key=lambda step: step.goodput or 0.0, default=None)
            return best if best is not None and best.goodput else None
        return sound[-1] if self.saturated and sound else None

    def warnings(self) -> list[str]:
        """What the figures alone would hide: lower accuracy, times the client made, times that are not told."""
        said = []
        changes = accuracy_changes([step.scores for step in self.measured])
        for step, change in zip(self.measured, [None, *changes], strict=True):
            at = f"at {self.plan.by} {step.load:g}"
            if change is not None and change.worse:
                first = f"{self.plan.by} {self.measured[0].load:g}"
                said.append(f"{at} the answers are worse than at {first}: {change.in_words(len(changes))}")
            if step.interrupted:
                said.append(
                    f"{at} {step.interrupted:,} of {step.turns:,} turns were cut off by the end of the step: "
                    "their times are lower bounds, and they are not counted as failed"
                )
            if step.client_bound:
                said.append(f"{at} the times are partly the client's: event-loop lag p99 {step.loop_lag_p99_ms:.3g} ms")
            said += [f"{at} {note}" for note in run_results.streams(*step.streams)]
            if step.window_s is None:
                said.append(f"{at} the load was never whole after the warm-up, so no rate is told: ask more a step")
            said += [
                f"{at} {count} of {step.answered} answered turns tell no {name}: they count as not within the SLO"
                for name, count in step.unknown.items()
            ]
        return said

    def steps(self) -> pd.DataFrame:
        """One row a step.

        Returns
        -------
        DataFrame
            Index ``concurrency`` or ``rate``. Columns ``turns``, ``answered``, ``errors``, ``turns_per_s``,
            ``output_tokens_per_s``, ``goodput`` (turns/s), ``within_slo``, then ``ttft``, ``tpot``, ``latency`` and
            ``schedule_latency`` as ``NAME_p50_ms``, ``_p95_ms``, ``_p99_ms``; ``accuracy`` with its 95 % limits
            ``low``, ``high``; ``loop_lag_p99_ms``, ``client_bound``, ``knee``, ``run``; ``interrupted``, turns that
            the end of the step cut off, which are not among ``errors``; ``realised_rate``. Missing: NaN.
        """
        import pandas as pd

        rows = []
        for step in self.measured:
            row = {name: getattr(step, name) for name in ("turns", "answered")}
            row["errors"] = step.failed
            row |= {
                name: getattr(step, name) for name in ("turns_per_s", "output_tokens_per_s", "goodput", "within_slo")
            }
            for time_name in ("ttft", "tpot", "latency", "schedule_latency"):
                quantiles = getattr(step, f"{time_name}_ms")
                row |= {f"{time_name}_{q}_ms": estimate.value for q, estimate in quantiles.items()}
            row |= {"accuracy": step.accuracy.value, "low": step.accuracy.low, "high": step.accuracy.high}
            row |= {"loop_lag_p99_ms": step.loop_lag_p99_ms, "client_bound": step.client_bound}
            row |= {"knee": step is self.knee, "run": str(step.path)}
            rows.append({**row, "interrupted": step.interrupted, "realised_rate": step.realised_rate})
        frame = pd.DataFrame(rows, index=pd.Index([step.load for step in self.measured], name=self.plan.by))
        whole = ["turns", "answered", "errors", "client_bound", "knee", "run", "interrupted"]
        frame = frame.astype({name: "float64" for name in frame.columns if name not in whole})
        return frame.astype({"client_bound": "boolean"})

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit load --json`` prints; missing values are None."""
        knee = self.knee
        return {
            "data": str(self.data),
            "base_url": self.endpoint["base_url"],
            "model": self.endpoint["model"],
            "folder": str(self.folder),
            "by": self.plan.by,
            "arrivals": self.plan.arrivals if self.plan.by == "rate" else None,
            "slo_ms": dict(self.slo.limits_ms),
            "steps": [step.to_json(self.plan.by) for step in self.measured],
            "knee": None if knee is None else knee.load,
            "stopped": self.stopped,
            "warnings": self.warnings(),
            "partial": None if self.partial is None else self.partial.to_json(self.plan.by),
            "seed": self.plan.seed,
        }


def load(
    data: Path | str,
    endpoint: Endpoint,
    *,
    concurrency: Iterable[int] | None = None,
    rate: Iterable[float] | None = None,
    arrivals: str = "constant",
    slo: Mapping[str, str] | str | Slo | None = None,
    warm_up: int | None = None,
    per_step: int | None = None,
    step_time_s: float | None = None,
    seed: int | None = None,
    out: Path | str | None = None,
    watch: Watcher | None = None,
    interrupted: Callable[[Sweep], object] | None = None,
    **settings: Any,
) -> Sweep:
    """Ask a dataset under one load after another; measure throughput, times and accuracy of each.

    The conversations of the dataset are asked from its first, as they are, and round and round if a step needs more
    than it holds. A failed turn is not asked again unless ``retries`` says so. The test ends early when an answer is
    known: throughput grew by less than 10 % while the median latency rose, more than half of the turns missed the
    objectives, or more than 10 % failed.

    Parameters
    ----------
    data : path-like
        A dataset file.
    endpoint : Endpoint
    concurrency : iterable of int, optional
        Conversations at once, step by step. Default, without ``rate``: 1, 2, 4, … 1,024.
    rate : iterable of float, optional
        In its place, conversations begun a second, whether or not earlier ones have ended.
    arrivals : str
        With ``rate``: ``constant`` or ``poisson`` gaps.
    slo : mapping or str, optional
        Objectives of a turn: ``ttft``, ``tpot``, ``latency`` to a duration: ``{"ttft": "200ms"}``, "ttft=200ms".
    warm_up, per_step, step_time_s, seed
        See ``Plan``.
    out : path-like, optional
        Folder of the run files, one a step. Default: ``runs/load-DATA-MODEL-TIME``.
    watch : callable, optional
        Called with the ``Progress`` of the step under way about ten times a second; when it returns ``True`` the test
        ends with that step, which is then ``partial``.
    interrupted : callable, optional
        Called with the steps so far when an interrupt ends the test, before ``KeyboardInterrupt`` is raised again.
    **settings
        Those of ``evaluate`` that are not the load's: ``history``, ``stream``, ``scorer``, ``retries``, ``columns``, …

    Returns
    -------
    Sweep

    Raises
    ------
    DatasetError, SettingsError, RunFileError
        Bad input; nothing was asked.
    EndpointError
        The endpoint answered nothing in the first step.
    """
    if own := sorted(_OWN_SETTINGS & settings.keys()):
        raise SettingsError(f"{', '.join(own)}: a load test sets this itself, from its steps")
    plan = Plan.of(
        concurrency, rate, arrivals=arrivals, warm_up=warm_up, per_step=per_step, step_time_s=step_time_s, seed=seed
    )  # fmt: skip
    objectives, path = Slo.of(slo), Path(data)
    with file_names.new_load_folder(path, endpoint.model, out=Path(out) if out else None) as folder:
        if taken := sorted(folder.glob(f"*{SUFFIX}")):
            raise RunFileError(f"{folder} holds runs already ({taken[0].name}): name another folder with --out")
        asked = {"retries": 0, **settings}
        sweep, step = Sweep(folder, plan, objectives, (), None, False, endpoint.to_json(), path), plan.loads[0]
        try:
            for step in plan.loads:
                sweep = _with_step(sweep, step, endpoint, watch, asked)
                if sweep.stopped is not None:
                    break
        except KeyboardInterrupt:
            if interrupted is not None:
                interrupted(_cut_short(sweep, step, "by an interrupt"))
            raise
        return sweep


def _with_step(sweep: Sweep, load: float, endpoint: Endpoint, watch: Watcher | None, asked: Mapping[str, Any]) -> Sweep:
    """The sweep with one more step."""
    plan, measured, outcome = sweep.plan, sweep.measured, None
    file, how = plan.file_of(sweep.folder, load), plan.settings_of(load, sweep.data, asked.get("columns"))
    try:
        outcome = evaluate(sweep.data, endpoint, out=file, watch=watch, **asked, **how).outcome
    except EndpointError:
        if not measured:
            raise
    if outcome not in (None, *_WHOLE_OUTCOMES):
        return _cut_short(sweep, load, "by hand" if outcome == "stopped" else f"by {outcome}")
    step = _read(sweep, load)
    reason = why_saturated(measured[-1] if measured else None, step, sweep.slo)
    stopped = None if reason is None else f"at {plan.by} {load:g} {reason}{_not_asked(plan, load)}"
    return replace(sweep, measured=(*measured, step), stopped=stopped, saturated=reason is not None)


def _cut_short(sweep: Sweep, load: float, how: str) -> Sweep:
    """The sweep, when the step of this load did not come to its end."""
    partial = None
    if sweep.plan.file_of(sweep.folder, load).exists():
        with contextlib.suppress(RunFileError):
            partial = _read(sweep, load)
    why = f"{how} at {sweep.plan.by} {load:g}: that step was cut short and is not measured"
    return replace(sweep, partial=partial, stopped=why + _not_asked(sweep.plan, load))


def _read(sweep: Sweep, load: float) -> Step:
    plan = sweep.plan
    file, warm_up = plan.file_of(sweep.folder, load), plan.warm_up_of(load)
    return read_step(file, load, warm_up=warm_up, open_loop=plan.by == "rate", slo=sweep.slo)


def _not_asked(plan: Plan, load: float) -> str:
    rest = [f"{later:g}" for later in plan.loads if later > load]
    return f"; {plan.by} {', '.join(rest[:4])}{', …' if rest[4:] else ''} not asked" if rest else ""


def why_saturated(before: Step | None, step: Step, slo: Slo) -> str | None:
    """Why more load would tell nothing new, in words; None: it may.

    Parameters
    ----------
    before : Step or None
        The step before; None: this is the first.
    step : Step
    slo : Slo
    """
    if step.error_share > MOST_ERRORS:
        return f"{numbers.percent(step.error_share, 0)} of the turns failed, more than {MOST_ERRORS:.0%}"
    if slo and step.within_slo is not None and step.within_slo < LEAST_WITHIN_SLO:
        return f"only {numbers.percent(step.within_slo, 0)} of the turns kept within the SLO ({slo})"
    if before is None or not before.turns_per_s or step.turns_per_s is None:
        return None
    growth = step.turns_per_s / before.turns_per_s - 1
    was, now = before.latency_ms["p50"].value, step.latency_ms["p50"].value
    if growth < LEAST_GROWTH and was and now and now > was * (1 + LATENCY_ROSE):
        how = f"grew by {growth:.0%} only" if growth >= 0 else f"fell by {-growth:.0%}"
        return f"throughput {how}, while the median latency rose from {was:.3g} to {now:.3g} ms"
    return None
