"""``evalkit run`` and ``resume``: exit codes, both output streams, run files."""

import json
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from commands import evalkit, evalkit_process, flags
from runfiles import S, T, write

from evalkit.runfile import store
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve

KEY = "tkKNOWN1KNOWNKEYforTheTestsOnly42"


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


def test_run_prints_a_table_and_where_the_run_file_is(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    done = evalkit_process("run", sums(), *flags(server), "--out", out)
    assert done.returncode == 0, done.stderr
    for word in (
        "turn",
        "answered",
        "errors",
        "accuracy",
        "TTFT p50",
        "TPOT",
        "latency p50",
        "this client",
        f"run file: {out}",
    ):
        assert word in done.stdout.replace("\n", ""), word
    assert done.stderr == ""


def test_a_scorer_of_your_own_is_named_by_module_and_function(server, sums, tmp_path):
    source = "def ends(text, target):\n    return str(target) in text\n"
    (tmp_path / "own.py").write_text(source, encoding="utf-8")
    out = tmp_path / "r.evalkit"
    scorers = ("--scorer", "own:ends=3", "--scorer", "number")
    done = evalkit_process("run", sums(), *flags(server), *scorers, "--out", out, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["value"] == 1
    again = evalkit("resume", out, cwd=tmp_path)
    assert again.returncode == 2
    assert "name it with --scorer own:ends" in again.stderr.replace("\n", " ")
    finished = evalkit_process("resume", out, *scorers, cwd=tmp_path)
    assert finished.returncode == 0
    assert finished.stderr == "nothing was missing or failed: no turn was sent again\n"


@pytest.mark.parametrize("given", ["Be brief.", "@prompt.txt"])
def test_the_system_prompt_is_a_flag_or_a_file(server, sums, tmp_path, given):
    (tmp_path / "prompt.txt").write_text("Be brief.\n", encoding="utf-8")
    done = evalkit("run", sums(), *flags(server), "--system", given, "--out", "r.evalkit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'system prompt "Be brief."' in " ".join(done.stdout.split())
    with closing(store.open_to_read(tmp_path / "r.evalkit")) as file:
        stored = {json.loads(row)["system"] for (row,) in file.execute("SELECT row FROM conversation")}
    assert stored == {"Be brief."}


@pytest.mark.parametrize(
    ("name", "problem"), [("none.txt", "cannot be read: No such"), ("bad.txt", "is not UTF-8 text")]
)
def test_a_file_of_a_system_prompt_that_cannot_be_read_is_named(server, sums, tmp_path, name, problem):
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    done = evalkit("run", sums(), *flags(server), "--system", f"@{name}", "--out", "r.evalkit", cwd=tmp_path)
    assert done.returncode == 2
    assert f"--system: the file '{name}' {problem}" in " ".join(done.stderr.split())
    assert not (tmp_path / "r.evalkit").exists()


def test_an_unnamed_run_is_called_by_dataset_model_and_time(server, sums, tmp_path):
    assert evalkit("run", sums(), *flags(server), cwd=tmp_path).returncode == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("sums-scripted-2")
    assert made.suffix == ".evalkit"


def test_json_is_one_object_and_nothing_else(server, sums, tmp_path):
    done = evalkit("run", sums(), *flags(server), "--out", tmp_path / "r.evalkit", "--json")
    result = json.loads(done.stdout)
    assert list(result) == [
        "run", "turns", "answered", "errors", "accuracy", "accuracy_all", "ttft_ms", "latency_ms", "tpot_ms",
        "schedule_latency_ms", "interrupted", "turn_time_ms", "retries", "by_turn", "by_tag", "tags_left_out",
        "conversations", "repeats", "doubt", "scoring", "tokens", "trust", "wall_s", "turns_per_s", "cost", "until",
        "arrivals", "planned", "ignored_parameters", "answering_models", "caveats", "imported", "incomplete",
        "raised_limits", "checkup", "gates",
    ]  # fmt: skip
    assert (result["turns"], result["answered"], result["errors"]) == (6, 6, {})
    assert result["accuracy"]["value"] == 1.0
    assert result["ttft_ms"]["p99"] is None
    assert [row["turn"] for row in result["by_turn"]] == [1, 2]
    assert json.loads(evalkit("show", tmp_path / "r.evalkit", "--json").stdout) == result


def test_failed_turns_end_with_1_and_their_causes(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={2})])) as server:
        done = evalkit(
            "run", sums(2, 1), *flags(server), "--out", tmp_path / "r.evalkit", "--concurrency", 1, "--retries", 0
        )
    assert done.returncode == 1
    assert "1 × server: " in done.stdout


def test_an_endpoint_that_cannot_be_used_ends_with_3(sums, tmp_path):
    nobody = ["--base-url", "http://127.0.0.1:9", "--model", "m", "--retries", 0]
    done = evalkit("run", sums(), *nobody, "--out", tmp_path / "r.evalkit")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "error: The first 3 turns all failed the same way (connection), none was answered. "
        "Nothing listens on 127.0.0.1:9: is the server started, and is the port in the base URL right?\n"
        f"When that is fixed, continue with: evalkit resume {tmp_path / 'r.evalkit'}\n"
    )


