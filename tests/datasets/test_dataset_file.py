"""Forms of dataset files: every form gives the same conversations, whatever the file is called."""

import bz2
import gzip
import json
import lzma
import sys

import pandas as pd
import pytest

from evalkit.datasets import dataset_file, reader
from evalkit.errors import DatasetError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROWS = [{"id": f"r{n}", "turns": [{"user": f'{n}? "é" [{{\\', "target": n}]} for n in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
PRETTY = json.dumps(ROWS, ensure_ascii=False, indent=2)
TABLE = 'id,user,target\n"r0","0? ""é"" [{\\",0\nr1,"1? ""é"" [{\\",1\nr2,"2? ""é"" [{\\",2\n'
TABS = TABLE.replace(",", "\t")
PACKERS = {".gz": gzip.compress, ".zst": zstd.compress, ".xz": lzma.compress, ".bz2": bz2.compress}

FORMS = {
    "JSON Lines": LINES,
    "a list": PRETTY,
    "a list on one line": json.dumps(ROWS),
    "a list without line ends between rows": "[" + "  ,".join(map(json.dumps, ROWS)) + "\n\n]",
    "a comma after the last row": PRETTY[:-2] + ",\n]",
    "a comma after each line": LINES.replace("\n", ",\n"),
    "commas and a list around them": "[\n" + LINES.replace("\n", ",\n") + "]",
    "objects over several lines": "\n".join(json.dumps(row, indent=4) for row in ROWS),
    "objects over several lines, with commas": ",\n".join(json.dumps(row, indent=4) for row in ROWS),
    "objects on one line": "".join(map(json.dumps, ROWS)),
    "lines that end with CR": LINES.replace("\n", "\r"),
    "a list in an object": json.dumps({"version": 1, "about": {"data": []}, "data": ROWS, "license": "MIT"}),
    "a list in an object, a row per line": '{"data": [' + LINES[:-1].replace("\n", ",\n") + "]}",
    "a list in an object over several lines": json.dumps({"canary": '"data": [{', "examples": ROWS}, indent=1),
    "rows of the dataset viewer": json.dumps(
        {
            "features": [{"feature_idx": 0, "name": "id"}],
            "rows": [{"row_idx": n, "row": row, "truncated_cells": []} for n, row in enumerate(ROWS)],
            "num_rows_total": 3,
        }
    ),
    "blank lines first": "\n \r\n" + PRETTY,
    "CSV": TABLE,
    "CSV with CRLF": TABLE.replace("\n", "\r\n"),
    "CSV with CR": TABLE.replace("\n", "\r"),
    "CSV with semicolons": TABLE.replace(",", ";"),
    "CSV with a line for Excel": "sep=;\r\n" + TABLE.replace(",", ";"),
    "CSV with a line for Excel, quoted": '"sep=|"\n' + TABLE.replace(",", "|"),
    "CSV with capital headings": TABLE.replace("id,user,target", "ID, User ,TARGET"),
    "tabs": TABS,
    "CSV with empty columns": TABLE.replace("\n", ",,\n"),
}


def turns(path, **options):
    return [(c.id, c.turns[0].user, c.turns[0].target) for c in reader.read(path, **options)]


EXPECTED = [(row["id"], row["turns"][0]["user"], row["turns"][0]["target"]) for row in ROWS]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.txt", "download"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_under_every_name(tmp_path, form, name):
    path = tmp_path / name
    path.write_text(FORMS[form], encoding="utf-8", newline="")
    assert turns(path) == EXPECTED
    assert turns(path, start=2) == EXPECTED[2:]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("form", ["JSON Lines", "a list", "a list in an object", "CSV with CR", "tabs"])
def test_every_unicode_encoding_is_read(tmp_path, form, encoding):
    path = tmp_path / "x.json"
    path.write_bytes(FORMS[form].encode(encoding))
    assert turns(path) == EXPECTED


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("form", ["JSON Lines", "a list", "CSV", "tabs"])
def test_every_compression_is_read_in_one_stream_or_several_and_under_a_wrong_name(tmp_path, form, packed):
    content = FORMS[form].encode()
    middle = len(content) // 2
    pack = PACKERS[packed]
    for name, data in {
        f"x.jsonl{packed}": pack(content),
        "wrong.csv": pack(content),
        f"two.json{packed}": pack(content[:middle]) + pack(content[middle:]),
        f"utf16.csv{packed}": pack(FORMS[form].encode("utf-16")),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert turns(tmp_path / name) == EXPECTED


@pytest.mark.parametrize("packed", PACKERS)
def test_a_compressed_file_that_is_cut_is_named(tmp_path, packed):
    path = tmp_path / "cut.jsonl"
    path.write_bytes(PACKERS[packed](LINES.encode() * 2000)[:-9])
    with pytest.raises(DatasetError, match=r"cut\.jsonl.*: cannot be read"):
        list(reader.read(path, unique=False))


def test_a_plain_file_may_have_the_name_of_a_compressed_one(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_text(LINES, encoding="utf-8")
    assert turns(path) == EXPECTED


def test_frames_need_bounded_memory(tmp_path):
    wide = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(LINES.encode(), filters=wide))
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    (tmp_path / "b.jsonl.zst").write_bytes(packer.compress(LINES.encode()) + packer.flush())
    for name in ("a.jsonl.xz", "b.jsonl.zst"):
        with pytest.raises(DatasetError, match=r"cannot be read: .*[Mm]emory"):
            reader.check(tmp_path / name)


def test_what_pandas_writes_is_read_or_refused_with_what_to_do(tmp_path):
    frame = pd.DataFrame({"id": ["a", "b"], "turns": [[{"user": "1?"}], [{"user": "2?"}]]})
    path = tmp_path / "x.json"
    for options in ({"orient": "records"}, {"orient": "records", "lines": True}, {"orient": "records", "indent": 2}):
        frame.to_json(path, **options)
        assert [row[:2] for row in turns(path)] == [("a", "1?"), ("b", "2?")]
    for orient in ("columns", "index", "split"):
        frame.to_json(path, orient=orient)
        with pytest.raises(DatasetError, match=r"holds columns, as pandas writes them: write rows"):
            reader.check(path)
    table = pd.DataFrame({"user": ['Qu’est-ce ; que\tc’est ?\n«"»', "2?"], "target": [1.5, None]})
    for sep in (",", ";", "\t"):
        table.to_csv(tmp_path / "x.csv", index=False, sep=sep)
        assert [row[1:] for row in turns(tmp_path / "x.csv")] == [(table.user[0], 1.5), ("2?", None)]


WRONG = {
    "a ZIP archive": (
        b"PK\x03\x04rest",
        "is an Excel workbook or a ZIP archive: save the sheet as CSV UTF-8, or unpack it",
    ),
    "an old workbook": (b"\xd0\xcf\x11\xe0rest", "is an Excel workbook: save the sheet as CSV UTF-8"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "is a pointer of Git LFS, not the data: run 'git lfs pull', or download the file",
    ),
    "a web page": (b"<!DOCTYPE html>\n<html>", "is a web page: download the file itself"),
    "Arrow": (b"ARROW1\0\0", "is an Arrow file: write it as Parquet"),
    "a run": (
        b"SQLite format 3\0",
        "is a run file, not a dataset: 'evalkit show' shows it, 'evalkit resume' continues it",
    ),
    "packed twice": (
        gzip.compress(gzip.compress(b"{}")),
        "is compressed twice: decompress it once",
    ),
}


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet", "x"])
@pytest.mark.parametrize("kind", WRONG)
def test_files_that_hold_no_dataset_are_named_for_what_they_are(tmp_path, kind, name):
    content, message = WRONG[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        reader.check(path)
    assert str(caught.value) == f"{path}: {message}"


def test_words_in_an_unknown_file_are_no_dataset(tmp_path):
    for name, content in {"notes.txt": "Buy milk, bread\n", "x.parquet": "no", "README": "# Data\n"}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DatasetError, match="is not a "):
            reader.check(tmp_path / name)


def test_a_mapped_column_makes_a_file_csv(tmp_path):
    path = tmp_path / "fragen.txt"
    path.write_text("nr;Frage\n1;Wie viel?\n", encoding="utf-8")
    assert [row[1] for row in turns(path, columns={"user": "frage"})] == ["Wie viel?"]


def test_the_file_is_closed_again(tmp_path):
    for name, content in {"a.jsonl.gz": gzip.compress(LINES.encode()), "b.csv": TABS.encode("utf-16")}.items():
        (tmp_path / name).write_bytes(content)
        file, _ = dataset_file.open_dataset(tmp_path / name)
        assert file.read(1)
        file.close()
        assert file.closed
