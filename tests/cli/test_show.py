"""``evalkit show`` and ``export`` in processes of their own."""

import json
import subprocess
import sys
import time

import pandas as pd
import pytest
from commands import evalkit, evalkit_process, flags
from comparing import said
from runfiles import S, T, write

from evalkit.scripted.server import Arithmetic, Law, Script, serve


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_export_has_one_row_per_turn_and_the_columns_of_the_design(server, sums, tmp_path, form):
    out, exported = tmp_path / "r.evalkit", tmp_path / f"turns.{form}"
    evalkit("run", sums(), *flags(server), "--out", out)
    done = evalkit("export", out, "-o", exported)
    assert (done.returncode, done.stderr) == (0, f"6 turns written to {exported}\n")
    read = {"jsonl": lambda path: pd.read_json(path, lines=True), "csv": pd.read_csv, "parquet": pd.read_parquet}[form]
    table = read(exported)
    assert list(table.columns) == [
        "conversation", "repeat", "turn", "status", "answer", "tool_calls", "finish_reason", "error_kind",
        "error_message", "http_status", "attempts", "ttft_ms", "latency_ms", "tpot_ms", "prompt_tokens",
        "output_tokens", "token_source", "score", "scorer", "extracted", "tags", "group",
        "outcome", "refusal", "reasoning", "reasoning_tokens", "cached_tokens", "cache_write_tokens", "logprobs",
        "question", "target", "reason", "model",
    ]  # fmt: skip
    assert table["status"].tolist() == ["answered"] * 6
    assert table["model"].tolist() == ["scripted"] * 6
    assert table["conversation"].tolist() == ["sum-0", "sum-0", "sum-1", "sum-1", "sum-2", "sum-2"]


def test_export_json_has_the_number_of_rows(server, sums, tmp_path):
    out, exported = tmp_path / "r.evalkit", tmp_path / "x.csv"
    evalkit("run", sums(), *flags(server), "--out", out)
    done = evalkit("export", out, "--format", "csv", "-o", exported, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"file": str(exported), "format": "csv", "rows": 6}


@pytest.mark.parametrize(
    ("name", "form"),
    [("x.csv", "csv"), ("x.CSV", "csv"), ("x.jsonl", "jsonl"), ("x.ndjson", "jsonl"), ("x.parquet", "parquet")],
)
def test_the_format_of_an_export_is_what_the_name_ends_in(tmp_path, name, form):
    write(tmp_path / "r.evalkit", [S([T("a", 1)])])
    done = evalkit("export", "r.evalkit", "-o", name, "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"file": name, "format": form, "rows": 1}
    assert json.loads(
        evalkit("export", "r.evalkit", "-o", name, "--format", "csv", "--overwrite", "--json", cwd=tmp_path).stdout
    ) == {"file": name, "format": "csv", "rows": 1}


@pytest.mark.parametrize("name", ["x", "x.json", "x.csv.gz", "-"])
def test_a_name_without_a_format_is_refused(tmp_path, name):
    write(tmp_path / "r.evalkit", [S([T("a", 1)])])
    done = evalkit("export", "r.evalkit", "-o", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not say which format to write: let it end in .jsonl, .csv or .parquet, or add --format" in done.stderr


def test_a_dash_writes_to_standard_output_and_nothing_else_there(tmp_path):
    write(tmp_path / "r.evalkit", [S([T("a", 1), T("b", 1)])])
    done = evalkit_process("export", "r.evalkit", "-o", "-", "--format", "jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["conversation"] for line in done.stdout.splitlines()] == ["a", "b"]
    with (tmp_path / "turns.csv").open("w") as file:
        file.write("before\n")
        file.flush()
        command = [sys.executable, "-m", "evalkit.cli", "export", "r.evalkit", "-o", "-", "--format", "csv"]
        subprocess.run(command, stdout=file, cwd=tmp_path, check=True)
    assert (tmp_path / "turns.csv").read_text().startswith("before\nconversation,repeat,turn")
    both = evalkit("export", "r.evalkit", "-o", "-", "--format", "csv", "--json", cwd=tmp_path)
    assert json.loads(both.stdout) == {"error": "--json and -o - both write to standard output: omit one", "exit": 2}


@pytest.mark.parametrize(("form", "begins"), [(None, "<!DOCTYPE html>"), ("html", "<!DOCTYPE html>"), ("md", "#")])
def test_a_report_on_standard_output(tmp_path, form, begins):
    file = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    said(file, endpoint={"base_url": "http://127.0.0.1:9/v1", "model": "m", "params": {}}, dataset={"path": "d.jsonl"})
    given = ("report", "r.evalkit", "-o", "-", *(("--format", form) if form else ()))
    done = evalkit_process(*given, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(begins)
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".html", ".md")] == []


def test_show_reads_a_running_run(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=100))) as server:
        command = [sys.executable, "-m", "evalkit.cli", "run", sums(300, 1), *flags(server), "--out", out]
        with subprocess.Popen(
            [*command, "--concurrency", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            until = time.monotonic() + 30
            while server.stats()["requests"] < 4 and time.monotonic() < until:
                time.sleep(0.05)
            shown = evalkit("show", out, "--json")
            second = evalkit("resume", out)
            child.terminate()
            child.communicate(timeout=30)
    assert shown.returncode == 0
    assert 0 < json.loads(shown.stdout)["turns"] < 300
    assert second.returncode == 2
    assert second.stderr == (
        f"error: {out} is in use: another evalkit is writing to it. "
        "Wait for it, or read it meanwhile with 'evalkit show'\n"
    )


def test_times_by_the_definitions_of_another_tool(tmp_path):
    run = write(tmp_path / "r.evalkit", [S([T("a", 1, ttft_ms=100, latency_ms=500, tokens=5)], end_ms=1000)])
    done = evalkit("show", run, "--as", "guidellm", env={"COLUMNS": "120"})
    assert (done.returncode, done.stderr) == (0, "")
    (tpot,) = (line.split() for line in done.stdout.splitlines() if line.startswith("TPOT, ms"))
    assert tpot[3:] == ["100.00", "100.00", "100.00", "100.00", "–", "100.00"]  # ours 400 / 4, theirs 500 / 5
    assert "it includes the first token" in done.stdout
    found = json.loads(evalkit("show", run, "--as", "aiperf", "--json").stdout)
    assert (found["tool"], found["figures"][1]["theirs"]["mean"]) == ("aiperf", 100)
    assert found["figures"][2]["missing"] == "the tool has no such metric"
    for more in (["--conversation", "a"], ["--fail-under", "errors<=1%"], ["--over-repeats", "2"]):
        refused = evalkit("show", run, "--as", "vllm", *more)
        assert (refused.returncode, "--as" in refused.stderr) == (2, True)
