"""CSV files: columns, records of one conversation, and the whole message for what is wrong."""

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.datasets import reader
from evalkit.errors import DatasetError, SettingsError
from evalkit.scorers import scoring


def read(tmp_path, text, **options):
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return list(reader.read(path, check_turn=scoring.turn_checker(), **options))


def test_records_that_share_an_id_are_turns(tmp_path):
    first, second, third = read(
        tmp_path,
        "id,user,target,system,assistant,scorer,tags,group,level\n"
        'a,"One,\n""1""",1,Be kind.,It is 1.,number,x; y,g,easy\n'
        "a,Two,2,,,,,,\n\n"
        'b,Three,"{""k"": [1]}",,,"{""name"": ""json""}",,,\n'
        ",Four,007,,,,,,\n",
    )
    assert (first.id, first.system, first.tags, first.group, first.meta) == (
        "a",
        "Be kind.",
        ("x", "y"),
        "g",
        {"level": "easy"},
    )
    assert first.turns == (Turn('One,\n"1"', 1, ScorerSpec("number"), "It is 1."), Turn("Two", 2))
    assert second.turns == (Turn("Three", {"k": [1]}, ScorerSpec("json")),)
    assert (third.id, third.turns) == ("row-000003", (Turn("Four", "007"),))


def test_columns_may_be_called_anything(tmp_path):
    (row,) = read(
        tmp_path, '﻿Frage,Antwort,user\r\nWie viel?,"1,5",Ann\r\n', columns={"user": "Frage", "target": "Antwort"}
    )
    assert row.turns == (Turn("Wie viel?", "1,5"),)
    assert row.meta == {"user": "Ann"}


@pytest.mark.parametrize(
    ("cell", "target"),
    [
        ("35", 35),
        ("-1.5", -1.5),
        (" 35 ", 35),
        ("true", "true"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ('"x"', '"x"'),
    ],
)
def test_a_target_cell_is_a_number_or_text(tmp_path, cell, target):
    quoted = cell.replace('"', '""')
    (row,) = read(tmp_path, f'user,target\nHi,"{quoted}"\n')
    assert row.turns[0].target == target


WRONG = {
    "no user column": (
        "id,text\na,b\n",
        ", line 1: there is no column 'user' to read as user: the header has id, text. "
        "Name the column of the questions: --column user=COLUMN",
    ),
    "no user column after semicolons": (
        "sep=;\nid;text\na;b\n",
        ", line 2: there is no column 'user' to read as user: the header has id, text. "
        "Name the column of the questions: --column user=COLUMN",
    ),
    "a capital slip": ("User,Taget\na,b\n", ", line 1, field Taget: unknown column; did you mean 'target'?"),
    "capital letters": (
        "User,Max_Tokens\na,b\n",
        ", line 1, field Max_Tokens: would not be sent from a CSV file: "
        "give it with --param, write the rows as JSON, or rename the column",
    ),
    "a slip": ("user,taget\na,b\n", ", line 1, field taget: unknown column; did you mean 'target'?"),
    "two of a name": ("user,user\na,b\n", ", line 1: two columns are called 'user'"),
    "too many cells": (
        "user,id\na,b\nc,d,e\n",
        ", line 3: the record has 3 cells and the header 2. A cell that contains a separator needs quotation marks",
    ),
    "too few cells": ('user,id\n"a\nb"\n', ", line 2: the record has 1 cell and the header 2"),
    "open quote": (
        'user\na\n"b\nc\n',
        ", line 3: the record that starts here is not valid CSV: unexpected end of data",
    ),
    "no user": ("id,user\na,\nb,x\n", ", line 2, field user: is missing: a turn needs a user message"),
    "later turn": (
        "id,user,target,scorer\na,x,,\na,y,z,number\n",
        ', line 3, field target: the target is "z": the scorer number needs a number',
    ),
    "code": (
        "user,scorer\na,os:system\n",
        ", line 2, field scorer: 'os:system' names code: a dataset is data and can only name existing scorers",
    ),
    "broken list of scorers": ("user,scorer\na,[x\n", ", line 2, field scorer: is neither a name nor JSON"),
    "broken scorer": ("user,scorer\na,{x}\n", ", line 2, field scorer: is neither a name nor JSON"),
    "two systems": (
        "id,user,system\na,x,s\na,y,t\n",
        ", line 3, field system: differs from line 2, where the conversation starts",
    ),
    "parted turns": (
        "id,user\na,x\nb,y\na,z\n",
        ", line 4, field id: 'a' is the id in line 2 already: every row needs its own",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_line_and_column(tmp_path, name):
    text, message = WRONG[name]
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'x.csv'}{message}"


@pytest.mark.parametrize(
    "column",
    [
        "temperature",
        "max_tokens",
        "response_format",
        "context",
        "tools",
        "params",
        "system_prompt",
        "passage",
        "choices",
        "Max Tokens",
        "System Prompt",
        "user2",
        "input",
    ],
)
def test_a_column_that_should_be_sent_and_cannot_be_is_refused(tmp_path, column):
    with pytest.raises(DatasetError, match="would not be sent from a CSV file") as caught:
        read(tmp_path, f"user,{column}\na,1\n")
    by_row = column in ("passage", "input")  # refused only where its text is not in the question
    assert (caught.value.line, caught.value.field) == (2 if by_row else 1, column)
    (row,) = read(tmp_path, f"user,my {column}\na,1\n")
    assert row.meta == {f"my {column}": "1"}


def test_errors_name_the_column_as_the_file_does(tmp_path):
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, "Frage,Art\nHi,nummer\n", columns={"user": "Frage", "scorer": "Art"})
    assert (caught.value.line, caught.value.field) == (2, "Art")


def test_a_column_that_is_named_must_be_there_and_be_a_field(tmp_path):
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, "user\nHi\n", columns={"target": "answer"})
    assert caught.value.problem == "there is no column 'answer' to read as target: the header has user"
    with pytest.raises(SettingsError) as settings_error:
        read(tmp_path, "user\nHi\n", columns={"targt": "answer"})
    assert str(settings_error.value) == (
        "no column can be read as 'targt': the fields are id, user, target, system, assistant, scorer, tags, group"
    )


