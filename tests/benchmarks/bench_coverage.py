"""How often a 95 % interval holds the truth, and how often a comparison finds what is not there.

    python tests/benchmarks/bench_coverage.py [--runs 4000] [--bootstrap-runs 1000] [--seed 1] [--only graded few …]

Conversations of four turns, right or wrong: a conversation's share of right turns is drawn from a beta distribution
with the accuracy as its mean and the intra-cluster correlation as its spread, and each turn is right with that share.
So the truth is known, and every interval is asked whether it holds it. Goal: 93 to 97 % of the runs; ! marks less, +
more. A run that tells no interval counts as neither; how many these are stands in parentheses.

Times are log-normal, and the correlation is that of their logarithms within a conversation.

Pairs are two such models that share half of their conversations' shares and half of their turns' luck; where the second
is never worse, all of both. A rate of false positives, which is of the runs that tell a p, is marked ! above 6 % and -
below 4 %; these cells go on until five times as many runs as asked for tell one. How many do not stands in parentheses.

Graded scores are drawn at a level that is normal within and between conversations, so that the correlation is that of
the levels. Where few conversations differ, each goes up or down by itself, in one turn, in some or in all.

Plans are made from a pilot and carried out: the share of runs whose interval has at most the wanted half-width.
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

from evalkit.stats import bootstrap, means, paired, power, proportions, quantiles
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate

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
OF_GRADED = (8, 15, 30, 100, 200)  # conversations
WANTED = 0.05  # half-width of a planned run
TABLES = ("single", "times", "pairs", "better", "few", "graded", "planned", "doubt")

Place = tuple[int, float, float]  # conversations, correlation, accuracy
Rows = NDArray[np.float64]


@dataclass
class Cell:
    """What came of one row and column."""

    held: int = 0
    told: int = 0
    runs: int = 0

    def add(self, told: Estimate, truth: float) -> bool:
        """Count one interval; whether there is one, and it misses the truth."""
        self.runs += 1
        if told.low is None or told.high is None:
            return False
        self.told += 1
        holds = told.low - 1e-12 <= truth <= told.high + 1e-12
        self.held += holds
        return not holds

    def shown(self, low: float = LOW, high: float = HIGH) -> str:
        if not self.told:
            return "none"
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
    """``proportions.proportion``, clustered, of conversations with so many right turns."""
    sums = ClusterSums()
    sums.add_whole(right, np.full(len(right), turns))
    return proportions.clustered_proportion(sums)


def single(runs: int, bootstrap_runs: int, seed: int, place: Place) -> str:
    """A row of the intervals of one model."""
    conversations, correlation, accuracy = place
    rng = np.random.default_rng([seed, *(int(100 * each) for each in place)])
    clusters = np.repeat(np.arange(conversations), TURNS)
    cells = {name: Cell() for name in ("proportion", "mean", "percentile", "bca")}
    for begin in range(0, runs, AT_ONCE):
        for run, rows in enumerate(one_model(rng, min(AT_ONCE, runs - begin), place), begin):
            cells["proportion"].add(proportion_of(rows.sum(axis=1), TURNS), accuracy)
            cells["mean"].add(means.mean(rows.ravel(), clusters), accuracy)
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
            cells[q].add(quantiles.quantile(times, q, clusters=clusters), truth)
            apart[q].add(quantiles.quantile(times, q), truth)
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


def steps(shares: tuple[float, ...]) -> Callable[[Rows], Rows]:
    """Grades in equal steps from 0 to 1, each with its share."""
    return lambda level: np.searchsorted(np.cumsum(shares)[:-1], level) / (len(shares) - 1)


def weighted(level: Rows) -> Rows:
    """Of two scorers, with weights of 0.7 and 0.3: both right, the first, the second, none."""
    return np.select([level < 0.5, level < 0.75, level < 0.9], [1.0, 0.7, 0.3], 0.0)


# name: the score at a level from 0 to 1, and the mean score
SCORES: dict[str, tuple[Callable[[Rows], Rows], float]] = {
    "right or wrong, 0.8": (lambda level: (level < 0.8) * 1.0, 0.8),
    "right or wrong, 0.95": (lambda level: (level < 0.95) * 1.0, 0.95),
    "f1: 25 % 0, 45 % 1": (lambda level: np.clip((level - 0.25) / 0.3, 0, 1), 0.6),
    "f1: 2 % 0, 90 % 1": (lambda level: np.clip((level - 0.02) / 0.08, 0, 1), 0.94),
    "chrf: 0.8 ± 0.12": (lambda level: special.betaincinv(8, 2, level), 0.8),
    "judge: 1 to 5": (steps((0.03, 0.07, 0.15, 0.45, 0.30)), 0.73),
    "judge: 80 % 5": (steps((0.01, 0.01, 0.03, 0.15, 0.80)), 0.93),
    "weights of 0.7 and 0.3": (weighted, 0.72),
}


def graded(runs: int, seed: int, place: tuple[str, int, float]) -> str:
    """A row of graded scores: coverage by the number of conversations, and the width if they were right and wrong."""
    name, turns, correlation = place
    score, truth = SCORES[name]
    shown, ratios = [], []
    for conversations in OF_GRADED:
        rng = np.random.default_rng([seed, list(SCORES).index(name), turns, int(100 * correlation), conversations])
        cell = Cell()
        for _ in range(runs):
            own, luck = rng.normal(size=(conversations, 1)), rng.normal(size=(conversations, turns))
            rows = score(special.ndtr(math.sqrt(correlation) * own + math.sqrt(1 - correlation) * luck))
            sizes, sums, binary = np.full(conversations, turns), ClusterSums(), ClusterSums()
            sums.add_whole(rows.sum(axis=1), sizes, (rows * (1 - rows)).sum(axis=1))
            binary.add_whole(rows.sum(axis=1), sizes)
            told, plain = proportions.clustered_proportion(sums), proportions.clustered_proportion(binary)
            cell.add(told, truth)
            if conversations == 100:
                ratios.append((plain.high - plain.low) / (told.high - told.low))
        shown.append(cell.shown())
    return f"| {name} | {turns} | {correlation} | {' | '.join(shown)} | {np.median(ratios):.1f} |"


def few(runs: int, seed: int, place: tuple[int, str, int, int]) -> str:
    """A row of ``paired.difference`` where so many conversations are expected to go up and down."""
    conversations, size, up, down = place
    rng = np.random.default_rng([seed, conversations, len(size), up, down])
    moved = {"one turn": 1 / TURNS, "any": (TURNS + 1) / 2 / TURNS, "all turns": 1.0}[size]
    truth, clusters = (up - down) * moved / conversations, np.repeat(np.arange(conversations), TURNS)
    cells = {name: Cell() for name in ("below 5", "5 to 9", "more", "all")}
    for _ in range(runs):
        luck = rng.random(conversations) * conversations
        way = np.where(luck < up, 1, np.where(luck < up + down, -1, 0))
        turns = {"one turn": 1, "any": rng.integers(1, TURNS + 1, conversations), "all turns": TURNS}[size]
        rows = way[:, None] * (np.arange(TURNS) < np.broadcast_to(turns, conversations)[:, None])
        told = paired.difference((rows < 0).ravel() * 1.0, (rows > 0).ravel() * 1.0, clusters)
        name = "below 5" if told.differing < 5 else "5 to 9" if told.differing < 10 else "more"
        for cell in (cells[name], cells["all"]):
            cell.add(told.estimate, truth)
    often = {name: f" [{100 * cell.runs / runs:.0f}]" for name, cell in cells.items() if name != "all"}
    shown = (f"{cell.shown() if cell.runs > runs / 50 else '–'}{often.get(name, '')}" for name, cell in cells.items())
    return f"| {conversations:,} | {size} | {up}, {down} | {' | '.join(shown)} |"


def planned(runs: int, seed: int, place: Place) -> str:
    """A row of runs that were planned from pilots of so many conversations."""
    pilots, correlation, accuracy = place
    rng = np.random.default_rng([seed, *(int(100 * each) for each in place)])
    reached, counts, alike = {"plain": 0, "assured": 0}, [], 0
    for _ in range(runs):
        values = one_model(rng, 1, place)[0].mean(axis=1)
        if not values.std():
            alike += 1
            continue
        value = float(values.mean())
        spread = power.pilot_spread(values, least=math.sqrt(value * (1 - value) / TURNS))
        numbers = {
            "plain": power.clusters_for_precision(WANTED, spread.sd),
            "assured": power.assured_for_precision(WANTED, spread, value),
        }
        counts.append(numbers["assured"])
        for name, number in numbers.items():
            told = proportion_of(one_model(rng, 1, (number, correlation, accuracy))[0].sum(axis=1), TURNS)
            reached[name] += told.high - told.low <= 2 * WANTED
    shares = " | ".join(f"{100 * count / (runs - alike):.0f}" for count in reached.values())
    low, high = np.quantile(counts, [0.1, 0.9])
    enough = math.ceil(1.96**2 * accuracy * (1 - accuracy) * (1 + (TURNS - 1) * correlation) / TURNS / WANTED**2)
    lacking = f" ({100 * alike / runs:.0f})" if alike >= runs / 200 else ""
    told = f"{np.median(counts):.0f} ({low:.0f} to {high:.0f})"
    return f"| {pilots:,} | {correlation} | {accuracy} | {shares}{lacking} | {told} | {enough} |"


def doubted(runs: int, seed: int, place: tuple[int, int, float, float]) -> tuple[bool, int, float, str]:
    """Whether ``proportions.proportion`` is short here, conversations, how often it is doubted in %, and the row."""
    turns, conversations, correlation, accuracy = place
    rng = np.random.default_rng([seed, *(int(100 * each) for each in place)])
    share = rng.beta(*beta(correlation, accuracy), (runs, conversations))
    cell, missed, missed_doubted, all_doubted = Cell(), 0, 0, 0
    for right in rng.binomial(turns, share).astype(np.float64):
        told = proportion_of(right, turns)
        says = told.value is not None and means.doubt(conversations, told.value, n=told.n) is not None
        misses = cell.add(told, accuracy)
        missed, missed_doubted, all_doubted = missed + misses, missed_doubted + (misses and says), all_doubted + says
    often = 100 * all_doubted / runs
    found = f"{cell.shown()} | {100 * missed_doubted / max(missed, 1):.0f} | {often:.0f}"
    row = f"| {turns} | {conversations:,} | {correlation} | {accuracy} | {found} |"
    return cell.held < LOW * cell.told, conversations, often, row


def table(title: str, head: str, rows: Iterable[str]) -> None:
    print(f"\n{title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}", flush=True)
    for row in rows:
        print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--bootstrap-runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables to make (default: all)")
    given = parser.parse_args()
    began = time.perf_counter()
    runs, seed = given.runs, given.seed
    grid = list(itertools.product(CONVERSATIONS, CORRELATIONS, ACCURACIES))
    short = [place for place in grid if place[0] < max(CONVERSATIONS)]
    many = list(itertools.product((4, 20), (8, 10, 30, 100), (0.1, 0.3, 0.7), (0.5, 0.8, 0.9, 0.95, 0.98)))
    where = "conversations | correlation |"
    pairs = f"{where} accuracies | the interval contains the truth, % | p ≤ 0.05, %"
    with ProcessPoolExecutor() as pool:
        if "single" in given.only:
            rows = pool.map(partial(single, runs, given.bootstrap_runs, seed), reversed(grid))
            table(
                "How often 95 % intervals contain the truth, % (in parentheses: runs without an interval, %)",
                f"{where} accuracy | proportions.proportion | means.mean | bootstrap, percentile | bootstrap, BCa",
                reversed(list(rows)),
            )
        if "times" in given.only:
            table(
                "How often the interval of a time's quantile contains the truth, by clusters and as if independent, %",
                f"{where} p50 | as if independent | p95 | as if independent",
                pool.map(partial(timed, runs, seed), itertools.product(CONVERSATIONS, CORRELATIONS)),
            )
        work: Callable[..., str] = partial(compared, runs, seed)
        if "pairs" in given.only:
            table(
                "paired.difference of two equal models; p ≤ 0.05: 4 to 6 % of the runs with a p",
                pairs,
                pool.map(partial(work, SHARED, {}), grid),
            )
        if "better" in given.only:
            table("the second better", pairs, pool.map(partial(work, SHARED, BETTER), short))
            table("the second better and never worse", pairs, pool.map(partial(work, 1.0, BETTER), short))
        if "few" in given.only:
            ways = itertools.product(
                (30, 100, 1000), ("one turn", "any", "all turns"), ((4, 4), (6, 1), (10, 0), (10, 2))
            )
            table(
                "paired.difference where few differ: it contains the truth, %, by how many do [of the runs, %]",
                "conversations | they differ in | expected better, worse | below 5 | 5 to 9 | more | all",
                pool.map(partial(few, runs, seed), ((number, size, *way) for number, size, way in ways)),
            )
        if "graded" in given.only:
            table(
                "How often the interval of graded scores contains the truth, %, by the number of conversations",
                f"score | turns | correlation | {' | '.join(map(str, OF_GRADED))} | width as right and wrong, of 100",
                pool.map(
                    partial(graded, runs, seed),
                    ((name, *place) for name in SCORES for place in ((1, 0.0), (TURNS, 0.0), (TURNS, 0.5))),
                ),
            )
        if "planned" in given.only:
            table(
                f"How often a run planned for ± {WANTED} reaches it, % (in parentheses: pilots with equal results, %)",
                "conversations of the pilot | correlation | accuracy | relying on the pilot's variance | assured | "
                "planned, median (10 to 90 % of pilots) | with the variance known",
                pool.map(partial(planned, runs // 4, seed), itertools.product((10, 30, 100), (0.0, 0.3), ACCURACIES)),
            )
        if "doubt" in given.only:
            cells = list(pool.map(partial(doubted, runs // 2, seed), many))
            table(
                "Where proportions.proportion contains the truth in less than 93 % of runs; how often it is doubted",
                f"turns | {where} accuracy | it contains the truth, % | of the misses doubted, % | of all doubted, %",
                [row for is_short, *_, row in cells if is_short],
            )
            print("\nElsewhere it speaks, in % of runs:", end="")
            for number in sorted({conversations for _, conversations, *_ in cells}):
                often = [share for is_short, own, share, _ in cells if own == number and not is_short]
                print(f" {np.mean(often):.0f}, {max(often):.0f} at most, of {number} conversations;", end="")
            print()
    print(f"\n{runs:,} runs a cell, {given.bootstrap_runs:,} of the bootstrap; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
