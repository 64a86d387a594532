"""``evalkit judge`` and ``judge-check`` from the command line, also with the embedded model as judge."""

import json
import re

import pytest
from commands import evalkit
from judges import Bench, failing, fair, locked, read, verdict
from runfiles import S, T, talk, write

from evalkit.cli.main import main
from evalkit.judging.judging import judge

BAD = "\x1b[31m[bold]35"


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run.evalkit", [S([T("a", 1, text="35"), T("a", 2, text=BAD), T("b", 1, text="36")])])


def flags(bench):
    return ["--base-url", bench.server.base_url, "--model", "judge"]


def said(capsys, *arguments):
    """Exit code and the text on both streams."""
    code = main(list(map(str, arguments)))
    return code, *capsys.readouterr()


def test_judge_prints_its_choices_and_where_its_calls_are(run, tmp_path, capsys):
    with Bench(fair) as bench:
        code, out, err = said(capsys, "judge", run, *flags(bench))
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[0] == (f"{run}: 3 turns judged by judge ({bench.server.base_url}) with the rubric correct")
        assert [line.split() for line in lines[2:4]] == [["CORRECT", "1", "33.3%"], ["INCORRECT", "2", "66.7%"]]
        assert re.search(r"mean score 33\.3% of 3 \((no interval|\d)", out)
        assert "scores: scoring 1 of the run file; they count now" in out
        assert lines[-1] == f"the judge's run file: {tmp_path / 'run.judge-1.evalkit'}"
        code, out, _ = said(capsys, "judge", run, *flags(bench), "--json")
    result = json.loads(out)
    assert list(result) == [
        "run", "judge", "scoring", "counts", "judged", "choices", "unsure", "unparsed", "failed", "mean", "agreement",
        "stopped", "corrected",
    ]  # fmt: skip
    assert (code, result["judged"], result["counts"], result["agreement"]) == (0, 3, True, None)


def test_judge_against_another_run(run, tmp_path, capsys):
    other = write(tmp_path / "other.evalkit", [S([T("a", 1), T("a", 2), T("b", 1)])])
    with Bench(lambda body: verdict("A")) as bench:
        code, out, _ = said(capsys, "judge", run, "--against", other, *flags(bench))
        assert code == 0
        assert "same verdict in both orders: 0.0% of 3 (" in out
        assert "the answer shown first was chosen: 100.0% of 6 (" in out
        result = json.loads(said(capsys, "judge", run, "--against", other, *flags(bench), "--json")[1])
    assert list(result) == [
        "run", "against", "judge", "pairs", "outcomes", "shares", "consistent", "first_shown", "turns", "stopped",
    ]  # fmt: skip
    assert result["outcomes"]["inconsistent"] == result["pairs"] == 3


def test_judge_against_several_runs_ranks_them(tmp_path, capsys):
    """Of three runs the judge prefers the first in two of three conversations; the others are alike."""
    talks = [talk(f"c{n}", (35,)) for n in range(30)]
    names = ("good", "fair", "poor")
    runs = [
        write(tmp_path / f"{name}.evalkit", [S([T(f"c{n}", 1, text=f"{name} {n}") for n in range(30)])], talks)
        for name in names
    ]

    def judge(body):
        first, second = (read(body, f"answer_{letter}").split() for letter in "ab")
        if "good" not in (first[0], second[0]):
            return verdict("A")
        better = first if (first[0] == "good") == (int(first[1]) % 3 > 0) else second
        return verdict("A" if better is first else "B")

    arguments = ["judge", runs[0], "--against", runs[1], "--against", runs[2]]
    with Bench(judge) as bench:
        code, out, err = said(capsys, *arguments, *flags(bench))
        asked = len(bench.asked)
        result = json.loads(said(capsys, *arguments, *flags(bench), "--json")[1])
        assert len(bench.asked) == asked  # nothing is judged twice
    assert (code, err) == (0, "")
    assert out.count("judged by judge") == 3
    (ranked,) = re.findall(r"^good +a +(\d+) +(\d+) to (\d+)$", out, re.MULTILINE)
    assert int(ranked[1]) < int(ranked[0]) < int(ranked[2])
    assert "from 90 judged pairs; runs with a common letter are not shown to differ" in out
    assert list(result) == ["judgings", "ranking"]
    assert [(each["run"], each["against"]) for each in result["judgings"]] == [
        (str(runs[0]), str(runs[1])), (str(runs[0]), str(runs[2])), (str(runs[1]), str(runs[2])),
    ]  # fmt: skip
    assert result["ranking"]["runs"][0]["name"] == "good"
    assert {run["name"]: run["groups"] for run in result["ranking"]["runs"]}["good"] == "a"
    assert result["judgings"][2]["outcomes"]["inconsistent"] == 30


