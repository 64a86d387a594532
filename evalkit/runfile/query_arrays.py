"""The rows of a query as columns: compact NumPy arrays, a group of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_PER_GROUP = 8192  # rows


def groups(rows: Iterator[tuple[Any, ...]], types: Sequence[Any]) -> Iterator[list[NDArray[Any]]]:
    """Arrays of these types, one per column, for each group of rows; a missing number is NaN.

    Only one row at a time exists as Python objects.
    """
    row = _row_type(tuple(types))
    while len(group := np.fromiter(islice(rows, ROWS_PER_GROUP), dtype=row)):
        yield [group[name] for name in row.names or ()]
        if len(group) < ROWS_PER_GROUP:
            return


@cache
def _row_type(types: tuple[Any, ...]) -> np.dtype[np.void]:
    return np.dtype([(f"column{number}", kind) for number, kind in enumerate(types)])
