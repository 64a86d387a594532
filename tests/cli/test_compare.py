"""``evalkit compare`` and ``evalkit show --conversation`` from the command line."""

import json

import junitparser
import pytest
from comparing import answers, run, two
from runfiles import T, talk

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


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A baseline, a run like it, and one that is 50 points worse; 60 conversations each."""
    folder = tmp_path_factory.mktemp("three")
    scores = {"base": [1.0] * 60, "same": [1.0] * 60, "worse": [1.0, 0.0] * 30}
    return {
        name: run(folder / f"{name}.evalkit", answers(each), endpoint=ENDPOINT, settings={"arrivals": "constant"})
        for name, each in scores.items()
    }


@pytest.mark.parametrize(
    ("other", "flags", "code", "verdict"),
    [
        ("worse", ["--allow", "accuracy -2%"], 1, "WORSE"),
        ("worse", ["--allow", "accuracy -2%", "--fail-on", "not-shown"], 1, "WORSE"),
        ("worse", ["--allow", "accuracy -70%"], 0, "no worse"),
        ("same", ["--allow", "accuracy -2%"], 0, "cannot tell"),
        ("same", ["--allow", "accuracy -2%", "--fail-on", "not-shown"], 1, "CANNOT TELL"),
        ("same", ["--allow", "accuracy -10%", "--fail-on", "not-shown"], 0, "no worse"),
    ],
)
def test_a_verdict_decides_the_exit_code(capsys, three, other, flags, code, verdict):
    ended, out, err = evalkit(capsys, "compare", three["base"], three[other], *flags)
    assert (ended, err) == (code, "")
    (row,) = [line for line in out.splitlines() if line.startswith(f"B    {flags[1]}")]
    assert row.endswith(f"  {verdict}")
    assert "margins of accuracy and errors are in percentage points" in out
    if verdict.lower() == "cannot tell":
        assert "B accuracy: about 130 more conversations would tell in 4 of 5 cases" in out


def test_verdicts_in_json_markdown_and_junit(capsys, three, tmp_path):
    gates, xml = tmp_path / "gates.toml", tmp_path / "out.xml"
    gates.write_text('[compare]\nallow = ["accuracy -2%", "errors +5%"]\nfail_on = "not-shown"\n', encoding="utf-8")
    files = three["base"], three["same"], three["worse"]
    code, out, _ = evalkit(capsys, "compare", *files, "--gates", gates, "--json", "--junit", xml)
    told = json.loads(out)["verdicts"]
    assert (code, told["fail_on"], told["correction"], told["confidence"]) == (1, "not-shown", "Bonferroni", 0.9875)
    assert [(each["second"], each["verdict"]) for each in told["limits"]] == [
        ("B", "cannot tell"), ("B", "cannot tell"), ("C", "worse"), ("C", "cannot tell"),
    ]  # fmt: skip
    (suite,) = junitparser.JUnitXml.fromfile(str(xml))
    assert (suite.tests, suite.failures, suite.skipped) == (4, 4, 0)
    code, out, _ = evalkit(
        capsys, "compare", *files, "--gates", gates, "--fail-on", "worse", "--markdown", "--junit", xml
    )
    assert code == 1
    assert out.startswith("### B: cannot tell; C: worse 1, cannot tell 1\n")
    assert "| C | `accuracy -2%` | 100.0% | 50.0% | −50.0 points (−" in out
    assert "**worse** |" in out
    (suite,) = junitparser.JUnitXml.fromfile(str(xml))
    assert (suite.tests, suite.failures, suite.skipped) == (4, 1, 3)
    code, _, _ = evalkit(capsys, "compare", *files[:2], "--allow", "accuracy[9] -2%", "--junit", xml)
    (case,) = next(iter(junitparser.JUnitXml.fromfile(str(xml))))
    assert (code, case.result[0].type) == (1, "missing")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--allow", "accuracy +2%"], "accuracy is worse when it is lower: write 'accuracy -2%'"),
        (["--fail-on", "worse"], "--fail-on needs a verdict: add a margin, such as --allow 'accuracy -2%'"),
        (["--junit", "out.xml"], "--junit needs a verdict"),
        (["--allow", "accuracy -2%", "accuracy -3%"], "accuracy has a margin already"),
        (["--markdown", "--json"], "--markdown and --json both decide what is printed"),
        (["--gates", "missing.toml"], "the gates file missing.toml cannot be read"),
        (["--allow", "accuracy -2%", "--fail-on", "never"], "invalid choice: 'never'"),
        (["--allow", "accuracy -2%", "new.evalkit"], "'new.evalkit' is a run file, not a margin: name the run files"),
    ],
)
def test_limits_that_cannot_be_checked_are_refused(capsys, three, flags, says):
    code, out, err = evalkit(capsys, "compare", three["base"], three["same"], *flags)
    assert (code, bool(out)) == (2, "--json" in flags)  # with --json its object says what is wrong
    assert says in err


def test_show_checks_the_gates_of_a_file(capsys, three, tmp_path):
    gates, xml = tmp_path / "gates.toml", tmp_path / "out.xml"
    gates.write_text('[run]\ngates = ["accuracy>=0.8"]\n', encoding="utf-8")
    flags = ["--gates", gates, "--fail-under", "errors<=1%", "--json", "--junit", xml]
    for name, met in (("base", True), ("worse", False)):
        code, out, _ = evalkit(capsys, "show", three[name], *flags)
        assert [gate["met"] for gate in json.loads(out)["gates"]] == [True, met]
        turns, limits = junitparser.JUnitXml.fromfile(str(xml))
        assert (code, turns.failures, limits.failures) == (int(not met), 0, int(not met))
    evalkit(capsys, "show", three["worse"], *flags, "--junit-turns")
    turns, _ = junitparser.JUnitXml.fromfile(str(xml))
    assert turns.failures == 30
    code, _, err = evalkit(capsys, "show", three["worse"], "--junit-turns")
    assert (code, "--junit-turns is about the JUnit file: add --junit" in err) == (2, True)


def test_hostile_tags_stay_text_in_tables_markdown_and_junit(capsys, tmp_path):
    evil = "\x1b[2J|<b>@all](x)`\nrow 9"
    talks = [talk(f"c{n:03}", targets=(1,), tags=(evil,)) for n in range(20)]
    files = [
        run(tmp_path / f"{n}.evalkit", answers([float(n != "b")] * 20), talks, endpoint=ENDPOINT) for n in "ab"
    ]  # fmt: skip
    flags = ["--allow", "accuracy[tag=*] -5%", "--junit", tmp_path / "out.xml"]
    code, out, _ = evalkit(capsys, "compare", *files, *flags)
    assert code == 1
    assert "\x1b" not in out
    assert not any(line.startswith("row 9") for line in out.splitlines())
    (case,) = next(iter(junitparser.JUnitXml.fromfile(str(tmp_path / "out.xml"))))
    assert "<b>" in case.name
    _, out, _ = evalkit(capsys, "compare", *files, *flags, "--markdown")
    assert "\x1b" not in out
    (row,) = [line for line in out.splitlines() if line.startswith("| B |")]
    assert "``accuracy[tag=" in row
    assert "\\|<b>" in row
