"""The command as its user types it: real processes, exit codes, what stands on which stream."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from commands import evalkit, flags
from raw_server import RawServer, answer, completion, writes

from evalkit.cli.main import command_parser, main
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve

KEY = "tkKNOWN1KNOWNKEYforTheTestsOnly42"


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


def test_run_prints_a_table_and_where_the_run_file_is(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    done = evalkit("run", sums(), *flags(server), "--out", out)
    assert done.returncode == 0, done.stderr
    for word in (
        "turn",
        "answered",
        "errors",
        "accuracy",
        "TTFT p50",
        "TPOT",
        "latency p50",
        "trust:",
        f"run file: {out}",
    ):
        assert word in done.stdout.replace("\n", ""), word
    assert done.stderr == ""


def test_a_scorer_of_one_s_own_is_named_by_module_and_function(server, sums, tmp_path):
    source = "def ends(text, target):\n    return str(target) in text\n"
    (tmp_path / "own.py").write_text(source, encoding="utf-8")
    out = tmp_path / "r.evalkit"
    scorers = ("--scorer", "own:ends=3", "--scorer", "number")
    done = evalkit("run", sums(), *flags(server), *scorers, "--out", out, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["value"] == 1
    again = evalkit("resume", out, cwd=tmp_path)
    assert again.returncode == 2
    assert "name it with --scorer own:ends" in again.stderr.replace("\n", " ")
    assert evalkit("resume", out, *scorers, cwd=tmp_path).returncode == 0


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
        "arrivals", "planned", "ignored_parameters", "answering_models", "caveats", "gates",
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
        f"When that is mended, go on with: evalkit resume {tmp_path / 'r.evalkit'}\n"
    )


def test_json_comes_also_when_the_endpoint_cannot_be_used(sums, tmp_path):
    nobody = ["--base-url", "http://127.0.0.1:9", "--model", "m", "--retries", 0]
    done = evalkit("run", sums(2, 1), *nobody, "--out", tmp_path / "r.evalkit", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["errors"] == {"connection": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "missing.jsonl"],
        ["run", "missing.jsonl", "--history", "both"],
        ["show", "missing.evalkit"],
        ["resume", "missing.evalkit"],
        ["export", "missing.evalkit", "--format", "csv", "-o", "x.csv"],
        ["frobnicate"],
        [],
    ],
)
def test_wrong_usage_and_bad_input_end_with_2_and_say_why(arguments, tmp_path):
    done = evalkit(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "missing" in done.stderr or "usage:" in done.stderr or " --help'" in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed", "error: --param 'seed': write it as KEY=JSON, for example --param seed=7\n"),
        ("stop=END", "error: --param stop: 'END' is not JSON; a text needs quotes: --param 'stop=\"END\"'\n"),
        ("model=1", "error: the parameter 'model' cannot be set: evalkit writes it itself\n"),
        ("top_p=NaN", "error: the parameter top_p is nan: JSON has no such number\n"),
    ],
)
def test_a_parameter_that_cannot_be_is_explained(server, sums, tmp_path, given, message):
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
def test_a_number_that_cannot_be_a_limit_is_refused_before_anything_is_asked(
    server, sums, tmp_path, flag, value, message
):
    done = evalkit("run", sums(), *flags(server), flag, value, "--out", tmp_path / "r.evalkit")
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    assert not (tmp_path / "r.evalkit").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_keeps_what_was_answered_and_says_how_to_go_on(sums, tmp_path, number, code):
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
        assert last == f"stopped. What was answered is in {out}; go on with: evalkit resume {out}"
        assert all(line.startswith("stopping: ") for line in before)
        assert evalkit("show", out).returncode == 0
        seen = server.stats()["requests"]
        assert 6 <= seen < 150
        resumed = evalkit("resume", out, "--json", timeout=120)
    assert resumed.returncode == 0
    assert json.loads(resumed.stdout)["answered"] == 150


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_export_has_one_row_a_turn_and_the_columns_of_the_design(server, sums, tmp_path, form):
    out, exported = tmp_path / "r.evalkit", tmp_path / f"turns.{form}"
    evalkit("run", sums(), *flags(server), "--out", out)
    done = evalkit("export", out, "--format", form, "-o", exported)
    assert (done.returncode, done.stderr) == (0, f"6 turns written to {exported}\n")
    read = {"jsonl": lambda path: pd.read_json(path, lines=True), "csv": pd.read_csv, "parquet": pd.read_parquet}[form]
    table = read(exported)
    assert list(table.columns) == [
        "conversation", "repeat", "turn", "status", "answer", "tool_calls", "finish_reason", "error_kind",
        "error_message", "http_status", "attempts", "ttft_ms", "latency_ms", "tpot_ms", "prompt_tokens",
        "output_tokens", "token_source", "score", "scorer", "extracted", "tags", "group",
        "outcome", "refusal", "reasoning",
    ]  # fmt: skip
    assert table["status"].tolist() == ["answered"] * 6
    assert table["conversation"].tolist() == ["sum-0", "sum-0", "sum-1", "sum-1", "sum-2", "sum-2"]


def test_ask_prints_answer_and_timing_turn_by_turn(server):
    done = evalkit("ask", "What is 2 + 3?", "What is 4 + 5?", *flags(server))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert "5" in lines[0]
    assert "9" in lines[2]
    assert lines[1].startswith("[first token after ")


def test_ask_json_is_one_object_also_when_a_turn_failed(server):
    done = evalkit("ask", "What is 2 + 3?", "What is 4 + 5?", *flags(server), "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["model"], [turn["turn"] for turn in result["turns"]]) == (0, "scripted", [1, 2])
    assert "9" in result["turns"][1]["answer"]
    assert result["turns"][0]["error"] is None
    assert result["turns"][0]["latency_ms"] >= result["turns"][0]["ttft_ms"] > 0
    nobody = evalkit("ask", "hello", "--base-url", "http://127.0.0.1:9", "--model", "m", "--json")
    (turn,) = json.loads(nobody.stdout)["turns"]
    assert (nobody.returncode, turn["answer"], turn["latency_ms"]) == (3, None, None)
    assert turn["error"].startswith("connection: ")
    assert nobody.stderr.startswith("connection: ")


def test_ask_says_when_a_stream_came_at_once():
    fault = Fault("buffered")
    with serve(Script(faults=[fault], law=Law(ttft_ms=5, itl_ms=10, tokens=8))) as server:
        shown = evalkit("ask", "hello", *flags(server))
        told = evalkit("ask", "hello", *flags(server), "--json")
    assert "; it came nearly at once: its first-token time is that of the whole answer]" in shown.stdout
    assert "buffered" in json.loads(told.stdout)["turns"][0]["flags"]


@pytest.mark.parametrize(
    ("message", "asked", "shown"),
    [
        ({"text": None, "refusal": "I cannot help."}, "I cannot help.", "  refusal I cannot help."),
        ({"text": "", "reasoning_content": "let me see"}, "(only reasoning) let me see", "  reasoning let me see"),
        ({"text": "\n", "reasoning": "let me see"}, "(only reasoning) let me see", "  reasoning let me see"),
        ({"text": "35", "reasoning": "let me see"}, "35", "  answer 35"),
    ],
)
def test_a_refusal_and_reasoning_alone_are_shown_as_what_they_are(tmp_path, message, asked, shown):
    out, data = tmp_path / "r.evalkit", tmp_path / "d.jsonl"
    data.write_text('{"id": "a", "turns": [{"user": "hello", "target": "x", "scorer": "exact"}]}\n')

    async def both():
        async with RawServer(writes(answer("200 OK", completion(**message)))) as raw:
            where = ["--base-url", raw.url, "--model", "m", "--no-stream"]
            once = await asyncio.to_thread(evalkit, "ask", "hello", *where)
            told = await asyncio.to_thread(evalkit, "ask", "hello", *where, "--json")
            await asyncio.to_thread(evalkit, "run", data, *where, "--out", out)
        return once, json.loads(told.stdout)["turns"][0]

    once, told = asyncio.run(both())
    assert once.stdout.splitlines()[0] == asked
    assert (told["refusal"], told["reasoning"]) == (
        message.get("refusal"), message.get("reasoning") or message.get("reasoning_content"),
    )  # fmt: skip
    assert shown in evalkit("show", out, "--conversation", "a").stdout.splitlines()


def test_export_json_tells_the_rows(server, sums, tmp_path):
    out, exported = tmp_path / "r.evalkit", tmp_path / "x.csv"
    evalkit("run", sums(), *flags(server), "--out", out)
    done = evalkit("export", out, "--format", "csv", "-o", exported, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"file": str(exported), "format": "csv", "rows": 6}


def test_serve_json_is_one_line_and_tells_no_key_that_was_given():
    command = [sys.executable, "-m", "evalkit.cli", "serve", "--json", "--key", "MY_KEY"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MY_KEY": KEY}) as child:
        told = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=30)
    assert (child.returncode, rest) == (130, "")
    assert told["base_url"].startswith("http://127.0.0.1:")
    assert (told["key_env"], told["api_key"]) == ("MY_KEY", None)


def test_a_megabyte_of_answer_is_printed_whole():
    with serve(Script(answer=lambda body: "wort " * 200_000)) as server:
        done = evalkit("ask", "hello", *flags(server))
    assert done.stdout.splitlines()[0].strip() == ("wort " * 200_000).strip()


@pytest.mark.parametrize(
    ("command", "message"),
    [("show", "{0} is a folder: name a run file in it, such as {0}/x.evalkit"),
     ("run", "{0}/x.evalkit: is a run file, not a dataset: 'evalkit show' shows it, 'evalkit resume' goes on")],
)  # fmt: skip
def test_a_folder_or_a_run_file_in_the_wrong_place_is_named(tmp_path, command, message):
    (tmp_path / "x.evalkit").touch()
    done = evalkit(command, tmp_path if command == "show" else tmp_path / "x.evalkit")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message.format(tmp_path)}\n")


def test_ask_shows_a_hostile_answer_as_text():
    with serve(Script(answer=lambda body: "\x1b[2J\x1b]0;owned\x07[bold]hi[/bold]")) as server:
        done = evalkit("ask", "hello", *flags(server))
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[bold]hi[/bold]" in done.stdout


def test_help_names_every_command_the_exit_codes_and_the_variables():
    text = evalkit("--help").stdout
    for word in (
        "demo",
        "serve",
        "ask",
        "run",
        "resume",
        "show",
        "export",
        "exit codes",
        "SERVICE_HOST",
        "OPENAI_BASE_URL",
    ):
        assert word in text
    for command in ("demo", "serve", "ask", "run", "resume", "show", "export"):
        shown = evalkit(command, "--help")
        assert shown.returncode == 0
        assert "example:" in shown.stdout


def test_no_flag_takes_a_key_only_the_name_of_its_variable():
    commands = command_parser()._subparsers._group_actions[0].choices
    keys = {flag for parser in commands.values() for flag in parser._option_string_actions if "key" in flag}
    assert keys == {"--key", "--api-key-env"}
    refused = evalkit("serve", "--key", "tk-a-key-and-no-variable")
    assert refused.returncode == 2
    assert "is named as the variable of the API key, but it is not set" in refused.stderr


def test_run_begins_at_once_without_a_check(server, sums, tmp_path):
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


def test_version():
    assert evalkit("--version").stdout.startswith("evalkit 0.")


def test_show_of_a_run_under_way(sums, tmp_path):
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


def test_the_key_is_in_no_file_output_or_process_list(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic(), key=KEY, law=Law(ttft_ms=100))) as server:
        command = [sys.executable, "-m", "evalkit.cli", "run", sums(20, 1), *flags(server), "--out", out]
        with subprocess.Popen(
            [*command, "--api-key-env", "MY_KEY"], env={**os.environ, "MY_KEY": KEY},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as child:  # fmt: skip
            until = time.monotonic() + 30
            while server.stats()["requests"] < 4 and time.monotonic() < until:
                time.sleep(0.05)
            listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
            during = b"".join(path.read_bytes() for path in tmp_path.iterdir())
            stdout, stderr = child.communicate(timeout=60)
        assert child.returncode == 0, stderr
        for form in ("jsonl", "csv", "parquet"):
            evalkit("export", out, "--format", form, "-o", tmp_path / f"x.{form}")
        wrong = evalkit(
            "run", sums(3, 1), *flags(server), "--out", tmp_path / "wrong.evalkit", "--api-key-env", "MY_KEY",
            env={"MY_KEY": KEY.swapcase()},
        )  # fmt: skip
        assert wrong.returncode == 3
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    for place in (listed, during, stdout, stderr, written, wrong.stderr.encode()):
        assert KEY.encode() not in place
        assert KEY.swapcase().encode() not in place
        assert KEY[3:14].encode() not in place


def test_the_key_of_the_embedded_endpoint_is_nowhere_either(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    env = {"EVALKIT_LOCAL_KEY": KEY}
    done = evalkit("run", sums(2, 1), "--out", out, "--max-tokens", 8, env=env)
    assert done.returncode == 0, done.stderr
    evalkit("export", out, "--format", "jsonl", "-o", tmp_path / "x.jsonl")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert KEY not in done.stdout + done.stderr
    assert KEY.encode() not in written
    assert done.stderr == "no endpoint is named: the embedded model answers, on this machine\n"


def test_a_concurrency_that_cannot_be_is_explained(sums):
    wrong = evalkit("run", sums(), "--concurrency", "many")
    assert wrong.returncode == 2
    assert "argument --concurrency: 'many' is neither a whole number nor 'auto'" in wrong.stderr


def test_a_budget_that_is_used_up_says_how_to_go_on(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    done = evalkit("run", sums(30, 1), *flags(server), "--out", out, "--concurrency", 1, "--max-tokens-total", 60)
    assert done.returncode == 0
    assert done.stderr == f"--max-tokens-total is used up. What is missing is asked by: evalkit resume {out}\n"
    assert "are still to be asked" in done.stdout


def test_a_cost_limit_needs_prices_and_keeps_to_them(server, sums, tmp_path):
    out, prices = tmp_path / "r.evalkit", tmp_path / "prices.toml"
    ask = ("run", sums(30, 1), *flags(server), "--out", out, "--concurrency", 1, "--max-cost", 0.005)
    wrong = evalkit(*ask, "--prices", prices)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: there is no price file {prices}, which is needed for the cost")
    assert not out.exists()
    prices.write_text("[scripted]\nprompt = 100\noutput = 100\n", encoding="utf-8")
    done = evalkit(*ask, "--prices", prices)
    assert done.stderr == f"--max-cost is used up. What is missing is asked by: evalkit resume {out}\n"


def test_a_schedule_of_arrivals_shows_the_times_from_it(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    done = evalkit("run", sums(20, 1), *flags(server), "--out", out, "--rate", 100, "--arrivals", "poisson")
    assert done.returncode == 0
    assert "from schedule" in done.stdout
    result = json.loads(evalkit("show", out, "--json").stdout)
    assert result["schedule_latency_ms"]["p50"] >= result["latency_ms"]["p50"]


def test_a_fault_in_evalkit_is_told_without_what_could_drive_the_terminal(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("\x1b]0;pwn\x07")

    monkeypatch.setattr("evalkit.cli.main.show", broken)
    assert main(["show", str(tmp_path)]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ValueError: \ufffd]0;pwn\ufffd" in err
