"""How often a 95 % interval holds the truth, and how often a comparison finds what is not there.

    python tests/benchmarks/bench_coverage.py [--runs 4000] [--bootstrap-runs 1000] [--seed 1]

Conversations of four turns, right or wrong: a conversation's share of right turns is drawn from a beta distribution
with the accuracy as its mean and the intra-cluster correlation as its spread, and each turn is right with that share.
So the truth is known, and every interval is asked whether it holds it. Goal: 93 to 97 % of the runs; ! marks less, +
more. A run that tells no interval counts as neither; how many these are stands in parentheses.

Times are log-normal, and the correlation is that of their logarithms within a conversation.

Pairs are two such models that share half of their conversations' shares and half of their turns' luck; where the second
is never worse, all of both. A rate of false positives, which is of the runs that tell a p, is marked ! above 6 % and -
below 4 %; these cells go on until five times as many runs as asked for tell one. How many do not stands in parentheses.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from evalkit import bootstrap, intervals, paired, stats
from evalkit.clusters import ClusterSums
from evalkit.stats import Estimate

TURNS = 4
CONVERSATIONS = (30, 100, 1000)
CORRELATIONS = (0.0, 0.3, 0.7)
ACCURACIES = (0.5, 0.8, 0.95)
LOW, HIGH = 0.93, 0.97
FALSE_LOW, FALSE_HIGH = 0.04, 0.06
SHARED = 0.5
RESAMPLES = 1000
BETTER = {0.5: 0.6, 0.8: 0.85, 0.95: 0.98}
MORE = 5  # times the runs, for rates of false positives, which are small
AT_ONCE = 100  # runs drawn together

Place = tuple[int, float, float]  # conversations, correlation, accuracy
Rows = NDArray[np.float64]


@dataclass
class Cell:
    """What came of one row and column."""

    held: int = 0
    told: int = 0
    runs: int = 0

    def add(self, told: Estimate, truth: float) -> bool:
        """Count one interval; whether it is told and misses the truth."""
        self.runs += 1
        if told.low is None or told.high is None:
            return False
        self.told += 1
        holds = told.low - 1e-12 <= truth <= told.high + 1e-12
        self.held += holds
        return not holds

    def shown(self, low: float = LOW, high: float = HIGH) -> str:
        if not self.told:
            return "none told"
        share = self.held / self.told
        mark = "!" if share < low else "+" if share > high else ""
        lacking = f" ({100 * (1 - self.told / self.runs):.0f})" if self.runs - self.told >= self.runs / 200 else ""
        return f"{100 * share:.1f}{mark}{lacking}"


def beta(correlation: float, accuracy: float) -> tuple[float, float]:
    """Parameters of the distribution of the conversations' shares; not for a correlation of 0."""
    total = 1 / correlation - 1
    return accuracy * total, (1 - accuracy) * total


def one_model(rng: np.random.Generator, runs: int, place: Place) -> Rows:
    """Right and wrong, shape (runs, conversations, TURNS)."""
    conversations, correlation, accuracy = place
    share = rng.beta(*beta(correlation, accuracy), (runs, conversations, 1)) if correlation else accuracy
    return (rng.random((runs, conversations, TURNS)) < share).astype(np.float64)


def two_models(rng: np.random.Generator, runs: int, place: Place, better: float, shared: float) -> tuple[Rows, Rows]:
    """Right and wrong of two models on the same turns, each (runs, conversations, TURNS)."""
    conversations, correlation, accuracy = place
    level, luck = rng.random((runs, conversations, 1)), rng.random((runs, conversations, TURNS))
    other_level = np.where(rng.random(level.shape) < shared, level, rng.random(level.shape))
    other_luck = np.where(rng.random(luck.shape) < shared, luck, rng.random(luck.shape))
    first, second = accuracy, better
    if correlation and better == accuracy:
        # the same distribution: a share can be drawn at once, and need not be read at its level
        first = rng.beta(*beta(correlation, accuracy), level.shape)
        second = np.where(other_level == level, first, rng.beta(*beta(correlation, accuracy), level.shape))
    elif correlation:
        first = special.betaincinv(*beta(correlation, accuracy), level)
        second = special.betaincinv(*beta(correlation, better), other_level)
    return (luck < first).astype(np.float64), (other_luck < second).astype(np.float64)


def proportion_of(right: Rows, turns: int) -> Estimate:
    """``stats.proportion``, clustered, of conversations with so many right turns."""
    sums = ClusterSums()
    sums.add_whole(right, np.full(len(right), turns))
    return stats.clustered_proportion(sums)


def single(runs: int, bootstrap_runs: int, seed: int, place: Place) -> str:
    """A row of the intervals of one model."""
    conversations, correlation, accuracy = place
    rng = np.random.default_rng([seed, *(int(100 * each) for each in place)])
    clusters = np.repeat(np.arange(conversations), TURNS)
    cells = {name: Cell() for name in ("proportion", "mean", "percentile", "bca")}
    for begin in range(0, runs, AT_ONCE):
        for run, rows in enumerate(one_model(rng, min(AT_ONCE, runs - begin), place), begin):
            cells["proportion"].add(proportion_of(rows.sum(axis=1), TURNS), accuracy)
            cells["mean"].add(intervals.mean(rows.ravel(), clusters), accuracy)
            for method in ("percentile", "bca") if run < bootstrap_runs else ():
                told = bootstrap.bootstrap(rows.ravel(), clusters, method=method, resamples=RESAMPLES, seed=run)
                cells[method].add(told, accuracy)
    return f"| {conversations:,} | {correlation} | {accuracy} | {' | '.join(cell.shown() for cell in cells.values())} |"


