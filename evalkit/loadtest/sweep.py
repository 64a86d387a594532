"""A load test: a dataset run under rising load, step by step, until the endpoint is saturated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import EndpointError, RunFileError, SettingsError
from evalkit.evaluation import evaluate
from evalkit.loadtest.accuracy_over_load import accuracy_changes
from evalkit.loadtest.load_plan import LoadPlan
from evalkit.loadtest.saturation import saturation
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import Step, read_step
from evalkit.loadtest.step_files import UNUSABLE, is_complete, step_files
from evalkit.loadtest.turn_times import turn_times
from evalkit.runfile import file_names
from evalkit.runfile.store import SUFFIX
from evalkit.wording import numbers, run_results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from evalkit.charts.chart import Chart

_OWN_SETTINGS = frozenset({"repeats", "arrivals_seed", "limit", "max_time_s", "check", "name"})


@dataclass(frozen=True, slots=True)
class Sweep:
    """The results of a load test.

    Parameters
    ----------
    folder : Path
        Folder with the run files of the steps.
    plan : Plan
    slo : Slo
    measured : tuple of Step
        The steps that ran to their end, or until the endpoint failed completely, in order.
    stopped : str or None
        Why the test ended before the last step of the plan; None: it did not.
    saturated : bool
        Whether a measured step is beyond what the endpoint can do: the last one, or an earlier one where the test went
        on past saturation.
    endpoint : mapping
        ``Endpoint.to_json``: never the key.
    data : Path
    partial : Step or None
        The step that was running when the test was stopped: its turns so far are in its run file, but its load was not
        measured. None: no step was cut short.
    """

    folder: Path
    plan: LoadPlan
    slo: Slo
    measured: tuple[Step, ...]
    stopped: str | None
    saturated: bool
    endpoint: Mapping[str, Any] = field(repr=False)
    data: Path = field(repr=False)
    partial: Step | None = None

    @classmethod
    def open(
        cls, folder: Path | str, *, slo: Mapping[str, str] | str | Slo | None = None, warm_up: int | None = None
    ) -> Sweep:
        """Measure a load test again from its folder; nothing is sent.

        Parameters
        ----------
        folder : path-like
            Folder with run files named ``concurrency-N.evalkit`` or ``rate-R.evalkit``, one per step, as ``load`` wrote
            them. Other run files are left out.
        slo : mapping or str, optional
            Objectives, as for ``load``; they are not stored in the folder.
        warm_up : int, optional
            As for ``load``. None: the default of each step.

        Returns
        -------
        Sweep
            A step that was cut short is ``partial``. ``stopped`` names saturation in the last step; any other reason
            why the test ended is not stored.

        Raises
        ------
        RunFileError
            The folder has no such files, or has both kinds, or one of them is not a readable run file.
        SettingsError
            Invalid objectives or warm-up.

        Examples
        --------
        >>> Sweep.open("runs/load-primary_math-m", slo="ttft=200ms").knee  # doctest: +SKIP
        """
        found = step_files(Path(folder), warm_up)
        data = Path(found.run["dataset"]["path"])
        empty = cls(Path(folder), found.plan, Slo.of(slo), (), None, False, found.run["endpoint"], data)
        steps = {load: _read(empty, load) for load in found.plan.loads}
        measured = tuple(step for load, step in steps.items() if load in found.complete)
        partial = next((step for load, step in steps.items() if load not in found.complete), None)
        beyond, stopped = saturation(measured, empty.slo), None
        if beyond is not None and beyond[0] == len(measured) - 1:
            stopped = f"at {found.plan.by} {measured[-1].load:g} {beyond[1]}"
        return replace(empty, measured=measured, partial=partial, stopped=stopped, saturated=beyond is not None)

    def _repr_html_(self) -> str | None:
        from evalkit.console import notebook_cell

        return notebook_cell.of_sweep(self)

    def with_slo(self, slo: Mapping[str, str] | str | Slo | None) -> Sweep:
        """The same steps measured against other objectives, from their run files; nothing is sent.

        Parameters
        ----------
        slo : mapping or str, optional
            As for ``load``; None: no objectives.

        Raises
        ------
        RunFileError
            A run file of this load test cannot be read any more.
        SettingsError
            Invalid objectives.
        """
        sweep = replace(self, slo=Slo.of(slo))
        measured = tuple(_read(sweep, step.load) for step in self.measured)
        partial = None if self.partial is None else _read(sweep, self.partial.load)
        return replace(sweep, measured=measured, partial=partial, saturated=saturation(measured, sweep.slo) is not None)

    @property
    def knee(self) -> Step | None:
        """The step with the best goodput; without objectives, the last one before saturation. None: there is none.

        A saturated step is never the knee, nor is a later one.
        """
        candidates = self.measured
        if self.saturated:
            found = saturation(self.measured, self.slo)
            candidates = self.measured[: len(self.measured) - 1 if found is None else found[0]]
        if self.slo:
            best = max(candidates, key=lambda step: step.goodput or 0.0, default=None)
            return best if best is not None and best.goodput else None
        return candidates[-1] if self.saturated and candidates else None

    def warnings(self) -> list[str]:
        """What the figures alone do not show: lower accuracy, times limited by the client, missing times."""
        found = []
        changes = accuracy_changes([step.scores for step in self.measured])
        for step, change in zip(self.measured, [None, *changes], strict=True):
            at = f"at {self.plan.by} {step.load:g}"
            if change is not None and change.worse:
                first = f"{self.plan.by} {self.measured[0].load:g}"
                found.append(f"{at} the answers are worse than at {first}: {change.in_words(len(changes))}")
            if step.interrupted:
                found.append(
                    f"{at} {step.interrupted:,} of {step.turns:,} turns were cut off by the end of the step: "
                    "their times are lower bounds, and they do not count as failed"
                )
            if step.client_bound:
                found.append(
                    f"{at} the client adds to the times: its event-loop lag p99 is "
                    f"{numbers.number(step.loop_lag_p99_ms, ' ms')}"
                )
            found += [f"{at} {note}" for note in run_results.first_token_warnings(*step.streams)]
            if step.window_s is None:
                found.append(
                    f"{at} the load was never complete after the warm-up, so there are no values per second: "
                    "run more conversations per step"
                )
            found += [
                f"{at} {count} of {step.answered} answered turns have no {name}: they count as not within the SLO"
                for name, count in step.unknown.items()
            ]
        return found

    def steps(self) -> pd.DataFrame:
        """One row per step.

        Returns
        -------
        DataFrame
            Index ``concurrency`` or ``rate``. Columns ``turns``, ``answered``, ``errors``, ``turns_per_s``,
            ``output_tokens_per_s``, ``goodput`` (turns/s), ``within_slo``, then ``ttft``, ``tpot``, ``latency`` and
            ``schedule_latency`` as ``NAME_p50_ms``, ``_p95_ms``, ``_p99_ms``; ``accuracy`` with its 95 % limits
            ``low``, ``high``; ``loop_lag_p99_ms``, ``client_bound``, ``knee``, ``run``; ``interrupted``, turns cut
            off by the end of the step, which are not among ``errors``; ``realised_rate``. Missing values are NaN.
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
        not_float = ["turns", "answered", "errors", "client_bound", "knee", "run", "interrupted"]
        frame = frame.astype({name: "float64" for name in frame.columns if name not in not_float})
        return frame.astype({"client_bound": "boolean"})

    def turns(self) -> pd.DataFrame:
        """Every turn of the measured steps, one row each, in the order in which they were due.

        Returns
        -------
        DataFrame
            Column ``concurrency`` or ``rate``, then ``conversation``, ``repeat``, ``turn``; ``due_s``, ``sent_s`` and
            ``end_s`` in seconds since the first turn of the step was due; ``ttft_ms``, ``latency_ms``,
            ``schedule_latency_ms``, ``output_tokens``, ``error_kind``. Warm-up and tail are included. With a rate, only
            first turns are due at a time of the schedule; a later turn is due when the answer before it is complete.
            Missing values are NaN, such as the schedule latency without a rate.

        Raises
        ------
        RunFileError
            A run file of this load test cannot be read any more.
        """
        import pandas as pd

        frames = []
        for step in self.measured:
            frame = turn_times(step.path)
            frame.insert(0, self.plan.by, step.load)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def charts(self) -> dict[str, Chart]:
        """The charts of the load test by their names, with ``draw``, ``save`` and more as those of ``Run.charts``."""
        from evalkit.charts import catalogue

        return catalogue.sweep_charts(self)

    def plot_throughput(self, ax: Axes | None = None) -> Axes:
        """Answered turns per second against load, with the knee, on a matplotlib Axes."""
        return self.charts()["load-throughput"].draw(ax)

    def plot_ttft(self, ax: Axes | None = None) -> Axes:
        """Time to first token against load, with intervals, on a matplotlib Axes."""
        return self.charts()["load-first-token"].draw(ax)

    def plot_goodput(self, ax: Axes | None = None) -> Axes:
        """Turns per second, all and those within the objectives, against load, on a matplotlib Axes."""
        return self.charts()["load-goodput"].draw(ax)

    def plot_accuracy(self, ax: Axes | None = None) -> Axes:
        """Accuracy against load, with intervals, on a matplotlib Axes."""
        return self.charts()["load-accuracy"].draw(ax)

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
    past_saturation: bool = False,
    watch: Watcher | None = None,
    interrupted: Callable[[Sweep], object] | None = None,
    **settings: Any,
) -> Sweep:
    """Run a dataset under one load after another; measure throughput, times and accuracy of each.

    Each step starts with the first conversation of the dataset, and repeats the dataset if it needs more. A failed turn
    is not sent again unless ``retries`` says so. The test ends early when a step shows saturation, unless
    ``past_saturation`` says to go on: throughput grew by less than 10 % while the median latency rose by more than 5 %,
    more than half of the turns missed the objectives, or more than 10 % failed.

    Parameters
    ----------
    data : path-like
        A dataset file.
    endpoint : Endpoint
    concurrency : iterable of int, optional
        Closed loop: conversations in parallel at each step. Default, without ``rate``: 1, 2, 4, … 1,024.
    rate : iterable of float, optional
        Open loop: conversations started per second at each step, whether or not earlier ones have ended.
    arrivals : str
        With ``rate``: ``constant`` or ``poisson`` gaps.
    slo : mapping or str, optional
        Objectives of a turn: ``ttft``, ``tpot`` or ``latency`` to a duration: ``{"ttft": "200ms"}`` or "ttft=200ms".
    warm_up, per_step, step_time_s, seed
        See ``LoadPlan``.
    out : path-like, optional
        Folder of the run files, one per step. Default: ``runs/load-DATA-MODEL-TIME``.
    past_saturation : bool
        Run every step, also after one that shows saturation: to see how times grow beyond the knee. The knee is then
        before the first saturated step.
    watch : callable, optional
        Called with the ``Progress`` of the running step about ten times per second; when it returns ``True``, the test
        ends with that step, which becomes ``partial``.
    interrupted : callable, optional
        Called with the sweep so far when an interrupt ends the test, before ``KeyboardInterrupt`` is raised again.
    **settings
        Settings of ``evaluate`` that do not set the load: ``history``, ``stream``, ``scorer``, ``retries``,
        ``columns``, …

    Returns
    -------
    Sweep

    Raises
    ------
    DatasetError, SettingsError, RunFileError
        Invalid input; nothing was sent.
    EndpointError
        The endpoint answered no turn of the first step.
    """
    if own := sorted(_OWN_SETTINGS & settings.keys()):
        raise SettingsError(f"{', '.join(own)}: a load test sets this itself, from its steps. Leave it out")
    plan = LoadPlan.of(
        concurrency, rate, arrivals=arrivals, warm_up=warm_up, per_step=per_step, step_time_s=step_time_s, seed=seed
    )  # fmt: skip
    objectives, path = Slo.of(slo), Path(data)
    with file_names.new_load_folder(path, endpoint.model, out=Path(out) if out else None) as folder:
        if earlier := sorted(folder.glob(f"*{SUFFIX}")):
            raise RunFileError(f"{folder} already holds runs ({earlier[0].name}): name another folder with --out")
        settings = {"retries": 0, **settings}
        sweep, step_load = Sweep(folder, plan, objectives, (), None, False, endpoint.to_json(), path), plan.loads[0]
        try:
            for step_load in plan.loads:
                sweep = _with_step(sweep, step_load, endpoint, watch, settings, past_saturation=past_saturation)
                if sweep.stopped is not None:
                    break
        except KeyboardInterrupt:
            if interrupted is not None:
                interrupted(_cut_short(sweep, step_load, "by an interrupt"))
            raise
        return sweep


