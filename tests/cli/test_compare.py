"""``evalkit compare`` and ``evalkit show --conversation`` from the command line."""

import json

import pytest
from comparing import answers, run, two
from runfiles import T

from evalkit.cli.main import main

ENDPOINT = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return two(tmp_path_factory.mktemp("runs"), [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0], turns=2, endpoint=ENDPOINT)


def evalkit(capsys, *arguments):
    """Exit code and the text on both streams."""
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_comparison_ends_with_0_and_says_nothing_on_standard_error(capsys, files):
    code, out, err = evalkit(capsys, "compare", *files)
    assert (code, err) == (0, "")
    assert "no difference shown: 2 conversations are too few to detect a difference under 99 points" in out


def test_json_is_one_object_and_nothing_else(capsys, files):
    code, out, err = evalkit(capsys, "compare", *files, "--json")
    told = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert (told["pairs"], told["flips"], told["all"]["only_first"]) == (4, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare"], "the following arguments are required: A.evalkit, B.evalkit"),
        (["compare", "A"], "the following arguments are required: B.evalkit"),
        (["compare", "A", "B", "--comon"], "there is no flag --comon: did you mean '--common'?"),
        (["compare", "A", "missing.evalkit"], "there is no run file missing.evalkit"),
        (["compare", "A", "A"], "is named twice"),
        (
            ["compare", "A", "OTHER"],
            "cannot be compared: the runs are not of one dataset: 1 conversations are the same",
        ),
        (["compare", "A", "STRANGE", "--common"], "no conversation in common"),
        (
            ["show", "A", "--repeat", "2"],
            "--repeat selects a repeat of one conversation: add --conversation ID",
        ),
        (["show", "A", "--conversation", "nobody"], "no finished turn of conversation 'nobody' in repeat 1"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(capsys, tmp_path, files, arguments, says):
    turns = [T("c000", 1, score=1.0), T("other", 1, score=1.0)]
    names = {
        "A": files[0],
        "B": files[1],
        "OTHER": run(tmp_path / "other.evalkit", turns, endpoint=ENDPOINT),
        "STRANGE": run(tmp_path / "strange.evalkit", turns[1:], endpoint=ENDPOINT),
    }
    code, out, err = evalkit(capsys, *(names.get(word, word) for word in arguments))
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


def test_the_common_part_is_compared_when_asked_for(capsys, tmp_path, files):
    turns = [*answers([0.0, 0.0], 2), T("other", 1, score=1.0)]
    other = run(tmp_path / "other.evalkit", turns, endpoint=ENDPOINT)
    code, out, _ = evalkit(capsys, "compare", files[0], other, "--common", "--json")
    told = json.loads(out)
    assert (code, told["pairs"]) == (0, 2)
    assert told["left_out"]["conversations_only_first"] == 1
    assert told["left_out"]["conversations_only_second"] == 1


def test_show_prints_one_conversation(capsys, files):
    code, out, err = evalkit(capsys, "show", files[0], "--conversation", "c001")
    assert (code, err) == (0, "")
    assert "  user   c001, question 1\n" in out
    code, out, _ = evalkit(capsys, "show", files[0], "--conversation", "c001", "--json")
    told = json.loads(out)
    assert (code, told["conversation"], told["repeat"], [turn["turn"] for turn in told["turns"]]) == (
        0,
        "c001",
        1,
        [1, 2],
    )
