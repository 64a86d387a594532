"""``evalkit run`` with several models or addresses: who is asked, what is printed, how it ends."""

import json

import pytest
from answering import answering, rows, whole
from commands import evalkit

from evalkit.cli import several_runs
from evalkit.cli.main import command_parser
from evalkit.errors import SettingsError


def lines(*arguments):
    parsed = command_parser().parse_command_line(["run", "data/d.jsonl", *arguments])
    return several_runs.command_lines(parsed)


@pytest.mark.parametrize(("arguments", "expected"), [
    ((), [(None, None)]),
    (("--model", "a"), [(None, "a")]),
    (("--model", "a", "--model", "b"), [(None, "a"), (None, "b")]),
    (("--base-url", "u", "--model", "a", "--model", "b"), [("u", "a"), ("u", "b")]),
    (("--base-url", "u", "--base-url", "v", "--model", "a"), [("u", "a"), ("v", "a")]),
    (("--base-url", "u", "--base-url", "v", "--model", "a", "--model", "b"), [("u", "a"), ("v", "b")]),
])  # fmt: skip
def test_pairs_if_both_are_given_equally_often_else_the_single_one_is_for_all(arguments, expected):
    assert [(line.base_url, line.model) for line in lines(*arguments)] == expected


@pytest.mark.parametrize(("arguments", "problem"), [
    ("--model a --model b --base-url u --base-url v --base-url w", "--model is given 2 times and --base-url 3 times"),
    ("--model a --model b --model c --api-key-env K --api-key-env L", "--api-key-env is given 2 times and --model 3"),
    ("--model a --model a", "one endpoint is named twice: to run the dataset several times, use --repeats"),
    ("--model a --model b --junit x.xml", "--junit is the file of one run, and several endpoints are named"),
])  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(arguments, problem):
    with pytest.raises(SettingsError) as caught:
        lines(*arguments.split())
    assert str(caught.value).startswith(problem)


def of_datasets(*arguments):
    return several_runs.command_lines(command_parser().parse_command_line(["run", *arguments]))


@pytest.mark.parametrize(("arguments", "problem"), [
    ("d.jsonl d.jsonl", "one dataset is named twice: to run it several times, use --repeats"),
    ("d.jsonl ./d.jsonl", "one dataset is named twice"),
    ("d.jsonl e.jsonl --junit x.xml", "--junit is the file of one run, and several datasets are named"),
])  # fmt: skip
def test_datasets_that_do_not_go_together_are_refused(arguments, problem):
    with pytest.raises(SettingsError) as caught:
        of_datasets(*arguments.split())
    assert str(caught.value).startswith(problem)


def test_a_run_file_for_each_dataset(tmp_path):
    def outs(out, *arguments):
        return [str(line.out.relative_to(tmp_path)) for line in of_datasets(*arguments, "-o", str(out))]

    into = tmp_path / "runs"
    into.mkdir()
    assert outs(into, "d.jsonl", "e.csv") == ["runs/d.evalkit", "runs/e.evalkit"]
    assert outs(into, "a/d.jsonl", "b/d.jsonl", "c.csv") == ["runs/a-d.evalkit", "runs/b-d.evalkit", "runs/c.evalkit"]
    assert outs(tmp_path / "r.evalkit", "d.jsonl", "e.csv") == ["r-d.evalkit", "r-e.evalkit"]
    assert outs(tmp_path / "r.evalkit", "d.jsonl") == ["r.evalkit"]
    two = ("--model", "m", "--model", "n")
    assert outs(tmp_path / "r.evalkit", "d.jsonl", "e.csv", *two) == [
        "r-d-m.evalkit", "r-e-m.evalkit", "r-d-n.evalkit", "r-e-n.evalkit",
    ]  # fmt: skip
    assert {line.out for line in of_datasets("d.jsonl", "e.csv")} == {None}


def test_each_dataset_is_run_and_nothing_is_compared(tmp_path):
    data = [rows(tmp_path / f"{name}.jsonl", 2) for name in "de"]
    with answering(lambda body, n: whole("35")) as url:
        given = ("run", *data, "--base-url", url, "--model", "m", "--no-stream", "-o")
        shown = evalkit(*given, "r.evalkit", cwd=tmp_path)
        printed = evalkit(*given, "j.evalkit", "--json", cwd=tmp_path)
    assert (shown.returncode, shown.stderr, printed.stderr) == (0, "", "")
    assert [word in shown.stdout for word in ("d.jsonl against m", "e.jsonl against m", "comparison")] == [1, 1, 0]
    result = json.loads(printed.stdout)
    assert result["comparisons"] == []
    assert [(run["data"], run["file"], run["answered"]) for run in result["runs"]] == [
        (str(data[0]), "j-d.evalkit", 2), (str(data[1]), "j-e.evalkit", 2),
    ]  # fmt: skip