def test_every_bad_record_is_listed(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,user\na,\nb,x\nc,\n")
    with pytest.raises(DatasetError) as caught:
        reader.check(path)
    assert str(caught.value) == (
        f"{path}: 2 problems\n"
        "  line 2, field user: is missing: a turn needs a user message\n"
        "  line 4, field user: is missing: a turn needs a user message"
    )


def test_a_cell_may_be_as_large_as_a_line_of_json(tmp_path):
    (row,) = read(tmp_path, f'user\n"{"a" * 4_000_000}\n{"b" * 4_000_000}"\n')
    assert len(row.turns[0].user) == 8_000_001


@pytest.mark.parametrize("records", ['u,"{line}{line}', 'same,"{line}"\n' * 2])
def test_a_row_over_the_limit_is_refused_before_it_is_held(tmp_path, records):
    text = "id,user\na,b\n" + records.replace("{line}", ("c" * 999 + "\n") * 6_000)
    with pytest.raises(
        DatasetError, match=r"line \d+: the row has more than 10,000,000 bytes up to here, which is the"
    ):
        read(tmp_path, text)


def test_a_separator_inside_of_quoted_headings_does_not_count(tmp_path):
    (row,) = read(tmp_path, '"user";"a,b,c";"line\nbreak"\n1?;2;3\n')
    assert row.meta == {"a,b,c": "2", "line\nbreak": "3"}


def test_a_mapped_column_may_be_called_like_another_field(tmp_path):
    (row,) = read(tmp_path, "target,solution\nWhy?,42\n", columns={"user": "target", "target": "solution"})
    assert row.turns == (Turn("Why?", 42),)


@pytest.mark.parametrize("names", ["A,B", "option_a,option_b", "Choice 1,Choice 2", "opa,opb"])
def test_choices_in_columns_are_refused(tmp_path, names):
    with pytest.raises(DatasetError, match="would not be sent from a CSV file") as caught:
        read(tmp_path, f"user,{names},target\nCapital?,Rome,Paris,B\n")
    assert caught.value.field in names.split(",")


def test_a_markdown_table_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="line 2: is a line of a Markdown table"):
        read(tmp_path, "| user | target |\n|---|:--|\n| Hi | 4 |\n")
    assert read(tmp_path, "user,target\n-,-\n")[0].turns[0].user == "-"


def test_a_column_whose_text_is_in_the_question_is_stored(tmp_path):
    (row,) = read(tmp_path, "user,prompt,story\nOnce. What?,What?,Once.\n")
    assert row.meta == {"prompt": "What?", "story": "Once."}
    with pytest.raises(DatasetError, match="line 3, field prompt: would not be sent"):
        read(tmp_path, "id,user,prompt\na,Hi,\na,Ho,Be kind.\n")


@pytest.mark.parametrize(
    ("cell", "target"),
    [
        ("12345678901234567890123", "12345678901234567890123"), ("1.5E+05", 150000.0), ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", "['a' 'b']"), ("['a'", "['a'"), ("[x for x in y]", "[x for x in y]"), ("['a'.upper()]",) * 2,
        ("[\"it's\", 'b']", ["it's", "b"]), ("['a', 1, None, True]", ["a", 1, None, True]),
        ("{'name': 'f', 'arguments': {}}", {"name": "f", "arguments": {}}), ("{'a', 'b'}",) * 2, ("{1: 2j}",) * 2,
        ("[b'x']",) * 2, ("[1, f(2)]",) * 2,
    ],
)  # fmt: skip
def test_digits_are_kept_and_values_as_pandas_writes_them_are_read(tmp_path, cell, target):
    quoted = cell.replace('"', '""')
    (row,) = read(tmp_path, f'user,target\nHi,"{quoted}"\n')
    assert row.turns[0].target == target
