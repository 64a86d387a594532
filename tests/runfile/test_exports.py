import csv
import io
import json
import tempfile
from pathlib import Path

import orjson
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runfiles import S, T, talk, write

from evalkit import Conversation, SettingsError, Turn
from evalkit.analysis import tables
from evalkit.cli.main import main
from evalkit.runfile import turn_columns
from evalkit.runfile.store import RunFile

texts = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.floats(0, 1) | st.sampled_from([1e-7, 1 / 3])
extracted = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts | st.lists(st.none() | texts)


@given(st.lists(st.tuples(texts, st.none() | numbers, extracted), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_csv_and_json_lines_are_those_that_pandas_writes_of_the_turns(rows: list) -> None:
    turns = [
        T(f"c{n}", 1, text=text, score=score, extracted=found, latency_ms=400.0 + n / 3, tokens=n or None)
        for n, (text, score, found) in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "r.evalkit", [S(turns)])
        for form in ("csv", "jsonl"):
            assert tables.export(path, form, Path(folder) / form) == len(turns)
        frame = tables.turns(path)
        lines = [orjson.loads(line) for line in (Path(folder) / "jsonl").read_bytes().split(b"\n") if line]
        flat = frame.copy()
        for name in ("tool_calls", "extracted", "tags", "target"):
            flat[name] = [None if value is None else orjson.dumps(value).decode() for value in frame[name]]
        flat.to_csv(Path(folder) / "expected.csv", index=False, lineterminator="\r\n")
        assert (Path(folder) / "csv").read_bytes() == (Path(folder) / "expected.csv").read_bytes()
    expected = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert lines == [orjson.loads(orjson.dumps(row)) for row in expected]


FORMULAS = [
    "=1+1", "+1", "-5", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\rtext", "\ttext", "\0=1", "＝1+1", "＋1", "－1",
    "＠SUM(A1)", "﹦1", " =1+1", "   -5", "\xa0=1", "\u3000=1", "\u200b=1", "\ufeff=1", "\u202e=1", "\x1b=1", '=HYPERLINK("http://a")',
]  # fmt: skip
NO_FORMULAS = ["5", "1+1", "'=1+1", '"=1"', "a=1", "", "  a", "语=1", "−5", "—", "*1", "a\n=1", "a,=1"]


def exported(tmp_path, answers, *flags):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, text=text) for n, text in enumerate(answers)])])
    assert main(["export", str(path), "--format", "csv", "-o", str(tmp_path / "out.csv"), *flags]) == 0
    return (tmp_path / "out.csv").read_bytes()


def answers_in(data, encoding="utf-8"):
    return [row["answer"] for row in csv.DictReader(io.StringIO(data.decode(encoding), newline=""))]


def test_a_plain_csv_is_exact_and_one_line_says_what_a_spreadsheet_would_make_of_it(tmp_path, capsys):
    data = exported(tmp_path, [*FORMULAS, *NO_FORMULAS])
    assert answers_in(data) == [*FORMULAS, *NO_FORMULAS]
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"{len(FORMULAS)} cells begin like a formula" in said
    assert "--excel" in said


def test_a_csv_for_a_spreadsheet_holds_no_formula(tmp_path, capsys):
    data = exported(tmp_path, [*FORMULAS, *NO_FORMULAS], "--excel")
    assert data.startswith(b"\xef\xbb\xbfconversation,")
    assert answers_in(data, "utf-8-sig") == [*("'" + text for text in FORMULAS), *NO_FORMULAS]
    assert "formula" not in capsys.readouterr().err


def test_every_column_of_text_counts_and_numbers_stay_numbers(tmp_path):
    turn = T("=c", 1, text="a", score=0.5, scorer="@s", extracted=-5, reason="+r")
    path = write(tmp_path / "r.evalkit", [S([turn])], [Conversation("=c", (Turn("=1+1", -2),))])
    assert tables.export(path, "csv", tmp_path / "out.csv", excel=True) == 1
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text("utf-8-sig").splitlines())
    assert (row["conversation"], row["scorer"], row["extracted"], row["score"]) == ("'=c", "'@s", "'-5", "0.5")
    assert (row["question"], row["target"], row["reason"]) == ("'=1+1", "'-2", "'+r")


