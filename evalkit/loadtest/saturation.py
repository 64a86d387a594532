"""When a step of a load test shows that more load is of no use."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import Step
from evalkit.wording import numbers

MIN_GROWTH = 0.10
MIN_LATENCY_RISE = 0.05  # less is noise
MIN_WITHIN_SLO = 0.5
MAX_ERRORS = 0.10


def saturation(measured: Sequence[Step], slo: Slo) -> tuple[int, str] | None:
    """The place of the first saturated step among those measured, and why it is saturated; None: none is."""
    before: Step | None = None
    for place, step in enumerate(measured):
        if (reason := why_saturated(before, step, slo)) is not None:
            return place, reason
        before = step
    return None


def why_saturated(before: Step | None, step: Step, slo: Slo) -> str | None:
    """Why a step shows saturation, so that more load is of no use; None: it does not.

    Parameters
    ----------
    before : Step or None
        The previous step; None: this is the first.
    step : Step
    slo : Slo
    """
    if step.error_share > MAX_ERRORS:
        return f"{numbers.percent(step.error_share, 0)} of the turns failed, more than {MAX_ERRORS:.0%}"
    if slo and step.within_slo is not None and step.within_slo < MIN_WITHIN_SLO:
        return f"only {numbers.percent(step.within_slo, 0)} of the turns met the SLO ({slo})"
    if before is None or not before.turns_per_s or step.turns_per_s is None:
        return None
    growth = step.turns_per_s / before.turns_per_s - 1
    was, now = before.latency_ms["p50"].value, step.latency_ms["p50"].value
    if growth < MIN_GROWTH and was and now and now > was * (1 + MIN_LATENCY_RISE):
        how = f"grew by only {growth:.0%}" if growth >= 0 else f"fell by {-growth:.0%}"
        latency = f"from {numbers.number(was)} to {numbers.number(now, ' ms')}"
        return f"throughput {how}, while the median latency rose {latency}"
    return None
