import json
import math
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from comparing import answers, run, said, tagged, two
from runfiles import S, T, talk, write
from statsmodels.stats.multitest import multipletests

import evalkit
from evalkit.comparing.comparison import compare
from evalkit.endpoint import Endpoint
from evalkit.errors import RunFileError
from evalkit.evaluation import evaluate
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve
from evalkit.stats import paired as statistics

KEYS = [
    *(
        "pairs",
        "clusters",
        "differing",
        "first",
        "second",
        "difference",
        "low",
        "high",
        "p",
        "corrected_p",
        "smallest_decidable",
    ),
    *("only_first", "only_second", "mcnemar", "reason", "words"),
]


def scores(seed, count, share):
    return (np.random.default_rng(seed).random(count) < share).astype(float).tolist()


# --- the numbers


def test_rates_difference_and_p_are_over_pairs_by_conversation(tmp_path):
    a, b = scores(1, 60, 0.3), scores(2, 60, 0.7)
    contrast = compare(*two(tmp_path, a, b, turns=3)).contrasts[0]
    clusters = np.repeat(np.arange(20), 3)
    expected = statistics.difference(a, b, clusters)
    assert contrast.all.difference == expected.estimate
    assert (contrast.all.p, contrast.all.clusters, contrast.all.pairs) == (expected.p, 20, 60)
    assert (contrast.all.first, contrast.all.second) == (np.mean(a), np.mean(b))
    assert contrast.all.smallest_decidable == statistics.smallest_decidable(expected)
    only = [x - y for x, y in zip(a, b, strict=True)]
    assert (contrast.all.only_first, contrast.all.only_second) == (only.count(1.0), only.count(-1.0))
    assert contrast.all.mcnemar is None  # three turns a conversation are not independent
    assert [effect.label for effect in contrast.by_turn] == [1, 2, 3]
    second = contrast.by_turn[1]
    assert second.difference == statistics.difference(a[1::3], b[1::3], np.arange(20)).estimate


