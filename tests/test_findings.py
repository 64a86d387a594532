import pytest

from evalkit import findings
from evalkit.stats import Estimate
from evalkit.style import percent


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
def test_a_direction_is_claimed_only_where_the_interval_leaves_0_out(difference: Estimate, said: str | None) -> None:
    assert findings.direction(difference, "down", "up") == said


def test_a_change_without_limits_is_no_clear_difference() -> None:
    told = [(1, between(None, 0.9, None)), (2, between(None, 0.1, None))]
    assert findings.change("Accuracy", told, percent) == (
        "Accuracy: 90 % in turn 1, 10 % in turn 2, no clear difference"
    )


def test_lists_read_as_sentences_and_long_ones_are_cut() -> None:
    assert [findings.listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none", "a", "a and b", "a, b and c",
    ]  # fmt: skip
    assert findings.listed(["a", "b"], 3) == "a, b and 3 more"
    assert findings.some([str(n) for n in range(14)]).endswith("; 11; and 2 more")
