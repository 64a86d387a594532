import numpy as np
import pytest

from evalkit.stats import bootstrap_quantiles
from evalkit.stats.bootstrap_quantiles import quantile_differences


def drawn(seed: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    numbers = np.repeat(np.arange(400), 2)
    first = rng.gamma(4, 20, 400)[numbers] + rng.gamma(2, 20, 800)
    second = 1.1 * first + rng.gamma(2, 20, 800)
    return quantile_differences(first, second, 0.75, numbers, 400, 3000, np.random.default_rng(seed))


@pytest.mark.parametrize(("errors", "kinds"), [(6.0, 4096), (6.0, 0), (1.0, 4096)])
def test_counting_what_is_far_away_changes_nothing(errors: float, kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # a window of a billion errors holds everything; one of a single error is widened until it holds each quantile
    monkeypatch.setattr(bootstrap_quantiles, "_ERRORS", 1e9)
    whole = drawn(1)
    monkeypatch.setattr(bootstrap_quantiles, "_ERRORS", errors)
    monkeypatch.setattr(bootstrap_quantiles, "_MOST_KINDS", kinds)
    counted = drawn(2)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(counted, levels), np.quantile(whole, levels), atol=0.15 * whole.std())
    assert counted.std() == pytest.approx(whole.std(), rel=0.06)


def test_draws_in_parts_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = drawn(3)
    monkeypatch.setattr(bootstrap_quantiles, "_NUMBERS_IN_MEMORY", 10_000)
    assert len(drawn(3)) == len(at_once)
    assert drawn(3).mean() == pytest.approx(at_once.mean(), abs=0.1 * at_once.std())
