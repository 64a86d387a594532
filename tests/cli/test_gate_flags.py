"""Gates and JUnit files from the command line: exit codes, output, contents of the file."""

import contextlib
import json
import signal
import sqlite3

import junitparser
import pytest
from junit_schema import SCHEMA
from lxml import etree
from runfiles import S, T, write

from evalkit.cli import gate_flags
from evalkit.cli.main import command_parser, main
from evalkit.gates.gate_expression import OPERATORS
from evalkit.scripted.server import Arithmetic, Fault, Script, serve


@pytest.fixture
def evalkit(capsys):
    """The command in this process: exit code, standard output and standard error."""

    def run(*arguments):
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = error.code
        finally:
            signal.signal(signal.SIGTERM, before[0])
            signal.signal(signal.SIGINT, before[1])
        return (code, *capsys.readouterr())

    return run


def stored(path, turns):
    write(path, [S(turns)])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
        dataset = {"path": "sums.jsonl", "turns": None}
        connection.execute("UPDATE run SET endpoint = ?, dataset = ?", (json.dumps(endpoint), json.dumps(dataset)))
    return path


@pytest.fixture
def run(tmp_path):
    """Of five turns three are right, one is wrong and one has failed."""
    turns = [T(f"c{n}", 1, score=float(n > 0)) for n in range(4)]
    return stored(tmp_path / "r.evalkit", [*turns, T("c4", 1, error="server", ttft_ms=None, text="")])


def test_show_prints_one_line_per_gate(evalkit, run):
    code, out, _ = evalkit(
        "show", run, "--fail-under", "accuracy>=0.7", "errors<=20%", "--fail-under", "ttft_p95<=1s"
    )  # fmt: skip
    assert code == 1
    assert out.splitlines()[-3:] == [
        "gate met: accuracy>=0.7: accuracy is 0.75 of 4 turns (95 % interval 0.3006 to 0.9544)",
        "gate met: errors<=20%: errors is 0.2 of 5 turns",
        "gate MISSED: ttft_p95<=1s: ttft_p95 is missing: p95 needs 20 samples, there are 4",
    ]


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        ([], 0),  # showing a run with failed turns is no failure
        (["accuracy>=0.7"], 0),
        (["accuracy>=0.8"], 1),
        (["accuracy>=0.7", "errors<1%"], 1),
        (["latency_p99<=10s"], 1),
    ],
)
def test_show_ends_with_1_for_a_missed_gate_alone(evalkit, run, gates, code):
    assert evalkit("show", run, *(["--fail-under", *gates] if gates else []))[0] == code


def test_json_has_the_gates_and_an_empty_list_without(evalkit, run):
    assert json.loads(evalkit("show", run, "--json")[1])["gates"] == []
    code, out, err = evalkit("show", run, "--json", "--fail-under", "accuracy>=0.8", "cost<=1", "errors<=0.2")
    assert (code, err) == (1, "")
    assert json.loads(out)["gates"] == [
        {"gate": "accuracy>=0.8", "value": 0.75, "met": False,
         "words": "accuracy is 0.75 of 4 turns (95 % interval 0.3006 to 0.9544)"},
        {"gate": "cost<=1", "value": None, "met": None,
         "words": "cost is missing: the price of the model is not known"},
        {"gate": "errors<=0.2", "value": 0.2, "met": True, "words": "errors is 0.2 of 5 turns"},
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["run", "resume", "show"])
def test_an_invalid_gate_is_reported_before_a_request_is_sent(evalkit, tmp_path, command):
    """The file is missing too, but the gate is reported first."""
    code, out, err = evalkit(command, tmp_path / "gone", "--fail-under", "accuracy>=0.8", "errors<=1ms")
    assert (code, out) == (2, "")
    assert err.endswith(
        f"error: evalkit {command}: argument --fail-under: gate 'errors<=1ms', character 10: the unit 'ms' does not "
        f"fit: limit errors by 0.8 or 80%. See 'evalkit {command} --help'\n"
    )


@pytest.mark.parametrize("more", [["--fail-under", "accuracy>=0.99"], ["--junit", "out.xml"]])
@pytest.mark.parametrize("which", [["--conversation", "c0"], ["--conversation", "c0", "--repeat", 1], ["--repeat", 1]])
def test_gates_need_the_whole_run_and_are_refused_with_one_conversation(
    evalkit, run, tmp_path, monkeypatch, more, which
):
    monkeypatch.chdir(tmp_path)
    code, out, err = evalkit("show", run, *which, *more)
    assert (code, out) == (2, "")
    assert f"{more[0]} needs the whole run, but --conversation prints one conversation: omit one" in err
    assert not (tmp_path / "out.xml").exists()


