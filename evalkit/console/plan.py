"""The output of ``evalkit plan``: the pilot, what each goal needs, and the assumptions."""

from __future__ import annotations

import math

from rich.console import Console

from evalkit.analysis.sample_size import Plan, SampleSize
from evalkit.console.terminal import plain_table, printable
from evalkit.wording.numbers import MISSING, duration, percent, plus_minus


def show_plan(console: Console, plan: Plan) -> None:
    """Print a plan."""
    console.print(printable(_pilot(plan)), soft_wrap=True)
    table = plain_table("goal", right=("repeats", "conversations", "turns", "tokens", "time", "range"))
    for need in plan.needs:
        table.add_row(
            _goal(need),
            str(need.repeats),
            MISSING if need.conversations is None else f"{need.conversations:,}",
            _rounded_up(need.turns),
            _rounded_up(need.tokens),
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
    quantity = "accuracy" if len(plan.pilots) == 1 else "difference"
    value = percent(plan.value) if len(plan.pilots) == 1 else _points(plan.value, "+.1f")
    repeats = f" with {plan.repeats} repeats each" if plan.repeats > 1 else ""
    size = f"{plan.clusters} {plan.unit}{repeats}"
    result = f"{' and '.join(plan.pilots)}: {quantity} {value}"
    if plan.half_width is None or plan.smallest_difference is None:
        return f"{result}, over {size}"
    detected = f"differences of {_points(plan.smallest_difference)} or more"
    if plan.smallest_difference >= 1:  # more than from none right to all right
        detected = "no difference"
    return f"{result}; {size} give {plus_minus(plan.half_width)}, and detect {detected}"


def _rounded_up(count: float | None) -> str:
    return MISSING if count is None else f"{math.ceil(count):,}"


def _goal(need: SampleSize) -> str:
    return (
        f"within {plus_minus(need.wanted, 3)}" if need.goal == "precision" else f"difference of {_points(need.wanted)}"
    )


def _points(share: float, form: str = ".3g") -> str:
    return f"{format(100 * share, form)} points"