def test_groups_are_clusters(tmp_path):
    grouped = [talk(f"c{n:03}", targets=(1,), group=f"g{n // 4}" if n < 20 else None) for n in range(24)]
    a, b = scores(1, 24, 0.3), scores(2, 24, 0.7)
    files = [run(tmp_path / f"{n}.evalkit", answers(s), grouped) for n, s in (("a", a), ("b", b))]
    effect = compare(*files).contrasts[0].all
    labels = [n // 4 if n < 20 else n for n in range(24)]
    expected = statistics.difference(a, b, labels).estimate
    assert (effect.difference.low, effect.difference.high) == pytest.approx((expected.low, expected.high))
    assert (effect.clusters, effect.noun) == (9, "group")
    assert effect.mcnemar is None


@pytest.mark.parametrize(("more", "result"), [({}, True), ({"text": 0.5}, False)])
def test_mcnemar_is_only_for_single_answers_that_are_right_or_wrong(tmp_path, more, result):
    a, b = [1.0] * 8 + [0.0] * 9, [0.0] * 2 + [1.0] * 15
    if more:
        b[0] = 0.5
    effect = compare(*two(tmp_path, a, b)).contrasts[0].all
    assert (effect.only_first, effect.only_second) == (2, 9)
    assert (effect.mcnemar == statistics.mcnemar(2, 9)) is result


def test_the_p_of_turn_indices_are_corrected_together_and_those_of_tags_too(tmp_path):
    conversations = [talk(f"c{n:03}", tags=("even" if n % 2 == 0 else "odd", "all")) for n in range(30)]
    a, b = scores(3, 90, 0.3), scores(4, 90, 0.55)
    files = [run(tmp_path / f"{n}.evalkit", answers(s, 3), conversations) for n, s in (("a", a), ("b", b))]
    contrast = compare(*files).contrasts[0]
    for effects in (contrast.by_turn, contrast.by_tag):
        corrected = multipletests([effect.p for effect in effects], method="holm")[1]
        assert [effect.corrected_p for effect in effects] == pytest.approx(corrected.tolist())
    assert contrast.all.corrected_p == contrast.all.p
    assert {effect.label: effect.pairs for effect in contrast.by_tag} == {"all": 90, "even": 45, "odd": 45}
    odd = next(effect for effect in contrast.by_tag if effect.label == "odd")
    chosen = [n for n in range(90) if n // 3 % 2]
    expected = statistics.difference(np.array(a)[chosen], np.array(b)[chosen], np.array(chosen) // 3)
    assert odd.difference == expected.estimate


def test_three_runs_are_compared_with_the_first_and_corrected_over_runs(tmp_path):
    runs = [run(tmp_path / f"{n}.evalkit", answers(scores(n, 40, 0.2 + 0.2 * n))) for n in range(3)]
    found = compare(*runs)
    assert [(c.first.label, c.second.label) for c in found.contrasts] == [("A", "B"), ("A", "C")]
    ps = [contrast.all.p for contrast in found.contrasts]
    assert [c.all.corrected_p for c in found.contrasts] == pytest.approx(multipletests(ps, method="holm")[1].tolist())
    turns = [c.by_turn[0].corrected_p for c in found.contrasts]
    assert turns == pytest.approx([c.all.corrected_p for c in found.contrasts])  # one turn index in each of two runs
    result = json.loads(json.dumps(found.to_json()))
    assert [each["label"] for each in result["runs"]] == ["A", "B", "C"]
    assert (result["baseline"], len(result["comparisons"])) == ("A", 2)
    flips = found.flips()
    assert set(flips["second"]) == {"B", "C"}
    assert len(flips) == sum(len(contrast.flips) for contrast in found.contrasts)


def test_failures_are_next_to_the_comparison_and_not_in_it(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0] * 12))
    turns = [*answers([1.0] * 8), *(T(f"c{n:03}", 1, error="timeout") for n in range(8, 12))]
    contrast = compare(first, run(tmp_path / "b.evalkit", turns)).contrasts[0]
    assert (contrast.all.pairs, contrast.all.difference.value) == (8, 0.0)
    assert (contrast.with_failures.pairs, contrast.with_failures.difference.value) == (12, pytest.approx(-1 / 3))
    assert (contrast.left_out.failed_second, contrast.left_out.failed) == (4, 4)


def test_a_turn_index_that_failed_everywhere_is_there_with_no_pairs(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0] * 4, 2))
    second = run(
        tmp_path / "b.evalkit",
        [T(f"c00{n}", t, score=1.0, error="server" if t == 2 else None) for n in (0, 1) for t in (1, 2)],
    )
    by_turn = compare(first, second).contrasts[0].by_turn
    assert [(effect.label, effect.pairs) for effect in by_turn] == [(1, 2), (2, 0)]
    assert by_turn[1].words.startswith("nothing to compare")


def test_other_numbers_of_repeats_are_averaged_and_flips_are_single_answers(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0, 0.0, 1.0]))
    repeated = [T(f"c{n:03}", 1, repeat=r, score=float(r == 1)) for n in range(3) for r in (1, 2)]
    second = run(tmp_path / "b.evalkit", repeated, settings={"repeats": 2})
    contrast = compare(first, second).contrasts[0]
    assert (contrast.averaged, contrast.all.second, contrast.all.pairs) == (True, 0.5, 3)
    assert (contrast.all.only_first, contrast.all.only_second, contrast.all.mcnemar) == (0, 1, None)
    flips = compare(first, second).flips()
    assert flips[["conversation", "repeat", "turn"]].to_numpy().tolist() == [["c001", 1, 1]]


def test_time_differences_are_of_single_turns_that_both_answered(tmp_path):
    rng = np.random.default_rng(0)
    slow = rng.gamma(4, 25, 40).round(3)
    first = run(tmp_path / "a.evalkit", [T(f"c{n}", 1, score=1.0, ttft_ms=slow[n]) for n in range(40)])
    turns = [T(f"c{n}", 1, score=1.0, ttft_ms=slow[n] + 8, error="server" if n == 0 else None) for n in range(40)]
    times = compare(first, run(tmp_path / "b.evalkit", turns)).contrasts[0].times[0]
    assert times.pairs == {"ttft": 39, "latency": 39}
    median = times.quantiles["ttft"]["p50"]
    assert median.first == pytest.approx(np.median(slow[1:]))
    assert median.difference.value == pytest.approx(8)
    assert times.quantiles["latency"]["p95"].difference.value == pytest.approx(0)