def test_json_is_also_printed_when_the_endpoint_cannot_be_used(sums, tmp_path):
    nobody = ["--base-url", "http://127.0.0.1:9", "--model", "m", "--retries", 0]
    done = evalkit("run", sums(2, 1), *nobody, "--out", tmp_path / "r.evalkit", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["errors"] == {"connection": 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed", "error: --param 'seed': write it as KEY=JSON, for example --param seed=7\n"),
        ("stop=END", "error: --param stop: 'END' is not JSON; a string needs quotes: --param 'stop=\"END\"'\n"),
        ("model=1", "error: the parameter 'model' cannot be set: evalkit sets it itself\n"),
        ("top_p=NaN", "error: the parameter top_p is nan: JSON has no such number\n"),
    ],
)
def test_an_invalid_parameter_is_explained(server, sums, tmp_path, given, message):
    done = evalkit("run", sums(), *flags(server), "--param", given, "--out", tmp_path / "r.evalkit")
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--temperature", "nan", "the parameter temperature is nan: JSON has no such number"),
        ("--timeout", "inf", "timeout_s is inf: it must be 31,622,400 seconds at most"),
        ("--ttft-timeout", "nan", "ttft_timeout_s is nan: it must be a number of seconds above 0"),
        ("--max-time", "1e10", "max_time_s is 10000000000.0: it must be 31,622,400 at most"),
        ("--tpm", "inf", "tpm is inf: it must be 1,000,000,000,000 at most"),
    ],
)
def test_an_invalid_limit_is_refused_before_a_request_is_sent(server, sums, tmp_path, flag, value, message):
    done = evalkit("run", sums(), *flags(server), flag, value, "--out", tmp_path / "r.evalkit")
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    assert not (tmp_path / "r.evalkit").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_keeps_the_answers_and_says_how_to_continue(sums, tmp_path, number, code):
    data, out = sums(150, 1), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=50))) as server:
        command = [sys.executable, "-m", "evalkit.cli", "run", data, *flags(server), "--out", out, "--concurrency", "2"]
        as_background_job = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
        with subprocess.Popen(as_background_job, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            until = time.monotonic() + 30
            while server.stats()["requests"] < 6 and time.monotonic() < until:
                time.sleep(0.05)
            child.send_signal(number)
            stdout, stderr = child.communicate(timeout=30)
        assert child.returncode == code, stderr
        assert stdout == ""
        *before, last = stderr.splitlines()
        assert last == f"stopped. The answers so far are in {out}; continue with: evalkit resume {out}"
        assert all(line.startswith("stopping: ") for line in before)
        assert evalkit("show", out).returncode == 0
        seen = server.stats()["requests"]
        assert 6 <= seen < 150
        resumed = evalkit("resume", out, "--json")
    assert resumed.returncode == 0
    assert "nothing was missing" not in resumed.stderr
    assert json.loads(resumed.stdout)["answered"] == 150


def test_run_without_a_check_sends_before_the_dataset_is_read(server, sums, tmp_path):
    data = sums()
    with data.open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    out = tmp_path / "r.evalkit"
    checked = evalkit("run", data, *flags(server), "--out", out)
    assert checked.returncode == 2
    assert not out.exists()
    unchecked = evalkit("run", data, *flags(server), "--out", out, "--no-check")
    assert unchecked.returncode == 2
    assert unchecked.stderr == checked.stderr
    assert json.loads(evalkit("show", out, "--json").stdout)["answered"] > 0


def test_an_invalid_concurrency_is_explained(sums):
    wrong = evalkit("run", sums(), "--concurrency", "many")
    assert wrong.returncode == 2
    assert "argument --concurrency: 'many' is neither a whole number nor 'auto'" in wrong.stderr


def test_a_run_whose_budget_is_used_up_says_how_to_continue(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    done = evalkit("run", sums(30, 1), *flags(server), "--out", out, "--concurrency", 1, "--max-tokens-total", 60)
    assert done.returncode == 0
    assert done.stderr == f"--max-tokens-total is used up. Continue with: evalkit resume {out}\n"
    assert "not been run yet" in done.stdout


def test_a_cost_limit_needs_prices_and_keeps_to_them(server, sums, tmp_path):
    out, prices = tmp_path / "r.evalkit", tmp_path / "prices.toml"
    ask = ("run", sums(30, 1), *flags(server), "--out", out, "--concurrency", 1, "--max-cost", 0.005)
    wrong = evalkit(*ask, "--prices", prices)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: there is no price file {prices}, which is needed for the cost")
    assert not out.exists()
    prices.write_text("[scripted]\nprompt = 100\noutput = 100\n", encoding="utf-8")
    done = evalkit(*ask, "--prices", prices)
    assert done.stderr == f"--max-cost is used up. Continue with: evalkit resume {out}\n"


def test_a_run_at_a_rate_shows_times_from_the_schedule(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    done = evalkit("run", sums(20, 1), *flags(server), "--out", out, "--rate", 100, "--arrivals", "poisson")
    assert done.returncode == 0
    assert "from schedule" in done.stdout
    result = json.loads(evalkit("show", out, "--json").stdout)
    assert result["schedule_latency_ms"]["p50"] >= result["latency_ms"]["p50"]


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_for_cut_off_answers_that_is_none_is_refused_before_anything_is_said(tmp_path, limit):
    write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    done = evalkit("resume", tmp_path / "r.evalkit", "--cut-off", "--max-tokens", limit)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --max-tokens")
