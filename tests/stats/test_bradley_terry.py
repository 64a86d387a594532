import numpy as np
import pytest
import statsmodels.api as sm

from evalkit.stats.bradley_terry import SCALE, ratings

NAMES = ["a", "b", "c"]
STRENGTHS = np.log([1.0, 2.0, 5.0])


def judged(seed, count=120, ties=0.0):
    """Every pair judged in each conversation."""
    rng = np.random.default_rng(seed)
    first, second, outcomes, clusters = [], [], [], []
    for n in range(count):
        for one, other in ((0, 1), (1, 2), (0, 2)):
            chance = 1 / (1 + np.exp(STRENGTHS[other] - STRENGTHS[one]))
            first.append(NAMES[one])
            second.append(NAMES[other])
            outcomes.append(0.5 if rng.random() < ties else float(rng.random() < chance))
            clusters.append(n)
    return first, second, outcomes, clusters


@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_ratings_are_the_logistic_regression_of_statsmodels(ties):
    first, second, outcomes, clusters = judged(1, ties=ties)
    found, reason = ratings(first, second, outcomes, clusters, resamples=100)
    design = np.array(
        [[(f == name) - (s == name) for name in NAMES[1:]] for f, s in zip(first, second, strict=True)], dtype=float
    )
    fitted = sm.GLM(outcomes, design, family=sm.families.Binomial()).fit().params
    logs = np.array([0.0, *fitted])
    expected = 1000 + SCALE * (logs - logs.mean())
    assert reason is None
    assert [each.name for each in found] == ["c", "b", "a"]
    assert [each.rating for each in reversed(found)] == pytest.approx(expected.tolist(), abs=0.01)
    assert all(each.low < each.rating < each.high for each in found)


def test_players_that_cannot_be_told_apart_share_a_letter():
    first, second, outcomes, clusters = judged(2, 300)
    found, _ = ratings(first, second, outcomes, clusters, resamples=100)
    assert [each.groups for each in found] == ["a", "b", "c"]
    even, _ = ratings(first, second, np.tile([1, 0, 0, 1], 225), clusters, resamples=100)
    assert {each.groups for each in even} == {"a"}


def test_the_interval_of_a_rating_holds_the_truth():
    truth = 1000 + SCALE * (STRENGTHS - STRENGTHS.mean())
    held = 0
    for seed in range(20):
        found, _ = ratings(*judged(seed, 60), resamples=100)
        held += sum(each.low <= truth[NAMES.index(each.name)] <= each.high for each in found)
    assert held / 60 >= 0.85


@pytest.mark.parametrize(
    ("first", "second", "outcomes", "reason"),
    [
        (["a"] * 20, ["b"] * 20, [1.0] * 20, "won or lost all its comparisons"),
        (["a", "a", "c", "c"] * 9, ["b", "b", "d", "d"] * 9, [1, 0, 1, 0] * 9, "compared with none of the others"),
        (["a", "a"], ["b", "b"], [1, 0], "an interval needs 10 conversations, there are 2"),
        ([], [], [], "nothing to compare"),
    ],
)
def test_what_is_missing_has_a_reason(first, second, outcomes, reason):
    found, why = ratings(first, second, outcomes)
    assert reason in why
    assert {(each.low, each.high, each.groups) for each in found} <= {(None, None, "")}
