"""Imported runs: scores as the other tool says, no times, and everything works on them."""

import json
import shlex

import pytest
from importing import CHAT, EVAL, PICK, SAMPLES, batch_answer, batch_request, eval_parts, inspect_json, lines
from judges import Bench, fair
from runfiles import S, T, write

import evalkit as ek
from evalkit.analysis.summary_json import summary_json
from evalkit.charts.prompt_length import TimesAgainstPromptLength
from evalkit.errors import DatasetError, RunFileError, SettingsError
from evalkit.importing.import_run import import_answers
from evalkit.report.html_report import report
from evalkit.runfile import reader

ONE = {"id": "a", "question": "q", "answer": "x"}
TALK = {"id": "a", "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
        "answer": "4"}  # fmt: skip


def results(name):
    (task,) = json.loads((SAMPLES / name).read_text(encoding="utf-8"))["results"].values()
    return task


@pytest.mark.parametrize(
    ("path", "score", "theirs"),
    [
        (EVAL, "match", lambda: eval_parts()["header.json"]["results"]["scores"][0]["metrics"]["accuracy"]["value"]),
        (EVAL, "includes", lambda: eval_parts()["header.json"]["results"]["scores"][1]["metrics"]["accuracy"]["value"]),
        (CHAT, "exact_match,strict-match", lambda: results("results_chat.json")["exact_match,strict-match"]),
        (CHAT, "exact_match,flexible-extract", lambda: results("results_chat.json")["exact_match,flexible-extract"]),
        (PICK, "acc,none", lambda: results("results_dummy.json")["acc,none"]),
        (PICK, "acc_norm,none", lambda: results("results_dummy.json")["acc_norm,none"]),
    ],
)
def test_the_accuracy_is_the_one_that_the_tool_itself_reports(tmp_path, path, score, theirs):
    done = import_answers(path, score=score, out=tmp_path / "r.evalkit")
    result = ek.Run(done.run).summary_json()
    assert result["accuracy"]["value"] == pytest.approx(theirs())
    assert (done.scorer, done.scored, done.failed) == (score, done.answers, 0)


def test_a_log_in_json_is_the_same_run(tmp_path):
    one = import_answers(EVAL, out=tmp_path / "a.evalkit")
    two = import_answers(inspect_json(tmp_path / "log.json"), out=tmp_path / "b.evalkit")
    first, second = (ek.Run(done.run).turns() for done in (one, two))
    assert first.equals(second)
    assert one.other_scorers == two.other_scorers == ("includes",)
    (contrast,) = ek.compare(one.run, two.run).contrasts
    assert contrast.all.difference.value == 0


def test_a_comparison_is_that_of_the_samples(tmp_path):
    parts = eval_parts()
    for name, part in parts.items():
        if name.startswith("samples/q1"):
            part["scores"]["match"]["value"] = "I"
    import_answers(EVAL, out=tmp_path / "a.evalkit")
    import_answers(inspect_json(tmp_path / "log.json", parts), out=tmp_path / "b.evalkit")
    (contrast,) = ek.compare(tmp_path / "a.evalkit", tmp_path / "b.evalkit").contrasts
    assert contrast.all.pairs == 10
    assert contrast.all.difference.value == pytest.approx(-0.2)  # two of ten
    assert any("no time was measured" in warning for warning in contrast.warnings)
    assert not any(contrast.times[0].pairs.values())


