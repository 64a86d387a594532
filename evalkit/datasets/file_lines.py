"""Lines of a dataset file: opened, decompressed, numbered, limited in length, in UTF-8."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import similar_names

LONGEST_LINE = 10_000_000  # bytes
LARGEST_LIST = 256_000_000  # bytes: a JSON list is read as a whole
KINDS = {".jsonl": "lines", ".ndjson": "lines", ".json": "list", ".csv": "csv"}
_UNREADABLE = (OSError, EOFError, zlib.error)  # a failing disk, a compressed file that is cut off or is not one
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class Line(NamedTuple):
    """One line: its number, counted from 1, the position of its first byte in the file, and its bytes."""

    number: int
    offset: int
    raw: bytes


def open_dataset(path: Path) -> tuple[BinaryIO, str]:
    """Open a dataset file for reading.

    Returns
    -------
    file, str
        The file, which decompresses itself if its name ends in ``.gz``, and its kind: ``lines``, ``list`` or ``csv``.

    Raises
    ------
    DatasetError
        There is no such file, it is a folder or of another kind, or it cannot be read.
    """
    name = path.name.lower()
    kind = KINDS.get(Path(name.removesuffix(".gz")).suffix)
    try:
        if path.is_dir():
            raise DatasetError(_inside(path), path=path)
        if not path.exists():
            raise DatasetError(_nearby(path), path=path)
        if not path.is_file():
            raise DatasetError(
                "is not a regular file: a dataset is read more than once, so save it to a file first", path=path
            )
        if kind is None:
            if path.suffix == ".evalkit":
                raise DatasetError(
                    "is a run file, not a dataset: 'evalkit show' shows it, 'evalkit resume' continues it", path=path
                )
            raise DatasetError(f"is not a known kind of dataset: its name must end in {', '.join(KINDS)}", path=path)
        file = gzip.open(path) if name.endswith(".gz") else path.open("rb")  # noqa: SIM115 the caller closes it
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DatasetError(f"cannot be read: {why}", path=path) from None
    return cast(BinaryIO, file), kind


def read_lines(file: BinaryIO) -> Iterator[Line | DatasetError]:
    """The lines of a file, with an error in place of a line that cannot be read.

    Lines end with LF. A line above 10 MB is skipped without being held in memory. The error is the last item if the
    byte order mark is not that of UTF-8, or if the file cannot be decompressed.
    """
    number = offset = 0
    while True:
        number += 1
        try:
            raw = file.readline(LONGEST_LINE + 1)
            size = len(raw)
            if size > LONGEST_LINE:
                size += _skip_line(file, raw)
                raw = b""
        except _UNREADABLE as error:
            yield DatasetError(f"cannot be read further: {error}", line=number)
            return
        if not size:
            return
        if number == 1:
            encoding = next((name for bom, name in _OTHER_BOMS.items() if raw.startswith(bom)), None)
            if encoding:
                yield DatasetError(f"the file is in {encoding}: save it as UTF-8")
                return
            raw = raw.removeprefix(_BOM)
        if size > LONGEST_LINE:
            yield DatasetError(f"the line has {size:,} bytes: a row can have at most {LONGEST_LINE:,}", line=number)
        else:
            yield Line(number, offset + size - len(raw), raw)
        offset += size


def begins_list(file: BinaryIO, path: Path) -> bool:
    """Whether a ``.json`` file is a list; many hold JSON Lines."""
    try:
        head = file.read(4096)
        file.seek(0)
    except _UNREADABLE as error:
        raise DatasetError(f"cannot be read: {error}", path=path) from None
    return head.removeprefix(_BOM).lstrip().startswith(b"[")


def read_all(file: BinaryIO) -> bytes | DatasetError:
    """A whole file without its byte order mark, or the error."""
    try:
        data = file.read(LARGEST_LIST + 1)
    except _UNREADABLE as error:
        return DatasetError(f"cannot be read further: {error}")
    if len(data) > LARGEST_LIST:
        return DatasetError(
            f"a JSON list can have at most {LARGEST_LIST:,} bytes: write it as JSON Lines, one row per line"
        )
    return data.removeprefix(_BOM)


def why_not_text(raw: bytes, offset: int = 0) -> str | None:
    """Why bytes are not UTF-8 text, with the position in the file; None if they are."""
    at = raw.find(b"\0")
    if at >= 0:
        return f"byte {offset + at} of the file is NUL: this is not a text file in UTF-8; save it as UTF-8"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return (
            f"byte {offset + error.start} of the file, 0x{raw[error.start]:02X}, is not UTF-8: save the file as UTF-8"
        )
    return None


def _skip_line(file: BinaryIO, piece: bytes) -> int:
    """Read on to the end of a line that is too long, and return the number of bytes."""
    skipped = 0
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(1 << 20)
        skipped += len(piece)
    return skipped


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
    datasets = sorted(name for name in names if Path(name.lower().removesuffix(".gz")).suffix in KINDS)
    if not datasets:
        return "the folder holds no dataset"
    return f"the datasets there are {', '.join(datasets[:5])}{', …' if len(datasets) > 5 else ''}"
