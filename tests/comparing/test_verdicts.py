"""Verdicts on two runs: better, no worse, worse, or nobody can tell."""

import numpy as np
import pytest
from comparing import answers, run, said, two
from hypothesis import given, settings
from hypothesis import strategies as st
from runfiles import T, talk

import evalkit as ek
from evalkit.comparing import changes
from evalkit.comparing.changes import Change
from evalkit.comparing.comparison import compare
from evalkit.comparing.margin_expression import parse
from evalkit.comparing.verdicts import decide, level, more_clusters
from evalkit.errors import SettingsError
from evalkit.stats import paired
from evalkit.stats.estimate import Estimate

PRICE = {"price": [1.0, 2.0]}


def change(low, high):
    return Change(0.5, 0.5, Estimate(0.0, low, high, 100), 100)


@pytest.mark.parametrize(
    ("low", "high", "accuracy", "cost"),
    [
        (0.01, 0.03, "better", "worse"),
        (-0.019, 0.03, "no worse", "cannot tell"),
        (-0.02, 0.01, "cannot tell", "no worse"),
        (-0.03, 0.0199, "cannot tell", "no worse"),
        (-0.05, -0.01, "worse", "better"),
        (-0.018, -0.001, "no worse", "better"),  # lower, and shown to be within what is allowed
        (0.001, 0.018, "better", "no worse"),
        (0.01, 0.05, "better", "worse"),
        (None, None, "cannot tell", "cannot tell"),
        (None, 0.01, "cannot tell", "no worse"),  # time-outs leave one limit
        (0.01, None, "better", "worse"),
        (None, -0.01, "worse", "better"),
    ],
)
def test_the_interval_and_the_margin_decide(low, high, accuracy, cost):
    assert decide(change(low, high), parse("accuracy -2%")) == accuracy
    assert decide(change(low, high), parse("cost +2%")) == cost


@given(
    st.floats(-1, 1), st.floats(0, 1), st.floats(0.001, 0.9), st.sampled_from(["accuracy -{}%", "errors +{}%"])
)  # fmt: skip
def test_a_wider_interval_or_a_smaller_margin_never_decides_more(middle, half, margin, text):
    wide = change(middle - half, middle + half)
    narrow = change(middle - half / 2, middle + half / 2)
    small, large = (parse(text.format(f"{100 * each:.6f}")) for each in (margin, margin * 1.09))
    if decide(wide, small) != "cannot tell":
        assert decide(narrow, small) != "cannot tell"
    if decide(wide, small) in ("better", "no worse"):
        assert decide(wide, large) == decide(wide, small)


