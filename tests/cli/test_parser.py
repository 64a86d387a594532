"""Wrong command lines and their messages, and ``--json`` of every command."""

import json
import re

import pytest

from evalkit.cli.main import command_parser, main
from evalkit.cli.parser import Parser

# these print no result
WITHOUT_JSON = {"completion"}


def commands():
    return command_parser().commands


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["shwo", "r"], "evalkit: there is no command 'shwo': did you mean 'show'? See 'evalkit --help'"),
        (["frobnicate"], "evalkit: there is no command 'frobnicate'. See 'evalkit --help'"),
        (["help", "rnu"], "evalkit: there is no command 'rnu': did you mean 'run'? See 'evalkit --help'"),
        (["r.evalkit"],
         "evalkit: name a command before the file: 'evalkit show r.evalkit' shows a run. See 'evalkit --help'"),
        (["d.jsonl"],
         "evalkit: name a command before the file: 'evalkit run d.jsonl' runs a dataset; 'evalkit data d.jsonl' shows "
         "what a dataset would ask; 'evalkit import d.jsonl' makes a run of answers that another tool has collected. "
         "See 'evalkit --help'"),
        (["--jsno"], "evalkit: there is no flag --jsno. See 'evalkit --help'"),
        (["show", "r", "--jsno"],
         "evalkit show: there is no flag --jsno: did you mean '--json'? See 'evalkit show --help'"),
        (["load", "d", "--concurency=4"],
         "evalkit load: there is no flag --concurency: did you mean '--concurrency'? See 'evalkit load --help'"),
        (["show", "a", "b"], "evalkit show: unexpected argument 'b'. See 'evalkit show --help'"),
        (["run"], "evalkit run: the following arguments are required: DATA. See 'evalkit run --help'"),
        (["\x1b[2J"], "evalkit: there is no command '\\x1b[2J'. See 'evalkit --help'"),
        (["show", "r", "--\x1b[2J"], "evalkit show: there is no flag --\ufffd[2J. See 'evalkit show --help'"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_explained_in_one_line(capsys, given, message):
    with pytest.raises(SystemExit) as end:
        main(given)
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_without_a_command_there_is_help_on_standard_error(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert "Run conversations against an OpenAI-compatible chat endpoint; score and time every answer." in " ".join(
        err.split()
    )
    assert "run a dataset against an endpoint" in err


@pytest.mark.parametrize(
    ("given", "usage"), [(["help"], "usage: evalkit "), (["help", "show"], "usage: evalkit show ")]
)
def test_help_is_a_command_too(capsys, given, usage):
    with pytest.raises(SystemExit) as end:
        main(given)
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(usage)


def test_every_command_that_prints_a_result_has_json():
    without = {name for name, parser in commands().items() if "--json" not in parser._option_string_actions}
    assert without == set(WITHOUT_JSON)


def test_every_parser_explains_errors_in_one_line():
    assert all(type(parser) is Parser for parser in commands().values())


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", ["", *commands()])
def test_help_fits_the_terminal(command, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    parser = commands()[command] if command else command_parser()
    lines = parser.format_help().splitlines()
    assert [line for line in lines if len(line) > width] == []


def test_an_example_that_is_wrapped_is_still_one_command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = commands()["run"].format_help()
    assert "  evalkit run data/primary_math.jsonl --limit 10 \\\n    --max-tokens 64\n" in text


def test_flags_in_help_stay_whole(monkeypatch):
    for width in range(60, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        assert not [line for line in commands()["run"].format_help().splitlines() if re.search(r"--?\w[\w-]*-$", line)]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["show", "--json"], "evalkit show: the following arguments are required: FILE.evalkit. "
         "See 'evalkit show --help'"),
        (["show", "r", "--jsno", "--json"], "evalkit show: there is no flag --jsno: did you mean '--json'? "
         "See 'evalkit show --help'"),
        (["shwo", "--json"], "evalkit: there is no command 'shwo': did you mean 'show'? See 'evalkit --help'"),
        (["run", "d", "--limit", "x", "--json"], "evalkit run: argument --limit: invalid int value: 'x'. "
         "See 'evalkit run --help'"),
    ],
)  # fmt: skip
def test_with_json_a_wrong_command_line_is_an_object_too(capsys, given, error):
    with pytest.raises(SystemExit) as end:
        main(given)
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert json.loads(out) == {"error": error, "exit": 2}
    assert err == f"error: {error}\n"
