"""A zip of many small files, such as a log of inspect, whose files may be compressed with Zstandard.

``ZipFile.open`` takes three times as long as reading and unpacking the bytes of a small file, so that is done here. The
zip comes from a stranger: what it says about the size of a file is not trusted.
"""

from __future__ import annotations

import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from evalkit.errors import DatasetError

_MOST_FILES = 1_000_000
_HEADER_SIZE = 30  # bytes of a local file header, before name and extra field
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
        with self._readable():
            self._zip: Any = self._module.ZipFile(path)
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
        with self._readable():
            content = self._unpacked(info)
            if content is not None:
                return content
            with self._zip.open(info) as file:
                return bytes(file.read(self._largest + 1))

    def _unpacked(self, info: Any) -> bytes | None:
        """The content of a file, checked; None: leave it to ``ZipFile.open``, which reports what is wrong."""
        if info.flag_bits & _ENCRYPTED or info.compress_size > self._largest:
            return None
        file = self._zip.fp
        file.seek(info.header_offset)
        header = file.read(_HEADER_SIZE)
        if header[:4] != _SIGNATURE:
            return None
        before = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        packed = file.read(before + info.compress_size)[before:]
        if info.compress_type == zipfile.ZIP_DEFLATED:
            unpacking: Any = zlib.decompressobj(-zlib.MAX_WBITS)
        elif info.compress_type == self._module.ZIP_ZSTANDARD:
            unpacking = self._zstd.ZstdDecompressor()
        else:
            return None
        content: bytes = unpacking.decompress(packed, self._largest + 1)
        whole = unpacking.eof and not unpacking.unused_data and zlib.crc32(content) == info.CRC
        return content if whole else None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except self._broken as error:
            raise DatasetError(f"cannot be read as a zip: {error}") from None


def _modules() -> tuple[Any, Any]:
    """The modules for zip files and for Zstandard, which Python itself has from 3.14 on."""
    if sys.version_info >= (3, 14):
        return zipfile, import_module("compression.zstd")
    return import_module("backports.zstd.zipfile"), import_module("backports.zstd")