def test_judge_check_prints_agreement_kappa_alpha_and_what_the_commonest_label_gives(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": "q", "answer": f"3{n % 2 + 5}, {n}", "target": "35", "label": "CORRECT"} for n in range(12)]
    rows += [{**row, "label": "INCORRECT", "answer": "no"} for row in rows[:4]]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Bench(fair) as bench:
        code, out, err = said(capsys, "judge-check", labels, *flags(bench))
        assert (code, err) == (0, "")
        assert out.splitlines()[2].split() == ["CORRECT", "6", "6", "0", "0", "0"]
        for part in (
            "agreement on decided answers: 62.5% of 16 (",
            "Cohen's kappa: 0.33 (",
            "Krippendorff's alpha, nominal: 0.26 (",
            "true positive rate: 50.0% of 12 (",
            "true negative rate: 100.0% of 4 (",
            "always answering CORRECT would agree on: 75.0% of 16 (",
        ):
            assert part in out
        result = json.loads(said(capsys, "judge-check", labels, *flags(bench), "--json")[1])
    assert list(result) == [
        "labels", "judge", "n", "unsure", "unparsed", "failed", "confusion", "agreement", "agreement_all", "majority",
        "kappa", "alpha", "stopped", "tpr", "tnr", "by_tag", "self_agreement", "weighted",
    ]  # fmt: skip
    assert result["majority"]["label"] == "CORRECT"


def test_judge_check_prints_tags_and_the_agreement_of_the_judge_with_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "question": "q",
            "answer": f"3{5 + n % 2}, {n}",
            "target": "35",
            "label": "CORRECT",
            "tags": ["[b]ad\x1b", "x"],
        }
        for n in range(12)
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Bench(fair) as bench:
        code, out, _ = said(capsys, "judge-check", labels, "--repeats", "2", *flags(bench))
        assert len(bench.asked) == 2 * 12 + 2  # with two probes
    assert code == 0
    assert "same choice in all 2 repeats: 100.0% of 12 (" in out
    assert "[b]ad" in out
    assert "\x1b" not in out
    assert out.splitlines()[-2].split() == ["x", "12", "50%", "of", "12", "50%", "of", "12", "–"]


def test_judge_with_labels_prints_the_corrected_mean(run, tmp_path, capsys):
    labels = tmp_path / "labels.jsonl"
    rows = [{"question": "q", "answer": f"3{5 + n % 2}, {n}", "target": "35", "label": "CORRECT"} for n in range(12)]
    rows[0]["label"] = "INCORRECT"
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Bench(fair) as bench:
        code, out, _ = said(capsys, "judge", run, "--labels", labels, *flags(bench))
        result = json.loads(said(capsys, "judge", run, "--labels", labels, *flags(bench), "--json")[1])
    assert code == 0
    assert "corrected by 12 labelled answers, 0 of them of this run: 91.7% of 15 (" in out
    assert "by the estimate of Rogan and Gladen: – (the judge is no better than chance" in out
    corrected = result["corrected"]
    assert list(corrected) == [
        "labels", "labelled", "of_run", "value", "low", "high", "n", "reason", "rogan_gladen", "doubt",
        "failed", "weighted",
    ]  # fmt: skip
    assert (corrected["labelled"], corrected["n"]) == (12, 15)


def test_failed_calls_on_labels_end_with_1_too(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = tmp_path / "labels.jsonl"
    rows = [{"question": "q", "answer": f"35, {n}.", "target": "35", "label": "CORRECT"} for n in range(4)]
    labels.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Bench(failing(fair, ["35, 3."])) as bench:
        code, out, _ = said(capsys, "judge", run, "--labels", labels, *flags(bench))
    assert code == 1
    assert "corrected by 3 labelled answers, 0 of them of this run, without 1 failed call: " in out
    times = []

    def tired(body):
        times.append(body)
        return failing(fair, ["35, 3."] if len(times) > 6 else [])(body)

    with Bench(tired) as bench:  # a probe and four answers, then again
        code, out, _ = said(capsys, "judge-check", labels, "--repeats", "2", *flags(bench))
    assert (code, ", without 1 answer of a failed call" in out) == (1, True)


def test_failed_calls_end_with_1_and_their_cause(run, capsys):
    with Bench(failing(fair, ["b, question"])) as bench:
        code, out, _ = said(capsys, "judge", run, *flags(bench))
    assert code == 1
    assert "1 × bad_request: " in out


def test_a_judge_that_cannot_be_used_ends_with_3_and_says_how_to_continue(run, capsys):
    with Bench(locked) as bench:
        code, out, err = said(capsys, "judge", run, *flags(bench))
    assert (code, out) == (3, "")
    assert err.endswith("When that is fixed, run the same command again to continue.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge", "missing.evalkit"], "there is no run file missing.evalkit"),
        (["judge", "RUN", "--rubric", "better"], "is about two answers"),
        (["judge", "RUN", "--against", "missing.evalkit"], "there is no run file missing.evalkit"),
        (["judge", "RUN", "--limit", "0"], "limit is 0"),
        (["judge", "RUN", "--concurrency", "0"], "concurrency is 0"),
        (["judge-check", "missing.jsonl"], "missing.jsonl: there is no such file"),
        (["judge-check", "missing.jsonl", "--repeats", "0"], "repeats is 0"),
        (["judge", "RUN", "--labels", "missing.jsonl"], "missing.jsonl: there is no such file"),
        (["judge", "RUN", "--against", "RUN", "--labels", "x.jsonl"], "cannot correct a comparison"),
        (["judge", "RUN", "--against", "RUN", "--against", "RUN"], "is named twice"),
    ],
)
def test_bad_input_is_reported_before_a_model_is_started(run, capsys, arguments, message):
    code, out, err = said(capsys, *[str(run) if part == "RUN" else part for part in arguments])
    assert (code, out) == (2, "")
    assert message in err
    assert "embedded" not in err


def test_help_has_an_example():
    shown = evalkit("judge", "--help")
    assert shown.returncode == 0
    assert "example:\n  evalkit judge runs/demo.evalkit " in shown.stdout


def test_the_embedded_model_judges_under_a_schema_it_keeps(embedded, run):
    done = judge(run, embedded.with_params(max_tokens=300), limit=1)
    assert done.judge["form"] == "bounded"
    assert (done.judged, done.failed, done.unparsed) == (1, 0, 0)
    assert done.judge["base_url"] is None
