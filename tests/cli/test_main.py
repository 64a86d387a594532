"""The command line as a whole: wrong usage, help, exit codes, and an API key that no output holds."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from commands import evalkit, evalkit_process, flags
from runfiles import S, T, write

from evalkit.cli.main import command_parser, main
from evalkit.scripted.server import Arithmetic, Law, Script, serve

KEY = "tkKNOWN1KNOWNKEYforTheTestsOnly42"


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


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
    ("command", "message"),
    [("show", "{0} is a folder: name a run file in it, such as {0}/x.evalkit"),
     ("run", "{0}/x.evalkit: is a run file, not a dataset: 'evalkit show' shows it, 'evalkit resume' continues it")],
)  # fmt: skip
def test_a_folder_or_a_run_file_in_the_wrong_place_is_named(tmp_path, command, message):
    (tmp_path / "x.evalkit").write_bytes(b"SQLite format 3\0")
    done = evalkit(command, tmp_path if command == "show" else tmp_path / "x.evalkit")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message.format(tmp_path)}\n")


@pytest.mark.parametrize("where", ["x" * 300, "loop.evalkit", "loop.evalkit/x", "long.evalkit"])
@pytest.mark.parametrize(
    "arguments",
    [
        "list {}",
        "history {} {}",
        "history data.jsonl {}",
        "view {}",
        "show {}",
        "compare {} {}",
        "data {}",
        "run data.jsonl --base-url http://127.0.0.1:9/v1 --model m --no-check --out {}",
        "run {} --base-url http://127.0.0.1:9/v1 --model m --dry-run",
        "import {} --out i.evalkit",
    ],
)
def test_a_place_that_the_system_refuses_is_named(tmp_path, arguments, where):
    (tmp_path / "data.jsonl").write_text('{"id": "a", "turns": [{"user": "hi"}]}\n')
    (tmp_path / "loop.evalkit").symlink_to("loop.evalkit")
    (tmp_path / "long.evalkit").symlink_to("y" * 300)
    done = evalkit(*arguments.format(where, where).split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert where.partition("/")[0] in done.stderr


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
    assert keys == {"--key", "--api-key-env", "--against-api-key-env", "--client-key-env"}
    refused = evalkit("serve", "--key", "tk-a-key-and-no-variable")
    assert refused.returncode == 2
    assert "is named as the variable of the API key, but it is not set" in refused.stderr


def test_version():
    assert evalkit_process("--version").stdout.startswith("evalkit 0.")


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
        wrong = evalkit_process(
            "run", sums(3, 1), *flags(server), "--out", tmp_path / "wrong.evalkit", "--api-key-env", "MY_KEY",
            env={"MY_KEY": KEY.swapcase()},
        )  # fmt: skip
        assert wrong.returncode == 3
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    for place in (listed, during, stdout, stderr, written, wrong.stderr.encode()):
        assert KEY.encode() not in place
        assert KEY.swapcase().encode() not in place
        assert KEY[3:14].encode() not in place


def test_the_key_of_the_embedded_endpoint_is_in_no_file_or_output(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    env = {"EVALKIT_LOCAL_KEY": KEY}
    done = evalkit_process("run", sums(2, 1), "--out", out, "--max-tokens", 8, env=env)
    assert done.returncode == 0, done.stderr
    evalkit("export", out, "--format", "jsonl", "-o", tmp_path / "x.jsonl")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert KEY not in done.stdout + done.stderr
    assert KEY.encode() not in written
    assert done.stderr.splitlines()[0] == "no endpoint is named: using the embedded model, on this machine"


def test_a_bug_is_shown_without_control_characters(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("\x1b]0;pwn\x07")

    monkeypatch.setattr("evalkit.cli.show.show", broken)
    assert main(["show", str(tmp_path)]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ValueError: \ufffd]0;pwn\ufffd" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "missing.evalkit"], ["run", "missing.jsonl"], ["resume", "missing.evalkit"],
        ["export", "missing.evalkit", "-o", "x.csv"], ["export", "missing.evalkit", "-o", "-"],
        ["report", "missing.evalkit"], ["compare", "a.evalkit", "b.evalkit"], ["plan", "missing.evalkit"],
        ["data", "missing.jsonl"], ["import", "missing.jsonl"], ["score", "missing.evalkit"],
        ["judge", "missing.evalkit"], ["judge-check", "missing.jsonl"], ["load", "missing.jsonl"],
        ["plot", "missing.evalkit", "-o", "charts"], ["calibrate", "--streams", "x"], ["ask", "Hi", "--param", "x"],
        ["serve", "--key", "EVALKIT_NO_SUCH_VARIABLE"],
    ],
)  # fmt: skip
def test_with_json_an_error_is_one_object_on_standard_output(arguments, tmp_path):
    done = evalkit(*arguments, "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert result.keys() == {"error", "exit"}
    assert (done.returncode, result["exit"]) == (2, 2)
    assert done.stderr == f"error: {result['error']}\n"
    assert evalkit(*arguments, cwd=tmp_path).stdout == ""


def test_with_json_the_object_of_a_run_that_failed_says_why(sums, tmp_path):
    done = evalkit(
        "run", sums(6, 1), "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--retries", 0, "--json",
        "--out", tmp_path / "r.evalkit",
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert (done.returncode, result["exit"]) == (3, 3)
    assert result["answered"] == 0
    assert done.stderr == f"error: {result['error']}\n"


def test_with_json_a_bug_is_an_object_too(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise ValueError("deep inside")

    monkeypatch.setattr("evalkit.cli.show.show", broken)
    assert main(["show", str(tmp_path), "--json"]) == 70
    assert json.loads(capsys.readouterr().out) == {
        "error": "this is a bug in evalkit: ValueError: deep inside", "exit": 70,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "place", "words"),
    [
        (["score", "r.evalkit", "--scorer", "exact"], "evalkit.rescoring.scoring.score",
         "stopped. A scoring that is not complete does not count: the scores from before still do"),
        (["import", "answers.jsonl", "--out", "new.evalkit"], "evalkit.importing.import_run._write",
         "stopped. No run file was written"),
        (["compare", "r.evalkit", "r.evalkit"], "evalkit.comparing.comparison.compare", "stopped"),
        (["export", "r.evalkit", "-o", "x.csv"], "evalkit.runfile.exports._rows", "stopped"),
    ],
)  # fmt: skip
def test_an_interrupt_is_answered_in_words(arguments, place, words, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    (tmp_path / "answers.jsonl").write_text(
        '{"question": "Hi", "answer": "Hello", "target": "Hello"}\n', encoding="utf-8"
    )
    before = show_json(tmp_path)
    monkeypatch.setattr(place, interrupted)
    assert told(evalkit(*arguments, cwd=tmp_path)) == (130, "", words + "\n")
    done = evalkit(*arguments, "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (130, {"error": words, "exit": 130})
    monkeypatch.undo()
    assert not (tmp_path / "new.evalkit").exists()
    assert not (tmp_path / "x.csv").exists()
    assert show_json(tmp_path) == before


# Sends a signal to the process at the first module that this one loads while it is executed, and runs the command.
SIGNAL_WHILE_LOADING = """
import importlib.abc, os, sys
loading, number, *arguments = sys.argv[1:]
class Signalling(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        frame = sys._getframe()
        while (frame := frame.f_back) is not None:
            if frame.f_code.co_name == "exec_module" and frame.f_locals["module"].__name__ == loading:
                sys.meta_path.remove(self)
                os.kill(os.getpid(), int(number))
                break
for name in ("uuid", "zoneinfo", "dataclasses", "enum", "json"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Signalling())
sys.argv = ["evalkit", *arguments]
from evalkit.cli.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
@pytest.mark.parametrize("loading", ["evalkit.cli.parser", "orjson.orjson", "evalkit.analysis.run_list"])
def test_a_signal_while_modules_load_is_answered_in_words(loading, number, tmp_path):
    """Also while orjson is initialised, which crashes where one of the modules that it imports raises."""
    command = [sys.executable, "-c", SIGNAL_WHILE_LOADING, loading, str(int(number)), "list", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "stopped\n")


def test_the_script_starts_where_signals_are_handled_from_the_beginning():
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["scripts"] == {"evalkit": "evalkit.cli.__main__:main"}


def told(done):
    return done.returncode, done.stdout, done.stderr


def show_json(folder):
    return json.loads(evalkit("show", folder / "r.evalkit", "--json").stdout)


def test_a_warning_is_a_sentence_and_stands_once(server):
    done = evalkit("ask", "hi", *flags(server), "--header", "api-key: k1")
    assert done.returncode == 0
    assert done.stderr.count("taken for a placeholder") == 1
    assert done.stderr.startswith("warning: the value of the header api-key is short")
    assert "UserWarning" not in done.stderr
