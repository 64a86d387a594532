"""``evalkit export`` to the formats of other tools: what it says, what it refuses, and what it never overwrites."""

import json
import sqlite3

import pytest
from commands import evalkit, evalkit_process
from runfiles import S, T, talk, write

from evalkit.exporting.exported import json_line
from evalkit.exporting.formats import FORMATS, export_run

KINDS = {"chat-finetuning": "example", "inspect": "sample", "otlp-json": "span"}


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)], end_ms=None)], [talk("a", (1,))])


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_says_how_much_was_written_and_what_was_left_out(small, form, tmp_path):
    number = 2 if form == "otlp-json" else 1
    kind = KINDS[form] + "s" * (number > 1)
    out = tmp_path / "x.out"
    done = evalkit("export", small, "--format", form, "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{number} {kind} written to {out}\n")
    done = evalkit("export", small, "--format", form, "-o", tmp_path / "y.out", "--json")
    assert json.loads(done.stdout) == {
        "file": str(tmp_path / "y.out"), "format": form, "rows": number, "left_out": {},
    }  # fmt: skip


def test_what_was_left_out_is_counted(run, tmp_path):
    done = evalkit("export", run.path, "--format", "chat-finetuning", "-o", tmp_path / "x.jsonl")
    assert done.stderr.splitlines() == [
        f"8 examples written to {tmp_path / 'x.jsonl'}",
        "not in the file: 4 wrong answers",
        "not in the file: 2 answers after a wrong, failed or cut-off one",
        "not in the file: 2 answers without a score",
        "not in the file: 2 conversations without a right answer at their beginning",
    ]


def test_the_end_of_a_name_says_that_it_is_a_log_of_inspect(small, tmp_path):
    assert evalkit("export", small, "-o", tmp_path / "x.eval").stderr.startswith("1 sample written")


@pytest.mark.parametrize("form", FORMATS)
def test_an_earlier_export_is_overwritten_only_if_it_can_be_told_from_other_files(small, form, tmp_path):
    out = tmp_path / "x.out"
    command = ["export", small, "--format", form, "-o", out]
    assert evalkit(*command).returncode == 0
    first = out.read_bytes()
    again = evalkit(*command)
    assert again.returncode == 2
    assert out.read_bytes() == first
    again = evalkit(*command, "--overwrite")
    assert again.returncode == (2 if form == "chat-finetuning" else 0), again.stderr
    if form == "chat-finetuning":  # its lines can say nothing about who wrote them
        assert "exists already, and evalkit did not write it" in again.stderr
    out.write_bytes(b"mine")
    assert evalkit(*command, "--overwrite").returncode == 2
    assert out.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--format", "inspect", "--excel"], "--excel is for CSV files, and the format is inspect"),
        (["--format", "inspect", "--content"], "--content is for otlp-json, and the format is inspect"),
        (["--format", "csv", "--content"], "--content is for otlp-json, and the format is csv"),
        (["--format", "openai-batch"], "invalid choice: 'openai-batch'"),
        ([], "does not say which format to write"),
    ],
)
def test_what_does_not_fit_is_said(small, flags, said, tmp_path):
    done = evalkit("export", small, "-o", tmp_path / "x.out", *flags)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "x.out").exists()


def test_every_format_can_be_chosen_on_the_command_line(small, tmp_path):
    offered = evalkit("export", small, "--format", "nosuch", "-o", tmp_path / "x.out").stderr
    assert all(f"{form}" in offered for form in FORMATS)


@pytest.mark.parametrize("form", ["chat-finetuning", "otlp-json"])
def test_standard_output_has_the_file_and_nothing_else(small, form, tmp_path):
    export_run(small, form, tmp_path / "x.out")
    done = evalkit_process("export", small, "--format", form, "-o", "-")
    assert (done.stdout, done.stderr) == ((tmp_path / "x.out").read_text(encoding="utf-8"), "")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("where", ["row", "extracted", "settings"])
def test_half_of_a_surrogate_pair_in_a_run_file_is_an_error_or_no_harm(small, form, where, tmp_path):
    changes = {
        "row": """UPDATE conversation SET row = replace(row, 'question 1', '\\ud800')""",
        "extracted": """UPDATE score SET extracted = '"\\ud800"'""",
        "settings": """UPDATE run SET name = CAST(x'61eda080' AS TEXT)""",
    }
    with sqlite3.connect(small) as connection:
        assert connection.execute(changes[where]).rowcount == 1
    connection.close()
    done = evalkit(
        "export", small, "--format", form, "-o", tmp_path / "x.out", "--content" if form == "otlp-json" else "--json"
    )
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        (tmp_path / "x.out").read_bytes()
        if form != "inspect":
            (tmp_path / "x.out").read_text(encoding="utf-8")
    else:
        assert any(words in done.stderr for words in ("is not a valid run file", "is damaged or cut short"))
        assert not (tmp_path / "x.out").exists()


def test_a_line_of_json_holds_whatever_python_read():
    value = {"a\ud800": ["\udfff", 10**30, True, None, 2**63], "b": ("x",)}
    assert json.loads(json_line(value)) == {"a?": ["?", 1e30, True, None, 2**63], "b": ["x"]}
