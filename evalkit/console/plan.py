"""What ``evalkit plan`` shows: what the pilot tells, what each goal takes, and what that stands on."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from evalkit.analysis.sample_size import Plan, SampleSize
from evalkit.console.terminal import printable
from evalkit.wording.numbers import MISSING, duration, percent


def show_plan(console: Console, plan: Plan) -> None:
    """Print a plan."""
    console.print(printable(_pilot(plan)), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("wanted")
    for heading in ("repeats", "conversations", "turns", "tokens", "time", "range"):
        table.add_column(heading, justify="right")
    for need in plan.needs:
        table.add_row(
            _wanted(need),
            str(need.repeats),
            MISSING if need.conversations is None else f"{need.conversations:,}",
            _whole(need.turns),
            _whole(need.tokens),
            duration(need.wall_s),
            MISSING if need.fewest is None else f"{need.fewest:,} to {need.most:,}",
        )
    console.print(table)
    for reason in dict.fromkeys(need.reason for need in plan.needs if need.reason is not None):
        console.print(f"{MISSING}: {reason}", style="dim", soft_wrap=True)
    for warning in plan.warnings:
        console.print(printable(warning), style="yellow", soft_wrap=True)
    for sentence in plan.assumes:
        console.print(sentence, style="dim", soft_wrap=True)


def _pilot(plan: Plan) -> str:
    what = "accuracy" if len(plan.pilots) == 1 else "difference"
    shown = percent(plan.value) if len(plan.pilots) == 1 else _points(plan.value, "+.1f")
    often = f", asked {plan.repeats} times each" if plan.repeats > 1 else ""
    told = f"{' and '.join(plan.pilots)}: {what} {shown}, over {plan.clusters} {plan.unit}{often}"
    if plan.half_width is None or plan.smallest_difference is None:
        return told
    return (
        f"{told}: so many tell it to ± {_points(plan.half_width)}, "
        f"and find differences of {_points(plan.smallest_difference)} or more"
    )


def _whole(count: float | None) -> str:
    return MISSING if count is None else f"{math.ceil(count):,}"


def _wanted(need: SampleSize) -> str:
    return f"within ± {_points(need.wanted)}" if need.goal == "precision" else f"difference of {_points(need.wanted)}"


def _points(share: float, form: str = ".3g") -> str:
    return f"{format(100 * share, form)} points"
