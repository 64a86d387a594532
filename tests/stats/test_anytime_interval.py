"""The promise of the interval, from the definition: by enumeration, by plain loops, by simulation."""

import itertools
import math

import numpy as np
import pytest

from evalkit.stats.anytime_interval import CAP, ConfidenceSequence, bets, gains

# a conversation: its chance, the sum of its scores, its scored turns; long ones are right less often
KINDS = [(0.3, 1.0, 1), (0.1, 0.0, 1), (0.2, 3.0, 3), (0.25, 1.0, 3), (0.15, 0.5, 2)]
TRUTH = sum(chance * s for chance, s, _ in KINDS) / sum(chance * n for chance, _, n in KINDS)


def drawn(runs, length, seed=0):
    """Runs of conversations of these kinds: sums and numbers of scores."""
    which = np.random.default_rng(seed).choice(len(KINDS), (runs, length), p=[chance for chance, *_ in KINDS])
    return np.array([s for _, s, _ in KINDS])[which], np.array([n for *_, n in KINDS], dtype=float)[which]


def grown(goal=0.1, length=300, seed=1):
    right, turns = (part[0] for part in drawn(1, length, seed))
    sequence = ConfidenceSequence(3, goal)
    for total, count in zip(right.tolist(), turns.astype(int).tolist(), strict=True):
        sequence.add(total, count)
    return sequence, right, turns


@pytest.mark.parametrize("goal", [0.03, 0.4])
@pytest.mark.parametrize("wrong", [False, True])
def test_at_the_truth_the_capital_is_expected_to_stay_what_it_was(goal, wrong):
    """The martingale itself, over all 5^5 ways five conversations can go: a bet that saw its own outcome would gain."""
    ways = list(itertools.product(KINDS, repeat=5))
    chances = np.array([math.prod(chance for chance, *_ in way) for way in ways])
    right = np.array([[s for _, s, _ in way] for way in ways])
    turns = np.array([[n for *_, n in way] for way in ways], dtype=float)
    stakes = bets(right, turns, 3, goal)
    won = gains(turns - right if wrong else right, turns, stakes, 3, 1 - TRUTH if wrong else TRUTH)
    assert stakes.max() > CAP / max(TRUTH, 1 - TRUTH) or goal < 0.1  # the cap is reached in some of them
    for length in range(1, 6):
        assert (chances * np.exp(won[:, :length].sum(axis=1))).sum() == pytest.approx(1, abs=1e-12)


def test_bets_are_those_of_the_definition():
    _, right, turns = grown(length=40)
    seen_right, seen_turns, squares, expected = 1.5, 3.0, 0.25, []  # one conversation of three turns, half right
    for before, (total, count) in enumerate(zip(right, turns, strict=True), start=1):
        edge = 0.1 * (seen_turns / before) / 3
        expected.append(edge / (squares / before + edge**2))
        seen_right, seen_turns = seen_right + total, seen_turns + count
        squares += ((total - seen_right / seen_turns * count) / 3) ** 2
    assert bets(right, turns, 3, 0.1) == pytest.approx(expected)


def test_the_limits_are_the_last_candidates_that_are_ruled_out():
    sequence, right, turns = grown()
    stakes, grid = bets(right, turns, 3, 0.1), np.linspace(0.0005, 0.9995, 1000)
    up = [np.prod(1 + np.minimum(stakes, CAP / m) * (right - m * turns) / 3) for m in grid]
    down = [np.prod(1 - np.minimum(stakes, CAP / (1 - m)) * (right - m * turns) / 3) for m in grid]
    out = np.maximum(up, down) >= 2 / 0.05
    kept = grid[~out]
    result = sequence.interval
    assert result.low < TRUTH < result.high
    assert kept[0] - 0.001 <= result.low <= kept[0]
    assert kept[-1] <= result.high <= kept[-1] + 0.001
    assert not out[(grid > result.low) & (grid < result.high)].any()


