"""A dataset file, opened: decompressed, in UTF-8, and its form, which is seen from its content."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import orjson

from evalkit.datasets import csv_dialect
from evalkit.datasets.compression import SUFFIXES, UNREADABLE, decompressed, is_compressed
from evalkit.datasets.file_lines import LONGEST_LINE
from evalkit.datasets.text_encoding import UTF8_MARK, as_utf8, unicode_encoding, with_line_feeds
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import similar_names

LINES, VALUES, CSV, PARQUET = "lines", "values", "csv", "parquet"  # forms of a file; lines and values are JSON
NAMES = {".jsonl": LINES, ".ndjson": LINES, ".json": LINES, ".csv": CSV, ".tsv": CSV, ".parquet": PARQUET}
_HEAD = 1 << 16  # bytes
_JSON = re.compile(rb"\{\s*[\"'}]|\[\s*[{\[\"\]]|[{\[]\s*$")
# first bytes of files that hold no dataset, with what to do
_OTHERS = (
    (b"SQLite format 3\0", "is a run file, not a dataset: 'evalkit show' shows it, 'evalkit resume' continues it"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the data: run 'git lfs pull', or download the file"),
    (b"PK\x03\x04", "is an Excel workbook or a ZIP archive: save the sheet as CSV UTF-8, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook: save the sheet as CSV UTF-8"),
    (b"ARROW1", "is an Arrow file: write it as Parquet"),
    (b"\xff\xff\xff\xff", "is an Arrow file: write it as Parquet"),
    (b"<!doctype html", "is a web page: download the file itself"),
    (b"<html", "is a web page: download the file itself"),
)
_PANDAS = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:|\{\s*"0"\s*:\s*\{|\{\s*"columns"\s*:\s*\[')


def open_dataset(path: Path, columns: Mapping[str, str] | None = None) -> tuple[BinaryIO, str]:
    """Open a dataset file for reading.

    Parameters
    ----------
    path : Path
    columns : mapping, optional
        Field to column name: helps to recognise CSV under another file name.

    Returns
    -------
    file, str
        The file, which decompresses itself and is read as UTF-8, and its form: ``lines`` and ``values`` (JSON), ``csv``
        or ``parquet``.

    Raises
    ------
    DatasetError
        There is no such file, it is a folder or of another kind, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise DatasetError(_inside(path), path=path)
        if not path.exists():
            raise DatasetError(_nearby(path), path=path)
        if not path.is_file():
            raise DatasetError(
                "is not a regular file: a dataset is read more than once, so save it to a file first", path=path
            )
        file = path.open("rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DatasetError(f"cannot be read: {why}", path=path) from None
    with file:
        try:
            return _opened(file, path, (columns or {}).get("user", "user"))
        except UNREADABLE as error:
            raise DatasetError(f"cannot be read: {error}", path=path) from None
        except DatasetError as error:
            raise DatasetError(error.problem, path=path) from None


def _opened(file: BinaryIO, path: Path, column: str) -> tuple[BinaryIO, str]:
    with _content(file) as content:
        head = content.read(_HEAD)
    if is_compressed(head):
        raise DatasetError("is compressed twice: decompress it once")
    if head.startswith(b"PAR1"):
        return _content(file), PARQUET
    for magic, problem in _OTHERS:
        if head[: len(magic)].lower() == magic.lower():
            raise DatasetError(problem)
    encoding = unicode_encoding(head)
    with _content(file, encoding) as content:
        first, more = _first_line(content)
    form = _form(first, more, NAMES.get(form_suffix(path.name)), column)
    cr = False
    if form == CSV:
        with _content(file, encoding) as content:
            cr = csv_dialect.ends_with_cr(content.read(_HEAD))
    return _content(file, encoding, cr=cr), form


def _content(file: BinaryIO, encoding: str | None = None, *, cr: bool = False) -> BinaryIO:
    """A file that is open, from its start: decompressed, in UTF-8, its lines ending with LF."""
    content = decompressed(os.fdopen(os.dup(file.fileno()), "rb"))
    if encoding:
        content = as_utf8(content, encoding)
    return with_line_feeds(content) if cr else content


def _first_line(file: BinaryIO) -> tuple[bytes, bool]:
    """The first line that is not blank, and whether others follow."""
    line = file.readline(LONGEST_LINE + 1).removeprefix(UTF8_MARK)
    while line.isspace():
        line = file.readline(LONGEST_LINE + 1)
    more = file.readline(_HEAD)
    while more.isspace():
        more = file.readline(_HEAD)
    return line, bool(more)


def _form(first: bytes, more: bool, named: str | None, column: str) -> str:
    """The form of a file by its first line, and by its name where that leaves it open."""
    if _JSON.match(first.lstrip()):
        return _json_form(first.strip(), more)
    if named == CSV or (first.lstrip()[:1] not in (b"{", b"[") and csv_dialect.is_header(first[:_HEAD], column)):
        return CSV
    if named == LINES:
        return LINES
    if named == PARQUET:
        raise DatasetError("is not a Parquet file, whatever its name says, nor one of JSON or CSV")
    raise DatasetError(f"is not a known kind of dataset: its name must end in {', '.join(NAMES)}")


def _json_form(first: bytes, more: bool) -> str:
    if _PANDAS.match(first):
        raise DatasetError(
            "holds columns, as pandas writes them: write rows, with to_json(orient='records', lines=True)"
        )
    if not more or len(first) > LONGEST_LINE:
        return VALUES
    first = first.removesuffix(b",").rstrip()
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError as error:
        text = first.decode("utf-8", "replace")
        unfinished = error.pos >= len(text)
        return VALUES if unfinished or text.startswith("[") or _is_json(text[: error.pos]) else LINES
    return LINES


def _is_json(text: str) -> bool:
    try:
        return bool(orjson.loads(text))
    except orjson.JSONDecodeError:
        return False


def form_suffix(name: str) -> str:
    """The end of a file's name that says its form."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in SUFFIXES else path.suffix


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no such file, and no folder {path.parent}"
    names = [entry.name for entry in islice(path.parent.iterdir(), 10_000)]
    similar = similar_names(path.name, names)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else f"; {_listed(names)}"
    return f"there is no such file in {path.parent.resolve()}{hint}"


def _inside(path: Path) -> str:
    return f"is a folder: name a file in it; {_listed([entry.name for entry in islice(path.iterdir(), 10_000)])}"


def _listed(names: list[str]) -> str:
    datasets = sorted(name for name in names if form_suffix(name) in NAMES)
    if not datasets:
        return "the folder holds no dataset"
    return f"the datasets there are {', '.join(datasets[:5])}{', …' if len(datasets) > 5 else ''}"
