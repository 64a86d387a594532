"""Zips read file by file: the same bytes as Python's ``zipfile``, and an error for what a stranger has damaged."""

import io
import struct
import zipfile

import pytest
from backports.zstd import zipfile as with_zstandard

from evalkit.errors import DatasetError
from evalkit.importing.log_zip import LogZip

CONTENT = {"a.json": b"{}", "samples/é.json": "Grüße ".encode() * 500, "empty.json": b""}
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
    "zstandard": with_zstandard.ZIP_ZSTANDARD,
}


def zipped(path, method, before=b""):
    held = io.BytesIO()
    with with_zstandard.ZipFile(held, "w", METHODS[method]) as file:
        for name, content in CONTENT.items():
            file.writestr(name, content)
    path.write_bytes(before + held.getvalue())
    return path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"], ids=["plain", "after other bytes"])
def test_every_method_gives_what_was_packed(tmp_path, method, before):
    with LogZip(zipped(tmp_path / "a.eval", method, before), largest=10_000) as log:
        assert {name: log.read(name) for name in log.names} == CONTENT


@pytest.mark.parametrize("method", METHODS)
def test_a_file_is_unpacked_only_as_far_as_the_limit(tmp_path, method):
    with LogZip(zipped(tmp_path / "a.eval", method), largest=1_000) as log:
        assert log.read("samples/é.json") == CONTENT["samples/é.json"][:1_001]


def damaged(data, found):
    """Bytes of a zip, with a byte of the packed text, a length or a flag in the list of files changed."""
    data = bytearray(data)
    start = data.index("samples/é.json".encode())  # in the local header
    listed = data.rindex("samples/é.json".encode()) - 46
    if found == "content":
        data[start + 30] ^= 0xFF
    elif found == "checksum":
        struct.pack_into("<I", data, listed + 16, 1)
    elif found == "packed size":
        struct.pack_into("<I", data, listed + 20, 5)
    elif found == "encrypted":
        for at in (listed + 8, start - 24):
            data[at] |= 1
    elif found == "offset":
        struct.pack_into("<I", data, listed + 42, 7)
    return bytes(data)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["content", "checksum", "packed size", "encrypted", "offset"])
def test_damage_is_an_error(tmp_path, method, what):
    path = zipped(tmp_path / "a.eval", method)
    path.write_bytes(damaged(path.read_bytes(), what))
    with LogZip(path, largest=10_000) as log, pytest.raises(DatasetError, match="cannot be read as a zip"):
        log.read("samples/é.json")
    with pytest.raises(DatasetError, match="cannot be read as a zip"):
        LogZip(tmp_path / "absent.eval", largest=10)