def test_gates_of_an_unfinished_run_print_a_warning_unless_complete_is_one_of_them(evalkit, run, tmp_path):
    with contextlib.closing(sqlite3.connect(run)) as connection, connection:
        connection.execute("UPDATE run SET dataset = json_set(dataset, '$.turns', 252)")
    code, out, err = evalkit("show", run, "--fail-under", "accuracy>=0.7")
    assert (code, "gate met" in out) == (0, True)
    assert err == (
        "warning: gates were checked although the run is unfinished: 247 of 252 turns are missing. "
        "Add the gate 'complete>=100%', or finish the run with 'evalkit resume'\n"
    )
    code, out, err = evalkit("show", run, "--fail-under", "accuracy>=0.7", "complete>=100%", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["gates"][1] == {
        "gate": "complete>=100%", "value": 5 / 252, "met": False, "words": "complete is 0.01984 of 252 planned turns",
    }  # fmt: skip
    assert json.loads(out)["planned"] == 252
    assert evalkit("show", run)[2] == ""  # without gates the last lines report it


def test_a_file_name_after_the_gates_is_reported_as_no_gate(evalkit, run):
    code, _, err = evalkit("show", "--fail-under", "accuracy>=0.7", run)
    assert code == 2
    assert f"argument --fail-under: gate '{run}', character " in err


def test_show_writes_a_junit_file_that_the_schema_accepts(evalkit, run, tmp_path):
    out = tmp_path / "out.xml"
    assert evalkit("show", run, "--junit", out, "--fail-under", "accuracy>=0.8")[0] == 1
    SCHEMA.assertValid(etree.parse(out))
    turns, gates = junitparser.JUnitXml.fromfile(str(out))
    assert (turns.tests, turns.failures, turns.errors, turns.skipped) == (5, 0, 1, 0)
    assert (gates.tests, gates.failures) == (1, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone/out.xml", "there is no folder {folder}/gone. Choose another place\n"),
        ("r.evalkit", "error: {folder}/r.evalkit is a run file itself: give the JUnit file another name\n"),
    ],
)
@pytest.mark.parametrize("command", ["resume", "show"])
def test_a_junit_file_that_cannot_be_written_is_reported_before_a_request_is_sent(
    evalkit, run, tmp_path, command, name, message
):
    code, out, err = evalkit(command, run, "--junit", tmp_path / name)
    assert (code, out) == (2, "")
    assert err.endswith(message.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        ([], 1),
        (["accuracy>=0.9"], 1),  # does not limit errors
        (["accuracy>=0.9", "errors<=25%"], 0),  # limits errors
        (["accuracy>=0.9", "errors<=24%"], 1),
        (["accuracy<0.9", "errors<=25%"], 1),
        (["errors>=0"], 1),  # is no upper limit
    ],
)
def test_gates_decide_the_exit_code_of_a_run_with_failed_turns(gates, code):
    parsed = command_parser().parse_args(["run", "d.jsonl", *(["--fail-under", *gates] if gates else [])])
    values = {"accuracy": 1.0, "errors": 0.25}
    results = [{"met": OPERATORS[gate.operator](values[gate.metric], gate.limit)} for gate in parsed.fail_under]
    assert gate_flags.exit_code(parsed, {"errors": {"server": 1}, "gates": results}) == code


def test_a_run_on_a_build_server(evalkit, sums, tmp_path, monkeypatch):
    """One of four turns fails: the gates of run allow it, those of resume do not."""
    out, xml, prices = tmp_path / "r.evalkit", tmp_path / "out.xml", tmp_path / "prices.toml"
    prices.write_text("[scripted]\nprompt = 100\noutput = 100\n", encoding="utf-8")
    monkeypatch.setenv("EVALKIT_PRICES", str(prices))
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers={2, 5})])) as server:
        code, shown, err = evalkit(
            "run", sums(4, 1), "--base-url", server.base_url, "--model", "scripted", "--out", out, "--retries", 0,
            "--concurrency", 1, "--junit", xml, "--fail-under", "accuracy>=0.9", "errors<=25%", "cost<=1",
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert shown.count("gate met: ") == 3
        assert "\ncost: 0.0" in shown
        turns, gates = junitparser.JUnitXml.fromfile(str(xml))
        assert (turns.tests, turns.errors, turns.skipped, gates.tests, gates.failures) == (4, 0, 1, 3, 0)
        code, shown, _ = evalkit("resume", out, "--json", "--fail-under", "errors<=0", "--junit", xml)
    assert code == 1
    result = json.loads(shown)
    assert result["gates"] == [
        {"gate": "errors<=0", "value": 0.25, "met": False, "words": "errors is 0.25 of 4 turns"}
    ]  # fmt: skip
    assert result["cost"]["price_from"] == "run"
    SCHEMA.assertValid(etree.parse(xml))


def test_an_endpoint_that_cannot_be_used_leaves_a_junit_file_of_errors(evalkit, sums, tmp_path):
    xml = tmp_path / "out.xml"
    code, _, err = evalkit(
        "run", sums(2, 1), "--base-url", "http://127.0.0.1:9", "--model", "m", "--retries", 0, "--out",
        tmp_path / "r.evalkit", "--junit", xml, "--fail-under", "accuracy>=0.5",
    )  # fmt: skip
    assert code == 3
    assert "Nothing listens on 127.0.0.1:9" in err
    turns, gates = junitparser.JUnitXml.fromfile(str(xml))
    assert (turns.tests, turns.errors, gates.failures) == (2, 2, 1)