def test_accuracy_is_decided_by_the_paired_interval(tmp_path):
    first, second = [1.0] * 70 + [0.0] * 30, [1.0] * 55 + [0.0] * 45
    files = two(tmp_path, first, second, turns=2)
    (found,) = compare(*files).verdicts("accuracy -2%").verdicts
    expected = paired.difference(first, second, np.arange(100) // 2)
    assert found.result == "worse"
    assert (found.change.change.low, found.change.change.high) == (expected.estimate.low, expected.estimate.high)
    assert (found.change.first, found.change.second, found.change.clusters) == (0.7, 0.55, 50)
    assert found.words.startswith("B accuracy: worse: −15.0 points (95 % interval −")
    assert found.words.endswith("−2 points allowed")
    (turned,) = compare(*reversed(files)).verdicts("accuracy -2%").verdicts
    assert turned.result == "better"


def test_cannot_tell_says_as_many_more_conversations_as_plan_does(tmp_path):
    rng = np.random.default_rng(3)
    files = two(tmp_path, *((rng.random(80) < 0.7).astype(float).tolist() for _ in range(2)), turns=2)
    (found,) = compare(*files).verdicts("accuracy -5%").verdicts
    assert found.result == "cannot tell"
    planned = ek.plan(*files, difference=0.05, repeats=1).needs[0].conversations
    assert found.more == planned - 40
    assert "more conversations would tell in 4 of 5 cases" in found.words


def test_where_no_conversation_differs_as_many_more_as_rule_the_margin_out(tmp_path):
    files = two(tmp_path, [1.0] * 40, [1.0] * 40)
    (found,) = compare(*files).verdicts("accuracy -2%").verdicts
    assert (found.result, found.more) == ("cannot tell", 183 - 40)
    (large,) = compare(*files).verdicts("accuracy -10%").verdicts
    assert large.result == "no worse"


def test_more_conversations_are_always_more_than_there_are():
    rng = np.random.default_rng(5)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        first = (rng.random(400) < 0.8).astype(float)
        second = (rng.random(400) < 0.8 - 0.04 * rng.random()).astype(float)
        found = changes.share_change(first, second, np.arange(400), 0.95)
        if decide(found, parse("accuracy -6%")) == "cannot tell":
            assert more_clusters(found, parse("accuracy -6%"), 0.95) > 0


def test_a_failed_call_is_no_wrong_answer_but_it_is_noted_and_can_be_limited(tmp_path):
    good = answers([1.0] * 60)
    bad = [T(f"c{n:03}", 1, score=None if n < 30 else 1.0, error="server" if n < 30 else None) for n in range(60)]
    files = run(tmp_path / "a.evalkit", good), run(tmp_path / "b.evalkit", bad)
    found = compare(*files).verdicts("accuracy -20%")
    assert found.verdicts[0].result == "no worse"
    assert found.notes == (
        "30 turns of 60 failed in B: accuracy and cost leave them out. A margin 'errors +1%' limits failures, "
        "'accuracy_all' counts them as not right",
    )
    limited = compare(*files).verdicts("accuracy -20%", "errors +1%", "accuracy_all -1%")
    assert [each.result for each in limited.verdicts] == ["no worse", "worse", "worse"]
    assert "A margin" not in limited.notes[0]
    (turned,) = compare(*reversed(files)).verdicts("accuracy -20%").notes
    assert turned.startswith("30 turns of 60 failed in A: accuracy and cost leave them out")


def test_a_turn_interrupted_by_the_end_of_its_session_is_no_error(tmp_path):
    turns = [T(f"c{n:03}", 1, score=None, error="cancelled" if n < 20 else None) for n in range(60)]
    files = run(tmp_path / "a.evalkit", answers([1.0] * 60)), run(tmp_path / "b.evalkit", turns)
    found = compare(*files).verdicts("errors +8%")
    assert (found.verdicts[0].change.second, found.verdicts[0].change.change.n, found.notes) == (0.0, 40, ())


def timed(path, factor, seed, timeouts=0, **about):
    rng = np.random.default_rng(seed)
    turns = [
        T(f"c{n:03}", 1, score=1.0, ttft_ms=factor * rng.lognormal(4, 0.2), latency_ms=factor * rng.lognormal(6, 0.2))
        for n in range(200)
    ]
    turns[:timeouts] = [T(f"c{n:03}", 1, ttft_ms=None, error="timeout", end_ms=5000.0) for n in range(timeouts)]
    return run(path, turns, **about)


def test_times_are_relative_to_the_baseline_or_in_ms(tmp_path):
    base, slow = timed(tmp_path / "a.evalkit", 1.0, 1), timed(tmp_path / "b.evalkit", 1.5, 2)
    found = compare(base, slow).verdicts("ttft_p95 +10%", "latency_p50 +10ms", "ttft_p50 +100%")
    assert [each.result for each in found.verdicts] == ["worse", "worse", "no worse"]
    relative, absolute, _ = found.verdicts
    assert 0.3 < relative.change.change.value < 0.7
    assert relative.change.change.value == pytest.approx(relative.change.second / relative.change.first - 1, abs=1e-3)
    assert absolute.change.change.value == pytest.approx(absolute.change.second - absolute.change.first)
    assert relative.words.startswith(
        f"B ttft_p95: worse: +{100 * relative.change.change.value:.1f} % (98.3 % interval +"
    )
    assert " ms (98.3 % interval +" in absolute.words
    (same,) = compare(base, timed(tmp_path / "c.evalkit", 1.0, 3)).verdicts("ttft_p50 +10%").verdicts
    assert same.result == "no worse"


def test_time_outs_are_lower_bounds_and_not_left_out(tmp_path):
    """Left out, the 40 slowest turns would make the run look as fast as before."""
    files = timed(tmp_path / "a.evalkit", 1.0, 1), timed(tmp_path / "b.evalkit", 1.0, 2, timeouts=40)
    (found,) = compare(*files).verdicts("latency_p95 +10%").verdicts
    assert found.result == "worse"
    assert "unknown" in found.words
    assert found.change.change.reason == "of the second run p95 is more than 5,000: 40 of 200 values are lower bounds"


def test_a_cost_is_a_ratio_of_totals_and_counts_every_attempt(tmp_path):
    def priced(name, tokens, attempts=1, **settings):
        turns = [T(f"c{n:03}", 1, score=1.0, tokens=tokens + n % 9, attempts=attempts) for n in range(50)]
        return run(tmp_path / name, turns, settings={**PRICE, **settings}, endpoint={"model": "m"})

    base, more = priced("a.evalkit", 100), priced("b.evalkit", 130)
    found, same = (compare(base, other).verdicts("cost +5%").verdicts[0] for other in (more, priced("c.evalkit", 100)))
    assert (found.result, same.result) == ("worse", "no worse")
    # 20 prompt tokens at 1 and 100 or 130 answer tokens at 2, and n % 9 more
    extra = 2 * sum(n % 9 for n in range(50)) / 50
    assert found.change.change.value == pytest.approx((280 + extra) / (220 + extra) - 1)
    assert same.words == "B cost: no worse: 0 %, the same in every conversation, +5 % allowed"


def test_a_cost_that_is_not_known_cannot_be_told(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_PRICES", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    turns = [T(f"c{n:03}", 1, score=1.0, tokens=100 + n % 9) for n in range(50)]
    base = run(tmp_path / "a.evalkit", turns, endpoint={"model": "m"})
    unpriced = run(tmp_path / "b.evalkit", turns, endpoint={"model": "m"})
    (found,) = compare(base, unpriced).verdicts("cost +5%").verdicts
    assert (found.result, found.more) == ("cannot tell", None)
    assert found.words.startswith("B cost: cannot tell: the price of the model is not known")
    said(base, settings=PRICE)
    said(unpriced, settings=PRICE)
    silent = [T(f"c{n:03}", 1, score=1.0, tokens=None if n < 3 else 100) for n in range(50)]
    untold = run(tmp_path / "c.evalkit", silent, settings=PRICE, endpoint={"model": "m"})
    (found,) = compare(base, untold).verdicts("cost +5%").verdicts
    assert found.words == "B cost: cannot tell: requests of 3 of 50 turns reported no tokens"


def test_a_change_that_is_the_same_in_every_conversation_counts_as_it_is(tmp_path):
    """Another price, or an endpoint of constant times: no variance, but no doubt either."""
    margins = ("cost +5%", "ttft_p50 +10%", "latency_p95 +20ms")

    def constant(name, factor, count=20):
        turns = [
            T(f"c{n:03}", 1, score=1.0, tokens=100 + n, ttft_ms=50.0 * factor, latency_ms=400.0 * factor)
            for n in range(count)
        ]
        return run(tmp_path / f"{name}.evalkit", turns, settings={"price": [factor, 2 * factor]})

    base = constant("a", 1.0)
    for name, factor, result in (("dear", 3.0, "worse"), ("cheap", 0.3, "better"), ("same", 1.0, "no worse"),
                                 ("little", 1.04, "no worse")):  # fmt: skip
        found = compare(base, constant(name, factor)).verdicts(*margins).verdicts
        assert [each.result for each in found] == [result] * 3
        assert all(", the same in every conversation, " in each.words for each in found)
    few = compare(constant("few a", 1.0, 9), constant("few b", 3.0, 9)).verdicts("cost +5%", "ttft_p50 +10%")
    assert [each.result for each in few.verdicts] == ["cannot tell"] * 2


def test_a_metric_that_is_missing_fails_as_a_gate_does(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_PRICES", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    base = run(tmp_path / "a.evalkit", answers([1.0] * 30), endpoint={"model": "m"})
    failed = [T(f"c{n:03}", 1, error="server") for n in range(30)]
    bad = run(tmp_path / "b.evalkit", failed, endpoint={"model": "m"})
    found = compare(base, bad).verdicts("accuracy -5%", "accuracy[9] -5%", "cost +5%", "ttft_p50 +10%")
    assert [(each.result, each.missing) for each in found.verdicts] == [("cannot tell", True)] * 4
    assert len(found.failing("worse")) == 4
    undecided = compare(base, run(tmp_path / "c.evalkit", answers([1.0] * 30))).verdicts("accuracy -5%")
    assert (undecided.verdicts[0].missing, undecided.failing("worse")) == (False, [])


def test_several_margins_and_runs_are_corrected_together(tmp_path):
    files = [run(tmp_path / f"{n}.evalkit", answers([1.0, 0.0] * 30)) for n in range(3)]
    found = compare(*files).verdicts("accuracy -5%", "errors +5%")
    assert [(each.second, each.margin.metric) for each in found.verdicts] == [
        ("B", "accuracy"), ("B", "errors"), ("C", "accuracy"), ("C", "errors"),
    ]  # fmt: skip
    assert found.confidence == level(4) == 0.9875
    assert "Bonferroni: each of the 4 intervals is a 98.8 % interval by conversation" in found.base
    assert found.to_json()["correction"] == "Bonferroni"
    assert compare(*files[:2]).verdicts("accuracy -5%").to_json()["correction"] is None


def test_turns_and_tags_have_margins_of_their_own(tmp_path):
    talks = [talk(f"c{n:03}", targets=(1, 2), tags=("even" if n % 2 == 0 else "odd",)) for n in range(80)]
    turns = [(n, turn) for n in range(80) for turn in (1, 2)]
    first = [T(f"c{n:03}", turn, score=1.0) for n, turn in turns]
    second = [T(f"c{n:03}", turn, score=float(n % 2 == 0 or turn == 1)) for n, turn in turns]
    files = run(tmp_path / "a.evalkit", first, talks), run(tmp_path / "b.evalkit", second, talks)
    found = compare(*files).verdicts("accuracy[1] -20%", "accuracy[2] -20%", "accuracy[tag=*] -20%")
    assert [(each.margin.left, each.result) for each in found.verdicts] == [
        ("accuracy[1]", "no worse"),
        ("accuracy[2]", "worse"),
        ("accuracy[tag=even]", "no worse"),
        ("accuracy[tag=odd]", "worse"),
    ]
    with pytest.raises(SettingsError, match=r"no conversation has the tag 'prime'; there are: even, odd"):
        compare(*files).verdicts("accuracy[tag=prime] -5%")
    with pytest.raises(SettingsError, match=r"accuracy\[tag=odd\] has a margin already"):
        compare(*files).verdicts("accuracy[tag=*] -5%", "accuracy[tag=odd] -5%")
    (tmp_path / "untagged").mkdir()
    untagged = two(tmp_path / "untagged", [1.0] * 4, [1.0] * 4)
    with pytest.raises(SettingsError, match=r"no conversation has the tag '\*'; there are: none"):
        compare(*untagged).verdicts("accuracy[tag=*] -5%")


@pytest.mark.parametrize(
    ("margins", "says"),
    [((), "a verdict needs at least one margin"), (("cost +5%", "cost +9%"), "cost has a margin already")],
)
def test_no_margin_and_two_for_one_metric_are_refused(tmp_path, margins, says):
    files = two(tmp_path, [1.0] * 4, [1.0] * 4)
    with pytest.raises(SettingsError, match=says):
        compare(*files).verdicts(*margins)


def test_too_few_data_have_a_reason_and_no_number(tmp_path):
    files = two(tmp_path, [1.0], [0.0])
    found = compare(*files).verdicts("accuracy -2%", "ttft_p99 +10%", "latency_p95 +10%")
    assert {each.result for each in found.verdicts} == {"cannot tell"}
    assert {each.more for each in found.verdicts} == {None}
    assert [each.change.change.reason for each in found.verdicts][1] == "p99 needs 100 pairs, there are 1"
    assert "nan" not in found.table().to_json().lower().replace("null", "")
    unanswered = run(tmp_path / "c.evalkit", [T("c000", 1, error="server")])
    (none,) = compare(files[0], unanswered).verdicts("accuracy -2%").verdicts
    assert none.words == "B accuracy: cannot tell: no turn has a value in both runs"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 4)), min_size=1, max_size=30))
