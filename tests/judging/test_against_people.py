"""Judges checked against people: figures against hand counts."""

import io
import json
import time

import pytest
from judges import Bench, failing, fair, labels_file, read, verdict
from rich.console import Console
from statsmodels.stats.inter_rater import cohens_kappa

from evalkit.console.judge import show_check
from evalkit.judging.against_people import check_judge
from evalkit.judging.rubric import BUILT_IN

CORRECT = BUILT_IN["correct"]


def checked(tmp_path, judge, rows):
    with Bench(judge) as bench:
        return check_judge(labels_file(tmp_path, *rows), bench.endpoint(), folder=tmp_path / "runs")


def labelled(right, wrong):
    return [{"answer": f"35 {n}", "label": "CORRECT"} for n in range(right)] + [
        {"answer": f"36 {n}", "label": "INCORRECT"} for n in range(wrong)
    ]


def test_figures_of_a_judge_that_errs(tmp_path):
    lies = {"35 0", "35 1", "36 0"}

    def errs(body):
        said = json.loads(fair(body))["choice"]
        other = {"CORRECT": "INCORRECT", "INCORRECT": "CORRECT"}[said]
        return verdict(other if read(body, "answer") in lies else said)

    done = checked(tmp_path, errs, labelled(12, 8))
    assert [list(row.values())[:2] for row in done.confusion.values()] == [[10, 2], [1, 7]]
    assert done.agreement.value == done.agreement_all.value == 0.85
    assert done.kappa.value == pytest.approx(cohens_kappa([[10, 2], [1, 7]]).kappa)
    assert done.kappa.low < done.kappa.value < done.kappa.high
    assert done.alpha.low < done.alpha.value < done.alpha.high


def test_labels_from_strata_are_weighted(tmp_path):
    """10 answers of 20 where judge and scorer differ are labelled, 10 of 180 others; it errs in the first."""
    rows = [
        {"answer": f"{35 + wrong} {stratum} {n}", "label": "INCORRECT" if wrong else "CORRECT", "tags": [stratum],
         "stratum": stratum, "stratum_answers": answers}
        for stratum, answers in (("differ", 20), ("other", 180)) for wrong in (0, 1) for n in range(5)
    ]  # fmt: skip

    def errs(body):
        said = json.loads(fair(body))["choice"]
        other = {"CORRECT": "INCORRECT", "INCORRECT": "CORRECT"}[said]
        return verdict(other if read(body, "answer")[3:] in ("differ 0", "differ 1", "differ 2", "differ 3") else said)

    done = checked(tmp_path, errs, rows)
    assert done.weighted
    assert [list(row.values())[:2] for row in done.confusion.values()] == [[6, 4], [4, 6]]
    # an answer where they differ stands for 2, any other for 18
    for share in (done.agreement, done.agreement_all, done.tpr, done.tnr):
        assert share.value == pytest.approx((1 * 2 + 5 * 18) / (5 * 2 + 5 * 18))
        assert share.low < 0.92 < share.high < 1
    assert (done.tpr.n, done.agreement.n, done.majority.value) == (10, 20, pytest.approx(0.5))
    assert {tag.tag: tag.agreement.value for tag in done.by_tag} == {"differ": pytest.approx(0.2), "other": 1}
    out = io.StringIO()
    show_check(Console(file=out, width=300), done)
    assert "shares are weighted" in out.getvalue()
    assert done.to_json()["weighted"] is True


def test_what_is_undecided_is_told_apart_and_does_not_agree(tmp_path):
    said = {"35 0": verdict("UNSURE"), "36 0": "INCORRECT or not?"}
    done = checked(
        tmp_path, failing(lambda body: said.get(read(body, "answer")) or fair(body), ["36 1"]), labelled(6, 5)
    )
    assert (done.n, done.unsure, done.count("unparsed"), done.count("failed")) == (11, 1, 1, 1)
    assert (done.agreement.value, done.agreement.n) == (1.0, 8)
    assert (done.agreement_all.value, done.agreement_all.n) == (0.8, 10)  # a failed call said nothing at all
    assert done.confusion["INCORRECT"] == {"CORRECT": 0, "INCORRECT": 3, "UNSURE": 0, "unparsed": 1, "failed": 1}
    assert (done.majority_label, done.majority.value, done.majority.n) == ("CORRECT", 0.6, 10)
    assert done.judge_run == tmp_path / "runs" / "labels.judge-1.evalkit"


