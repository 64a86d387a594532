"""Runs judged by scripted judges over real HTTP: what is sent to them, and how their replies are used."""

import json
import re
import sqlite3
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
from judges import Bench, failing, fair, locked, read, refusing, run_of, verdict
from runfiles import T, talk

import evalkit as ek
from evalkit.analysis.summary_json import summary_json
from evalkit.errors import EndpointError, RunFileError, SettingsError
from evalkit.judging import judge_run
from evalkit.judging.judging import judge
from evalkit.judging.rubric import BUILT_IN, Rubric
from evalkit.runfile import scorings


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A judged run, the result, and the requests to its judge."""
    path = run_of(tmp_path_factory.mktemp("judged"))
    with Bench(fair) as bench:
        return path, ek.judge(path, bench.endpoint(params={"seed": 7})), bench.asked


def test_verdicts_become_the_scores_of_a_new_scoring_and_the_old_ones_stay(judged):
    path, done, _ = judged
    assert done.choices == {"CORRECT": 2, "INCORRECT": 1, "UNSURE": 0}
    assert (done.judged, done.unparsed, done.failed) == (3, 0, 0)
    assert (done.scoring, done.counts, done.agreement) == (1, True, None)
    assert (done.mean.value, done.mean.n) == (pytest.approx(2 / 3), 3)
    kept = "SELECT conversation, turn, scorer, value, reason, extracted FROM score WHERE scoring = "
    assert rows(path, kept + "1") == [
        (0, 1, "judge:correct", 1.0, "because", '"CORRECT"'),
        (0, 2, "judge:correct", 0.0, "because", '"INCORRECT"'),
        (1, 1, "judge:correct", 1.0, "because", '"CORRECT"'),
    ]
    assert [row[2:4] for row in rows(path, kept + "0")] == [("number", 1.0), ("number", 0.0), ("number", 1.0)]
    summary = summary_json(path)
    assert (summary["accuracy"]["n"], summary["accuracy"]["wrong"]) == (3, 1)


def test_the_scoring_says_which_judge_by_which_rubric_made_it(judged):
    path, done, _ = judged
    ((judge_kept, versions, in_order),) = rows(
        path, "SELECT judge, versions, ended_wall_ns >= started_wall_ns FROM scoring"
    )
    assert json.loads(judge_kept) == done.judge == {
        "model": "judge", "base_url": ek.Run(done.judge_run).info["endpoint"]["base_url"], "rubric": "correct",
        "rubric_hash": done.rubric.hash, "form": "bounded", "run": "run.judge-1.evalkit", "answered": 3,
    }  # fmt: skip
    assert json.loads(versions)["judge:correct"] == done.rubric.hash
    assert in_order


def test_the_judges_calls_are_a_run_of_their_own(judged):
    path, done, _ = judged
    asked = ek.Run(done.judge_run)
    assert asked.info["endpoint"]["params"] == {"seed": 7, "temperature": 0}
    assert list(asked.turns().conversation) == ["a/1/1", "a/1/2", "b/1/1"]
    assert asked.turns().latency_ms.notna().all()
    assert rows(done.judge_run, "SELECT cluster FROM conversation") == [("a",), ("a",), ("b",)]
    assert {made.name for made in path.parent.iterdir()} >= {"run.judge-1.jsonl", "run.judge-1.evalkit"}
    assert [made.name for made in path.parent.iterdir() if "draft" in made.name] == []


def test_the_endpoint_is_held_to_a_schema_whose_reason_comes_first(judged):
    schemas = [body["response_format"]["json_schema"]["schema"] for body in judged[2]]
    assert [list(schema["properties"]) for schema in schemas] == [["reason", "choice"]] * 4  # with the probe


def test_an_endpoint_that_refuses_schemas_is_asked_in_words(tmp_path):
    def says(body):
        return f"I looked at it.\nCHOICE: {json.loads(fair(body))['choice']}"

    path = run_of(tmp_path)
    with Bench(refusing(says)) as bench:
        done = judge(path, bench.endpoint())
        assert len(bench.asked) == 5
        assert "CHOICE: one of CORRECT" in bench.asked[-1]["messages"][-1]["content"]
        assert judge(path, bench.endpoint()).judge["form"] == "plain"
        assert len(bench.asked) == 5  # not even the probes are asked again
    assert done.judge["form"] == "plain"
    assert done.choices == {"CORRECT": 2, "INCORRECT": 1, "UNSURE": 0}


@pytest.mark.parametrize(("part", "form"), [("maxLength", "json"), ("response_format", "plain"), ("-", "bounded")])
def test_the_first_form_that_is_not_refused_is_taken(part, form):
    with Bench(refusing(fair, part)) as bench:
        assert judge_run._form(BUILT_IN["better"], bench.endpoint(), stream=True, set_here=False)[0] == form


def test_a_judging_is_asked_once_and_a_limit_is_a_trial_whose_scores_do_not_count(tmp_path):
    path = run_of(tmp_path)
    with Bench(fair) as bench:
        trial = judge(path, bench.endpoint(), limit=1)
        assert (trial.judged, trial.counts) == (1, False)
        assert rows(path, "SELECT scoring FROM run") == [(0,)]
        whole = judge(path, bench.endpoint())
        assert (whole.scoring, whole.counts, whole.judge_run.name) == (2, True, "run.judge-2.evalkit")
        asked = len(bench.asked)
        assert judge(path, bench.endpoint()) == whole
        assert judge(path, bench.endpoint(), limit=1).counts is False
        assert len(bench.asked) == asked
    assert rows(path, "SELECT scoring FROM run") == [(2,)]
    assert rows(path, "SELECT count(*) FROM scoring") == [(2,)]


def test_a_call_that_failed_is_no_wrong_answer_and_is_asked_again_next_time(tmp_path):
    path = run_of(tmp_path)
    words = ["It is 270."]
    with Bench(failing(fair, words)) as bench:
        first = judge(path, bench.endpoint())
        assert (first.failed, first.judged, first.mean.n) == (1, 3, 2)
        ((value, reason),) = rows(path, "SELECT value, reason FROM score WHERE scoring = 1 AND turn = 2")
        assert value is None
        assert reason.startswith("the judge's call failed: bad_request: ")
        words.clear()
        asked = len(bench.asked)
        second = judge(path, bench.endpoint())
        assert len(bench.asked) == asked + 1
    assert (second.failed, second.mean.n, second.scoring) == (0, 3, 2)
    assert second.judge_run == first.judge_run
    assert second.agreement is None  # a judge's run that was completed is not a second judge


def test_a_judge_that_cannot_be_used_leaves_the_run_as_it_was(tmp_path):
    path = run_of(tmp_path)
    before = path.read_bytes()
    with Bench(locked) as bench, pytest.raises(EndpointError, match=r"The judge cannot be used \(auth\)\. "):
        judge(path, bench.endpoint())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_verdict_is_no_score_and_tells_why(tmp_path):
    said = {
        "1": (verdict("UNSURE", "two units"), "the judge chose UNSURE: two units"),
        "2": ("It is not CORRECT", "the judge's answer does not end with one of its choices"),
        "3": (verdict("CORRECT") + "\nCHOICE: INCORRECT", "the judge's answer has two different choices"),
        "4": ("CORRECT " * 20, "the judge's answer was cut off at the token limit"),
    }
    path = run_of(tmp_path, [T("a", int(n), text=n) for n in said], [talk("a", [35] * 4)])
    with Bench(lambda body: said.get(read(body, "answer"), [verdict("UNSURE")])[0]) as bench:
        done = judge(path, bench.endpoint(params={"max_tokens": 15}))
    scored = rows(path, "SELECT value, reason FROM score WHERE scoring = 1 ORDER BY turn")
    assert scored == [(None, reason) for _, reason in said.values()]
    assert (done.mean.value, done.unsure, done.unparsed) == (None, 1, 3)


@pytest.mark.parametrize("said", ["It may be.", verdict("UNSURE")], ids=["not readable", "unsure of all"])
def test_a_judging_without_a_score_leaves_the_run_its_own(tmp_path, said):
    path = run_of(tmp_path)
    before = summary_json(path)["accuracy"]
    with Bench(lambda body: said) as bench:
        for _ in range(2):  # the second time it is read again
            done = judge(path, bench.endpoint())
            assert (done.counts, done.mean.value) == (False, None)
            assert summary_json(path)["accuracy"] == before
    with Bench(fair) as bench:
        assert judge(path, bench.endpoint()).counts


def test_two_judges_are_held_against_each_other(tmp_path):
    turns = [T(f"c{n}", 1, text="35" if n % 2 else "36") for n in range(12)]
    path = run_of(tmp_path, turns)

    def strict(body):
        return verdict("INCORRECT") if read(body, "question").startswith("c5,") else fair(body)

    with Bench(fair) as bench:
        assert judge(path, bench.endpoint()).agreement is None
    with Bench(strict) as bench:
        found = judge(path, bench.endpoint()).agreement
    # by hand: 24 values, of which 13 are INCORRECT; 2 unlike pairs in 12 units
    assert found.alpha.value == pytest.approx(1 - 23 * 2 / (2 * 13 * 11))
    assert found.alpha.low < found.alpha.value < found.alpha.high
    assert (found.scorings, found.models, found.level, found.alpha.n) == ((1, 2), ("judge", "judge"), "nominal", 12)


def test_a_rubric_in_code_gives_its_own_values(tmp_path):
    path = run_of(tmp_path, [T("a", 1)])
    with Bench(lambda body: verdict(4)) as bench:
        own = Rubric("polite", "Polite? {answer}", {"4": 0.25, "5": 1})
        assert judge(path, bench.endpoint(), own).mean.value == 0.25
    assert rows(path, "SELECT scorer, extracted FROM score") == [("judge:polite", '"4"')]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"rubric": "better"}, SettingsError, "is about two answers: name the other run with --against"),
        ({"rubric": "corect"}, SettingsError, "did you mean 'correct'?"),
        ({"limit": 0}, SettingsError, "limit is 0"),
        ({"concurrency": 0}, SettingsError, "concurrency is 0"),
        ({"run": "missing.evalkit"}, RunFileError, "there is no run file missing.evalkit"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(tmp_path, given, error, message):
    with Bench(fair) as bench:
        with pytest.raises(error, match=re.escape(message)):
            judge(**{"run": run_of(tmp_path), "endpoint": bench.endpoint(), **given})
        assert bench.asked == []
    assert [made.name for made in tmp_path.iterdir() if "judge" in made.name] == []


def test_scores_that_were_cut_off_while_they_were_written_are_made_again_without_a_call(tmp_path, monkeypatch):
    path = run_of(tmp_path)
    with Bench(fair) as bench:
        with monkeypatch.context() as patch:
            stamps = iter([1, 0])  # of the begin, and of an end that does not come
            patch.setattr(scorings, "time", SimpleNamespace(time_ns=lambda: 1 // next(stamps)))
            with pytest.raises(ZeroDivisionError):
                judge(path, bench.endpoint())
        assert rows(path, "SELECT scoring, (SELECT count(*) FROM score WHERE scoring = 1) FROM run") == [(0, 3)]
        asked = len(bench.asked)
        done = judge(path, bench.endpoint())
        assert (len(bench.asked), done.scoring, done.counts, done.mean.n) == (asked, 1, True, 3)


def test_a_run_without_anything_to_judge_says_so(tmp_path):
    path = run_of(tmp_path, [T("a", 1, error="server")])
    with Bench(fair) as bench, pytest.raises(SettingsError, match="has no answered turn with a target or a golden"):
        judge(path, bench.endpoint())
    assert [made.name for made in tmp_path.iterdir() if "judge" in made.name] == []


def forty(tmp_path, **more):
    """A run of forty right answers to as many questions."""
    return run_of(tmp_path, [T(f"c{n}", 1, text="35", score=0.0, **more) for n in range(40)])


def asked_of(bench):
    """The prompts that were sent, without the probe of the form."""
    return [body["messages"][-1]["content"] for body in bench.asked if read(body, "question") != "one"]


def test_what_a_trial_has_paid_for_is_not_paid_for_again(tmp_path):
    path = forty(tmp_path)
    with Bench(fair) as bench:
        judge(path, bench.endpoint(), limit=30)
        judge(path, bench.endpoint(), limit=5)
        whole = judge(path, bench.endpoint())
        assert len(asked_of(bench)) == len(set(asked_of(bench))) == 40
    assert (whole.judged, whole.counts, whole.mean.n, whole.mean.value) == (40, True, 40, 1.0)
    assert rows(tmp_path / "run.judge-2.evalkit", "SELECT count(*) FROM turn") == [(10,)]
    assert whole.agreement is None  # a judge and its own trial are one judge


def test_answers_added_later_are_all_that_is_asked_then(tmp_path):
    turns = [T(f"c{n}", 1, text="35") for n in range(6)]
    run_of(tmp_path, turns[:4])
    with Bench(fair) as bench:
        judge(tmp_path / "run.evalkit", bench.endpoint())
        (tmp_path / "run.evalkit").unlink()
        run_of(tmp_path, [turns[5], *turns[:4], turns[4]])  # elsewhere in the file, too
        again = judge(tmp_path / "run.evalkit", bench.endpoint())
        assert (len(asked_of(bench)), again.judged) == (6, 6)


def test_equal_answers_of_several_repeats_are_one_prompt(tmp_path):
    turns = [T("a", 1, text=text, repeat=n) for n, text in enumerate(("35", "36", "35"), start=1)]
    path = run_of(tmp_path, turns, [talk("a", [35])])
    with Bench(fair) as bench:
        done = judge(path, bench.endpoint())
        assert len(asked_of(bench)) == 2
    assert (done.judged, done.choices["CORRECT"]) == (3, 2)


@pytest.mark.parametrize("change", [{"params": {"seed": 8}}, {"rubric": "helpful"}])
def test_other_parameters_or_words_are_another_prompt(tmp_path, change):
    path = run_of(tmp_path)
    says = {"correct": verdict("CORRECT"), "helpful": verdict(5)}
    with Bench(lambda body: says["correct" if read(body, "target") else "helpful"]) as bench:
        judge(path, bench.endpoint())
        before = len(asked_of(bench))
        judge(path, bench.endpoint(params=change.get("params", {})), change.get("rubric", "correct"))
        assert len(asked_of(bench)) == 2 * before


def test_a_judging_that_a_watch_stopped_says_so_and_its_scores_are_not_the_runs(tmp_path):
    path = forty(tmp_path)

    def slow(body):
        time.sleep(0.02)
        return fair(body)

    with Bench(slow) as bench:
        cut = judge(path, bench.endpoint(), concurrency=1, watch=lambda progress: progress.done >= 3)
        assert 3 <= cut.judged < 40
        assert (cut.stopped, cut.counts, cut.failed, cut.to_json()["stopped"]) == (True, False, 0, True)
        assert rows(path, "SELECT scoring FROM run") == [(0,)]
        assert summary_json(path)["accuracy"]["value"] == 0.0
        whole = judge(path, bench.endpoint())
        assert len(asked_of(bench)) == len(set(asked_of(bench))) == 40
    assert (whole.stopped, whole.counts, whole.judged, whole.judge_run) == (False, True, 40, cut.judge_run)
    assert whole.agreement is None
