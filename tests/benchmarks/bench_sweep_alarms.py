"""How often a load test says that the answers got worse, when they did and when they did not.

    python tests/benchmarks/bench_sweep_alarms.py [--sweeps 1000] [--seed 1]

A conversation's share of right turns is drawn from a beta distribution, and each turn of each step is right with that
share, whatever the load: every "worse" is a false alarm. Steps run as many conversations as ``evalkit load`` does by
default, at concurrency 1, 2, 4, … or 1, 2, 3, …; a small dataset is repeated. For comparison: the rule of one
step at a time (an accuracy below the first step's interval), and how often a drop of 20 points in the last step is
found.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evalkit.loadtest.accuracy_over_load import StepScores, accuracy_changes
from evalkit.stats import proportions

DOUBLED, COUNTED = tuple(2**number for number in range(10)), tuple(range(1, 11))
TURNS, CORRELATION = 2, 0.3


@dataclass(frozen=True)
class Case:
    """A load test over a dataset of so many conversations of two turns, with such an accuracy."""

    loads: tuple[int, ...]
    dataset: int
    mean: float

    def sweep(self, rng: np.random.Generator, fall: float = 0.0) -> list[StepScores]:
        """The scores of each step; those of the last are right so much more seldom."""
        size = 1 / CORRELATION - 1
        truth = rng.beta(self.mean * size, (1 - self.mean) * size, self.dataset)
        return [self._step(rng, load, truth - (fall if load == self.loads[-1] else 0.0)) for load in self.loads]

    def _step(self, rng: np.random.Generator, load: int, truth: np.ndarray) -> StepScores:
        wanted = load + max(4 * load, 20)
        repeats = -(-wanted // min(wanted, self.dataset))
        asked = -(-wanted // repeats)
        share = np.clip(truth[:asked], 0, 1)[:, None]
        right = rng.binomial(repeats, np.broadcast_to(share, (asked, TURNS))) / repeats
        return {
            (place, turn): (float(right[place, turn]), f"conversation {place}")
            for place, turn in itertools.product(range(asked), range(TURNS))
        }


def worse(sweep: Iterable[StepScores]) -> bool:
    """Whether a load test says so of any step."""
    return any(change.worse for change in accuracy_changes(list(sweep)))


def worse_one_by_one(case: Case, sweep: Iterable[StepScores]) -> bool:
    """The same by the interval of the first step alone, each step without the conversations of its warm-up."""
    first, *later = (
        proportions.proportion(*zip(*_after(case, *step), strict=True)) for step in zip(case.loads, sweep, strict=True)
    )
    return first.low is not None and any(step.value is not None and step.value < first.low for step in later)


def _after(case: Case, warm_up: int, step: StepScores) -> list[tuple[float, str]]:
    again = 5 * warm_up > case.dataset  # then the warm-up is a part of the repeats of each
    return [score for (place, _), score in step.items() if place >= warm_up or again]


def share(found: Iterable[bool]) -> float:
    """Of those that are true."""
    return float(np.mean(list(found)))


def false_alarms(case: Case, sweeps: int, seed: int) -> float:
    """Share of load tests at equal truth that say the answers got worse."""
    rng = np.random.default_rng(seed)
    return share(worse(case.sweep(rng)) for _ in range(sweeps))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"{given.sweeps} load tests a row; false alarms at most 5 %: ! marks more")
    print(
        f"{'steps':>13} {'conversations':>13} {'accuracy':>8} {'one by one':>10} {'now':>7} {'a fall of 20 found':>19}"
    )
    loads = [kind[:steps] for steps, kind in itertools.product((5, 10), (DOUBLED, COUNTED))]
    for steps, dataset, mean in itertools.product(loads, (20, 200), (0.5, 0.8)):
        case, rng = Case(steps, dataset, mean), np.random.default_rng(given.seed)
        equal = [case.sweep(rng) for _ in range(given.sweeps)]
        before, now = share(worse_one_by_one(case, sweep) for sweep in equal), share(map(worse, equal))
        del equal
        found = share(worse(case.sweep(rng, 0.2)) for _ in range(given.sweeps // 4))
        mark = "!" if now > 0.05 else ""
        name = f"{len(steps)}: {','.join(map(str, steps[:3]))},…"
        print(f"{name:>13} {dataset:13} {mean:8.0%} {before:10.1%} {now:7.1%}{mark:1} {found:18.0%}", flush=True)


if __name__ == "__main__":
    main()