def test_where_nothing_begins_a_formula_nothing_is_said(tmp_path, capsys):
    exported(tmp_path, NO_FORMULAS)
    assert "formula" not in capsys.readouterr().err


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("levels", [300, 1000, 5000])
def test_what_an_older_run_has_nested_deep_is_written_as_its_text(tmp_path, form, levels):
    path = write(tmp_path / "r.evalkit", [S([T("c", 1, score=1.0)])])
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute("UPDATE score SET extracted = ?", ("[" * levels + "]" * levels,))
    assert tables.export(path, form, tmp_path / "out") == 1
    assert b"[" * levels in (tmp_path / "out").read_bytes() or form == "parquet"


@pytest.mark.parametrize("levels", [120, 300, 900])
def test_a_target_of_an_older_run_that_is_nested_deep_is_written_as_its_text(tmp_path, levels):
    path = write(tmp_path / "r.evalkit", [S([T("c", 1, score=1.0)])])
    deep = "[" * levels + "]" * levels
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute("UPDATE conversation SET row = json_set(row, '$.turns[0].target', json(?))", (deep,))
    for form in tables.FORMATS:
        assert tables.export(path, form, tmp_path / "out") == 1
    frame = tables.turns(path)
    assert frame["target"].map(lambda target: target if isinstance(target, str) else json.dumps(target))[0] == deep


ASKED = st.lists(
    st.tuples(texts.filter(str.strip), extracted.filter(lambda value: value != ""), st.integers(1, 3)),
    min_size=1,
    max_size=4,
)


@given(ASKED)
@settings(max_examples=30, deadline=None)
def test_questions_and_targets_are_exact_in_every_format_whatever_they_hold(asked: list) -> None:
    """Also those of repeats, of groups of any size, and of conversations between which one has no finished turn."""
    talks, turns = [], []
    for n, (user, target, repeats) in enumerate(asked):
        talks += [talk(f"before {n}"), Conversation(f"c{n}", (Turn(user, target), Turn(user[::-1], None)))]
        turns += [T(f"c{n}", turn, repeat=repeat) for repeat in range(1, repeats + 1) for turn in (1, 2)]
    expected = [
        row for user, target, repeats in asked for _ in range(repeats) for row in ((user, target), (user[::-1], None))
    ]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        path = write(folder / "r.evalkit", [S(turns)], talks)
        patch.setattr(turn_columns, "ROWS_PER_GROUP", 3)
        for form in tables.FORMATS:
            tables.export(path, form, folder / form)
        frame = tables.turns(path)
        lines = [orjson.loads(line) for line in (folder / "jsonl").read_bytes().split(b"\n") if line]
        with (folder / "csv").open(encoding="utf-8", newline="") as file:
            cells = list(csv.DictReader(file))
        columns = pyarrow.parquet.read_table(folder / "parquet", columns=["question", "target"]).to_pydict()
    stored = [orjson.loads(orjson.dumps(target)) for _, target in expected]
    assert frame["question"].tolist() == [line["question"] for line in lines] == [user for user, _ in expected]
    assert [cell["question"] for cell in cells] == columns["question"] == [user for user, _ in expected]
    assert frame["target"].tolist() == [line["target"] for line in lines] == stored
    assert [orjson.loads(cell["target"] or "null") for cell in cells] == stored
    assert [orjson.loads(text or "null") for text in columns["target"]] == stored


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_for_a_spreadsheet_only_csv_is_written(tmp_path, form):
    path = write(tmp_path / "r.evalkit", [S([T("c", 1)])])
    with pytest.raises(SettingsError, match="--excel is for CSV files"):
        tables.export(path, form, tmp_path / "out", excel=True)
    assert not (tmp_path / "out").exists()