def timed(runs: int, seed: int, place: tuple[int, float]) -> str:
    """A row of the quantiles of times."""
    conversations, correlation = place
    rng = np.random.default_rng([seed, *(int(100 * each) for each in place)])
    clusters = np.repeat(np.arange(conversations), TURNS)
    cells = {q: Cell() for q in (0.5, 0.95)}
    apart = {q: Cell() for q in cells}
    for _ in range(runs):
        own, luck = rng.normal(size=(conversations, 1)), rng.normal(size=(conversations, TURNS))
        times = np.exp(math.sqrt(correlation) * own + math.sqrt(1 - correlation) * luck).ravel()
        for q in cells:
            truth = math.exp(special.ndtri(q))
            cells[q].add(stats.quantile(times, q, clusters=clusters), truth)
            apart[q].add(stats.quantile(times, q), truth)
    shown = " | ".join(told[q].shown() for q in cells for told in (cells, apart))
    return f"| {conversations:,} | {correlation} | {shown} |"


def compared(runs: int, seed: int, shared: float, better: dict[float, float], place: Place) -> str:
    """A row of ``paired.difference`` of two models."""
    conversations, correlation, accuracy = place
    other = better.get(accuracy, accuracy)
    rng = np.random.default_rng([seed, int(10 * shared), int(100 * other), *(int(100 * each) for each in place)])
    clusters = np.repeat(np.arange(conversations), TURNS)
    equal = other == accuracy
    cell, found, tested = Cell(), 0, 0
    while (tested < MORE * runs) if equal else (cell.runs < runs):
        for first, second in zip(*two_models(rng, AT_ONCE, place, other, shared), strict=True):
            told = paired.difference(first.ravel(), second.ravel(), clusters)
            cell.add(told.estimate, other - accuracy)
            tested += told.p is not None
            found += told.p is not None and told.p <= 0.05
    share = found / (tested if equal else cell.runs)
    mark = "" if not equal else "!" if share > FALSE_HIGH else "-" if share < FALSE_LOW else ""
    lacking = f" ({100 * (1 - tested / cell.runs):.0f})" if cell.runs - tested >= cell.runs / 200 else ""
    shown = f"{100 * share:.1f}{mark}{lacking}"
    return f"| {conversations:,} | {correlation} | {accuracy}, {other} | {cell.shown()} | {shown} |"


def doubted(runs: int, seed: int, place: tuple[int, int, float, float]) -> str | None:
    """A row where ``stats.proportion`` holds the truth in less than 93 % of runs; None: it does in more."""
    turns, conversations, correlation, accuracy = place
    rng = np.random.default_rng([seed, *(int(100 * each) for each in place)])
    share = rng.beta(*beta(correlation, accuracy), (runs, conversations))
    cell, missed, missed_doubted, all_doubted = Cell(), 0, 0, 0
    for right in rng.binomial(turns, share).astype(np.float64):
        told = proportion_of(right, turns)
        says = told.value is not None and intervals.doubt(conversations, told.value) is not None
        misses = cell.add(told, accuracy)
        missed, missed_doubted, all_doubted = missed + misses, missed_doubted + (misses and says), all_doubted + says
    if cell.held >= LOW * cell.told:
        return None
    found = f"{cell.shown()} | {100 * missed_doubted / missed:.0f} | {100 * all_doubted / runs:.0f}"
    return f"| {turns} | {conversations:,} | {correlation} | {accuracy} | {found} |"


def table(title: str, head: str, rows: Iterable[str | None]) -> None:
    print(f"\n{title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}", flush=True)
    for row in rows:
        if row is not None:
            print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--bootstrap-runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    grid = list(itertools.product(CONVERSATIONS, CORRELATIONS, ACCURACIES))
    short = [place for place in grid if place[0] < max(CONVERSATIONS)]
    many = list(itertools.product((4, 20), (10, 30, 100), (0.1, 0.3, 0.7), (0.5, 0.8, 0.9, 0.95, 0.98)))
    where = "conversations | correlation |"
    pairs = f"{where} accuracies | the interval holds the truth, % | p ≤ 0.05, %"
    with ProcessPoolExecutor() as pool:
        rows = pool.map(partial(single, given.runs, given.bootstrap_runs, given.seed), reversed(grid))
        table(
            "How often 95 % intervals hold the truth, % (in parentheses: runs that tell no interval, %)",
            f"{where} accuracy | stats.proportion | intervals.mean | bootstrap, percentile | bootstrap, BCa",
            reversed(list(rows)),
        )
        table(
            "How often the interval of a time's quantile holds the truth, by clusters and as if independent, %",
            f"{where} p50 | as if independent | p95 | as if independent",
            pool.map(partial(timed, given.runs, given.seed), itertools.product(CONVERSATIONS, CORRELATIONS)),
        )
        work: Callable[..., str] = partial(compared, given.runs, given.seed)
        table(
            "paired.difference of two equal models; p ≤ 0.05: 4 to 6 % of the runs that tell a p",
            pairs,
            pool.map(partial(work, SHARED, {}), grid),
        )
        table("the second better", pairs, pool.map(partial(work, SHARED, BETTER), short))
        table("the second better and never worse", pairs, pool.map(partial(work, 1.0, BETTER), short))
        table(
            "Where stats.proportion holds the truth in less than 93 % of runs, and how often intervals.doubt speaks",
            f"turns | {where} accuracy | it holds the truth, % | of the misses doubted, % | of all doubted, %",
            pool.map(partial(doubted, given.runs // 2, given.seed), many),
        )
    print(
        f"\n{given.runs:,} runs a cell, {given.bootstrap_runs:,} of the bootstrap; {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
