"""Encodings of text files: Unicode by its first bytes, others by what the text looks like; all are read as UTF-8."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO

from evalkit.datasets.compression import BUFFER, OwningReader

UTF8_MARK = b"\xef\xbb\xbf"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# the first two characters of a dataset are ASCII
_UNMARKED = (
    (re.compile(rb"[^\0]\0{3}[^\0]\0{3}"), "utf-32-le"),
    (re.compile(rb"\0{3}[^\0]\0{3}[^\0]"), "utf-32-be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf-16-le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16-be"),
)


def unicode_encoding(head: bytes) -> str | None:
    """The encoding of a text by its first bytes, if it is UTF-16 or UTF-32."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    return marked or next((name for pattern, name in _UNMARKED if pattern.match(head)), None)


def as_utf8(file: BinaryIO, encoding: str) -> BinaryIO:
    """A file in another encoding, read as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()

    def convert(piece: bytes) -> bytes:
        try:
            return decoder.decode(piece, final=not piece).encode()
        except UnicodeDecodeError as error:
            raise OSError(f"it is not {encoding.upper()} throughout ({error.reason})") from None

    return OwningReader(_Converted(file, convert), file)


def with_line_feeds(file: BinaryIO) -> BinaryIO:
    """A file whose lines end with CR, read as if they ended with LF."""
    return OwningReader(_Converted(file, lambda piece: piece.replace(b"\r", b"\n")), file)


class _Converted(io.RawIOBase):
    """A file, converted piece by piece; the last piece is empty."""

    def __init__(self, file: BinaryIO, convert: Callable[[bytes], bytes]) -> None:
        self._file, self._convert = file, convert
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = b" "
        while piece and not self._ready:
            piece = self._file.read(BUFFER)
            self._ready = memoryview(self._convert(piece))
        now, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(now)] = now
        return len(now)
