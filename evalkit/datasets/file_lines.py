"""Lines of a dataset file: numbered, limited in length, in UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from evalkit.datasets.compression import UNREADABLE
from evalkit.datasets.text_encoding import UTF8_MARK
from evalkit.errors import DatasetError

LONGEST_LINE = 10_000_000  # bytes


class Line(NamedTuple):
    """One line: its number, counted from 1, the position of its first byte in the file, and its bytes."""

    number: int
    offset: int
    raw: bytes


def read_lines(file: BinaryIO) -> Iterator[Line | DatasetError]:
    """The lines of a file, with an error in place of a line that cannot be read.

    Lines end with LF. A line above 10 MB is skipped without being held in memory. The error is the last item if the
    file cannot be read or decompressed further.
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
        except UNREADABLE as error:
            yield DatasetError(f"cannot be read further: {error}", line=number)
            return
        if not size:
            return
        if number == 1:
            raw = raw.removeprefix(UTF8_MARK)
        if size > LONGEST_LINE:
            yield DatasetError(f"the line has {size:,} bytes: a row can have at most {LONGEST_LINE:,}", line=number)
        else:
            yield Line(number, offset + size - len(raw), raw)
        offset += size


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
