"""What ``evalkit load`` and ``evalkit calibrate`` show: tables, and small charts of the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from evalkit.checkup.client_bias import Calibration
from evalkit.console.sparklines import Glyphs, glyphs
from evalkit.console.terminal import NARROW, printable
from evalkit.loadtest.step import Step
from evalkit.loadtest.sweep import Sweep
from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, number, percent


def show_sweep(console: Console, sweep: Sweep, draw: Glyphs | None = None) -> None:
    """Print a load test: what each step gave, the times of its turns, why it ended and where its knee is.

    Parameters
    ----------
    draw : Glyphs, optional
        Default: what the locale can show.
    """
    by, plan = sweep.plan.by, sweep.plan
    where = f"{sweep.data.name} asked of {sweep.endpoint['model']} ({sweep.endpoint['base_url']})"
    how = f"{plan.arrivals} arrivals, conversations a second" if by == "rate" else "closed loop, conversations at once"
    if plan.seed is not None:
        how += f" (seed {plan.seed})"
    console.print(printable(f"{where}; {how}" + (f"; SLO {sweep.slo}" if sweep.slo else "")), soft_wrap=True)
    wide = console.width >= NARROW
    console.print(_yields(sweep, wide=wide))
    if not wide:
        console.print(_rights(sweep))
    console.print(_times(sweep))
    console.print("times in ms; – means missing: too little data, or nothing to measure", style="dim")
    if len(sweep.measured) > 1:
        _charts(console, sweep, draw or glyphs())
    for warning in sweep.warnings():
        console.print(printable(warning), style="yellow", soft_wrap=True)
    console.print(printable(f"stopped: {sweep.stopped}") if sweep.stopped else "all steps asked", soft_wrap=True)
    console.print(_knee(sweep), soft_wrap=True)
    if sweep.partial is not None:
        console.print(printable(f"the step that was cut short: evalkit show {sweep.partial.path}"), soft_wrap=True)
    console.print(printable(f"run files: {sweep.folder}"), soft_wrap=True)


def _yields(sweep: Sweep, *, wide: bool) -> Table:
    table = _table(sweep.plan.by)
    slo = ("goodput/s", "in SLO") if sweep.slo else ()
    open_loop = sweep.plan.by == "rate"
    if open_loop:
        table.add_column("realised", justify="right")
    for heading in ("turns", "errors", "turns/s", "tokens/s", *slo, *(("accuracy (95 % interval)",) if wide else ())):
        table.add_column(heading, justify="right")
    table.add_column("")
    for step in sweep.measured:
        told = (number(step.goodput), _share(step.within_slo)) if sweep.slo else ()
        table.add_row(
            f"{step.load:g}",
            *((number(step.realised_rate),) if open_loop else ()),
            str(step.turns),
            str(step.failed),
            number(step.turns_per_s),
            number(step.output_tokens_per_s),
            *told,
            *((_accuracy(step.accuracy), _marks(sweep, step)) if wide else ()),
        )
    return table


def _rights(sweep: Sweep) -> Table:
    """What the first table has no room for in a narrow terminal."""
    table = _table(sweep.plan.by)
    table.add_column("accuracy (95 % interval)", justify="right")
    table.add_column("")
    for step in sweep.measured:
        table.add_row(f"{step.load:g}", _accuracy(step.accuracy), _marks(sweep, step))
    return table


def _marks(sweep: Sweep, step: Step) -> str:
    marks = ["knee"] if step is sweep.knee else []
    return ", ".join([*marks, "CLIENT-BOUND"] if step.client_bound else marks)


def _times(sweep: Sweep) -> Table:
    table = _table(sweep.plan.by)
    columns: list[tuple[str, str, str]] = [
        *(("TTFT", "ttft_ms", q) for q in ("p50", "p95", "p99")),
        *(("TPOT", "tpot_ms", q) for q in ("p50", "p95")),
        *(("latency", "latency_ms", q) for q in ("p50", "p95", "p99")),
    ]
    if sweep.plan.by == "rate":
        columns += [("from due", "schedule_latency_ms", q) for q in ("p50", "p95", "p99")]
    for name, _, q in columns:
        table.add_column(f"{name} {q}" if q == "p50" else q, justify="right")
    for step in sweep.measured:
        table.add_row(f"{step.load:g}", *(number(getattr(step, metric)[q].value) for _, metric, q in columns))
    return table


def _table(by: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(by)
    return table


def _charts(console: Console, sweep: Sweep, draw: Glyphs) -> None:
    """A bar a step of throughput and of p95 times; a mark below them points at the knee."""
    charts: Mapping[str, Callable[[Step], float | None]] = {
        "turns/s": lambda step: step.turns_per_s,
        "TTFT p95": lambda step: step.ttft_ms["p95"].value,
        "latency p95": lambda step: step.latency_ms["p95"].value,
    }
    drawn = False
    for name, value in charts.items():
        values = [value(step) for step in sweep.measured]
        if told := [each for each in values if each is not None]:
            drawn = True
            unit = "" if name == "turns/s" else " ms"
            span = f"{number(min(told))} to {number(max(told))}{unit}"
            console.print(f"{name:13}{' '.join(draw.sparkline(values))}  {span}")
    knee = next((place for place, step in enumerate(sweep.measured) if step is sweep.knee), None)
    if drawn and knee is not None:
        console.print(f"{'knee':13}{'  ' * knee}{draw.mark} {sweep.plan.by} {sweep.measured[knee].load:g}")


def _knee(sweep: Sweep) -> str:
    knee, by = sweep.knee, sweep.plan.by
    if knee is None:
        if sweep.partial is not None:
            return "knee: not known, the test was cut short"
        if sweep.slo and any(step.goodput for step in sweep.measured):
            return "knee: below the first step"
        if sweep.slo:
            return "knee: none, no turn kept within the SLO"
        return "knee: below the first step" if sweep.saturated else "knee: not reached, throughput was still growing"
    if sweep.slo:
        return f"knee: {by} {knee.load:g}, the best goodput: {number(knee.goodput)} turns/s within the SLO"
    return f"knee: {by} {knee.load:g}, the last step before saturation: {number(knee.turns_per_s)} turns/s"


def _accuracy(accuracy: Estimate) -> str:
    if accuracy.value is None:
        return MISSING
    shown = f"{percent(accuracy.value)} of {accuracy.n}"
    return shown if accuracy.low is None else f"{shown} ({percent(accuracy.low)} to {percent(accuracy.high)})"


def _share(share: float | None) -> str:
    return percent(share)


def show_calibration(console: Console, calibration: Calibration) -> None:
    """Print the client's bias: a row a number of streams, each in words, and how far to trust this machine."""
    table = _table("streams")
    for heading in ("turns", "TTFT error p50", "p99", "latency error p50", "p99", "loop lag p99", "CPU"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for level in calibration.levels:
        errors = (level.ttft_error_ms, level.latency_error_ms)
        table.add_row(
            str(level.streams),
            str(level.turns),
            *(_signed(error[q].value) for error in errors for q in ("p50", "p99")),
            number(level.loop_lag_p99_ms),
            _share(level.cpu_share),
            "CLIENT-BOUND" if level.client_bound else "",
        )
    console.print(table)
    console.print("times in ms, what this client says minus what the server says; – means missing", style="dim")
    for level in calibration.levels:
        console.print(level.sentence())
    if calibration.stopped:
        console.print("stopped by hand: more streams were not measured", style="yellow")
        if not calibration.levels:
            return
    trusted = calibration.trusted_streams
    rule = "event-loop lag p99 within a twentieth of TTFT"
    if trusted is None:
        console.print(f"this machine is not to be trusted even at {calibration.levels[0].streams}: not {rule}")
    else:
        console.print(f"to be trusted up to {trusted} streams on this machine: {rule}")


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2g}"
