"""Objects of a JSON Lines file, and JSON texts as other tools write them, with NaN and Infinity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from evalkit.datasets.dataset_file import LINES, VALUES, open_dataset
from evalkit.datasets.field_checks import kind
from evalkit.datasets.file_lines import read_lines, why_not_text
from evalkit.errors import DatasetError


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with their line numbers; empty lines are skipped.

    Raises
    ------
    DatasetError
        With the line, without the path.
    """
    file, form = open_dataset(path)
    with file:
        if form not in (LINES, VALUES):
            raise DatasetError("must be JSON Lines, an object on each line")
        for line in read_lines(file):
            if isinstance(line, DatasetError):
                raise line
            if not line.raw.strip():
                continue
            try:
                value = parsed(line.raw)
            except DatasetError as error:
                raise at_line(error, line.number) from None
            if not isinstance(value, dict):
                raise DatasetError(f"must be an object, {{…}}, not {kind(value)}", line=line.number)
            yield line.number, value


def parsed(raw: bytes) -> Any:
    """A JSON value; NaN and Infinity, which Python writes, are accepted.

    Raises
    ------
    DatasetError
        It is not JSON in UTF-8, or nested too deeply.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(raw)
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DatasetError("a text has half of a surrogate pair: it is not text that can be stored") from None
        except (ValueError, RecursionError):
            raise DatasetError(why_not_text(raw) or f"not valid JSON: {error.msg}") from None
    return value


def at_line(error: DatasetError, line: int | None) -> DatasetError:
    """The error with its line."""
    return DatasetError(error.problem, line=line, field=error.field)
