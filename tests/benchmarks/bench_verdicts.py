"""How often a verdict is wrong, and how often it is found.

    python tests/benchmarks/bench_verdicts.py [--runs 2000] [--seed 1]

Two runs of conversations of four turns, correlated within a conversation, as in ``bench_coverage``. The second is as
good as the first, or worse by exactly the margin. Margins: accuracy 5 points, p95 of times 20 %, cost 5 %.

- No change: "worse" is wrong, at most 5 % of the runs; "better" is wrong too.
- Worse by the margin: "no worse" (or "better") is wrong, at most 5 %.
- Several gates at once, accuracy, times and cost: at least one wrong verdict, at most 5 %.
- Power: as many conversations as ``evalkit plan`` computes for a difference of the margin, from the true variance. No
  change is then found "no worse", and the margin "worse", in about 80 % of the runs.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
from bench_coverage import TURNS, two_models
from report import machine, met, say, table

from evalkit.comparing.changes import Change, cost_change, share_change, time_change
from evalkit.comparing.margin_expression import Margin, parse
from evalkit.comparing.verdicts import decide, level
from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.power import clusters_for_difference

CONVERSATIONS = (20, 80, 300)
ACCURACY, CORRELATION, SHARED = 0.8, 0.3, 0.5
MARGINS = {"accuracy": parse("accuracy -5%"), "times": parse("ttft_p95 +20%"), "cost": parse("cost +5%")}
OTHERS = ((0.5, 0.1), (0.95, 0.05), (0.98, 0.05), (0.99, 0.02))  # accuracy and margin
MOST_WRONG = 0.06  # 5 % and the error of the simulation
FAST = 4  # the bootstrap of times is slower: so many times fewer runs

Measure = Callable[[np.random.Generator, int, bool, float], Change]


def labels(conversations: int) -> Whole:
    return np.repeat(np.arange(conversations), TURNS)


def accuracy(rng: np.random.Generator, conversations: int, worse: bool, confidence: float) -> Change:
    place = (conversations, CORRELATION, ACCURACY)
    second = ACCURACY - MARGINS["accuracy"].amount * worse
    one, other = two_models(rng, 1, place, second, SHARED)
    return share_change(one.ravel(), other.ravel(), labels(conversations), confidence)


def amounts(rng: np.random.Generator, conversations: int, spread: float, factor: float) -> tuple[Floats, Floats]:
    """Two runs' times or costs: the conversation's level is the same in both, the rest is not."""
    shape = (conversations, TURNS)
    common = rng.normal(0, spread, (conversations, 1))
    first, second = (np.exp(common + rng.normal(0, spread, shape)).ravel() for _ in range(2))
    return first, second * factor


def times(rng: np.random.Generator, conversations: int, worse: bool, confidence: float) -> Change:
    first, second = amounts(rng, conversations, 0.3, 1 + MARGINS["times"].amount * worse)
    never = np.zeros(len(first), dtype=bool)
    return time_change(first, second, 0.95, labels(conversations), (never, never), confidence, relative=True)


def cost(rng: np.random.Generator, conversations: int, worse: bool, confidence: float) -> Change:
    first, second = amounts(rng, conversations, 0.3, 1 + MARGINS["cost"].amount * worse)
    return cost_change(first, second, labels(conversations), confidence)


MEASURES: dict[str, Measure] = {"accuracy": accuracy, "times": times, "cost": cost}


def verdicts(rng: np.random.Generator, name: str, conversations: int, runs: int, worse: bool) -> Counter[str]:
    confidence, margin = level(1), MARGINS[name]
    return Counter(decide(MEASURES[name](rng, conversations, worse, confidence), margin) for _ in range(runs))


def one_gate(runs: int, seed: int) -> list[list[object]]:
    rows: list[list[object]] = []
    for name in MEASURES:
        count = max(runs // FAST, 200) if name == "times" else runs
        for conversations in CONVERSATIONS:
            say(f"{name}, {conversations} conversations")
            rng = np.random.default_rng([seed, conversations, *name.encode()])
            same = verdicts(rng, name, conversations, count, False)
            worse = verdicts(rng, name, conversations, count, True)
            alarm, missed = same["worse"] / count, (worse["no worse"] + worse["better"]) / count
            rows.append(
                [MARGINS[name].text, conversations, percent(alarm), percent(same["better"] / count),
                 percent((same["no worse"] + same["better"]) / count), percent(missed),
                 percent(worse["worse"] / count), met(max(alarm, missed) <= MOST_WRONG)]
            )  # fmt: skip
    return rows


def other_accuracies(runs: int, seed: int) -> list[list[object]]:
    """The rates of wrong verdicts where few conversations differ, or most."""
    rows: list[list[object]] = []
    for share, amount in OTHERS:
        margin, wrong = parse(f"accuracy -{100 * amount:g}%"), []
        for conversations in CONVERSATIONS:
            say(f"accuracy {share}, {conversations} conversations")
            rng = np.random.default_rng([seed, conversations, int(100 * share)])
            same, worse = (
                found_in(rng, conversations, runs, (share, second), margin) for second in (share, share - amount)
            )
            wrong += [same["worse"] / runs, (worse["no worse"] + worse["better"]) / runs]
        rows.append([f"{share:.0%}", margin.text, *map(percent, wrong), met(max(wrong) <= MOST_WRONG)])
    return rows


def several_gates(runs: int, seed: int) -> list[list[object]]:
    rows: list[list[object]] = []
    confidence = level(len(MEASURES))
    for conversations in CONVERSATIONS:
        say(f"{len(MEASURES)} gates at once, {conversations} conversations")
        rng = np.random.default_rng([seed, conversations])
        count = max(runs // FAST, 200)
        wrong = Counter[bool]()
        for _ in range(count):
            for worse in (False, True):
                found = {
                    decide(measure(rng, conversations, worse, confidence), MARGINS[name])
                    for name, measure in MEASURES.items()
                }
                wrong[worse] += bool(found & ({"no worse", "better"} if worse else {"worse"}))
        shares = [wrong[worse] / count for worse in (False, True)]
        rows.append([conversations, *map(percent, shares), met(max(shares) <= MOST_WRONG)])
    return rows


def power(runs: int, seed: int) -> list[list[object]]:
    """Runs as large as a plan from the true standard deviation."""
    rows: list[list[object]] = []
    for amount in (0.05, 0.03):
        margin = parse(f"accuracy -{100 * amount:g}%")
        rng = np.random.default_rng([seed, 7])
        many = 200_000
        one, other = two_models(rng, 1, (many, CORRELATION, ACCURACY), ACCURACY, SHARED)
        sd = float((other - one).mean(axis=2).std())
        planned = clusters_for_difference(amount, sd)
        say(f"planned: {planned} conversations")
        same = found_in(rng, planned, runs, (ACCURACY, ACCURACY), margin)
        worse = found_in(rng, planned, runs, (ACCURACY, ACCURACY - amount), margin)
        rows.append(
            [margin.text, planned, percent((same["no worse"] + same["better"]) / runs), percent(worse["worse"] / runs)]
        )
    return rows


def found_in(
    rng: np.random.Generator, conversations: int, runs: int, accuracies: tuple[float, float], margin: Margin
) -> Counter[str]:
    found = Counter[str]()
    for _ in range(runs):
        one, other = two_models(rng, 1, (conversations, CORRELATION, accuracies[0]), accuracies[1], SHARED)
        found[decide(share_change(one.ravel(), other.ravel(), labels(conversations), level(1)), margin)] += 1
    return found


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    print(f"{parsed.runs} runs a cell, {machine()}\n")
    head = ["margin", "conversations", "no change: worse", "better", "no worse or better", "at the margin: no worse",
            "worse", "at most 5 %"]  # fmt: skip
    print(table(head, one_gate(parsed.runs, parsed.seed)), "\n")
    wrong = (f"{k}: {what}" for k in CONVERSATIONS for what in ("worse at no change", "no worse at the margin"))
    print(table(["accuracy", "margin", *wrong, "at most 5 %"], other_accuracies(parsed.runs, parsed.seed)), "\n")
    head = ["conversations", "no change: any worse", "all at the margin: any no worse", "at most 5 %"]
    print(table(head, several_gates(parsed.runs, parsed.seed)), "\n")
    head = ["margin", "planned conversations", "no change: no worse", "at the margin: worse"]
    print(table(head, power(parsed.runs, parsed.seed)))


if __name__ == "__main__":
    main()