def hanging(path, quick_ms, share, count=100, **timed_out):
    """A run that answers in so many ms and times out after 2 s in a share of its turns."""
    every = round(1 / share) if share else count + 1
    times = np.random.default_rng(quick_ms).normal(quick_ms, 3, count).round(3)
    turns = [T(f"c{n:03}", 1, score=1.0, ttft_ms=times[n], latency_ms=times[n] + 5) for n in range(count)]
    ends = {"ttft_ms": None, "error": "timeout", "end_ms": 2000.0, **timed_out}
    hung = slice(every - 1, None, every)
    turns[hung] = [T(turn.conversation, 1, **ends) for turn in turns[hung]]
    return run(path, turns)


@pytest.mark.parametrize("swapped", [False, True])
def test_an_endpoint_that_hangs_is_not_called_faster(tmp_path, swapped):
    files = hanging(tmp_path / "a.evalkit", 100, 0), hanging(tmp_path / "b.evalkit", 40, 0.33)
    contrast = compare(*(files[::-1] if swapped else files)).contrasts[0]
    times, labels = contrast.times[0], (contrast.first.label, contrast.second.label)
    assert (times.pairs["ttft"], sorted(times.lower_bounds["ttft"])) == (100, [0, 33])
    median, tail = (times.quantiles["ttft"][name] for name in ("p50", "p95"))
    assert abs(median.difference.value) == pytest.approx(60, abs=3)
    assert (tail.first if swapped else tail.second, tail.difference.value) == (None, None)
    assert tail.difference.reason == (
        f"of the {'first' if swapped else 'second'} run p95 is more than 2,000: 33 of 100 values are lower bounds"
    )
    known, bound = (tail.difference.high, tail.difference.low)[:: 1 if swapped else -1]
    assert (abs(known) == pytest.approx(1895, abs=10), bound) == (True, None)
    counts = (33, 0) if swapped else (0, 33)
    lost = f"of 100 turns, {counts[0]} timed out or were cut off in A and {counts[1]} in B"
    assert labels == ("A", "B")
    assert contrast.warnings == (
        f"the difference in TTFT p95 and latency p95 is unknown: {lost}, so their times are only lower bounds",
    )
    result = json.loads(json.dumps(contrast.to_json(), allow_nan=False))["latency"]
    for each in (result["latency_ms"], result["by_turn"][0]["latency_ms"]):
        assert (each["p95"]["difference"], each["p95"]["reason"][:12]) == (
            None,
            "of the first" if swapped else "of the secon",
        )
        assert sorted(each["lower_bounds"].values()) == [0, 33]


def test_two_endpoints_one_of_which_really_hangs(sums, tmp_path):
    data, runs = sums(40, 1), []
    for name, ttft, faults in (("steady", 100, []), ("hangs", 40, [Fault("silence", share=0.3)])):
        with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=ttft), faults=faults)) as server:
            endpoint = Endpoint(server.base_url, "scripted", timeout_s=0.8)
            runs.append(evaluate(data, endpoint, out=tmp_path / f"{name}.evalkit", concurrency=10))
    contrast = compare(*runs).contrasts[0]
    tail, lost = contrast.times[0].quantiles["latency"]["p95"], contrast.times[0].lower_bounds["latency"]
    assert lost[0] == 0
    assert lost[1] >= 5
    assert (tail.second, tail.difference.value, tail.difference.high) == (None, None, None)
    assert tail.difference.low > 300
    assert "the difference in " in contrast.warnings[-1]


