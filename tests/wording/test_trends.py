import re
from functools import partial
from types import SimpleNamespace as N

import numpy as np
import pytest

from evalkit.analysis.times.by_prompt_length import slope_within
from evalkit.charts.accuracy import AccuracyAgainstLatency, AccuracyByTag, AccuracyByTurn
from evalkit.charts.chart import Chart
from evalkit.charts.latency import LatencyByTurn, TimeDistribution
from evalkit.charts.load import LoadAccuracy, LoadFirstToken
from evalkit.charts.prompt_length import ContextGrowth, TimesAgainstPromptLength
from evalkit.stats import paired, proportions, quantiles
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate
from evalkit.stats.multiple_tests import holm
from evalkit.wording import trends
from evalkit.wording.numbers import whole_percent


def between(low: float | None, value: float, high: float | None, n: int = 50) -> Estimate:
    return Estimate(value, low, high, n)


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (between(0.1, 0.2, 0.3), "up"),
        (between(-0.3, -0.2, -0.1), "down"),
        (between(-0.1, 0.2, 0.5), None),
        (between(0.0, 0.2, 0.5), None),
        (between(None, 0.2, 0.5), None),
        (Estimate(None, None, None, 0, "no samples"), None),
    ],
)
def test_a_direction_is_claimed_only_if_the_interval_excludes_0(difference: Estimate, said: str | None) -> None:
    assert trends.direction(difference, "down", "up") == said


def test_a_change_without_limits_is_no_clear_difference() -> None:
    rows = [(1, between(None, 0.9, None)), (2, between(None, 0.1, None))]
    assert trends.change("Accuracy", rows, whole_percent) == (
        "Accuracy: 90 % in turn 1, 10 % in turn 2, no clear difference"
    )


def test_lists_read_as_sentences_and_long_ones_are_cut() -> None:
    assert [trends.listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none", "a", "a and b", "a, b and c",
    ]  # fmt: skip
    assert trends.listed(["a", "b"], 3) == "a, b and 3 more"
    assert trends.first_rows([str(n) for n in range(14)]).endswith("; 11; and 2 more")


def test_each_of_several_claims_in_one_title_needs_a_wider_interval() -> None:
    almost = between(0.005, 0.1, 0.195)
    assert trends.direction(almost, "down", "up") == "up"
    assert trends.direction(almost, "down", "up", among=2) is None
    assert trends.direction(between(-0.15, -0.1, -0.05), "down", "up", among=10) == "down"


# --- of equal things, one title in twenty claims a difference at the most


CLAIM = re.compile(r"(more|less) accurate|fast|slow|falls|rises|below it|above it| (more|less) per")


def median(rng: np.random.Generator, n: int) -> Estimate:
    return quantiles.quantile(rng.lognormal(6, 0.4, n), 0.5)


def models(rng: np.random.Generator, count: int, *, compared: bool) -> Chart:
    """Equal models; each turn has a difficulty that all of them share."""
    easy = rng.beta(2, 2, 100)
    scores = [(rng.random(100) < easy).astype(float) for _ in range(count)]
    alls = [N(latency_ms={"p50": median(rng, 100)}, accuracy=N(mean=proportions.proportion(score))) for score in scores]
    runs = [N(all=each, trust=N(client_bound=False)) for each in alls]
    names = [f"m{n}" for n in range(count)]
    if not compared:
        return AccuracyAgainstLatency(runs, names)
    found = [paired.difference(scores[0], score) for score in scores[1:]]
    corrected = holm([each.p for each in found])
    effects = [N(difference=each.estimate, corrected_p=p) for each, p in zip(found, corrected, strict=True)]
    return AccuracyAgainstLatency(runs, names, N(contrasts=[N(all=effect) for effect in effects]))


def swept(rng: np.random.Generator, steps: int) -> N:
    """A load test of 100 turns a step that ends, as tests do, where times seem to have risen."""
    measured, easy = [], rng.beta(2, 2, 100)
    for n in range(steps):
        right = (rng.random(100) < easy).astype(float)
        scores = {(talk, 1): (score, str(talk)) for talk, score in enumerate(right)}
        one = N(load=2**n, accuracy=proportions.proportion(right), ttft_ms={"p50": median(rng, 60)}, scores=scores)
        measured.append(one)
        if n and measured[-1].ttft_ms["p50"].value > 1.05 * measured[-2].ttft_ms["p50"].value:
            break
    return N(plan=N(by="concurrency"), measured=tuple(measured), knee=None, slo=None)


