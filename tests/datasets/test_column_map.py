"""Fields from keys and paths of JSON rows."""

import json

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.datasets import reader
from evalkit.datasets.column_map import mapped
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError, SettingsError


def read(row, columns):
    return parse(row, format_of(row, columns), columns=columns)


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("solution", {"solution": 42}),
        ("solution.value", {"solution": {"value": 42}}),
        ("solution.values.0", {"solution": {"values": [42, 43]}}),
        ("0.solution", {"0": {"solution": 42}}),
        ("solution.value", {"solution.value": 42, "solution": {"value": 43}}),
    ],
)
def test_a_path_leads_into_objects_and_lists(path, row):
    columns = {"user": "prompt", "target": path}
    assert read({"prompt": "p", **row}, columns).turns == (Turn("p", 42),)


def test_what_is_not_mapped_stays():
    row = {"prompt": "p", "solution": {"value": 42, "note": "n"}, "user": "someone", "level": 1, "temperature": 0}
    conversation = read(row, {"user": "prompt", "target": "solution.value"})
    assert conversation.meta == {"solution": {"note": "n"}, "user": "someone", "level": 1}
    assert conversation.params == {"temperature": 0}
    assert row["solution"] == {"value": 42, "note": "n"}


def test_one_key_may_be_two_fields():
    turn = Turn("p", "a", assistant="a")
    assert read({"q": "p", "a": "a"}, {"user": "q", "target": "a", "assistant": "a"}).turns == (turn,)


def test_other_formats_keep_their_keys():
    row = {"messages": [{"role": "user", "content": "q"}], "expected": "Bonjour"}
    assert read(row, {"target": "expected"}).turns == (Turn("q", "Bonjour"),)
    assert read({"chat": {"log": row["messages"]}}, {"messages": "chat.log"}).turns == (Turn("q"),)
    asked = Turn("q\n\nA) a\nB) b", "B", ScorerSpec("choice"))
    assert read({"q": "q", "o": ["a", "b"], "k": 1}, {"user": "q", "choices": "o", "target": "k"}).turns == (asked,)
    assert read({"id": "a", "t": [{"user": "q"}]}, {"turns": "t"}).turns == (Turn("q"),)


def test_a_file_is_read_with_a_map_and_errors_have_the_key_of_the_row(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"q": {"text": "a"}, "a": "1"}, {"q": {"text": "b"}}, {"q": {"text": " "}}]
    path.write_text("\n".join(map(json.dumps, rows)))
    columns = {"user": "q.text", "target": "a"}
    assert [c.turns[0] for c in reader.read(path, columns=columns, limit=2)] == [Turn("a", 1), Turn("b")]
    with pytest.raises(DatasetError, match=r"x\.jsonl, line 3, field q\.text: must not be empty$"):
        reader.check(path, columns=columns)


def test_a_scorer_s_complaint_has_the_key_of_the_row(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"q": "a", "a": {"b": true}}')

    def check(turn):
        raise DatasetError("is odd", field="target")

    with pytest.raises(DatasetError, match=r"line 1, field a\.b: is odd$"):
        reader.check(path, columns={"user": "q", "target": "a.b"}, check_turn=check)


@pytest.mark.parametrize(
    ("beside", "field"),
    [
        ({"passage": "Long ago."}, "in.passage"), ({"system_prompt": "Hi"}, "in.system_prompt"),
        ({"maxTokens": 5, "note": "x"}, "in.maxTokens"), ({"system": "Hi"}, "in.system"),
        ({"seed": 1, "x": 1}, "in.seed"), ({"context": "Hi"}, "in.context"), ({"tools": [{}]}, "in.tools"),
        ({"passage": "q"}, None), ({"note": "x", "passage": ""}, None),
    ],
)  # fmt: skip
def test_what_stands_beside_the_question_is_checked_too(beside, field):
    row = {"in": {"q": "q", **beside}}
    if field is None:
        assert read(row, {"user": "in.q"}).meta == {"in": beside}
        return
    with pytest.raises(DatasetError, match="would not be sent") as caught:
        read(row, {"user": "in.q"})
    assert caught.value.field == field


@pytest.mark.parametrize("path", ["nix", "a.nix", "l.1", "l.-1", "l.x", "a.b.c"])
def test_a_path_that_the_first_row_lacks_is_an_error(path):
    row = {"q": "p", "a": {"b": 1}, "l": [1]}
    with pytest.raises(DatasetError, match=f"there is no key '{path}' to read as target: the row has q, a, l"):
        format_of(row, {"user": "q", "target": path})
    assert "target" not in mapped(row, {"user": "q", "target": path}, first=False)


def test_an_unknown_field_is_refused():
    with pytest.raises(SettingsError, match="no key can be read as 'usr': the fields are id, user, target"):
        format_of({"q": "p"}, {"usr": "q"})


def test_parquet_rows_are_mapped_by_path(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": "a", "solution": {"value": "1"}}, {"prompt": "b", "solution": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    columns = {"user": "prompt", "target": "solution.value"}
    assert [c.turns[0] for c in reader.read(tmp_path / "x.parquet", columns=columns)] == [Turn("a", 1), Turn("b")]
