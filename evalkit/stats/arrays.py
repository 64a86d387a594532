"""Array types: floats, whole numbers, flags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
