"""The mean of a judge, corrected by labels: against hand counts, with labels of the run and of other answers."""

import json

import pytest
from judges import Bench, fair, read, verdict
from runfiles import S, T, talk, write

from evalkit.errors import DatasetError
from evalkit.judging.cases import cases
from evalkit.judging.judging import judge
from evalkit.judging.labels import read_labels
from evalkit.judging.rubric import BUILT_IN
from evalkit.stats.corrected_rate import corrected_rate
from evalkit.stats.prediction_powered import prediction_powered_mean
from evalkit.stats.stratified_labels import strata_of, stratified_prediction_powered_mean

TARGET = "35"


def lenient(body):
    """Passes every wrong answer that ends in 0."""
    return verdict("CORRECT") if read(body, "answer").endswith("0") else fair(body)


@pytest.fixture
def run(tmp_path):
    """40 answers in 20 conversations, a fifth of them wrong in the second turn; the judge passes two of those."""
    turns = []
    for n in range(20):
        turns.append(T(f"c{n}", 1, text=f"35 {n}"))
        turns.append(T(f"c{n}", 2, text=f"36 {n}" if n % 5 == 0 else f"35 {n}"))
    return write(tmp_path / "run.evalkit", [S(turns)], [talk(f"c{n}", (35, 35)) for n in range(20)])