def test_any_scores_give_one_of_four_verdicts(rows):
    first, second, labels = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = changes.share_change(first, second, labels.astype(int), 0.95)
    assert decide(found, parse("accuracy -2%")) in ("better", "no worse", "worse", "cannot tell")
    more = more_clusters(found, parse("accuracy -2%"), 0.95)
    assert more is None or more > 0


def test_check_fails_where_a_run_is_worse_and_with_not_shown_also_where_nobody_can_tell(tmp_path):
    base = run(tmp_path / "a.evalkit", answers([1.0] * 40))
    worse = run(tmp_path / "b.evalkit", answers([0.0] * 20 + [1.0] * 20))
    same = run(tmp_path / "c.evalkit", answers([1.0] * 40))
    ek.check(ek.compare(base, same), "accuracy -2%")
    with pytest.raises(AssertionError, match=r"1 of 1 verdicts fail \(worse\):\n  B accuracy: worse: −50.0 points"):
        ek.check(ek.compare(base, worse), "accuracy -2%")
    with pytest.raises(AssertionError, match=r"\(not-shown\):\n  B accuracy: cannot tell: 0 points"):
        ek.check(ek.compare(base, same), "accuracy -2%", fail_on="not-shown")
    with pytest.raises(SettingsError, match=r"fail_on is 'not-show' \(did you mean 'not-shown'\?\)"):
        ek.check(ek.compare(base, same), "accuracy -2%", fail_on="not-show")
    with pytest.raises(SettingsError, match="fail_on is for a comparison"):
        ek.check(ek.Run(base), "accuracy>=0.5", fail_on="worse")
