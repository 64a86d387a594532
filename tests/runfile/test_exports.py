import csv
import io
import tempfile
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runfiles import S, T, write

from evalkit import SettingsError
from evalkit.analysis import tables
from evalkit.cli.main import main
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
        for name in ("tool_calls", "extracted", "tags"):
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
    turn = T("=c", 1, text="a", score=0.5, scorer="@s", extracted=-5)
    path = write(tmp_path / "r.evalkit", [S([turn])])
    assert tables.export(path, "csv", tmp_path / "out.csv", excel=True) == 1
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text("utf-8-sig").splitlines())
    assert (row["conversation"], row["scorer"], row["extracted"], row["score"]) == ("'=c", "'@s", "'-5", "0.5")


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


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_for_a_spreadsheet_only_csv_is_written(tmp_path, form):
    path = write(tmp_path / "r.evalkit", [S([T("c", 1)])])
    with pytest.raises(SettingsError, match="--excel is for CSV files"):
        tables.export(path, form, tmp_path / "out", excel=True)
    assert not (tmp_path / "out").exists()
