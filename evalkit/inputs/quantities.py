"""Numbers with a unit, as limits are written: ``400ms``, ``2%``."""

from __future__ import annotations

import re
from decimal import Decimal

NUMBER = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[^\s\d.]*)\s*", re.ASCII)
MS = {"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000), "min": Decimal(60_000)}
TIME_EXAMPLE = "400ms (units: us, ms, s, min)"
