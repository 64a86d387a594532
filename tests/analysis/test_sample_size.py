"""Plans from pilots whose scores are written down, against pandas and statsmodels."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from commands import evalkit
from comparing import said
from runfiles import S, T, talk, write
from scipy import stats

import evalkit as ek
from evalkit.analysis.sample_size import plan


def scored(seed=0, conversations=30, repeats=1, turns=3, shift=0.0, worse=0.0):
    """One row a turn; conversations differ in how hard they are, the same for every seed."""
    hard = np.random.default_rng(99).beta(3, 1, conversations)
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            (f"c{c}", r, t, float(rng.random() < hard[c] - shift))
            for c in range(conversations)
            for r in range(1, repeats + 1)
            for t in range(1, turns + 1 - c % 2)
        ],
        columns=["conversation", "repeat", "turn", "score"],
    )


def pilot(path, frame, conversations=(), **settings):
    turns = [T(row.conversation, row.turn, score=row.score, repeat=row.repeat, tokens=30) for row in frame.itertuples()]
    return write(path, [S(turns, end_ms=9_000)], conversations, **settings)


def shares(frame):
    """The definition, by pandas: what each conversation, asked once, adds to the accuracy."""
    sums = frame.groupby(["conversation", "repeat"])["score"].agg(["sum", "count"])
    return (sums["sum"] - frame["score"].mean() * sums["count"]) / sums["count"].mean()


def assured_half(frame, count, level):
    """Half the interval of the accuracy of so many conversations, if they vary as much as so many of all runs do."""
    each, accuracy = shares(frame), frame["score"].mean()
    kurtosis = stats.kurtosis(each, bias=False) + 3
    run, known = (2 * k / (kurtosis - (k - 3) / (k - 1)) for k in (count, len(each)))
    variance = each.var(ddof=1) * stats.f.ppf(level, run, known)
    variance = max(variance, accuracy * (1 - accuracy) / (len(frame) / len(each)))
    z = stats.norm.ppf(0.975)
    n = accuracy * (1 - accuracy) / variance * count * (z / stats.t.ppf(0.975, count - 1)) ** 2
    return z * (accuracy * (1 - accuracy) / n + z**2 / 4 / n**2) ** 0.5 / (1 + z**2 / n)


def test_a_pilot_of_one_repeat_against_the_definition(tmp_path):
    frame = scored()
    made = plan(pilot(tmp_path / "a.evalkit", frame), precision=0.03, repeats=1)
    sd = shares(frame).std(ddof=1)
    (need,) = made.needs
    count = need.conversations
    assert assured_half(frame, count, 0.8) <= 0.03 < assured_half(frame, count - 1, 0.8)
    assert assured_half(frame, need.fewest, 0.1) <= 0.03 < assured_half(frame, need.fewest - 1, 0.1)
    assert assured_half(frame, need.most, 0.9) <= 0.03 < assured_half(frame, need.most - 1, 0.9)
    assert made.assurance == 0.8
    assert (made.value, made.clusters, made.unit) == (pytest.approx(frame["score"].mean()), 30, "conversations")
    assert made.half_width == pytest.approx(stats.t.ppf(0.975, 29) * sd / 30**0.5)
    assert need.turns == pytest.approx(count * len(frame) / 30)
    assert need.tokens == pytest.approx(need.turns * 50)  # 20 of a prompt, 30 of output
    assert need.wall_s == pytest.approx(need.turns * 9 / len(frame))


def test_a_difference_is_two_runs_that_one_pilot_takes_as_unrelated(tmp_path):
    frame = scored()
    power = pytest.importorskip("statsmodels.stats.power").TTestPower()
    (need,) = plan(pilot(tmp_path / "a.evalkit", frame), difference=0.05, power=0.9, repeats=1).needs
    kurtosis = stats.kurtosis(shares(frame), bias=False) + 3
    known = 60 / (kurtosis - 27 / 29)
    # the true variance is larger in one case of five
    bound = shares(frame).var(ddof=1) * known / stats.chi2.ppf(0.2, known)
    effect = 0.05 / (bound * 2) ** 0.5
    assert need.conversations == np.ceil(power.solve_power(effect, power=0.9, alpha=0.05))
    assert need.fewest < need.conversations < need.most
    assert need.turns == pytest.approx(2 * need.conversations * len(frame) / 30)


def test_repeats_split_what_conversations_and_what_chance_contribute(tmp_path):
    frame = scored(repeats=4)
    made = plan(pilot(tmp_path / "a.evalkit", frame), precision=0.03)
    each = shares(frame).unstack()
    within = each.var(axis=1, ddof=1).mean()
    between = each.mean(axis=1).var(ddof=1) - within / 4
    assert made.split.within == pytest.approx(within)
    assert made.split.between == pytest.approx(between)
    assert made.half_width == pytest.approx(stats.t.ppf(0.975, 29) * (between + within / 4) ** 0.5 / 30**0.5)
    counts = [need.conversations for need in made.needs]
    assert [need.repeats for need in made.needs] == [1, 2, 5]
    assert counts == sorted(counts, reverse=True)
    ideal = [stats.norm.ppf(0.975) ** 2 * (between + within / r) / 0.03**2 for r in (1, 2, 5)]
    assert all(1 < count / known < 1.5 for count, known in zip(counts, ideal, strict=True))  # and assured
    assert [need.fewest < known < need.most for need, known in zip(made.needs, ideal, strict=True)] == [True] * 3


@pytest.mark.parametrize(("graded", "wanted"), [(False, 0.08), (True, 0.03)])
def test_plan_and_summary_of_one_run_tell_the_same_precision(tmp_path, graded, wanted):
    # the trap: of graded scores the plan said ± 2.1 points, and the summary of the same run ± 6.5
    rng = np.random.default_rng(4)
    frame = scored(conversations=60)
    frame["score"] = rng.beta(8, 2, len(frame)) if graded else frame["score"]
    path = pilot(tmp_path / "a.evalkit", frame)
    result = ek.Run(path).measures().all.accuracy.mean
    assert plan(path).half_width == pytest.approx((result.high - result.low) / 2, rel=0.15)
    assert (result.high - result.low) / 2 < wanted


def test_one_repeat_does_not_tell_what_more_would_save(tmp_path):
    first, second, fifth = plan(pilot(tmp_path / "a.evalkit", scored()), precision=0.03).needs
    assert first.conversations > 0
    for need in (second, fifth):
        assert (need.conversations, need.turns, need.tokens, need.wall_s) == (None, None, None, None)
        assert need.reason == "the pilot has one repeat: a pilot with more repeats shows how much they save"


def test_two_pilots_are_compared_conversation_by_conversation(tmp_path):
    one, two = scored(repeats=2), scored(repeats=2, seed=1, shift=0.1)
    paths = pilot(tmp_path / "a.evalkit", one), pilot(tmp_path / "b.evalkit", two)
    made = plan(*paths, difference=0.05, repeats=2)
    own = (shares(two) - shares(one)).unstack()
    assert made.value == pytest.approx(two["score"].mean() - one["score"].mean())
    assert made.split.sd(2) == pytest.approx(own.mean(axis=1).std(ddof=1), rel=1e-6)
    single = plan(paths[0], difference=0.05, repeats=2)
    assert made.needs[0].conversations < single.needs[0].conversations  # hard ones are hard for both
    assert made.needs[0].tokens == pytest.approx(2 * made.needs[0].conversations * 2 * 50 * len(one) / 60)


def test_a_group_counts_once(tmp_path):
    frame = scored(conversations=24)
    talks = [talk(f"c{n}", group=f"g{n // 2}") for n in range(24)]
    made = plan(pilot(tmp_path / "a.evalkit", frame, talks), precision=0.05, repeats=1)
    grouped = frame.assign(conversation=[f"g{int(name[1:]) // 2}" for name in frame["conversation"]])
    assert (made.clusters, made.unit) == (12, "groups")
    assert made.split.total == pytest.approx(shares(grouped).var(ddof=1))
    assert made.needs[0].conversations % 2 == 0  # whole groups of two


def test_failed_turns_are_not_wrong_ones(tmp_path):
    frame = scored()
    turns = [T(row.conversation, row.turn, score=row.score) for row in frame.itertuples()]
    failed = [T(f"c{n}", 4, error="server") for n in range(30)]
    talks = [talk(f"c{n}", (1, 2, 3, 4)) for n in range(30)]
    path = write(tmp_path / "a.evalkit", [S([*turns, *failed])], talks)
    assert plan(path).split.total == pytest.approx(shares(frame).var(ddof=1))


def test_a_pilot_that_is_too_small_says_so(tmp_path):
    made = ek.plan(ek.Run(pilot(tmp_path / "a.evalkit", scored(conversations=9))))
    assert made.too_small
    assert made.warnings[0] == (
        "The pilot is too small: 9 conversations or groups do not show how conversations vary. "
        "Run at least 10, better 30."
    )
    assert not plan(pilot(tmp_path / "b.evalkit", scored(conversations=10))).too_small
    alone = plan(pilot(tmp_path / "c.evalkit", scored(conversations=1)))
    assert (alone.split, alone.half_width, alone.needs[0].conversations) == (None, None, None)
    assert alone.needs[0].reason == "there is only one conversation or group"


def test_a_pilot_that_is_all_right_cannot_tell_how_conversations_vary(tmp_path):
    made = plan(pilot(tmp_path / "a.evalkit", scored().assign(score=1.0)))
    assert {need.reason for need in made.needs if need.repeats == 1} == {
        "all conversations of the pilot have the same result"
    }
    assert made.half_width is None
    assert made.warnings[0].startswith("All conversations of the pilot have the same result")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": 0}, "precision is 0: it must be between 0 and 1"),
        ({"precision": 1e-7}, "no possible number of conversations gives that precision"),
        ({"difference": 1.5}, "difference is 1.5: it must be between 0 and 1"),
        ({"power": 0.01}, "power is 0.01: it must be between 0.05 and 1"),
        ({"repeats": 0}, "repeats is 0: it must be a whole number, 1 or more"),
    ],
)
def test_what_cannot_be_planned(tmp_path, given, message):
    with pytest.raises(ek.SettingsError, match=message):
        plan(tmp_path / "never-read.evalkit", **given)


def test_pilots_that_cannot_be_used_are_named(tmp_path):
    unscored = write(tmp_path / "u.evalkit", [S([T("a", 1)])])
    with pytest.raises(ek.RunFileError, match=r"u\.evalkit has no scored turn"):
        plan(unscored)
    one = pilot(tmp_path / "a.evalkit", scored())
    other = pilot(tmp_path / "o.evalkit", scored(), [talk("c0", (1, 2, 3))])
    with pytest.raises(ek.RunFileError, match="conversation 'c0' is not the same in"):
        plan(one, other)
    strangers = pilot(tmp_path / "s.evalkit", scored().assign(conversation=lambda f: "x" + f["conversation"]))
    with pytest.raises(ek.RunFileError, match="have no scored conversation in common"):
        plan(one, strangers)


def test_a_turn_that_one_pilot_lacks_makes_no_difference(tmp_path):
    scores = [T(f"c{n}", turn, score=float(turn == 1 or n % 3 == 0)) for n in range(12) for turn in (1, 2)]
    lost = [n for n, each in enumerate(scores) if each.turn == 2 and n % 5]
    failed = [replace(each, score=None, error="server") if n in lost else each for n, each in enumerate(scores)]
    one, other = write(tmp_path / "a.evalkit", [S(scores)]), write(tmp_path / "b.evalkit", [S(failed)])
    assert plan(one, other).value == 0.0
    assert plan(other, one).value == 0.0


def test_the_command_prints_a_table_or_an_object(tmp_path):
    path = pilot(tmp_path / "a.evalkit", scored(repeats=2))
    shown = evalkit("plan", path, "--precision", "0.03")
    made = plan(path, precision=0.03)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{path}: accuracy {made.value:.1%}; 30 conversations with 2 repeats each give ± " in shown.stdout
    lines = shown.stdout.splitlines()
    assert lines[1].split() == ["goal", "repeats", "conversations", "turns", "tokens", "time", "range"]
    for line, need in zip(lines[2:5], made.needs, strict=True):
        assert line.startswith("within ± 3 points")
        assert line.split()[4:7] == [str(need.repeats), f"{need.conversations:,}", f"{math.ceil(need.turns):,}"]
        assert line.endswith(f"{need.fewest:,} to {need.most:,}")
    assert any(line.startswith("The number of conversations is enough in 80% of cases") for line in lines)
    assert "Turns, tokens and time are scaled from the pilot" in lines[-1]
    result = evalkit("plan", path, path, "--difference", "0.05", "--repeats", "1", "--json")
    assert json.loads(result.stdout) == json.loads(json.dumps(plan(path, path, difference=0.05, repeats=1).to_json()))


@pytest.mark.parametrize(
    ("rows", "limit", "warned"), [(5000, 30, False), (60, 30, True), (30, None, True), (None, 30, False)]
)
def test_the_dataset_is_counted_and_not_the_limit_of_its_pilot(tmp_path, rows, limit, warned):
    data = tmp_path / "d.jsonl"
    if rows is not None:
        data.write_text(
            "".join(f'{{"id": "c{n}", "turns": [{{"user": "a"}}]}}\n' for n in range(rows)), encoding="utf-8"
        )
    dataset = {"path": str(data), "conversations": 30}
    path = said(pilot(tmp_path / "a.evalkit", scored()), dataset=dataset, settings={"limit": limit})
    (need,) = plan(path, precision=0.05, repeats=1).needs
    assert need.conversations > 60
    warnings = [text for text in plan(path, precision=0.05, repeats=1).warnings if text.startswith("The dataset has ")]
    assert [text.split()[3] for text in warnings] == ([str(rows)] if warned else [])


def test_a_difference_beyond_all_points_is_none(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, score=float(n % 2)) for n in range(2)], end_ms=900)])
    assert plan(path).smallest_difference > 1
    assert "and detect no difference" in evalkit("plan", path).stdout
