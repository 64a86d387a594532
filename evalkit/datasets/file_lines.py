"""Lines of a dataset file: opened, unpacked, numbered, of bounded length, in UTF-8."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from evalkit.errors import DatasetError

LONGEST_LINE = 10_000_000  # bytes
LARGEST_LIST = 256_000_000  # bytes: a JSON list has to be read whole
KINDS = {".jsonl": "lines", ".ndjson": "lines", ".json": "list", ".csv": "sheet"}
_UNREADABLE = (OSError, EOFError, zlib.error)  # a disk that fails, a packed file that is cut or none
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class Line(NamedTuple):
    """One line: its number, counted from 1, where its first byte stands in the file, and its bytes."""

    number: int
    offset: int
    raw: bytes


def open_dataset(path: Path) -> tuple[BinaryIO, str]:
    """Open a dataset file for reading.

    Returns
    -------
    file, str
        The file, unpacked on the way if its name ends in ``.gz``, and its kind: ``lines``, ``list`` or ``sheet``.

    Raises
    ------
    DatasetError
        No such file, a folder, a file of another kind, or one that may not be read.
    """
    name = path.name.lower()
    kind = KINDS.get(Path(name.removesuffix(".gz")).suffix)
    try:
        if path.is_dir():
            raise DatasetError(_inside(path), path=path)
        if not path.exists():
            raise DatasetError(_nearby(path), path=path)
        if not path.is_file():
            raise DatasetError("is no regular file; a dataset is read more than once, so save it first", path=path)
        if kind is None:
            if path.suffix == ".evalkit":
                raise DatasetError(
                    "is a run file, not a dataset: 'evalkit show' shows it, 'evalkit resume' goes on", path=path
                )
            raise DatasetError(f"is no known kind of dataset: its name must end in {', '.join(KINDS)}", path=path)
        file = gzip.open(path) if name.endswith(".gz") else path.open("rb")  # noqa: SIM115 the caller closes it
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DatasetError(f"cannot be read: {why}", path=path) from None
    return cast(BinaryIO, file), kind


def read_lines(file: BinaryIO) -> Iterator[Line | DatasetError]:
    """The lines of a file; what is wrong comes as an error in the place of the line.

    Lines end with LF. A line above 10 MB is skipped without being held in memory. A file that is not UTF-8, by its
    byte order mark, or that cannot be unpacked, ends with the error.
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
            yield DatasetError(f"the line has {size:,} bytes: a row has {LONGEST_LINE:,} at most", line=number)
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
    """A whole file without its byte order mark, or why it cannot be had."""
    try:
        data = file.read(LARGEST_LIST + 1)
    except _UNREADABLE as error:
        return DatasetError(f"cannot be read further: {error}")
    if len(data) > LARGEST_LIST:
        return DatasetError(f"a JSON list may have {LARGEST_LIST:,} bytes: write it as JSON Lines, a row a line")
    return data.removeprefix(_BOM)


def why_not_text(raw: bytes, offset: int = 0) -> str | None:
    """Why bytes are no UTF-8 text, with the place in the file; None: they are."""
    at = raw.find(b"\0")
    if at >= 0:
        return f"byte {offset + at} of the file is NUL: this is no text file, or not in UTF-8; save it as UTF-8"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return (
            f"byte {offset + error.start} of the file, 0x{raw[error.start]:02X}, is not UTF-8: save the file as UTF-8"
        )
    return None


def _skip_line(file: BinaryIO, begun: bytes) -> int:
    """Read on to the end of a line that is too long; how many bytes that was."""
    skipped = 0
    while begun and not begun.endswith(b"\n"):
        begun = file.readline(1 << 20)
        skipped += len(begun)
    return skipped


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no such file, nor a folder {path.parent}"
    names = [entry.name for entry in islice(path.parent.iterdir(), 10_000)]
    near = get_close_matches(path.name, names, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; {_listed(names)}"
    return f"there is no such file in {path.parent.resolve()}{hint}"


def _inside(path: Path) -> str:
    return f"is a folder: name a file in it; {_listed([entry.name for entry in islice(path.iterdir(), 10_000)])}"


def _listed(names: list[str]) -> str:
    datasets = sorted(name for name in names if Path(name.lower().removesuffix(".gz")).suffix in KINDS)
    if not datasets:
        return "there is no dataset in it"
    return f"the datasets there are {', '.join(datasets[:5])}{', …' if len(datasets) > 5 else ''}"
