"""The table of a summary: its numbers are exact, and shown rounded."""

from __future__ import annotations

import re

import pandas as pd

# columns and the decimals that they are shown with: shares, milliseconds, seconds
_DECIMALS = ((re.compile(r"accuracy|low|high"), 3), (re.compile(r".*_ms"), 1), (re.compile(r".*_s"), 1))


class SummaryFrame(pd.DataFrame):
    """A DataFrame that shows accuracies with three decimals and times with one; what is read from it is exact.

    So are the rows and columns that are taken from it.
    """

    @property
    def _constructor(self) -> type[SummaryFrame]:
        return SummaryFrame

    def __repr__(self) -> str:
        return repr(self._rounded())

    def _repr_html_(self) -> str | None:
        html: str | None = self._rounded()._repr_html_()  # type: ignore[operator]
        return html

    def _rounded(self) -> pd.DataFrame:
        decimals = {
            name: count
            for name in self.columns
            for pattern, count in _DECIMALS
            if isinstance(name, str) and pattern.fullmatch(name)
        }
        return pd.DataFrame(self).round(decimals)
