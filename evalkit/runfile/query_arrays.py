"""Rows of a query as columns, some rows at a time, in compact arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 8192  # rows


def groups(rows: Iterator[tuple[Any, ...]], types: Sequence[Any]) -> Iterator[list[NDArray[Any]]]:
    """Arrays of these types, one a column, of some rows each time; a missing number is NaN.

    Only the row that is being read stands as Python objects.
    """
    row = np.dtype([(f"column{number}", kind) for number, kind in enumerate(types)])
    while len(some := np.fromiter(islice(rows, AT_ONCE), dtype=row)):
        yield [some[name] for name in row.names or ()]
