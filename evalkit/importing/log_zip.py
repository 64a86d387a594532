"""A zip of many small files, such as a log of inspect, whose files may be compressed with Zstandard.

``ZipFile.open`` takes three times as long as reading and unpacking the bytes of a small file, so that is done here. The
zip comes from a stranger: what it says about the size of a file is not trusted.
"""

from __future__ import annotations

import lzma
import os
import sys
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from evalkit.errors import DatasetError

_MOST_FILES = 1_000_000
_HEADER_SIZE = 30  # bytes of a local file header, before name and extra field
_USUAL_HEADER = 512  # bytes that hold nearly every header with its name and extra field
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1


class LogZip:
    """A zip that is read file by file.

    Parameters
    ----------
    path : Path
    largest : int
        Bytes of a file, at most.

    Raises
    ------
    DatasetError
        It cannot be read as a zip, or holds more than a million files.
    """

    def __init__(self, path: Path, *, largest: int) -> None:
        self._largest = largest
        self._module, self._zstd = _modules()
        self._broken = (
            OSError, NotImplementedError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError,
            self._zstd.ZstdError, self._module.BadZipFile,
        )  # fmt: skip
        try:
            self._zip: Any = self._module.ZipFile(path)
        except self._broken as error:
            raise _unreadable(error) from None
        self._file: int = self._zip.fp.fileno()
        self.names: dict[str, Any] = {info.filename: info for info in self._zip.infolist()}
        if len(self.names) > _MOST_FILES:
            raise DatasetError(f"holds {len(self.names):,} files: a log can have at most {_MOST_FILES:,}")

    def __enter__(self) -> LogZip:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """The content of a file, or its first ``largest + 1`` bytes.

        Raises
        ------
        DatasetError
            It is damaged, encrypted, or compressed in a way that Python cannot read.
        """
        info = self.names[name]
        try:
            content = self._unpacked(info)
            if content is not None:
                return content
            with self._zip.open(info) as file:
                return bytes(file.read(self._largest + 1))
        except self._broken as error:
            raise _unreadable(error) from None

    def _unpacked(self, info: Any) -> bytes | None:
        """The content of a file, checked; None: leave it to ``ZipFile.open``, which reports what is wrong."""
        if info.flag_bits & _ENCRYPTED or info.compress_size > self._largest:
            return None
        size = info.compress_size
        found = os.pread(self._file, _USUAL_HEADER + size, info.header_offset)
        if found[:4] != _SIGNATURE or len(found) < _HEADER_SIZE:
            return None
        start = _HEADER_SIZE + int.from_bytes(found[26:28], "little") + int.from_bytes(found[28:30], "little")
        if start > _USUAL_HEADER:
            found = os.pread(self._file, start + size, info.header_offset)
        packed = found[start : start + size]
        if info.compress_type == zipfile.ZIP_DEFLATED:
            unpacking: Any = zlib.decompressobj(-zlib.MAX_WBITS)
        elif info.compress_type == self._module.ZIP_ZSTANDARD:
            unpacking = self._zstd.ZstdDecompressor()
        else:
            return None
        content: bytes = unpacking.decompress(packed, self._largest + 1)
        whole = unpacking.eof and not unpacking.unused_data and zlib.crc32(content) == info.CRC
        return content if whole else None


def _unreadable(error: BaseException) -> DatasetError:
    return DatasetError(f"cannot be read as a zip: {error}")


def _modules() -> tuple[Any, Any]:
    """The modules for zip files and for Zstandard, which Python itself has from 3.14 on."""
    if sys.version_info >= (3, 14):
        return zipfile, import_module("compression.zstd")
    return import_module("backports.zstd.zipfile"), import_module("backports.zstd")