def test_a_scale_is_ordinal_and_its_labels_may_be_numbers(tmp_path):
    rows = [{"answer": str(n), "label": n % 5 + 1} for n in range(20)]

    def hums(body):
        n = int(read(body, "answer")) if read(body, "answer").isdigit() else 0
        return verdict(str(min(n % 5 + 1 + n % 2, 5)))

    with Bench(hums) as bench:
        done = check_judge(labels_file(tmp_path, *rows), bench.endpoint(), "helpful", folder=tmp_path)
    assert done.to_json()["alpha"]["level"] == "ordinal"
    assert 0 < done.kappa.value < done.alpha.value < 1  # off by one is nearly right on a scale


def test_a_check_that_was_stopped_is_over_what_was_asked_and_more_labels_cost_only_themselves(tmp_path):
    rows = [{"question": f"q{n}", "answer": "35", "target": "35", "label": "CORRECT"} for n in range(30)]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows[:20])), encoding="utf-8")

    def slow(body):
        time.sleep(0.02)
        return fair(body)

    with Bench(slow) as bench:
        how = {"folder": tmp_path / "runs", "concurrency": 1}
        cut = check_judge(path, bench.endpoint(), watch=lambda progress: progress.done >= 3, **how)
        assert (cut.stopped, cut.count("failed"), 3 <= cut.n < 20) == (True, 0, True)
        assert cut.agreement_all.value == 1.0
        assert check_judge(path, bench.endpoint(), **how).n == 20
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        whole = check_judge(path, bench.endpoint(), **how)
        assert (whole.stopped, whole.n) == (False, 30)
        assert len(bench.asked) == 1 + 30  # with the probe


def test_the_rates_of_a_judge_are_over_what_it_decided_and_by_tag(tmp_path):
    said = {"35 0": verdict("UNSURE"), "35 1": verdict("INCORRECT"), "36 0": verdict("CORRECT"), "36 1": "?"}
    rows = [{**row, "tags": ["a"] if n % 2 else ["a", "b", "b"]} for n, row in enumerate(labelled(6, 5))]
    done = checked(tmp_path, lambda body: said.get(read(body, "answer")) or fair(body), rows)
    assert (done.tpr.value, done.tpr.n, done.tnr.value, done.tnr.n) == (0.8, 5, 0.75, 4)
    assert done.tpr.low < 0.8 < done.tpr.high
    assert [(tag.tag, tag.n) for tag in done.by_tag] == [("a", 11), ("b", 6)]
    assert (done.by_tag[0].tpr, done.by_tag[0].agreement.n) == (done.tpr, 9)
    # b: 35 0 (unsure), 35 2, 35 4, 36 0 (wrong), 36 2, 36 4
    assert (done.by_tag[1].tpr.value, done.by_tag[1].tnr.value, done.by_tag[1].agreement.n) == (1.0, 2 / 3, 5)


def test_a_scale_has_no_true_positives(tmp_path):
    rows = [{"answer": str(n), "label": n % 5 + 1} for n in range(5)]
    with Bench(lambda body: verdict("3")) as bench:
        done = check_judge(labels_file(tmp_path, *rows), bench.endpoint(), "helpful", folder=tmp_path)
    assert done.tpr.value is done.tnr.value is None
    assert "are not 1 and 0" in done.tpr.reason


def test_a_judge_that_wavers_disagrees_with_itself(tmp_path):
    times = {}

    def wavers(body):
        answer = read(body, "answer")
        times[answer] = times.get(answer, 0) + 1
        return verdict("INCORRECT") if answer in ("35 0", "36 0") and times[answer] == 2 else fair(body)

    path = labels_file(tmp_path, *labelled(12, 12))
    with Bench(failing(wavers, ["36 1\n"])) as bench:
        done = check_judge(path, bench.endpoint(), folder=tmp_path / "runs", repeats=3)
        count = len(bench.asked)
        again = check_judge(path, bench.endpoint(), folder=tmp_path / "runs", repeats=2)
        assert len(bench.asked) - count <= 2  # only what failed
    itself = done.self_agreement
    assert (itself.repeats, itself.same.value, itself.same.n, itself.left_out) == (3, 22 / 23, 23, 1)
    assert itself.alpha.low < itself.alpha.value < 1
    assert (done.agreement.value, done.count("failed")) == (1.0, 1)  # of the first time
    assert again.self_agreement.repeats == 2
    assert done.to_json()["self_agreement"]["same"]["n"] == 23
    assert {path.name for path in (tmp_path / "runs").glob("*.evalkit")} >= {
        "labels.judge-1.evalkit", "labels.repeat-2.judge-1.evalkit", "labels.repeat-3.judge-1.evalkit",
    }  # fmt: skip
