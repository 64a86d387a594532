"""``evalkit data``: what is printed, and that a stranger's text stays text."""

import json

import pytest

from evalkit.cli.main import main

ROWS = [
    {
        "id": "a\x1b[2J",
        "system": "Be [bold]brief[/bold].",
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
        "turns": [
            {"user": "1 + 1?", "target": 2, "assistant": "two"},
            {"user": "why?", "scorer": {"name": "length", "max": 9}},
        ],
        "tags": ["\x1b]0;x\x07sum"],
        "meta": {"source": "x"},
    },
    {"turns": [{"user": "\u202e2 + 2?", "target": "4"}]},
    {"turns": [{"user": "\u202e2 + 2?", "target": 4}]},
]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_what_a_dataset_asks_is_printed_and_a_strangers_text_stays_text(data, capsys):
    assert main(["data", str(data)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"{data}: row format native, 3 conversations, 4 turns, at most 2 in one" in said.out
    facts = {line[:16].strip(): line[17:].strip() for line in said.out.splitlines()[1:9]}
    assert facts["targets"] == "3 of 4 turns"
    assert facts["golden answers"] == "1 turn"
    assert facts["not sent (meta)"] == "source (1)"
    assert "duplicates: 1 conversation asks what an earlier one asks\n  3, 'row-000003', as 2, 'row-000002'" in said.out
    for line in ("system: Be [bold]brief[/bold].", "tools: add", "user: 1 + 1?", "target: 2", "golden answer: two"):
        assert f"  {line}\n" in said.out
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out)


def test_the_object_of_json_names_the_same(data, capsys):
    assert main(["data", str(data), "--limit", "2", "--system", "@" + str(data.with_name("p")), "--json"]) == 2
    data.with_name("p").write_text("Be long.\n")
    capsys.readouterr()
    assert main(["data", str(data), "--limit", "2", "--system", "@" + str(data.with_name("p")), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "path", "shape", "conversations", "turns", "most_turns", "targets", "golden", "scorers", "unscored", "system",
        "context", "tools", "parts", "groups", "params", "tags", "ignored", "unnamed", "duplicated", "duplicates",
        "first",
    ]  # fmt: skip
    assert (found["conversations"], found["duplicated"], found["first"]["system"]) == (2, 0, "Be long.")
    assert main(["data", str(data), "--json"]) == 0
    duplicate = {"number": 3, "id": "row-000003", "first_number": 2, "first_id": "row-000002"}
    assert json.loads(capsys.readouterr().out)["duplicates"] == [duplicate]


def test_the_scorer_of_a_run_is_that_of_turns_that_name_none(data, capsys):
    assert main(["data", str(data), "--scorer", "number", "--scorer", "json=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scorers"] == {"number+json": 3, "length": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scorer", "numbr"], "no scorer is called 'numbr'"),
        (["--limit", "0"], "limit is 0"),
        (["--column", "user=Question"], "no key 'Question' to read as user"),
        (["--history", "golden", "--limit", "3", "--scorer", "date"], "the scorer date needs a date"),
    ],
)
def test_what_run_would_refuse_is_refused(data, capsys, arguments, message):
    assert main(["data", str(data), *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, message in said.err) == ("", True)


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["data", str(tmp_path / "no.jsonl")]) == 2
    assert "no.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["data"], ["run", "--dry-run"]])
@pytest.mark.parametrize("before", [0, 3])
def test_the_character_set_of_a_spreadsheet_is_reported_once_wherever_it_begins(tmp_path, caplog, command, before):
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"user\n" + b"Hello?\n" * before + "Wie heißt die Hauptstadt von Österreich?\n".encode("cp1252"))
    assert main([*command, str(path)]) == 0
    (record,) = caplog.records
    assert f"line {before + 2} is not UTF-8: the file is read as WINDOWS-1252, 'heißt'" in record.getMessage()
