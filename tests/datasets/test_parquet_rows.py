"""Parquet: the rows are those of JSON Lines; what JSON cannot hold is converted or refused by name."""

import datetime
import gzip
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evalkit.datasets import parquet_rows, reader
from evalkit.errors import DatasetError, MissingExtra

ROWS = [
    {
        "id": f"r{n}",
        "system": None if n % 2 else "Be brief.",
        "turns": [
            {"user": f"{n}?", "target": n, "assistant": None},
            {"user": "And?", "target": None, "assistant": "x"},
        ],
        "tags": ["a", "b"][: n % 3],
    }
    for n in range(25)
]


def write(path, rows, **options):
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "blob"])
@pytest.mark.parametrize("row_group_size", [4, 100])
def test_rows_are_those_of_json_lines(tmp_path, name, row_group_size, monkeypatch):
    monkeypatch.setattr(parquet_rows, "BATCH", 3)
    path = write(tmp_path / name, ROWS, row_group_size=row_group_size)
    lines = tmp_path / "x.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert reader.check(path).hash == reader.check(lines).hash
    expected = list(reader.read(lines))
    for start in (0, 1, 4, 11, 25):
        assert list(reader.read(path, start=start)) == expected[start:]
    packed = tmp_path / "x.parquet.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(reader.read(packed)) == expected


def test_values_that_json_lacks(tmp_path):
    table = pa.table(
        {
            "messages": ['[{"role": "user", "content": "Hi"}]'],
            "target": pa.array([Decimal("2.50")]),
            "when": [datetime.datetime(2024, 5, 3, 1, 2)],
            "score": [float("nan")],
            "name": pa.array([b"caf\xc3\xa9"], pa.binary()),
            "pairs": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "kind": pa.array(["x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    (row,) = reader.read(tmp_path / "x.parquet")
    assert row.turns[0].user == "Hi"
    assert row.turns[0].target == 2.5
    assert row.meta == {"when": "2024-05-03T01:02:00", "name": "café", "pairs": {"k": 1}, "kind": "x"}


def test_errors_name_row_and_field(tmp_path):
    rows = [{"turns": [{"user": "a"}]}, {"turns": [{"user": ""}]}]
    with pytest.raises(DatasetError, match=r"x.parquet, field \[1\].turns\[0\].user: must not be empty"):
        reader.check(write(tmp_path / "x.parquet", rows))
    rows = [{"messages": "[]", "image": {"bytes": b"\xff\xd8\xff", "path": "a.jpg"}}]
    with pytest.raises(DatasetError, match=r"field \[0\].image: holds bytes, which a row of a dataset cannot"):
        reader.check(write(tmp_path / "y.parquet", rows))
    with pytest.raises(DatasetError, match=r"field \[0\].messages: is neither a list nor JSON"):
        reader.check(write(tmp_path / "z.parquet", [{"messages": "[{"}]))


def test_a_cell_above_the_limit_and_a_damaged_file_are_named(tmp_path):
    path = write(tmp_path / "x.parquet", [{"turns": [{"user": "a"}]}, {"turns": [{"user": "b" * 10_000_001}]}])
    with pytest.raises(DatasetError, match=r"row 2 has 10,000,0\d\d bytes: a row can have at most 10,000,000"):
        reader.check(path)
    write(path, ROWS)
    content = path.read_bytes()
    for damaged in (content[:-10], content[:40], b"PAR1" + content[200:]):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"x\.parquet: "):
            reader.check(path)


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", ROWS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'chat-evalkit\[parquet\]'"):
        reader.check(path)


@pytest.mark.parametrize(
    ("value", "kind", "target"),
    [
        (datetime.datetime(2024, 2, 1), pa.timestamp("ns"), "2024-02-01"),
        (datetime.datetime(2024, 2, 1, 12, 30), pa.timestamp("us"), "2024-02-01T12:30:00"),
        (0.1, pa.float32(), 0.1), (1e10, pa.float32(), 1e10), (float("nan"), pa.float32(), None),
        (Decimal("12345678901234567890.5"), pa.decimal128(30, 1), "12345678901234567890.5"),
        (Decimal("1.50"), pa.decimal128(10, 2), 1.5), (Decimal(10**20), pa.decimal128(30, 0), str(10**20)),
        (2**64 - 1, pa.uint64(), 2**64 - 1),
    ],
)  # fmt: skip
def test_a_target_is_what_was_written(tmp_path, value, kind, target):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"user": ["Hi"], "target": pa.array([value], kind)}), path)
    (row,) = reader.read(path)
    assert row.turns[0].target == target


def test_functions_may_be_text(tmp_path):
    path = write(tmp_path / "x.parquet", [{"prompt": "Hi", "functions": '[{"name": "f"}]'}])
    (row,) = reader.read(path)
    assert row.params == {"functions": [{"name": "f"}]}