def test_where_both_hang_nothing_is_known_and_what_never_streamed_has_no_first_token(tmp_path):
    files = hanging(tmp_path / "a.evalkit", 100, 0.33), hanging(tmp_path / "b.evalkit", 40, 0.5)
    tail = compare(*files).contrasts[0].times[0].quantiles["ttft"]["p95"].difference
    assert (tail.value, tail.low, tail.high) == (None, None, None)
    assert "of the first run p95" in tail.reason
    assert "of the second run p95" in tail.reason
    for file in files:
        said(file, settings={"stream": False})
    times = compare(*files).contrasts[0].times[0]
    assert (times.pairs["ttft"], times.lower_bounds["ttft"]) == (33, (0, 0))
    assert times.pairs["latency"] == 100


def test_a_first_token_before_the_time_out_is_known(tmp_path):
    files = hanging(tmp_path / "a.evalkit", 100, 0), hanging(tmp_path / "b.evalkit", 40, 0.33, ttft_ms=41.0)
    times = compare(*files).contrasts[0].times[0]
    assert times.lower_bounds == {"ttft": (0, 0), "latency": (0, 33)}
    assert times.quantiles["ttft"]["p95"].difference.value == pytest.approx(-60, abs=4)


def test_few_time_outs_leave_the_quantiles_known_and_are_in_them(tmp_path):
    files = hanging(tmp_path / "a.evalkit", 100, 0), hanging(tmp_path / "b.evalkit", 101, 0.02)
    contrast = compare(*files).contrasts[0]
    median, tail = (contrast.times[0].quantiles["latency"][name].difference for name in ("p50", "p95"))
    assert -1 < median.low <= median.value <= median.high < 3
    assert None not in (tail.value, tail.low)
    assert tail.high is None  # two of 100, drawn again, may be six
    assert tail.reason == "0 and 2 of 100 values are lower bounds: they leave the difference unknown"
    assert contrast.warnings == ()


# --- what is said of the runs


@pytest.mark.parametrize(("set_by_run", "words"), [("Be brief.", '"Be brief."'), ("none", '"none"'), ("", "none")])
def test_a_system_prompt_of_a_run_is_a_condition_in_words(tmp_path, set_by_run, words):
    first, second = two(tmp_path, [1.0] * 4, [1.0] * 4)
    said(second, settings={"system": set_by_run})
    (difference,) = compare(first, second).contrasts[0].differs
    assert (difference.what, difference.first, difference.second) == ("system", "the dataset's", words)


def test_long_system_prompts_that_begin_alike_differ(tmp_path):
    first, second = two(tmp_path, [1.0] * 4, [1.0] * 4)
    said(first, settings={"system": "You are a teacher. " * 100 + "Be brief."})
    said(second, settings={"system": "You are a teacher. " * 100 + "Explain."})
    assert [each.what for each in compare(first, second).contrasts[0].differs] == ["system"]


def test_history_alone_says_what_the_models_own_answers_cost_it(tmp_path):
    a, b = [0.0] * 30 + [1.0] * 10, [1.0] * 40
    own, golden = two(tmp_path, a, b)
    said(golden, settings={"history": "golden"})
    contrast = compare(own, golden).contrasts[0]
    assert contrast.all.words.startswith("golden history is better by 75.0 points (95 % interval ")
    assert contrast.all.words.endswith(": the cost of the model's own earlier answers")
    assert compare(golden, own).contrasts[0].all.words == contrast.all.words
    said(golden, endpoint={"params": {"temperature": 1}})
    words = compare(own, golden).contrasts[0].all.words
    assert words.startswith("B is better by 75.0 points")
    assert "cost" not in words


