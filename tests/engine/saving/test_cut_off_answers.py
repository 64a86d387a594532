"""Answers that were cut off at a token limit are sent again with a higher one: real runs, real requests."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from commands import evalkit, flags
from comparing import said
from runfiles import S, T, write

import evalkit as ek
from evalkit.engine.saving.cut_off_answers import retract_cut_off
from evalkit.errors import RunFileError
from evalkit.report.repeat_commands import commands
from evalkit.report.run_contents import read_run
from evalkit.runfile import raised_limits
from evalkit.runfile.store import RunFile
from evalkit.scripted.script import Script, last_user_text
from evalkit.scripted.server import serve
from evalkit.settings import Settings

LIMIT = raised_limits.RaisedLimit(None, 5, 1, 1, 1)._asdict()


class Answers:
    """The number of the question; questions with "long" are answered after 40 words of thinking aloud."""

    def __init__(self):
        self.asked = []

    def __call__(self, body):
        question = last_user_text(body)
        self.asked.append((body.get("max_tokens"), question))
        words = "so we take 99 and " * 8 if "long" in question else ""
        return f"{words}The answer is {question.split()[-1]}."


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def server(answers):
    with serve(Script(answer=answers)) as running:
        yield running


@pytest.fixture
def data(tmp_path):
    """Three conversations of three turns: of the second one, turn 2 has a long answer."""
    rows = []
    for number in range(3):
        texts = [f"{'long' if (number, turn) == (1, 2) else 'short'} {10 * number + turn}" for turn in (1, 2, 3)]
        rows.append({"id": f"c{number}", "turns": [{"user": text, "target": int(text.split()[-1])} for text in texts]})
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def started(server, data, tmp_path, *more):
    out = tmp_path / "run.evalkit"
    result = evalkit("run", data, *flags(server), "--max-tokens", 10, "--out", out, *more)
    assert result.returncode == 0, result.stderr
    return out


def select(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(("history", "again"), [("own", ["long 12", "short 13"]), ("golden", ["long 12"])])
def test_cut_off_answers_and_those_that_saw_them_are_sent_again(server, answers, data, tmp_path, history, again):
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        for turn in row["turns"]:
            turn["assistant"] = "a golden answer"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = started(server, data, tmp_path, "--history", history)
    before = ek.Run(path).turns()
    assert before["finish_reason"].tolist().count("length") == 1
    answers.asked.clear()
    result = evalkit("resume", path, "--cut-off", "--max-tokens", 100, "--base-url", server.base_url)
    assert result.returncode == 0, result.stderr
    assert answers.asked == [(100, question) for question in again]
    turns = ek.Run(path).turns()
    assert turns["status"].tolist() == ["answered"] * 9
    assert turns["score"].tolist() == [1.0] * 9
    assert "length" not in turns["finish_reason"].tolist()
    old = select(
        path, "SELECT turn, error_kind, error_code, partial FROM attempt WHERE error_kind NOT NULL ORDER BY turn"
    )
    assert [row[:3] for row in old] == [(turn, "truncated", "length") for turn in (2, 3)][: len(again)]
    assert [row[3] for row in old] == before["answer"].tolist()[4 : 4 + len(again)]
    (limit,) = raised_limits.raised_limits(ek.Run(path).info["settings"])
    assert limit[:4] == (10, 100, 1, len(again))


def test_show_and_compare_say_what_was_sent_again(server, data, tmp_path):
    path = started(server, data, tmp_path)
    first = tmp_path / "first.evalkit"
    shutil.copy(path, first)
    shown = evalkit("show", path).stdout
    assert "1 answer was cut off at the token limit (max_tokens)" in shown
    assert "accuracy with the cut-off answer: 88.9% of 9 (32.0% to 99.3%); without it: 100.0% of 8 (19" in shown
    assert f"to send it again with a higher limit: evalkit resume {path} --cut-off --max-tokens N" in shown
    result = evalkit("resume", path, "--cut-off", "--max-tokens", 100)
    assert result.returncode == 0, result.stderr
    shown = evalkit("show", path).stdout
    assert (
        "1 cut-off answer, and 1 later turn that saw it were sent again with a limit of 100 tokens (before: 10): the "
        "new answers count"
    ) in shown
    assert "seems to ignore" not in shown
    assert "was cut off" not in shown
    told = json.loads(evalkit("show", path, "--json").stdout)
    assert told["incomplete"]["cut_off"] == {"answers": 0, "accuracy_without": None}
    assert [(limit["before"], limit["after"]) for limit in told["raised_limits"]] == [(10, 100)]
    assert (
        "A and B differ in cut-off answers sent again (A none, B 1 with 100 tokens)"
        in evalkit("compare", first, path).stdout
    )
    assert commands(read_run(path))[1:] == ["evalkit resume again.evalkit --cut-off --max-tokens 100"]


def test_the_higher_limit_stays_and_raises_those_of_rows(answers, server, data, tmp_path):
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    rows[1]["params"] = {"max_tokens": 5}
    rows[2]["params"] = {"max_completion_tokens": 500}
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = started(server, data, tmp_path)
    answers.asked.clear()
    result = evalkit("resume", path, "--cut-off", "--max-tokens", 100)
    assert result.returncode == 0, result.stderr
    assert answers.asked == [(100, "long 12"), (100, "short 13")]
    with closing(sqlite3.connect(path)) as connection, connection:  # as if a session had been killed
        connection.execute("DELETE FROM turn WHERE conversation IN (0, 2) AND turn = 3")
    answers.asked.clear()
    assert evalkit("resume", path).returncode == 0
    assert sorted(answers.asked) == [(100, "short 23"), (100, "short 3")]
    assert "seems to ignore" not in evalkit("show", path).stdout


def test_a_killed_session_is_resumed_with_the_higher_limit(answers, server, data, tmp_path):
    path = started(server, data, tmp_path)
    with RunFile.open(path) as runfile:
        settings, limit = Settings(), raised_limits.RaisedLimit(10, 100, 0, 0, 1)
        assert retract_cut_off(runfile, settings, limit) == (10, 100, 1, 2, 1)
        assert retract_cut_off(runfile, settings, limit) is None
    answers.asked.clear()
    assert evalkit("resume", path).returncode == 0
    assert answers.asked == [(100, "long 12"), (100, "short 13")]


def test_without_a_cut_off_answer_nothing_is_sent_or_changed(answers, server, data, tmp_path):
    path = started(server, data, tmp_path)
    result = evalkit("resume", path, "--cut-off", "--max-tokens", 100)
    assert result.returncode == 0, result.stderr
    answers.asked.clear()
    result = evalkit("resume", path, "--cut-off", "--max-tokens", 200)
    assert (result.returncode, answers.asked) == (0, [])
    assert "no answer was cut off at a token limit: none is sent again for that" in result.stderr
    assert len(raised_limits.raised_limits(ek.Run(path).info["settings"])) == 1


@pytest.mark.parametrize(
    ("flags_given", "message"),
    [
        (["--cut-off"], "--cut-off needs --max-tokens N"),
        (["--max-tokens", 100], "--max-tokens needs --cut-off"),
        (["--cut-off", "--max-tokens", 10], "the token limit 10 is not above that of the run, 10"),
        (["--cut-off", "--max-tokens", 0], "must be a whole number, 1 or more"),
    ],
)
def test_limits_that_cannot_help_are_refused(server, data, tmp_path, flags_given, message):
    path = started(server, data, tmp_path)
    before = path.read_bytes()
    result = evalkit("resume", path, *flags_given)
    assert result.returncode == 2
    assert message in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [5, [5], [{"after": 5}], [{**LIMIT, "after": "5"}], [{**LIMIT, "more": 1}]])
def test_a_file_with_other_limits_is_refused(tmp_path, value):
    path = said(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), settings={"raised_limits": value})
    with pytest.raises(RunFileError, match=r"raised_limits is .* a list of token limits was expected"):
        ek.Run(path).summary_json()