def labels_of(run, tmp_path, wanted):
    """Labels of these turns of a run, as a person who sees through everything gives them."""
    rows = [
        {**case.material, "id": case.id, "label": "CORRECT" if "35" in case.material["answer"] else "INCORRECT"}
        for case in cases(run, BUILT_IN["correct"])
        if case.id in wanted
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_labels_of_the_run_itself_are_taken_out_of_the_rest_and_cost_nothing(run, tmp_path):
    wanted = {f"c{n}/1/{turn}" for n in (0, 1, 2, 3, 5, 6, 10) for turn in (1, 2)}
    labels = labels_of(run, tmp_path, wanted)
    with Bench(lenient) as bench:
        before = judge(run, bench.endpoint())
        asked = len(bench.asked)
        done = judge(run, bench.endpoint(), labels=labels)
        assert len(bench.asked) == asked
    found = done.corrected
    assert before.corrected is None
    assert (found.labelled, found.of_run, found.mean.n, found.doubt) == (14, 14, 40, None)
    people = [1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0]
    judged = [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1]  # 36 0 and 36 10 pass
    others = [1] * 25 + [0]
    named = [f"c{n}" for n in (0, 1, 2, 3, 5, 6, 10) for _ in (1, 2)]
    rest = [f"c{n}" for n in range(20) if n not in (0, 1, 2, 3, 5, 6, 10, 15) for _ in (1, 2)] + ["c15", "c15"]
    assert found.mean == prediction_powered_mean(people, judged, others, named, rest)
    assert found.rogan_gladen == corrected_rate((38, 40), (11, 11), (1, 3))
    assert found.mean.value < done.mean.value


def test_labels_of_other_answers_are_judged_once_and_count_beside_the_run(run, tmp_path):
    rows = [
        {
            "question": "q",
            "answer": f"3{5 + (n < 4)} x{n}",
            "target": TARGET,
            "label": "INCORRECT" if n < 4 else "CORRECT",
        }
        for n in range(20)
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Bench(lenient) as bench:
        found = judge(run, bench.endpoint(), labels=labels).corrected
        asked = len(bench.asked)
        again = judge(run, bench.endpoint(), labels=labels)
        assert len(bench.asked) == asked
    assert again.corrected == found
    assert (found.labelled, found.of_run, found.mean.n) == (20, 0, 60)
    # of the labels the judge passed 15 of 16 and 4 of 4, for x0 and x10 end in 0; of the run 38 of 40
    assert found.rogan_gladen == corrected_rate((38, 40), (16, 16), (3, 4))


def test_labels_that_are_no_random_sample_are_reported(run, tmp_path):
    rows = [{"question": "q", "answer": f"36 x{n}y", "target": TARGET, "label": "INCORRECT"} for n in range(30)] + [
        {"question": "q", "answer": "35", "target": TARGET, "label": "CORRECT"}
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Bench(lenient) as bench:
        found = judge(run, bench.endpoint(), labels=labels).corrected
    assert "is 3 % on the labelled answers and 95 % on the others" in found.doubt
    assert "no random sample" in found.doubt


def drawn_from_strata(run, tmp_path, wanted, sizes):
    """Labels of these turns, with the stratum that each turn is in and how many answers it has."""
    path = labels_of(run, tmp_path, wanted)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["stratum"] = wanted[row["id"]]
        row["stratum_answers"] = sizes[row["stratum"]]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_labels_chosen_where_judge_and_scorer_differ_are_weighted(run, tmp_path):
    differ, other = (0, 5, 10), (1, 2, 3, 4, 6)
    wanted = {f"c{n}/1/{turn}": "differ" if n in differ else "other" for n in (*differ, *other) for turn in (1, 2)}
    labels = drawn_from_strata(run, tmp_path, wanted, {"differ": 6, "other": 34})
    with Bench(lenient) as bench:
        done = judge(run, bench.endpoint(), labels=labels)
    found = done.corrected
    order = sorted((*differ, *other))
    people = [int(not (n % 5 == 0 and turn == 2)) for n in order for turn in (1, 2)]
    judged = [int(not (n == 5 and turn == 2)) for n in order for turn in (1, 2)]  # 36 0 and 36 10 pass
    groups = [f"c{n}" for n in order for _ in (1, 2)]
    strata = strata_of(
        ["differ" if n in differ else "other" for n in order for _ in (1, 2)], {"differ": 6, "other": 34}
    )
    rest = [n for n in range(20) if n not in order]
    expected = stratified_prediction_powered_mean(
        people, judged, strata, [*judged, *(int(not (n == 15 and turn == 2)) for n in rest for turn in (1, 2))],
        groups, [*groups, *(f"c{n}" for n in rest for _ in (1, 2))],
    )  # fmt: skip
    assert found.weighted
    assert found.mean.value == pytest.approx(expected.value)
    assert (found.mean.low, found.mean.high) == pytest.approx((expected.low, expected.high))
    # of the run 36 of 40 are right, of the labelled answers 13 of 16
    assert found.mean.value == pytest.approx(37 / 40, abs=0.03)
    assert found.rogan_gladen.value is None
    assert (found.doubt, json.loads(json.dumps(done.to_json()))["corrected"]["weighted"]) == (None, True)


def test_strata_and_labels_of_unknown_origin_do_not_mix(run, tmp_path):
    wanted = {"c0/1/1": "differ", "c1/1/1": "other"}
    labels = drawn_from_strata(run, tmp_path, wanted, {"differ": 8, "other": 32})
    with labels.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"question": "q", "answer": "35", "target": "35", "label": "CORRECT"}))
    with Bench(lenient) as bench:
        found = judge(run, bench.endpoint(), labels=labels).corrected
    assert (found.weighted, "their weights are not known" in found.doubt) == (False, True)


def test_undecided_replies_count_as_not_passed_on_both_sides(run, tmp_path):
    labels = labels_of(run, tmp_path, {f"c{n}/1/1" for n in range(10)})

    def unsure(body):
        return verdict("UNSURE") if read(body, "answer").endswith(("1", "2")) else fair(body)

    with Bench(unsure) as bench:
        found = judge(run, bench.endpoint(), labels=labels).corrected
    assert found.rogan_gladen.value is None  # there is no wrong one among the labels
    assert (found.labelled, found.mean.value, found.mean.n) == (10, 1.0, 40)


@pytest.mark.parametrize("tags", [{"a": 1}, 3, ["a", 4], [["a"]]])
def test_tags_that_are_no_texts_are_refused(tmp_path, tags):
    path = tmp_path / "labels.jsonl"
    row = {"question": "q", "answer": "a", "target": "t", "label": "CORRECT", "tags": tags}
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"line 1.*tags.*must be a text or a list of texts"):
        list(read_labels(path, BUILT_IN["correct"]))
