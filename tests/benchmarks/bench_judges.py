"""How often the corrected accuracy of an imperfect judge is right, next to the uncorrected one.

    python tests/benchmarks/bench_judges.py [--runs 2000] [--answers 1000] [--seed 1] [--differ]

A judge with a true positive rate (sensitivity) and a true negative rate (specificity) from 0.6 to 0.95 judges answers
of which 50 to 90 % are right; 50 to 400 more of them are labelled by people. Each cell of a table is the share of runs
whose 95 % interval contains the true accuracy: of the judge's own verdicts, corrected by Rogan and Gladen's estimate,
and by the prediction-powered mean. Goal for the last: 93 to 97 %.

With --differ the labels are of the answers themselves, half of them where the judge and a scorer that is right in 85 %
differ, and each weighs as many answers as it stands for. Coverage without these weights is next to it, and that of the
true positive and the true negative rate of the judge.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import numpy as np
import report

from evalkit.stats.corrected_rate import corrected_rate
from evalkit.stats.estimate import Estimate
from evalkit.stats.prediction_powered import prediction_powered_mean
from evalkit.stats.proportions import score_limits
from evalkit.stats.stratified_labels import strata_of, stratified_prediction_powered_mean, stratified_proportion

RATES = (0.6, 0.7, 0.8, 0.9, 0.95)
LABELS = (50, 100, 200, 400)
ACCURACIES = (0.5, 0.7, 0.9)
LOW, HIGH = 0.93, 0.97
SCORER = 0.85
HEAD = ["accuracy", "labels", "judge alone", "Rogan–Gladen", "prediction-powered", "its width", "of the labels alone"]
HEAD_DIFFERING = [
    "accuracy",
    "labels",
    "unweighted",
    "weighted",
    "its width",
    "true positive rate",
    "true negative rate",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--answers", type=int, default=1_000, help="answers without a label")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--differ", action="store_true", help="labels are chosen where judge and scorer differ")
    parsed = parser.parse_args()
    draw, began = np.random.default_rng(parsed.seed), time.monotonic()
    print(f"{parsed.runs} runs a cell, {parsed.answers} answers, seed {parsed.seed}; {report.machine()}\n")
    rows, shares = [], []
    simulated, head, goal = (differing, HEAD_DIFFERING, 1) if parsed.differ else (coverage, HEAD, 2)
    for accuracy, labels in itertools.product(ACCURACIES, LABELS):
        report.say(f"{labels} labels, accuracy {accuracy:g}")
        cells = [
            simulated(draw, accuracy, tpr, tnr, labels, parsed.answers, parsed.runs)
            for tpr, tnr in itertools.product(RATES, RATES)
        ]
        shares += [cell[goal] for cell in cells]
        rows.append([f"{accuracy:g}", labels, *(spread(column) for column in zip(*cells, strict=True))])
    print(report.table(head, rows))
    inside = sum(LOW <= share <= HIGH for share in shares)
    print(f"\nprediction-powered: {inside} of {len(shares)} cells within 93 to 97 %, ", end="")
    print(f"the others from {min(shares):.3f} to {max(shares):.3f}; {time.monotonic() - began:.0f} s")


def coverage(
    draw: np.random.Generator, accuracy: float, tpr: float, tnr: float, labels: int, answers: int, runs: int
) -> tuple[float, float, float, float, float]:
    """Shares of runs whose intervals contain the accuracy; and widths, with the labels' own."""
    cells = [accuracy * tpr, accuracy * (1 - tpr), (1 - accuracy) * (1 - tnr), (1 - accuracy) * tnr]
    found = np.zeros(3)
    width = alone_width = 0.0
    for _ in range(runs):
        right_passed, right_failed, wrong_passed, wrong_failed = map(int, draw.multinomial(labels, cells))
        passed = int(draw.binomial(answers, cells[0] + cells[2]))
        alone = score_limits(passed / answers, answers)
        rogan_gladen = corrected_rate(
            (passed, answers),
            (right_passed, right_passed + right_failed),
            (wrong_failed, wrong_failed + wrong_passed),
        )
        powered = prediction_powered_mean(
            np.repeat([1.0, 1.0, 0.0, 0.0], [right_passed, right_failed, wrong_passed, wrong_failed]),
            np.repeat([1.0, 0.0, 1.0, 0.0], [right_passed, right_failed, wrong_passed, wrong_failed]),
            np.repeat([1.0, 0.0], [passed, answers - passed]),
        )
        found += [alone[0] <= accuracy <= alone[1], holds(rogan_gladen, accuracy), holds(powered, accuracy)]
        width += (powered.high or 0) - (powered.low or 0)
        own = score_limits((right_passed + right_failed) / labels, labels)
        alone_width += own[1] - own[0]
    first, second, third = (float(share) for share in found / runs)
    return first, second, third, width / runs, alone_width / runs


def differing(
    draw: np.random.Generator, accuracy: float, tpr: float, tnr: float, labels: int, answers: int, runs: int
) -> tuple[float, float, float, float, float]:
    """Shares of runs whose intervals contain the accuracy without and with weights; a width; shares for both rates."""
    kinds = np.array(list(itertools.product((1.0, 0.0), repeat=3)))  # right, passed by the judge, by the scorer
    right, judged, scored = kinds.T
    judge = np.where(right == 1, np.where(judged == 1, tpr, 1 - tpr), np.where(judged == 1, 1 - tnr, tnr))
    scorer = np.where(right == scored, SCORER, 1 - SCORER)
    shares = np.where(right == 1, accuracy, 1 - accuracy) * judge * scorer
    differ = judged != scored
    found, width = np.zeros(4), 0.0
    for _ in range(runs):
        counts = draw.multinomial(answers, shares)
        sizes = {"differ": int(counts[differ].sum()), "other": int(counts[~differ].sum())}
        first = min(sizes["differ"], max((labels + 1) // 2, labels - sizes["other"]))
        chosen = np.zeros(len(kinds), dtype=int)
        chosen[differ] = draw.multivariate_hypergeometric(counts[differ], first)
        chosen[~differ] = draw.multivariate_hypergeometric(counts[~differ], labels - first)
        y, f = np.repeat(right, chosen), np.repeat(judged, chosen)
        others = np.repeat(judged, counts - chosen)
        strata = strata_of(np.repeat(np.where(differ, "differ", "other"), chosen), sizes)
        powered = stratified_prediction_powered_mean(y, f, strata, np.concatenate([f, others]))
        rates = [stratified_proportion(np.where(y == of, f == of, np.nan), strata) for of in (1, 0)]
        plain = prediction_powered_mean(y, f, others)
        found += [holds(plain, accuracy), holds(powered, accuracy), holds(rates[0], tpr), holds(rates[1], tnr)]
        width += (powered.high or 0) - (powered.low or 0)
    unweighted, weighted, of_right, of_wrong = (float(share) for share in found / runs)
    return unweighted, weighted, width / runs, of_right, of_wrong


def holds(found: Estimate, truth: float) -> bool:
    """Whether there is an interval that contains the truth."""
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def spread(shares: Sequence[float]) -> str:
    """The smallest and the largest share."""
    low, high = min(shares), max(shares)
    return f"{low:.3f} to {high:.3f}" if high - low > 5e-4 else f"{low:.3f}"


if __name__ == "__main__":
    main()
