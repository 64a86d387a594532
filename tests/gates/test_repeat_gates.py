"""Gates over repeats: every turn right often enough, pass@k and pass^k, whole conversations."""

import itertools

import pytest
from runfiles import S, T, talk, write

from evalkit.analysis.measures import measure
from evalkit.errors import SettingsError
from evalkit.gates.gate_expression import parse
from evalkit.gates.gates import results_of

TALKS = [talk(name, (1,)) for name in "abc"]
RIGHT = {"a": 5, "b": 4, "c": 2}  # of 5 repeats


def turns(failed=()):
    return [
        T(name, 1, repeat=repeat, score=None if (name, repeat) in failed else float(repeat <= right),
          error="server" if (name, repeat) in failed else None)
        for name, right in RIGHT.items()
        for repeat in range(1, 6)
    ]  # fmt: skip


def result(tmp_path, gate, failed=()):
    path = write(tmp_path / f"{len(list(tmp_path.iterdir()))}.evalkit", [S(turns(failed))], TALKS)
    (found,) = results_of([parse(gate)], measure(path))
    return found


def choices(kind, k):
    """The share of all choices of k repeats that count, averaged over the turns."""
    every = [list(itertools.combinations([n < right for n in range(5)], k)) for right in RIGHT.values()]
    return sum(sum(map(kind, each)) / len(each) for each in every) / len(every)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize(("name", "kind"), [("pass@", any), ("pass^", all)])
def test_pass_k_is_the_share_of_all_choices_of_k_repeats(tmp_path, name, kind, k):
    found = result(tmp_path, f"{name}{k}>=0")
    assert found.value == pytest.approx(choices(kind, k))
    assert found.words.startswith(f"{name}{k} is ")


def test_k_alone_is_all_repeats_and_the_interval_has_limits(tmp_path):
    assert result(tmp_path, "pass^k>=0").value == result(tmp_path, "pass^5>=0").value == pytest.approx(1 / 3)
    assert result(tmp_path, "pass@3.low>=0.9").met is False
    assert result(tmp_path, "pass@3.high>=0.9").met is True


def test_every_turn_right_in_at_least_80_percent_of_repeats(tmp_path):
    found = result(tmp_path, "worst_turn>=80%")
    assert (found.value, found.met, found.words) == (0.4, False, "worst_turn is 0.4 of 3 turns")
    failed = [("c", n) for n in (3, 4, 5)]
    found = result(tmp_path, "worst_turn>=80%", failed)
    assert (found.value, found.met) == (0.8, True)
    assert found.words == "worst_turn is 0.8 of 3 turns, without 3 repeats of a turn that failed or has no score"


def test_where_calls_failed_the_turns_left_out_are_counted_and_smaller_k_still_measured(tmp_path):
    failed = [("a", 1), ("b", 1), ("c", 1), ("c", 2)]
    found = result(tmp_path, "pass@4>=0", failed)
    assert found.words.startswith("pass@4 is 1 of 2 turns (95 % interval ")
    assert found.words.endswith(", without 1 turn with fewer than 4 scores")
    missing = result(tmp_path, "pass@5>=0", failed)
    assert (missing.met, missing.words) == (
        None, "pass@5 is missing: no turn has 5 scores; a smaller k has: at most 4",
    )  # fmt: skip
    assert result(tmp_path, "pass@3>=0", failed).words.count("without") == 0


def test_whole_conversations_are_a_metric(tmp_path):
    found = result(tmp_path, "all_right>=80%", [("b", 1), ("b", 5)])
    assert found.value == pytest.approx(10 / 13)
    assert found.words.startswith("all_right is 0.7692 of 13 conversations (95 % interval ")
    assert found.words.endswith(", without 2 conversations with a turn that failed or has no score")


def test_a_run_with_one_repeat_has_no_metric_over_repeats(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    found = results_of([parse(gate) for gate in ("pass@1>=0", "pass^k>=0", "worst_turn>=0")], measure(path))
    assert {each.words.partition("missing: ")[2] for each in found} == {"the run has one repeat: run it with --repeats"}
    found = result(tmp_path, "pass@6>=0")
    assert found.words == "pass@6 is missing: k is 6, and the run has 5 repeats"


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("pass@0>=0.5", "k is the number of repeats: 1 or more"),
        ("pass>=0.5", "there is no metric 'pass' (did you mean pass"),
        ("accuracy@3>=0.5", "there is no metric 'accuracy@k'"),
        ("pass@3[2]>=0.5", "pass@k is measured for the whole run only"),
        ("worst_turn.low>=0.5", "worst_turn has no interval"),
    ],
)
def test_what_is_no_gate_over_repeats_is_refused(gate, says):
    with pytest.raises(SettingsError) as refused:
        parse(gate)
    assert says in str(refused.value)


def test_the_summary_shows_a_smaller_k_where_calls_failed(tmp_path):
    from evalkit.analysis.summary_json import summary_json
    from evalkit.wording.run_results import repeats

    failed = [("a", 1), ("b", 1), ("c", 1), ("c", 2)]
    scores = summary_json(write(tmp_path / "r.evalkit", [S(turns(failed))]))["repeats"]
    assert [(each["k"], each["n"], each["left_out"]) for each in scores["by_k"]] == [
        (1, 3, 0), (2, 3, 0), (3, 3, 0), (4, 2, 1), (5, 0, 3),
    ]  # fmt: skip
    assert repeats(scores).startswith("over 5 repeats: –, no turn has 5 scores; over 4 repeats: right at least once ")
