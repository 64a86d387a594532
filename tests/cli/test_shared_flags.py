"""Flags that several commands share, and their values."""

from argparse import Namespace
from pathlib import Path

import pytest

from evalkit.cli import shared_flags
from evalkit.cli.main import command_parser
from evalkit.errors import SettingsError


@pytest.mark.parametrize(
    ("texts", "scorer"),
    [
        ([], None),
        (["number"], "number"),
        (["number=2"], "number"),
        (["number=2", "exact"], [{"name": "number", "weight": 2.0}, "exact"]),
    ],
)
def test_scorers_with_their_weights(texts, scorer):
    assert shared_flags.scorer(texts) == scorer


@pytest.mark.parametrize("weight", ["much", "0", "nan", "-1", ""])
def test_an_invalid_weight_is_reported_for_a_single_scorer_too(weight):
    with pytest.raises(SettingsError) as caught:
        shared_flags.scorer([f"number={weight}"])
    assert str(caught.value) == f"--scorer number={weight}: {weight!r} is not a weight above 0; write it as NAME=2"


def test_a_missing_function_is_reported():
    with pytest.raises(SettingsError, match=r"^--scorer own_nowhere:f: the module own_nowhere does not exist$"):
        shared_flags.scorer(["own_nowhere:f=2"])


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '[1, {"a": NaN}]'])
def test_a_parameter_that_json_cannot_hold_is_refused_by_name(value):
    given = Namespace(param=[f"top_p={value}"], temperature=None, max_tokens=None)
    with pytest.raises(SettingsError, match=r"^the parameter top_p[\w.]* is (nan|inf|-inf): JSON has no such number$"):
        shared_flags.params(given)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_a_temperature_that_json_cannot_hold_is_refused_by_name(value):
    given = Namespace(param=[], temperature=float(value), max_tokens=None)
    with pytest.raises(SettingsError, match=r"^the parameter temperature is (nan|inf): JSON has no such number$"):
        shared_flags.params(given)


def parsed(*arguments):
    return command_parser().parse_args([*arguments])


URL = ("--base-url", "http://127.0.0.1:9", "--model", "m")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--temperature", "0", "--param", "temperature=1"], "--temperature and --param temperature= both set"),
        (["--temperature", "0", "--param", "temperature=0"], "--temperature and --param temperature= both set"),
        (["--max-tokens", "5", "--param", "max_tokens=6"], "--max-tokens and --param max_tokens= both set"),
        (["--param", "seed=1", "--param", "seed=2"], "--param names seed twice"),
        (["--ttft-timeout", "5", "--no-stream"], "--ttft-timeout and --no-stream exclude each other"),
        (["--ttft-timeout", "400"], "--ttft-timeout 400 is longer than --timeout 300"),
        (["--ttft-timeout", "9", "--timeout", "8"], "--ttft-timeout 9 is longer than --timeout 8"),
    ],
)
@pytest.mark.parametrize("command", [["ask", "hi"], ["run", "D"], ["load", "D"], ["judge", "R"], ["judge-check", "L"]])
def test_conflicting_request_flags_are_refused_by_every_command(command, arguments, problem):
    given = parsed(*command, *URL, *arguments)
    with pytest.raises(SettingsError) as caught, shared_flags.endpoint(given):
        pass
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["run", "D", "--arrivals", "poisson"],
            "--arrivals sets the gaps between conversations started at a rate: add --rate",
        ),
        (["run", "D", "--arrivals", "constant"], "--arrivals sets the gaps"),
        (["load", "D", "--arrivals", "constant"], "--arrivals sets the gaps"),
        (["load", "D", "--arrivals", "poisson", "--concurrency", "1,2"], "--arrivals sets the gaps"),
        (["load", "D", "--slo", "ttft=1s", "--no-stream"], "--slo ttft and --no-stream exclude each other"),
        (["load", "D", "--slo", "latency=1s,tpot=1ms", "--no-stream"], "--slo tpot and --no-stream exclude"),
        (["plan", "R", "--precision", "0.05", "--power", "0.9"], "--power is the probability to detect a difference"),
        (["load", "D", "--seed", "5"], "a seed applies to poisson arrivals only"),
        (["run", "D", "--seed", "-5"], "seed is -5: it must be a whole number, 0 or more"),
        (["run", "D", "--column", "user=A", "--column", "user=B"], "--column names user twice"),
        (["run", "D", *URL, "--prices", "missing.toml"], "there is no price file missing.toml"),
    ],
)
def test_conflicting_flags_are_refused(arguments, problem, sums, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = parsed(*(str(sums()) if each == "D" else each for each in arguments))
    with pytest.raises(SettingsError) as caught:
        given.command(given)
    assert str(caught.value).startswith(problem)
    assert not list(tmp_path.rglob("*.evalkit"))


def test_a_missing_price_file_of_the_environment_is_refused_before_a_request_is_sent(sums, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALKIT_PRICES", "missing.toml")
    given = parsed("run", str(sums()), *URL)
    with pytest.raises(SettingsError, match=r"there is no price file missing\.toml, which EVALKIT_PRICES names"):
        given.command(given)
    assert not list(tmp_path.rglob("*.evalkit"))


def test_compatible_flags_are_combined():
    given = parsed("run", "D", *URL, "--temperature", "0", "--param", "seed=7", "--ttft-timeout", "5", "--rate", "2")
    with shared_flags.endpoint(given) as endpoint:
        assert endpoint.params == {"seed": 7, "temperature": 0}
    poisson = parsed("run", "D", "--rate", "2", "--arrivals", "poisson")
    assert (shared_flags.arrivals(given), shared_flags.arrivals(poisson)) == (
        "constant", "poisson"
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--temperature", "null"], ["--param", "temperature=null"]])
def test_a_parameter_that_is_null_is_kept_to_be_left_out_of_requests(words):
    assert shared_flags.params(command_parser().parse_args(["ask", "Hi", *words])) == {"temperature": None}


def test_a_temperature_is_a_number_or_null(capsys):
    assert shared_flags.params(command_parser().parse_args(["ask", "Hi", "--temperature", "0"])) == {"temperature": 0}
    with pytest.raises(SystemExit):
        command_parser().parse_args(["ask", "Hi", "--temperature", "hot"])
    assert "'hot' is neither a number nor null" in capsys.readouterr().err


WRITERS = {
    "demo": [], "run": ["d.jsonl"], "load": ["d.jsonl"], "import": ["a.jsonl"], "export": ["r.evalkit"],
    "report": ["r.evalkit"], "plot": ["r.evalkit"], "history": ["runs"], "check": [],
}  # fmt: skip


@pytest.mark.parametrize("flag", ["-o", "--out", "--output"])
@pytest.mark.parametrize("command", WRITERS)
def test_what_a_command_writes_has_one_spelling_and_the_older_ones(command, flag):
    assert command_parser().parse_args([command, *WRITERS[command], flag, "x"]).out == Path("x")


def test_every_command_with_an_output_flag_is_tested_above():
    parsers = command_parser().commands
    assert {name for name, parser in parsers.items() if "--out" in parser._option_string_actions} == set(WRITERS)


@pytest.mark.parametrize("command", WRITERS)
def test_a_dash_is_standard_output_where_a_stream_can_be_written(command, capsys):
    given = [command, *WRITERS[command], "-o", "-"]
    if command in ("check", "export", "report"):
        assert command_parser().parse_args(given).out == shared_flags.STANDARD_OUTPUT
        return
    with pytest.raises(SystemExit):
        command_parser().parse_args(given)
    assert "run files and charts cannot be written to standard output: name a place" in capsys.readouterr().err