def test_no_time_is_anywhere_and_every_view_says_so(tmp_path, capsys):
    from evalkit.cli.main import main

    path = tmp_path / "r.evalkit"
    run = ek.import_run(EVAL, out=path)
    result = summary_json(path)
    assert result["imported"]["file"] == str(EVAL)
    assert result["wall_s"] is result["turns_per_s"] is None
    for times in ("ttft_ms", "latency_ms", "tpot_ms", "turn_time_ms"):
        assert set(result[times].values()) == {None}
    assert not any(result["retries"].values()) or result["retries"]["lost_s"] in (0, None)
    with reader.reading(path) as connection:
        columns = "queue_ns, sent_ns, end_ns, latency_ns, turn_time_ns, ttft_ns, streamed"
        assert connection.execute(f"SELECT DISTINCT {columns}, attempts FROM turn").fetchall() == [(None,) * 7 + (0,)]
        for table in ("session", "attempt"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert len(run.turns()) == 10
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "a log of inspect: no time was measured" in shown
    assert "trust" not in shown
    for name in ("r.html", "r.md"):
        report([path], tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "no time was measured" in text
        assert "turn time, waits" not in text
    assert reader.why_unreadable(path) is None


def test_it_can_be_scored_and_gated_but_not_resumed(tmp_path):
    run = ek.import_run(EVAL, out=tmp_path / "r.evalkit")
    rescored = run.score("includes")
    assert rescored.new.accuracy.mean.value == pytest.approx(0.7)  # as inspect's own scorer of that name
    assert run.verdicts()["verdict"].value_counts().to_dict() == {"right": 7, "wrong": 3}
    with pytest.raises(RunFileError, match="was imported"):
        ek.resume(run.path)


def test_it_can_be_judged_and_planned_from(tmp_path):
    run = ek.import_run(CHAT, out=tmp_path / "r.evalkit")
    with Bench(fair) as bench:
        judged = ek.judge(run, bench.endpoint())
    assert (judged.judged, judged.mean.value) == (4, 0.5)
    assert ek.plan(run, difference=0.3) is not None


def test_a_batch_is_joined_with_its_requests_in_any_order(tmp_path):
    requests = lines(tmp_path / "in.jsonl", *(batch_request(f"r{n}", f"What is {n} + 1?") for n in range(4)))
    expired = {"custom_id": "r3", "response": None, "error": {"code": "batch_expired", "message": "Too late."}}
    limited = batch_answer("r2", "", 429)
    limited["response"]["body"] = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
    output = lines(tmp_path / "out.jsonl", expired, batch_answer("r1", "2"), limited, batch_answer("r0", "1"))
    done = import_answers(output, data=requests, out=tmp_path / "r.evalkit")
    assert (done.form, done.answers, done.failed, done.scored, done.scorer) == ("openai-batch", 2, 2, 0, None)
    run = ek.Run(done.run)
    result = run.summary_json()
    assert result["errors"] == {"timeout": 1, "rate_limited": 1}
    assert result["tokens"]["prompt"] == 40
    assert result["tokens"]["reasoning"] == 2
    assert run.info["endpoint"]["model"] == "m-1-2026-05-01"
    verdicts = run.verdicts()
    assert verdicts.loc[verdicts["conversation"] == "r1", "user"].tolist() == ["What is 1 + 1?"]


def test_targets_of_a_dataset_score_a_batch_and_many_turns(tmp_path):
    data = lines(
        tmp_path / "data.jsonl",
        {"id": "a", "turns": [{"user": "1 + 1?", "target": 2}, {"user": "And + 1?", "target": 3}], "tags": ["sum"]},
        {"id": "b", "turns": [{"user": "2 + 2?", "target": 4}]},
    )
    answers = lines(
        tmp_path / "answers.jsonl",
        {"id": "a", "answer": "2"},
        {"id": "a", "turn": 2, "answer": "It is 4."},
        {"id": "b", "answer": "4", "repeat": 1},
        {"id": "b", "answer": "5", "repeat": 2},
    )
    run = ek.import_run(answers, data=data, out=tmp_path / "r.evalkit", model="mine")
    result = run.summary_json()
    assert (result["accuracy"]["value"], result["accuracy"]["n"]) == (0.5, 4)
    assert run.info["endpoint"]["model"] == "mine"
    assert result["by_tag"][0]["tag"] == "sum"
    batch = ek.import_run(lines(tmp_path / "out.jsonl", batch_answer("b", "4")), data=data, out=tmp_path / "b.evalkit")
    assert batch.summary_json()["accuracy"]["value"] == 1.0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "answer": "x"}], r"line 1: the question is not in this file: name the dataset"),
        ([{"id": "a", "question": "q", "answer": "x"}] * 2, r"line 2, field id: .*was there in line 1 already"),
        ([{"id": "a", "question": "q", "answer": "x", "turn": 2}], r"line 1, field turn: is 2, .* has 1"),
        ([{"id": "a", "question": " ", "answer": "x"}], r"line 1, field turns\[0\]\.user: must not be empty"),
        (["\n"], "holds no"),
        ([{**ONE, "error": "away"}], r"field answer: is given next to an error, but a failed request has no answer"),
        ([{**ONE, "answer": None, "error": "away", "score": 0}], r"field score: is given next to an error"),
        ([ONE, {**ONE, "question": "r", "repeat": 2}], r"line 2, field id: question, target or tags are not those of"),
        ([ONE, {**ONE, "target": 3, "repeat": 2}], r"line 2, field id: question, target or tags"),
        ([{**TALK, "answer": "another"}], r"field messages: end with an answer that is not the one of this line"),
    ],
)
def test_a_row_that_cannot_be_used_leaves_no_run_file(tmp_path, rows, message):
    path = lines(tmp_path / "answers.jsonl", *rows)
    with pytest.raises(DatasetError, match=message) as caught:
        import_answers(path, form="answers", out=tmp_path / "r.evalkit")
    assert caught.value.path == str(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answers.jsonl"]


def test_messages_may_hold_tool_rounds_and_the_answer_itself(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    rounds = [{"role": "assistant", "content": None, "tool_calls": [call]},
              {"role": "tool", "tool_call_id": "1", "content": "2"}]  # fmt: skip
    end = [{"role": "assistant", "content": "4"}]
    messages = [{**TALK, "id": f"{n}", "messages": [{"role": "user", "content": "2 + 2?"}, *rounds, *end[:n]]}
                for n in (0, 1)]  # fmt: skip
    run = ek.import_run(lines(tmp_path / "answers.jsonl", *messages), out=tmp_path / "r.evalkit")
    with reader.reading(run.path) as connection:
        found = [json.loads(text) for (text,) in connection.execute("SELECT exchange FROM turn")]
    assert [[message["role"] for message in exchange] for exchange in found] == [["assistant", "tool"]] * 2


def test_notes_say_whose_scores_questions_and_targets_count(tmp_path):
    data = lines(tmp_path / "data.jsonl", *({"id": f"{n}", "turns": [{"user": "1+1?", "target": 2}]} for n in range(3)))
    rows = ({"id": "0", "question": "Say: 1+1?", "answer": "2", "target": "2"},
            {"id": "1", "question": "3+3?", "answer": "6", "target": 6},
            {"id": "2", "answer": "2", "score": 0.5})  # fmt: skip
    answers = lines(tmp_path / "answers.jsonl", *rows)
    done = import_answers(answers, data=data, out=tmp_path / "r.evalkit")
    assert list(done.notes.values()) == [2, 1, 1]
    assert [note.partition(" ")[2][:20] for note in done.notes] == [
        "without a score in t", "to another question ", "whose target in the ",
    ]  # fmt: skip
    assert ek.Run(done.run).turns()["score"].tolist() == [1.0, 0.0, 0.5]
    alone = import_answers(lines(tmp_path / "one.jsonl", ONE, {**ONE, "repeat": 2, "meta": {"seed": 1}}),
                           out=tmp_path / "one.evalkit")  # fmt: skip
    assert (alone.notes, alone.scorer, alone.scored) == ({}, None, 0)


def test_an_error_in_a_sample_names_the_sample(tmp_path):
    parts = eval_parts()
    parts["samples/q1_epoch_1.json"]["messages"][1]["content"] = " "
    message = r"field samples\[1\]\.turns\[0\]\.user: must not be empty"
    with pytest.raises(DatasetError, match=message):
        import_answers(inspect_json(tmp_path / "log.json", parts), out=tmp_path / "r.evalkit")


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="no answer has a score called 'nope'; the scores are: includes, match"):
        import_answers(EVAL, score="nope", out=tmp_path / "r.evalkit")
    assert not list(tmp_path.iterdir())
    with pytest.raises(
        SettingsError, match="no answer has a score called 'exact_match,other'; the scores are: exact_match,"
    ):
        import_answers(CHAT, score="exact_match,other", out=tmp_path / "r.evalkit")
    with pytest.raises(SettingsError, match="form is 'csv'"):
        import_answers(EVAL, form="csv", out=tmp_path / "r.evalkit")
    data = lines(tmp_path / "data.jsonl", {"id": "a", "turns": [{"user": "q"}]})
    answers = lines(tmp_path / "x.jsonl", {"id": "x", "answer": "1"})
    with pytest.raises(DatasetError, match=r"field id: no row of .* has the id 'x'"):
        import_answers(answers, data=data, out=tmp_path / "r.evalkit")


def test_names_of_a_stranger_s_file_are_on_no_line_of_their_own(tmp_path, capsys):
    from evalkit.cli.main import main

    evil, parts = "\x1b[31m<img src=x>\nrow", eval_parts()
    parts["header.json"]["results"] = {}
    for part in (part for name, part in parts.items() if name.startswith("samples/")):
        part["scores"] = {evil: part["scores"]["match"], f"{evil} 2": part["scores"]["match"]}
    files = []
    for name in ("a", "b"):
        files.append(str(tmp_path / f"{name}.evalkit"))
        main(["import", str(inspect_json(tmp_path / f"{name}.json", parts)), "--out", files[-1]])
    main(["compare", *files, "--markdown"])
    main(["compare", *files])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert not any(line.startswith("row") for line in out.splitlines())
    assert "> **A was imported from a log of inspect: no time was measured**" in out


def test_views_name_the_scorer_and_how_to_import_again(tmp_path, capsys, monkeypatch):
    from evalkit.cli.main import main

    monkeypatch.chdir(tmp_path)
    data = lines(tmp_path / "data.jsonl", {"id": "a", "turns": [{"user": "1+1?", "target": 2}]})
    answers = lines(tmp_path / "answers.jsonl", {"id": "a", "answer": "2"})
    for file, flags in ((EVAL, ["--form", "inspect", "--score", "includes", "--model", "my model"]),
                        (answers, ["--form", "answers", "--data", str(data), "--model", "unknown"])):  # fmt: skip
        (tmp_path / "again.evalkit").unlink(missing_ok=True)
        assert main(["import", str(file), *flags, "--out", "again.evalkit"]) == 0
        report(["again.evalkit"], tmp_path / f"{file.stem}.md")
        command = shlex.join(["evalkit", "import", str(file), *flags, "--out", "again.evalkit"])
        assert command in (tmp_path / f"{file.stem}.md").read_text(encoding="utf-8")
        capsys.readouterr()
        main(["score", "again.evalkit", "--list"])
        assert ("includes" if file is EVAL else "named by each turn") in capsys.readouterr().out
    chart = TimesAgainstPromptLength({}, ek.Run("again.evalkit").measures())
    assert chart.missing == "No answer has a time: the run was imported"


def test_an_existing_run_file_is_kept(tmp_path):
    import_answers(EVAL, out=tmp_path / "r.evalkit")
    own = write(tmp_path / "own.evalkit", [S([T("a", 1)])])
    for path in (tmp_path / "r.evalkit", own):
        with pytest.raises(RunFileError, match=r"exists already: name another file with --out$"):
            import_answers(PICK, out=path)
    with pytest.raises(RunFileError, match=r"exists already: name another file with --out$"):
        ek.evaluate(
            lines(tmp_path / "d.jsonl", {"user": "q"}),
            ek.Endpoint("http://127.0.0.1:1", "m"),
            out=tmp_path / "r.evalkit",
        )  # no session to resume
    assert len(ek.Run(tmp_path / "r.evalkit").turns()) == 10
