"""Compressed files: gzip, Zstandard, xz and bzip2, known by their first bytes and decompressed while they are read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

SUFFIXES = (".gz", ".zst", ".xz", ".bz2")
UNREADABLE = (OSError, EOFError, zlib.error)  # a failing disk, a compressed file that is cut off or damaged
BUFFER = 1 << 16  # bytes
MOST_MEMORY = 1 << 27  # bytes that an .xz or .zst file may need: enough for all presets, -22 of zstd included
_GZIP = re.compile(rb"\x1f\x8b\x08")
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_XZ = re.compile(rb"\xfd7zXZ\0")
_ZSTD = re.compile(rb"(\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)")  # a frame, or one to skip before it


def is_compressed(head: bytes) -> bool:
    """Whether a file begins as a compressed one does."""
    return any(magic.match(head) for magic in (_GZIP, _BZIP2, _XZ, _ZSTD))


def decompressed(file: BinaryIO) -> BinaryIO:
    """The content of a file, from its start: as it is, or decompressed while it is read."""
    file.seek(0)
    head = file.read(10)
    file.seek(0)
    raw: Any
    if _GZIP.match(head):
        raw = gzip.GzipFile(fileobj=file, mode="rb")
    elif _BZIP2.match(head):
        raw = _Decompressing(file, bz2.BZ2Decompressor, OSError)
    elif _XZ.match(head):
        raw = _Decompressing(file, lambda: lzma.LZMADecompressor(memlimit=MOST_MEMORY), lzma.LZMAError)
    elif _ZSTD.match(head):
        raw = _zstd(file)
    else:
        return file
    return cast(BinaryIO, OwningReader(raw, file))


def _zstd(file: BinaryIO) -> _Decompressing:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    largest = {int(zstd.DecompressionParameter.window_log_max): MOST_MEMORY.bit_length() - 1}
    return _Decompressing(file, lambda: zstd.ZstdDecompressor(options=largest), zstd.ZstdError)


class OwningReader(io.BufferedReader):
    """Closes the file below it when it is closed, which ``gzip`` does not."""

    def __init__(self, raw: Any, file: BinaryIO) -> None:
        super().__init__(raw, BUFFER)
        self._file = file

    def close(self) -> None:
        """Close both."""
        super().close()
        self._file.close()


class _Decompressing(io.RawIOBase):
    """A file of one or more compressed streams. ``LZMAFile`` has no limit for memory, ``ZstdFile`` its own errors."""

    def __init__(self, file: BinaryIO, new_stream: Callable[[], Any], error: type[Exception]) -> None:
        self._file, self._new_stream, self._error = file, new_stream, error
        self._stream = new_stream()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._piece(len(buffer))
        except self._error as error:
            raise OSError(str(error)) from None
        buffer[: len(piece)] = piece
        return len(piece)

    def _piece(self, most: int) -> bytes:
        while True:
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data.lstrip(b"\0") or self._file.read(BUFFER).lstrip(b"\0")
                if not data:
                    return b""
                self._stream = self._new_stream()
            elif self._stream.needs_input:
                data = self._file.read(BUFFER)
                if not data:
                    raise EOFError("the compressed file is cut off")
            if piece := self._stream.decompress(data, most):
                return bytes(piece)