def _with_step(
    sweep: Sweep,
    load: float,
    endpoint: Endpoint,
    watch: Watcher | None,
    settings: Mapping[str, Any],
    *,
    past_saturation: bool,
) -> Sweep:
    """Run one step; return the sweep with it."""
    plan, measured = sweep.plan, sweep.measured
    file, load_settings = plan.file_of(sweep.folder, load), plan.settings_of(load, sweep.data, settings.get("columns"))
    try:
        outcome = evaluate(sweep.data, endpoint, out=file, watch=watch, **settings, **load_settings).outcome
    except EndpointError:
        if not measured:
            raise
        outcome = UNUSABLE
    if not is_complete(outcome):
        return _cut_short(sweep, load, "by the user" if outcome == "stopped" else f"by {outcome}")
    measured = (*measured, _read(sweep, load))
    found = saturation(measured, sweep.slo)
    stopped = None if found is None or past_saturation else f"at {plan.by} {load:g} {found[1]}{_not_run(plan, load)}"
    return replace(sweep, measured=measured, stopped=stopped, saturated=found is not None)


def _cut_short(sweep: Sweep, load: float, how: str) -> Sweep:
    """The sweep, when the step with this load was cut short."""
    partial = None
    if sweep.plan.file_of(sweep.folder, load).exists():
        with contextlib.suppress(RunFileError):
            partial = _read(sweep, load)
    reason = f"{how} at {sweep.plan.by} {load:g}: that step was cut short and is not measured"
    return replace(sweep, partial=partial, stopped=reason + _not_run(sweep.plan, load))


def _read(sweep: Sweep, load: float) -> Step:
    plan = sweep.plan
    file, warm_up = plan.file_of(sweep.folder, load), plan.warm_up_of(load)
    return read_step(file, load, warm_up=warm_up, open_loop=plan.by == "rate", slo=sweep.slo)


def _not_run(plan: LoadPlan, load: float) -> str:
    rest = [f"{later:g}" for later in plan.loads if later > load]
    return f"; {plan.by} {', '.join(rest[:4])}{', …' if rest[4:] else ''} not run" if rest else ""