def by_turn(rng: np.random.Generator) -> N:
    """Three turns of 100 conversations, some of which are easier than others."""
    easy = rng.beta(2, 2, 100)
    rows = [
        N(
            turn=turn, ttft_ms={"p50": median(rng, 60)}, latency_ms={"p50": median(rng, 60)},
            accuracy=N(mean=proportions.proportion((rng.random(100) < easy).astype(float))),
        )
        for turn in (1, 2, 3)
    ]  # fmt: skip
    return N(all=N(answered=180), by_turn=rows)


def tags(rng: np.random.Generator, count: int = 8) -> Chart:
    scores = [(rng.random(30) < 0.7).astype(float) for _ in range(count)]
    rows = []
    for n, score in enumerate(scores):
        sums = ClusterSums()
        sums.add_whole(score, np.ones(len(score), dtype=np.int64))
        wide = proportions.clustered_proportion(sums, 1 - 0.05 / count)
        rows.append(N(tag=f"t{n}", mean=proportions.clustered_proportion(sums), among_all=wide))
    return AccuracyByTag(N(by_tag=rows, tags_left_out=0, all=N(accuracy=N(mean=N(value=np.mean(scores))))))


def distribution(rng: np.random.Generator) -> Chart:
    parts = {name: N(quantiles={"p50": median(rng, n)}) for name, n in (("first", 40), ("later", 80))}
    return TimeDistribution("latency", parts, N(by_turn=[1]))


def prompts(rng: np.random.Generator) -> Chart:
    rows = [N(n=60, bins=[N(tokens=10 * bin, median=median(rng, 15)) for bin in range(5)]) for _ in range(2)]
    return TimesAgainstPromptLength(dict(zip(("ttft", "latency"), rows, strict=True)), N())


def growth(rng: np.random.Generator) -> Chart:
    talks, tokens = np.repeat(np.arange(20), 3), np.tile([1.0, 2.0, 3.0], 20) + rng.normal(0, 0.2, 60)
    first = rng.lognormal(6, 0.4, 60)
    rows = [N(n=60, growth=slope_within(tokens, times, talks)) for times in (first, first + rng.lognormal(6, 0.4, 60))]
    return ContextGrowth(dict(zip(("ttft", "latency"), rows, strict=True)), N())


EQUAL = {
    **{f"{n} models": partial(models, count=n, compared=False) for n in (2, 4, 8)},
    **{f"{n} models compared": partial(models, count=n, compared=True) for n in (2, 4, 8)},
    **{f"accuracy of {n} load steps": lambda rng, n=n: LoadAccuracy(swept(rng, n)) for n in (2, 5, 10)},
    **{f"first tokens of {n} load steps": lambda rng, n=n: LoadFirstToken(swept(rng, n)) for n in (2, 5, 10)},
    "accuracy by turn": lambda rng: AccuracyByTurn(by_turn(rng)),
    "times by turn": lambda rng: LatencyByTurn(by_turn(rng)),
    "tags": tags,
    "distribution": distribution,
    "prompts": prompts,
    "growth": growth,
}


@pytest.mark.parametrize("name", EQUAL)
def test_at_most_one_title_in_twenty_claims_a_difference_between_equal_things(name: str) -> None:
    rng = np.random.default_rng(0)
    titles = [EQUAL[name](rng)._finding for _ in range(300)]
    claims = sum(CLAIM.search(title) is not None for title in titles)
    # 5 % of 300, and two standard deviations for the draw
    assert claims <= 15 + 7, next(title for title in titles if CLAIM.search(title))


def test_a_load_test_whose_answers_get_worse_says_so_over_the_turns_that_its_steps_share() -> None:
    steps = [
        N(
            load=load,
            accuracy=proportions.proportion([1.0] * (100 - wrong) + [0.0] * wrong),
            scores={(talk, 1): (float(talk >= wrong), str(talk)) for talk in range(100)},
        )
        for load, wrong in ((1, 10), (2, 11), (4, 40))
    ]
    chart = LoadAccuracy(N(plan=N(by="concurrency"), measured=tuple(steps), knee=None, slo=None))
    assert chart._finding == "Accuracy falls by 30 points from concurrency 1 to 4, over the 100 turns answered in both"
    chart = LoadAccuracy(N(plan=N(by="concurrency"), measured=tuple(steps[:2]), knee=None, slo=None))
    assert chart._finding == "Accuracy: 90 % at concurrency 1 and 89 % at concurrency 2, no fall is shown"
