"""The output of ``evalkit load`` and ``evalkit calibrate``: tables, and small charts of the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from evalkit.checkup.client_bias import Calibration
from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.console.terminal import plain_table, printable
from evalkit.loadtest.step import Step
from evalkit.loadtest.sweep import Sweep
from evalkit.wording.numbers import MISSING, counted, number, percent, share_of

# name, attribute of a step, quantile
_TIMES = (
    *(("TTFT", "ttft_ms", q) for q in ("p50", "p95", "p99")),
    *(("TPOT", "tpot_ms", q) for q in ("p50", "p95")),
    *(("latency", "latency_ms", q) for q in ("p50", "p95", "p99")),
)
_FROM_SCHEDULE = tuple(("from schedule", "schedule_latency_ms", q) for q in ("p50", "p95", "p99"))


def show_sweep(console: Console, sweep: Sweep, draw: Glyphs | None = None) -> None:
    """Print a load test: throughput and times of each step, why it ended, and its knee.

    Parameters
    ----------
    draw : Glyphs, optional
        Default: those that the locale can show.
    """
    by, plan = sweep.plan.by, sweep.plan
    target = f"{sweep.data.name} against {sweep.endpoint['model']} ({sweep.endpoint['base_url']})"
    kind = "closed loop, conversations in parallel"
    if by == "rate":
        kind = f"open loop, {plan.arrivals} arrivals, conversations per second"
    if plan.seed is not None:
        kind += f" (seed {plan.seed})"
    console.print(printable(f"{target}; {kind}" + (f"; SLO {sweep.slo}" if sweep.slo else "")), soft_wrap=True)
    console.print(_throughput(sweep))
    console.print(_times(sweep, (*_TIMES, *_FROM_SCHEDULE) if by == "rate" else _TIMES))
    console.print("times in ms; – means missing: too little data, or nothing to measure", style="dim")
    if len(sweep.measured) > 1:
        _charts(console, sweep, draw or glyphs())
    for warning in sweep.warnings():
        console.print(printable(warning), style="yellow", soft_wrap=True)
    console.print(printable(f"stopped: {sweep.stopped}") if sweep.stopped else "all steps are done", soft_wrap=True)
    console.print(knee_in_words(sweep), soft_wrap=True)
    if sweep.partial is not None:
        console.print(printable(f"step that was cut short: evalkit show {sweep.partial.path}"), soft_wrap=True)
    console.print(printable(f"run files: {sweep.folder}"), soft_wrap=True)


def _throughput(sweep: Sweep) -> Table:
    open_loop = sweep.plan.by == "rate"
    realised, slo = ("realised",) if open_loop else (), ("goodput/s", "in SLO") if sweep.slo else ()
    headings = (*realised, "turns", "errors", "turns/s", "tokens/s", *slo, "accuracy (95 % interval)")
    table = plain_table(sweep.plan.by, right=headings)
    table.add_column("")
    for step in sweep.measured:
        goodput = (number(step.goodput), percent(step.within_slo)) if sweep.slo else ()
        table.add_row(
            f"{step.load:g}",
            *((number(step.realised_rate),) if open_loop else ()),
            str(step.turns),
            str(step.failed),
            number(step.turns_per_s),
            number(step.output_tokens_per_s),
            *goodput,
            share_of(step.accuracy),
            _marks(sweep, step),
        )
    return table


def _marks(sweep: Sweep, step: Step) -> str:
    marks = ["knee"] if step is sweep.knee else []
    return ", ".join([*marks, "CLIENT-BOUND"] if step.client_bound else marks)


def _times(sweep: Sweep, columns: Sequence[tuple[str, str, str]]) -> Table:
    """A row per step with quantiles of times, given as (name, attribute of the step, quantile)."""
    table = plain_table(sweep.plan.by, right=tuple(f"{name} {q}" if q == "p50" else q for name, _, q in columns))
    for step in sweep.measured:
        table.add_row(f"{step.load:g}", *(number(getattr(step, metric)[q].value) for _, metric, q in columns))
    return table


def _charts(console: Console, sweep: Sweep, draw: Glyphs) -> None:
    """Print a bar per step for throughput and p95 times; a mark below them points at the knee."""
    charts: Mapping[str, Callable[[Step], float | None]] = {
        "turns/s": lambda step: step.turns_per_s,
        "TTFT p95": lambda step: step.ttft_ms["p95"].value,
        "latency p95": lambda step: step.latency_ms["p95"].value,
    }
    drawn = False
    for name, value in charts.items():
        values = [value(step) for step in sweep.measured]
        if known := [each for each in values if each is not None]:
            drawn = True
            unit = "" if name == "turns/s" else " ms"
            span = f"{number(min(known))} to {number(max(known))}{unit}"
            console.print(f"{name:13}{' '.join(draw.sparkline(values))}  {span}")
    knee = next((place for place, step in enumerate(sweep.measured) if step is sweep.knee), None)
    if drawn and knee is not None:
        console.print(f"{'knee':13}{'  ' * knee}{draw.mark} {sweep.plan.by} {sweep.measured[knee].load:g}")


def knee_in_words(sweep: Sweep) -> str:
    """The load up to which the endpoint gives more, or why there is none."""
    knee, by = sweep.knee, sweep.plan.by
    if knee is None:
        if sweep.partial is not None:
            return "knee: unknown, the test was cut short"
        if sweep.slo and any(step.goodput for step in sweep.measured):
            return "knee: below the first step"
        if sweep.slo:
            return "knee: none, no turn met the SLO"
        return "knee: below the first step" if sweep.saturated else "knee: not reached, throughput was still rising"
    if sweep.slo:
        return f"knee: {by} {knee.load:g}, the best goodput: {number(knee.goodput)} turns/s within the SLO"
    return f"knee: {by} {knee.load:g}, the last step before saturation: {number(knee.turns_per_s)} turns/s"


def show_calibration(console: Console, calibration: Calibration) -> None:
    """Print the client's bias, a row per number of streams, and up to how many its times can be trusted."""
    headings = ("turns", "TTFT error p50", "p99", "latency error p50", "p99", "loop lag p99", "CPU")
    table = plain_table("streams", right=headings)
    table.add_column("")
    for level in calibration.levels:
        errors = (level.ttft_error_ms, level.latency_error_ms)
        table.add_row(
            str(level.streams),
            str(level.turns),
            *(_signed(error[q].value) for error in errors for q in ("p50", "p99")),
            number(level.loop_lag_p99_ms),
            percent(level.cpu_share),
            "CLIENT-BOUND" if level.client_bound else "",
        )
    console.print(table)
    console.print("times in ms, measured by this client minus recorded by the server; – means missing", style="dim")
    for level in calibration.levels:
        console.print(level.sentence())
    if calibration.stopped:
        console.print("stopped: larger numbers of streams were not measured", style="yellow")
        if not calibration.levels:
            return
    trusted = calibration.trusted_streams
    limit = "a twentieth of TTFT"
    if trusted is None:
        fewest = counted(calibration.levels[0].streams, "stream")
        console.print(f"times cannot be trusted on this machine even at {fewest}: event-loop lag p99 exceeds {limit}")
    else:
        streams = counted(trusted, "stream")
        console.print(f"times can be trusted up to {streams} on this machine: event-loop lag p99 is within {limit}")


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2g}"