def test_what_differs_is_listed_and_other_scorers_are_warned_about(tmp_path):
    first, second = two(tmp_path, [1.0, 0.0], [1.0, 0.0])
    embedded = {"source": "embedded", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    said(first, endpoint=embedded)
    said(second, endpoint={**embedded, "base_url": "http://127.0.0.1:2/v1"})
    assert compare(first, second).contrasts[0].differs == ()  # another port is no other endpoint
    said(second, endpoint={"model": "n", "params": {"temperature": 0.7}}, settings={"scorer": "exact", "stream": False})
    contrast = compare(first, second).contrasts[0]
    assert [(each.what, each.first, each.second) for each in contrast.differs] == [
        ("model", "m", "n"),
        ("stream", True, False),
        ("scorer", None, "exact"),
        ("parameter temperature", None, 0.7),
    ]
    assert contrast.warnings == (
        "different scorers or versions scored the runs: a difference may be due to the scorers, not the answers",
    )


def test_versions_of_scorers_are_compared_where_both_runs_tell_them(tmp_path):
    first, second = two(tmp_path, [1.0, 0.0], [1.0, 0.0])
    noted(first, "0.1.0", None)
    assert compare(first, second).contrasts[0].warnings == ()  # an older file does not tell
    noted(second, "0.2.0", None)
    assert compare(first, second).contrasts[0].warnings == (
        "the runs were made by different versions of evalkit, whose scorers may differ",
    )
    noted(first, "0.1.0", {"number": "1", "evalkit": "0.1.0"})
    noted(second, "0.2.0", {"number": "1", "evalkit": "0.2.0"})
    contrast = compare(first, second).contrasts[0]
    assert ([each.what for each in contrast.differs], contrast.warnings) == (["evalkit version"], ())
    noted(second, "0.1.0", {"number": "2", "evalkit": "0.1.0"})
    contrast = compare(first, second).contrasts[0]
    assert [each.what for each in contrast.differs] == ["scorer versions"]
    assert len(contrast.warnings) == 1


def noted(path, version, scorers):
    """Have a run file tell the versions of evalkit and of its scorers."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE session SET about = ?", (json.dumps({"versions": {"evalkit": version}}),))
        if scorers is not None:
            row = (json.dumps(scorers),)
            connection.execute("INSERT OR REPLACE INTO scoring VALUES (0, 0, 0, 'null', ?, NULL, 0, NULL)", row)


def test_a_client_bound_run_is_marked(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0, 1.0]))
    second = write(tmp_path / "b.evalkit", [S(answers([1.0, 1.0]), trust={"loop_lag_p99_ms": 9.0})])
    contrast = compare(first, second).contrasts[0]
    assert contrast.client_bound == (False, True)
    assert contrast.warnings == (
        "B is client-bound: of its times, up to 9 ms of 50 ms (TTFT) may be due to the client",
    )
    slow = [T(f"c00{n}", 1, score=1.0, ttft_ms=697.0, latency_ms=900.0) for n in range(2)]
    third = write(tmp_path / "c.evalkit", [S(slow, trust={"loop_lag_p99_ms": 9.0})])
    contrast = compare(first, third).contrasts[0]
    assert (contrast.client_bound, contrast.warnings) == ((False, False), ())
    killed = write(tmp_path / "d.evalkit", [S(answers([1.0, 1.0]), end_ms=None)])
    assert compare(first, killed).contrasts[0].client_bound == (False, None)


# --- as its user holds it


def test_json_has_every_key_and_no_nan(tmp_path):
    first, second = two(tmp_path, [1.0, 0.0, 1.0], [0.0, 0.0, 1.0])
    result = json.loads(json.dumps(compare(first, second).to_json(), allow_nan=False))
    assert list(result) == [
        "runs", "pairs", "averaged", "left_out", "differs", "warnings", "all", "with_failures", "by_turn", "by_tag",
        "tags_left_out", "latency", "flips",
    ]  # fmt: skip
    assert list(result["all"]) == KEYS
    assert list(result["by_turn"][0]) == ["turn", *KEYS]
    assert list(result["latency"]) == ["ttft_ms", "latency_ms", "by_turn"]
    assert result["latency"]["ttft_ms"]["p95"] == {
        **dict.fromkeys(["first", "second", "difference", "low", "high"]),
        "reason": "p95 needs 20 pairs, there are 3",
    }


def test_flips_have_both_answers_and_the_table_a_row_an_effect(tmp_path):
    first = run(tmp_path / "a.evalkit", [T("a", 1, score=1.0, text="35"), T("b", 1, score=0.5), T("c", 1, score=1.0)])
    second = run(tmp_path / "b.evalkit", [T("c", 1, score=1.0), T("b", 1, score=0.0), T("a", 1, score=0.0, text="36")])
    found = evalkit.compare(evalkit.Run(first), str(second), common=True)
    assert found.flips().to_dict("records") == [
        {
            "conversation": "a", "repeat": 1, "turn": 1, "first_answer": "35", "second_answer": "36",
            "first_score": 1.0, "second_score": 0.0, "first_outcome": "answered", "second_outcome": "answered",
            "first_refusal": None, "second_refusal": None, "first_reasoning": None, "second_reasoning": None,
        }
    ]  # fmt: skip
    table = found.table()
    assert table["by"].tolist() == ["all", "with_failures", "turn"]
    assert table.loc[2, "label"] == 1
    assert table.loc[0, "first_rate"] == pytest.approx(2.5 / 3)
    assert math.isnan(table.loc[0, "smallest_decidable"]) is (found.contrasts[0].all.smallest_decidable is None)
    assert "B (b.evalkit) and A (a.evalkit): no difference shown" in repr(found)


def test_a_run_is_not_compared_with_itself(tmp_path):
    first, second = two(tmp_path, [1.0], [0.0])
    link = tmp_path / "link.evalkit"
    link.symlink_to(first)
    for again in (first, str(first), link):
        with pytest.raises(RunFileError, match="named twice"):
            compare(first, second, again)


FAILED, RIGHT = T("a", 1, error="server"), T("a", 1, score=1.0)
ONE_CONVERSATION = [RIGHT, T("a", 2, score=1.0)], [T("a", 1, score=0.0), T("a", 2, score=1.0)]


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([FAILED], [RIGHT], "nothing to compare: no turn is answered and scored in both"),
        ([FAILED], [FAILED], "nothing to compare: "),
        (*ONE_CONVERSATION, "no difference can be shown: all pairs are of one conversation"),
    ],
)
def test_too_little_is_said_and_not_shown_as_no_difference(tmp_path, a, b, words):
    contrast = compare(run(tmp_path / "a.evalkit", a), run(tmp_path / "b.evalkit", b)).contrasts[0]
    assert contrast.all.words.startswith(words)
    assert contrast.all.p is None


def test_two_hundred_tags_are_all_compared_and_those_of_no_pair_counted(tmp_path):
    conversations = [*tagged(400, 200), talk("alone", targets=(None,), tags=("unscored",))]
    runs = [
        run(tmp_path / f"{n}.evalkit", [*answers(scores(n, 400, 0.5)), T("alone", 1)], conversations) for n in range(2)
    ]
    contrast = compare(*runs).contrasts[0]
    assert len(contrast.by_tag) == 200
    assert contrast.tags_left_out == 1


def test_a_history_that_evalkit_does_not_know_is_no_name_in_a_sentence(tmp_path):
    first, second = two(tmp_path, [0.0] * 12, [1.0] * 12)
    said(first, settings={"history": "<img src=x>\x1b[2J"})
    assert compare(first, second).contrasts[0].all.words.startswith("B is better by 100.0 points")


def test_too_few_that_differ_are_no_test_and_are_not_counted_among_the_tests(tmp_path):
    first, second = two(tmp_path, [1.0, 0.0] * 20, [1.0, 1.0] * 20, turns=2)
    contrast = compare(first, second).contrasts[0]
    alike, other = contrast.by_turn
    assert (alike.p, alike.corrected_p, alike.differing) == (None, None, 0)
    assert alike.difference.reason == (
        "0 of 20 conversations differ, too few for a test: the limits are what this number does not rule out"
    )
    assert (other.differing, other.corrected_p) == (20, other.p)


def test_a_doubtful_interval_is_warned_of(tmp_path):
    few, many = (tmp_path / name for name in ("few", "many"))
    few.mkdir()
    many.mkdir()
    contrast = compare(*two(few, [0.0] * 30, [1.0] * 5 + [0.0] * 25)).contrasts[0]
    (warning,) = contrast.warnings
    assert warning.startswith("only 5 of 30 conversations differ, nearly all in one direction")
    assert compare(*two(many, [0.0] * 30, [1.0] * 14 + [0.0] * 16)).contrasts[0].warnings == ()