def test_accuracy_is_over_turns_and_not_a_mean_over_conversations():
    sequence = ConfidenceSequence(10, 0.1)
    sequence.add(1.0, 1)
    sequence.add(0.0, 9)
    assert (sequence.value, sequence.interval.n, sequence.conversations) == (0.1, 10, 2)


def test_the_limits_never_widen():
    sequence = ConfidenceSequence(3, 0.1)
    right, turns = (part[0] for part in drawn(1, 200, 7))
    low, high = 0.0, 1.0
    for total, count in zip(right.tolist(), turns.astype(int).tolist(), strict=True):
        sequence.add(total, count)
        result = sequence.interval
        assert low <= result.low <= result.high <= high
        low, high = result.low, result.high
    assert high - low < 0.3


def test_reached_says_what_the_half_width_says():
    quick, slow = ConfidenceSequence(3, 0.1), ConfidenceSequence(3, 0.1)
    right, turns = (part[0] for part in drawn(1, 400, 3))
    reached, narrow = [], []
    for total, count in zip(right.tolist(), turns.astype(int).tolist(), strict=True):
        quick.add(total, count)
        slow.add(total, count)
        reached.append(quick.reached)
        narrow.append(slow.half_width <= 0.1)
        if reached[-1]:
            break
    assert quick.half_width <= 0.1 + 1e-8
    # limits that were once further in stay there: asked for each time, they get there a little earlier
    assert 0 <= reached.index(True) - narrow.index(True) <= 10
    assert len(reached) > 50


def test_the_truth_stays_inside_at_every_look_in_at_least_19_runs_of_20():
    right, turns = drawn(1000, 400)
    stakes = bets(right, turns, 3, 0.1)
    up = np.cumsum(gains(right, turns, stakes, 3, TRUTH), axis=1)
    down = np.cumsum(gains(turns - right, turns, stakes, 3, 1 - TRUTH), axis=1)
    ever_out = (np.maximum(up, down) >= math.log(40)).any(axis=1).mean()
    assert 0.005 < ever_out <= 0.05


def test_before_the_first_scored_turn_all_is_missing():
    sequence = ConfidenceSequence(4, 0.1)
    sequence.add(0.0, 0)  # all its turns failed: that is no wrong answer
    result = sequence.interval
    assert (result.value, result.low, result.high, result.n) == (None, None, None, 0)
    assert result.reason == "no conversation has ended with a scored turn"
    assert (sequence.half_width, sequence.reached, sequence.conversations) == (None, False, 0)


def test_all_right_leaves_a_lower_limit_below_1():
    sequence = ConfidenceSequence(1, 0.05)
    for _ in range(100):
        sequence.add(1.0, 1)
    assert 0.9 < sequence.interval.low < 1
    assert sequence.interval.high == 1


def test_a_dataset_in_order_of_difficulty_is_found_out():
    sequence = ConfidenceSequence(1, 0.05)
    for score in [1.0] * 150 + [0.0] * 800:
        sequence.add(score, 1)
        if sequence.conversations % 50 == 0:
            assert sequence.interval.value is not None
    assert sequence.interval.low is None
    assert sequence.interval.reason == (
        "the limits have crossed: the conversations are not in random order, shuffle the dataset"
    )
    assert (sequence.half_width, sequence.reached) == (None, False)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ((1.0, 5), "a conversation has 5 scored turns: it must have from 0 to 4"),
        ((3.0, 2), "2 scores from 0 to 1 cannot add up to 3.0"),
        ((float("nan"), 2), "2 scores from 0 to 1 cannot add up to nan"),
    ],
)
def test_what_cannot_be_added(added, message):
    with pytest.raises(ValueError, match=message):
        ConfidenceSequence(4, 0.1).add(*added)


@pytest.mark.parametrize("given", [(0, 0.1), (4, 0.0), (4, 1.0), (4, 0.1, 1.0)])
def test_what_cannot_be_promised(given):
    with pytest.raises(ValueError, match=r"must be between 0 and 1|most_turns is 0: it must be at least 1"):
        ConfidenceSequence(*given)