def test_several_models_on_several_datasets_are_compared_on_each(tmp_path):
    data = [rows(tmp_path / f"{name}.jsonl", 2) for name in "de"]
    with answering(lambda body, n: whole("35")) as url:
        given = ("run", *data, "--base-url", url, "--model", "m", "--model", "n", "--no-stream", "--json")
        result = json.loads(evalkit(*given, "-o", "r.evalkit", cwd=tmp_path).stdout)
    assert [run["file"] for run in result["runs"]] == [
        "r-d-m.evalkit", "r-e-m.evalkit", "r-d-n.evalkit", "r-e-n.evalkit",
    ]  # fmt: skip
    assert [each["data"] for each in result["comparisons"]] == list(map(str, data))
    assert [each["comparison"]["pairs"] for each in result["comparisons"]] == [2, 2]


def test_a_dataset_that_cannot_be_used_does_not_keep_the_others_from_being_run(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(rows(tmp_path / "d.jsonl", 2).read_text() + "{}\n", encoding="utf-8")
    with answering(lambda body, n: whole("35")) as url:
        given = ("run", bad, tmp_path / "d.jsonl", "--base-url", url, "--model", "m", "--no-stream", "--json")
        done = evalkit(*given, cwd=tmp_path)
    first, second = json.loads(done.stdout)["runs"]
    assert (done.returncode, first["exit_code"], second["exit_code"], second["answered"]) == (2, 2, 0, 2)
    assert "bad.jsonl, line 3" in first["error"]


def test_an_interrupt_says_how_many_runs_were_not_started(tmp_path):
    def interrupted(line, endpoint):
        raise KeyboardInterrupt

    parsed = of_datasets("a.jsonl", "b.jsonl", "c.jsonl", "--base-url", "http://127.0.0.1:9", "--model", "m")
    with pytest.raises(KeyboardInterrupt) as stop:
        several_runs.run_each(parsed[0], parsed, interrupted)
    assert stop.value.__notes__ == ["2 further runs were not started"]


def test_a_dry_run_of_several_shows_each(tmp_path):
    data = [rows(tmp_path / f"{name}.jsonl", 2) for name in "de"]
    given = ("run", *data, "--dry-run", "--base-url", "http://127.0.0.1:9", "--model", "m")
    assert evalkit(*given, cwd=tmp_path).stdout.count("m (http://127.0.0.1:9/v1): a dry run, nothing is sent") == 2
    result = json.loads(evalkit(*given, "--json", cwd=tmp_path).stdout)
    assert [(each["data"], each["requests"]) for each in result["runs"]] == [(str(path), 2) for path in data]


def test_a_run_file_for_each(tmp_path):
    def outs(out, *arguments):
        return [line.out.name for line in lines("--out", str(out), *arguments)]

    two = ("--model", "org/a", "--model", "b")
    assert outs(tmp_path / "r.evalkit", *two) == ["r-org-a.evalkit", "r-b.evalkit"]
    assert outs(tmp_path, *two) == ["d-org-a.evalkit", "d-b.evalkit"]
    same = ("--model", "a", "--base-url", "http://one:1/v1", "--base-url", "http://two:2/v1")
    assert outs(tmp_path / "r", *same) == ["r-a-one-1-v1", "r-a-two-2-v1"]


def test_each_model_is_run_and_the_runs_are_compared(tmp_path):
    asked = []

    def reply(body, number):
        asked.append(body["model"])
        return whole("35" if body["model"] == "good" else "36")

    data = rows(tmp_path / "d.jsonl", 3)
    with answering(reply) as url:
        flags = ("--base-url", url, "--model", "good", "--model", "bad", "--no-stream")
        shown = evalkit("run", data, *flags, "--out", "r.evalkit", cwd=tmp_path)
        printed = evalkit("run", data, *flags, "--out", "j.evalkit", "--json", cwd=tmp_path)
    assert shown.returncode == printed.returncode == 0, shown.stderr + printed.stderr
    assert asked == [*["good"] * 3, *["bad"] * 3] * 2
    for word in ("d.jsonl against good", "d.jsonl against bad", "A  r-good.evalkit", "B  r-bad.evalkit"):
        assert word in shown.stdout
    result = json.loads(printed.stdout)
    assert [(run["model"], run["file"], run["answered"]) for run in result["runs"]] == [
        ("good", "j-good.evalkit", 3), ("bad", "j-bad.evalkit", 3),
    ]  # fmt: skip
    assert [run["accuracy"]["value"] for run in result["runs"]] == [1, 0]
    assert result["comparison"] is not None


def test_an_endpoint_that_cannot_be_used_does_not_keep_the_others_from_being_run(tmp_path):
    data = rows(tmp_path / "d.jsonl", 2)
    with answering(lambda body, n: whole()) as url:
        done = evalkit(
            "run", data, "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--base-url", url, "--no-stream",
            "--retries", "0", "--json", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 3
    first, second = json.loads(done.stdout)["runs"]
    assert (first["exit_code"], second["exit_code"], second["answered"]) == (3, 0, 2)
    assert first["error"]
    assert json.loads(done.stdout)["comparison"] is None
    assert "no comparison: it needs two runs" in done.stderr
