"""Does the sequential stop keep its promise, and what does looking cost?

python tests/benchmarks/bench_sequential.py

Simulated runs of conversations with four turns, whose scores within a conversation are correlated. The interval is
compared with the truth after every conversation: in one run of twenty it may miss it, at any of them. The measured
share is close to the promised one, so 2,000 runs, whose share has a standard error of half a point, are not enough:
five times as many are made, and the goal is missed when the whole 95 % interval of their share is above 5 %. Also
shown: how many conversations the stop at ± 5 points takes, how many a fixed-sample interval of that width would take if
the variance were known, and how often such an interval misses the truth when it is checked after every conversation and
the run ends by it.
"""

from __future__ import annotations

import math
import time

import numpy as np
from report import machine, met, say, table

from evalkit.engine.stopping.accuracy_goal import AccuracyGoal
from evalkit.stats.anytime_interval import bets, gains
from evalkit.stats.arrays import Floats

RUNS, LENGTH, TURNS, GOAL = 2_000, 2_000, 4, 0.05
BATCHES = 5
STOPS = 100  # of the runs: their stops are those of the code that ends real runs
FIRST = 10  # conversations before a fixed-sample interval is believed


def drawn(accuracy: float, correlation: float, rng: np.random.Generator) -> Floats:
    """Right turns of each conversation: beta-binomial, with this correlation between the turns of one."""
    chance: Floats | float = accuracy
    if correlation:
        rest = (1 - correlation) / correlation
        chance = rng.beta(accuracy * rest, (1 - accuracy) * rest, (RUNS, LENGTH))
    return rng.binomial(TURNS, chance, (RUNS, LENGTH)).astype(np.float64)


def ever_out(right: Floats, truth: float) -> float:
    """Share of the runs in which the truth is ruled out at some time."""
    turns = np.full_like(right, TURNS)
    stakes = bets(right, turns, TURNS, GOAL)
    up = np.cumsum(gains(right, turns, stakes, TURNS, truth), axis=1)
    down = np.cumsum(gains(turns - right, turns, stakes, TURNS, 1 - truth), axis=1)
    return float((np.maximum(up, down) >= math.log(2 / 0.05)).any(axis=1).mean())


def stops(right: Floats, truth: float) -> tuple[list[float], float]:
    """When real runs would stop, infinite if never, and in which share of them the interval then misses the truth."""
    ends, wrong = [], 0
    for run in right[:STOPS].astype(int).tolist():
        until = AccuracyGoal(GOAL, TURNS).replay((n, TURNS, TURNS, score, TURNS) for n, score in enumerate(run))
        told = until.status()
        assert told.low is not None
        assert told.high is not None
        wrong += not told.low <= truth <= told.high
        ends.append(told.conversations if told.reached else math.inf)
    return ends, wrong / len(ends)


def peeking(right: Floats, truth: float) -> float:
    """Share of runs that miss the truth when a fixed-sample interval ends them, looked at after every conversation."""
    count = np.arange(1, LENGTH + 1)
    mean = np.cumsum(right, axis=1) / (count * TURNS)
    spread = np.cumsum((right / TURNS) ** 2, axis=1) / count - mean**2
    half = 1.96 * np.sqrt(spread / np.maximum(count - 1, 1))
    narrow = (half <= GOAL) & (count >= FIRST)
    end = narrow.argmax(axis=1)
    at = np.arange(len(right)), end
    return float((np.abs(mean[at] - truth) > half[at]).mean())


def microseconds() -> float:
    """A conversation in the way of a run, looks included."""
    scores = np.random.default_rng(1).binomial(TURNS, 0.8, 20_000).tolist()
    until = AccuracyGoal(0.001, TURNS)
    began = time.perf_counter()
    until.replay((n, TURNS, TURNS, score, TURNS) for n, score in enumerate(scores))
    return (time.perf_counter() - began) / len(scores) * 1e6


def main() -> None:
    print(f"{BATCHES * RUNS:,} runs of {LENGTH:,} conversations of {TURNS} turns; {machine()}\n")
    rows = []
    for number, accuracy in enumerate((0.5, 0.8, 0.95)):
        for correlation in (0.0, 0.5):
            say(f"accuracy {accuracy}, correlation {correlation}")
            rng = np.random.default_rng([number, int(10 * correlation)])
            right = drawn(accuracy, correlation, rng)
            outs = [ever_out(right, accuracy)]
            outs += [ever_out(drawn(accuracy, correlation, rng), accuracy) for _ in range(BATCHES - 1)]
            out = float(np.mean(outs))
            noise = 1.96 * math.sqrt(out * (1 - out) / (BATCHES * RUNS))
            ends, wrong = stops(right, accuracy)
            variance = accuracy * (1 - accuracy) * (1 + (TURNS - 1) * correlation) / TURNS
            fixed = math.ceil(1.96**2 * variance / GOAL**2)
            median = float(np.median(ends))
            rows.append(
                (
                    accuracy,
                    correlation,
                    f"{outs[0]:.2%}",
                    f"{out:.2%} ± {noise:.2%}",
                    met(out - noise <= 0.05),
                    f"{median:,.0f} ({min(ends):,.0f} to {max(ends):,.0f})",
                    f"{wrong:.0%}",
                    f"{fixed:,}",
                    f"{median / fixed:.1f}",
                    f"{peeking(right, accuracy):.1%}",
                )
            )
    head = (
        "accuracy", "correlation", f"ever out, first {RUNS:,}", "all", "≤ 5 % but for noise",
        "conversations to ± 5 points", "out at the stop", "fixed sample", "price", "fixed sample, looked at: out",
    )  # fmt: skip
    print(table(head, rows))
    print(f"\n{microseconds():.1f} µs a conversation")


if __name__ == "__main__":
    main()
