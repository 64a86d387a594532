"""JSON that is not one row per line: places of errors, limits, and cuts that fall anywhere."""

import io
import json
import tracemalloc

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.datasets import json_values, reader
from evalkit.errors import DatasetError

ROW = '{"id": "%s", "turns": [{"user": "Hi"}]}'

texts = st.text(st.sampled_from('ab"\\[]{},: \n\té€😀'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
rows = st.lists(st.dictionaries(texts, values, max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=rows, piece=st.integers(1, 40), indent=st.sampled_from([None, 1]), escaped=st.booleans())
def test_rows_are_found_wherever_the_pieces_of_the_file_end(rows, piece, indent, escaped):
    def texts_of(value):
        return json.dumps(value, indent=indent, ensure_ascii=escaped)

    forms = [
        texts_of(rows),
        "\n".join(map(texts_of, rows)),
        ",".join(map(texts_of, rows)),
        texts_of({"version": rows, "data": rows, "info": rows}) if all(rows) and "data" not in rows[0] else "[]",
    ]
    whole, json_values.PIECE = json_values.PIECE, piece
    try:
        for text in forms[:3]:
            assert [row.value for row in json_values.value_rows(io.BytesIO(text.encode()))] == rows
    finally:
        json_values.PIECE = whole
    if forms[3] != "[]":
        assert [row.value for row in json_values.value_rows(io.BytesIO(forms[3].encode()))] == rows


@settings(max_examples=60, deadline=None)
@given(content=st.text(st.sampled_from('{}[]",:\\ \n1a')).map(str.encode) | st.binary(max_size=30))
def test_any_bytes_give_rows_and_at_most_one_error(content):
    found = list(json_values.value_rows(io.BytesIO(content)))
    assert not any(isinstance(row.value, DatasetError) for row in found[:-1])


BAD = {
    "a row of a list": (f"[{ROW % 'a'},\n {ROW % 'b'},\n {{'id': 1}}]", ", line 3: not valid JSON at column 3, near"),
    "a row over lines": ('{\n "turns": [\n  {"user": Hi}\n ]\n}', ", line 3: not valid JSON at column 12, near 'Hi}"),
    "a row after others": (
        json.dumps(json.loads(ROW % "a"), indent=1) + '\n{"id" 2,\n}',
        ", line 9: not valid JSON at column 7, near '2,",
    ),
    "a list without its end": (f"[{ROW % 'a'},\n{ROW % 'b'}", ", line 2: the list has no end: ']' is missing"),
    "a list cut in a row": (f"[{ROW % 'a'},\n{ROW % 'b'}"[:-4], ", line 2: not valid JSON: it ends at column"),
    "two lists": (f"[{ROW % 'a'}]\n[{ROW % 'b'}]\n[\n", ", line 1: a row must be an object, {…}, not a list"),
    "more after a list": (f"[\n{ROW % 'a'}]\n{ROW % 'b'}", ", line 3: more follows after the end of the list"),
    "a bracket too many": (f"{{\n{ROW[1:] % 'a'}]", ", line 2: not valid JSON at column 38, near ']'"),
    "a row of a list in an object": (
        '{"data": [{"turns": [{"user": 1}]}]}',
        ", field data[0].turns[0].user: must be text, not a number",
    ),
    "a system prompt beside the list": (
        '{"data": [' + ROW % "a" + '], "system": "Be kind."}',
        ", field system: stands beside the list 'data' and would not be sent: write it into each row",
    ),
    "an instruction before the list": (
        '{"task_prefix": "Be kind.", "data": [' + ROW % "a" + "]}",
        ", field task_prefix: stands beside the list 'data' and would not be sent: write it into each row",
    ),
    "a parameter under another name before the list": (
        '{"maxTokens": 5, "data": [' + ROW % "a" + "]}",
        ", field maxTokens: stands beside the list 'data' and would not be sent: write it into each row",
    ),
    "two lists in an object": (
        '{"data": [' + ROW % "a" + '], "items": [' + ROW % "a" + "]}",
        ": holds more than one list of rows beside 'data': write one list to a file",
    ),
    "an object that breaks after its list": (
        '{"data": [' + ROW % "a" + '], "x" 1}',
        ": after the list 'data': not valid JSON at column",
    ),
    "a cell cut by the dataset viewer": (
        '{"rows": [{"row_idx": 0, "row": {}, "truncated_cells": ["turns"]}]}',
        ", field rows[0]: the dataset viewer has cut cells of this row: download the file itself",
    ),
    "not UTF-8": (f"[\n{ROW % 'a'}, \udcff]", "line 2: byte 42 of the file, 0xFF, is not UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_with_its_place(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DatasetError) as caught:
        reader.check(path)
    assert message in str(caught.value)


def test_an_object_with_a_list_of_texts_is_a_row_and_not_a_list_of_rows():
    for row in ({"id": 1, "data": ["a", "b"]}, {"turns": [], "data": [{}]}):
        (found,) = json_values.value_rows(io.BytesIO(json.dumps(row).encode()))
        assert found.value == row


def test_a_row_above_the_limit_is_named_and_the_file_is_not_held(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    with path.open("w") as file:
        file.write(f"[{ROW % 'a'},\n" + '{"turns": [{"user": "')
        for _ in range(40):
            file.write("x" * 1_000_000)
        file.write('"}]}]')
    tracemalloc.start()
    with pytest.raises(DatasetError, match=r"line 2: the row that starts here has more than 10,000,000 bytes"):
        reader.check(path)
    assert tracemalloc.get_traced_memory()[1] < 150_000_000
    tracemalloc.stop()


def test_memory_does_not_grow_with_a_list(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(orjson.dumps([json.loads(ROW % n) for n in range(30_000)]))
    list(reader.read(path, limit=10))
    tracemalloc.start()
    assert sum(1 for _ in reader.read(path, unique=False)) == 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
