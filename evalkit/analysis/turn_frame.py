"""The turns of a run as a DataFrame, column by column, with or without pyarrow."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.runfile import turn_columns
from evalkit.runfile.turn_columns import json_value

if TYPE_CHECKING:
    import pandas as pd


def read(connection: sqlite3.Connection) -> pd.DataFrame:
    """Every finished turn of a run, as ``tables.turns`` describes it."""
    import pandas as pd

    text = pd.Series(["text"]).dtype  # before pandas 3 object; then str, kept in Arrow if pyarrow is installed
    parts: dict[str, list[Any]] = {name: [] for name in turn_columns.KINDS}
    for group in turn_columns.columns(connection):
        for name, kind in turn_columns.KINDS.items():
            parts[name].append(_part(kind, group[name], text))
    # each list is released as soon as its column is made
    return pd.DataFrame({name: _column(kind, parts.pop(name), text) for name, kind in turn_columns.KINDS.items()})


def _part(kind: str, values: tuple[Any, ...], dtype: Any) -> Any:
    """Some values of a column, as small as possible; ``dtype`` is that of texts."""
    if kind == "json":
        return [text if text is None else json_value(text) for text in values]
    if kind == "value":
        return values
    if kind == "tags":  # turns of equal tags share one list: a million lists would be as many objects to collect
        lists = {text: json_value(text) for text in set(values)}
        return [lists[text] for text in values]
    if kind == "text":
        return _texts(values, dtype)
    if kind == "count":
        missing = np.array([value is None for value in values])
        return np.array([value or 0 for value in values], dtype=np.int64), missing
    return np.array(values, dtype=np.float64 if kind == "number" else np.int64)


def _texts(values: tuple[str | None, ...], dtype: Any) -> Any:
    """An Arrow array where pandas keeps texts in Arrow, else an array of objects, of which equal ones are one."""
    if getattr(dtype, "storage", "") == "pyarrow":
        import pyarrow as pa

        return pa.array(values, pa.large_string())
    if len(set(values[:64])) < 16:  # few different texts
        one_of_equals = dict(zip(values, values, strict=True))
        values = tuple(one_of_equals[value] for value in values)
    return np.array(values, dtype=object)


def _column(kind: str, parts: list[Any], dtype: Any) -> Any:
    import pandas as pd

    if kind in ("json", "value", "tags"):
        return pd.Series([value for part in parts for value in part], dtype=object)
    if kind == "count":
        numbers, missing = zip(*parts, strict=True) if parts else ([np.empty(0, np.int64)], [np.empty(0, np.bool_)])
        return pd.Series(pd.arrays.IntegerArray(np.concatenate(numbers), np.concatenate(missing)), copy=False)
    if kind != "text":
        empty = np.empty(0, np.float64 if kind == "number" else np.int64)
        return pd.Series(np.concatenate([empty, *parts]), copy=False)
    if getattr(dtype, "storage", "") == "pyarrow":
        import pyarrow as pa

        whole = pa.chunked_array(parts, pa.large_string())
        parts.clear()
        return pa.chunked_array([whole.combine_chunks()]).to_pandas(types_mapper=lambda _: dtype)
    texts = np.concatenate([np.empty(0, dtype=object), *parts])
    parts.clear()
    return pd.Series(texts, dtype=dtype)
