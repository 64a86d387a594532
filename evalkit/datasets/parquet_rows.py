"""Rows of a Parquet file, read in batches; ``pyarrow`` does the reading.

A row becomes the object that it would be in JSON Lines: structs are objects, and null, which stands for a missing value
and for a field that a struct lacks, is left out. Columns whose text is JSON, such as ``messages``, are read as JSON.
"""

from __future__ import annotations

import datetime
import math
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO, cast

import orjson

from evalkit.datasets.compression import BUFFER, OwningReader
from evalkit.datasets.file_lines import LONGEST_LINE
from evalkit.datasets.raw_row import RawRow
from evalkit.errors import DatasetError, MissingExtra

BATCH = 1_000  # rows
BATCH_BYTES = 4_000_000
LARGEST_UNPACKED = 10_000_000_000  # bytes of a temporary file
_LARGEST = 2**63
_EXACT_DIGITS = 15  # of a number with a fraction
_NEVER_TEXT = ("turns", "messages", "conversations", "context", "tools", "tool_results", "params", "tags", "meta")


def parquet_rows(file: BinaryIO, start: int) -> Iterator[RawRow]:
    """The rows; the first ``start`` ones are skipped, except for the very first, which decides the row format.

    Raises
    ------
    MissingExtra
        ``pyarrow`` is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("Reading a Parquet file", "parquet") from None
    with tempfile.TemporaryFile() as unpacked:
        try:
            if isinstance(file, OwningReader):
                file = _unpacked(file, cast(BinaryIO, unpacked))
            opened = parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
            yield from _rows(opened, start)
        except (pyarrow.ArrowException, OSError, EOFError, ValueError) as error:
            yield RawRow(DatasetError(f"the Parquet file cannot be read further: {error}"))


def _unpacked(file: BinaryIO, target: BinaryIO) -> BinaryIO:
    """Copy a compressed file to a temporary one: the last bytes of a Parquet file say where the others are."""
    while piece := file.read(1 << 20):
        target.write(piece)
        if target.tell() > LARGEST_UNPACKED:
            raise OSError(f"decompressed it has more than {LARGEST_UNPACKED:,} bytes: decompress it to a file first")
    target.seek(0)
    return target


def _rows(opened: Any, start: int) -> Iterator[RawRow]:
    number = last = 0
    for group in range(opened.num_row_groups):
        about = opened.metadata.row_group(group)
        size = max(1, about.total_byte_size // max(about.num_rows, 1))  # of a row
        batch_size = min(BATCH, max(1, BATCH_BYTES // size))
        for batch in opened.iter_batches(batch_size, row_groups=[group], use_threads=False):
            before, number = number, number + batch.num_rows
            if before and number <= start:
                continue
            _check_size(batch, before)
            for place, row in enumerate(_shortest(batch).to_pylist(maps_as_pydicts="strict"), before + 1):
                if 1 < place <= start:
                    continue
                yield RawRow(_row(row, place), number=place, skipped=place - last - 1)
                last = place


def _check_size(batch: Any, before: int) -> None:
    if batch.nbytes <= LONGEST_LINE:
        return
    for place in range(batch.num_rows):
        size = batch.slice(place, 1).nbytes
        if size > LONGEST_LINE:
            problem = f"row {before + place + 1} has {size:,} bytes: a row can have at most {LONGEST_LINE:,}"
            raise OSError(problem)


def _shortest(batch: Any) -> Any:
    """The batch with numbers of few digits as they are written: 0.1, not 0.10000000149."""
    import pyarrow

    for at, column in enumerate(batch.schema):
        if column.type in (pyarrow.float32(), pyarrow.float16()):
            exact = batch.column(at).cast(pyarrow.float32()).cast(pyarrow.string()).cast(pyarrow.float64())
            batch = batch.set_column(at, column.name, exact)
    return batch


def _row(cells: dict[str, Any], place: int) -> dict[str, Any] | DatasetError:
    row = {}
    for name, cell in cells.items():
        try:
            value = _json_value(cell)
        except UnicodeDecodeError:
            return DatasetError(
                "holds bytes, which a row of a dataset cannot: write text, and images and audio to files",
                field=f"[{place - 1}].{name}",
            )
        if name in _NEVER_TEXT and isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                return DatasetError("is neither a list nor JSON", field=f"[{place - 1}].{name}")
        if value is not None:
            row[name] = value
    return row


def _json_value(value: Any) -> Any:
    """A value as JSON has it; None if it is missing."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_json_value(each) for each in value]
    if isinstance(value, dict):
        fields = ((str(name), _json_value(each)) for name, each in value.items())
        return {name: each for name, each in fields if each is not None}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is None and value.time() == datetime.time():
        return value.date().isoformat()  # pandas has no dates
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _number(value: Decimal) -> int | float | str:
    """A decimal as a number, or as text if no number of JSON has all of its digits."""
    if value == value.to_integral_value():
        return int(value) if abs(value) < _LARGEST else str(value)
    return float(value) if len(value.normalize().as_tuple().digits) <= _EXACT_DIGITS else str(value)
