"""How often a history without any change has a step in latency that is called real, and how often a real one is found.

    python tests/benchmarks/bench_history.py [--histories 1000] [--seed 1] [--cell N]

Histories of runs of the same conversations with two turns each, whose latencies are log-normal and correlated within a
conversation. Nothing changes: a step that is real after Holm's correction is wrong, in at most 5 % of the histories.
Then the last run is slower by half: the share of histories in which this step is found.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
from report import machine, met, say, table

from evalkit.stats.arrays import Floats
from evalkit.stats.multiple_tests import holm, p_of_interval
from evalkit.stats.survival import quantile_difference

CELLS = ((2, 10), (5, 10), (10, 10), (20, 10), (10, 20), (10, 60))  # runs and conversations
TURNS, SPREAD, SLOWER = 2, 0.3, 1.5
LEVEL, MOST_WRONG = 0.05, 0.06  # 5 % and the error of the simulation


def real_steps(runs: list[Floats], conversations: int, *, student: bool) -> list[bool]:
    """Which steps ``history`` calls real; not ``student``: with the p of a normal distribution."""
    labels, never = np.repeat(np.arange(conversations), TURNS), np.zeros(conversations * TURNS, dtype=bool)
    found = [
        quantile_difference(first, second, 0.5, labels, censored=(never, never), resamples=2000)
        for first, second in pairwise(runs)
    ]
    ps = holm([p_of_interval(each, 0.95, conversations if student else None) for each in found])
    return [p is not None and p < LEVEL for p in ps]


def history(rng: np.random.Generator, runs: int, conversations: int) -> list[Floats]:
    level = rng.normal(0, SPREAD, (conversations, 1))
    return [np.exp(level + rng.normal(0, SPREAD, (conversations, TURNS))).ravel() for _ in range(runs)]


def cell(rng: np.random.Generator, runs: int, conversations: int, histories: int) -> list[object]:
    wrong, normal, found = 0, 0, 0
    for _ in range(histories):
        same = history(rng, runs, conversations)
        wrong += any(real_steps(same, conversations, student=True))
        normal += any(real_steps(same, conversations, student=False))
        found += real_steps([*same[:-1], same[-1] * SLOWER], conversations, student=True)[-1]
    shares = [each / histories for each in (normal, wrong, found)]
    return [runs, conversations, *(f"{100 * each:.1f} %" for each in shares), met(shares[1] <= MOST_WRONG)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cell", type=int, choices=range(len(CELLS)), help="only this row of the table, from 0")
    options = parser.parse_args()
    print(f"{options.histories} histories a row, {machine()}\n")
    rows = []
    for number, (runs, conversations) in enumerate(CELLS):
        if options.cell in (None, number):
            say(f"{runs} runs, {conversations} conversations")
            rng = np.random.default_rng([options.seed, number])
            rows.append(cell(rng, runs, conversations, options.histories))
    head = [
        "runs",
        "conversations",
        "wrong with a normal p",
        "wrong",
        f"slower by {SLOWER - 1:.0%}: found",
        "at most 5 %",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
