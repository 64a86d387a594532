"""Load tests that are made of run files."""

from dataclasses import replace
from pathlib import Path

from runfiles import S, T, talk, write

from evalkit.loadtest.load_plan import LoadPlan
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import read_step
from evalkit.loadtest.sweep import Sweep
from evalkit.stats.estimate import Estimate


def step_in(folder):
    """A step to vary."""
    turns = [T(f"c{n}", 1, sent_ms=100.0 * n, latency_ms=100.0, end_ms=100.0, score=1.0) for n in range(20)]
    path = write(folder / "r.evalkit", [S(turns)], [talk(f"c{n}", (1,)) for n in range(20)])
    return read_step(path, 1, warm_up=1, open_loop=False, slo=Slo.of(None))


def varied(step, load, turns_per_s, latency_ms=100.0, **more):
    quantiles = {**step.latency_ms, "p50": Estimate(latency_ms, None, None, 20)}
    return replace(step, load=load, turns_per_s=turns_per_s, latency_ms=quantiles, **more)


def sweep_of(*steps, slo=None, saturated=False):
    plan = LoadPlan.of([step.load for step in steps], None)
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    return Sweep(Path("x"), plan, Slo.of(slo), steps, None, saturated, endpoint, Path("sums.jsonl"))
