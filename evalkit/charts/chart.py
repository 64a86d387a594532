"""The base class of every chart: its title, notes and alt text, and how it is drawn and saved."""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.analysis.client_trust import Trust
from evalkit.charts import dark_scheme, safe_text, style
from evalkit.charts.style import HEIGHT, WIDTH, GridAxis
from evalkit.errors import SettingsError
from evalkit.wording import run_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DECIMALS = re.compile(rb"(\d*[1-9]\d*\.\d)\d+")  # coordinates from 1 on: a tenth of a point is enough
# marks a file as a chart of evalkit, which may be overwritten
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": "evalkit"}, "svg": {"Creator": "evalkit", "Date": None},
}  # fmt: skip


class Chart(ABC):
    """One chart. Its data are measured before; drawing computes nothing.

    A subclass gives its finding, the numbers behind it, its notes and why there is nothing to draw in the properties
    below that begin with an underscore.

    Attributes
    ----------
    missing : str or None
        Why there is nothing to draw; None if there is a chart to draw.
    finding : str
        The title. It claims a difference only if the interval of that difference excludes 0.
    alt : str
        The chart in words, for readers who cannot see it.
    """

    _grid_axis: GridAxis = "y"  # the axis on which values are read

    @property
    def missing(self) -> str | None:
        """Why there is nothing to draw; None if there is a chart to draw."""
        return self._missing

    @property
    def finding(self) -> str:
        """What the chart shows."""
        return safe_text.unescaped(self._finding)

    @property
    def alt(self) -> str:
        """The chart in words."""
        if self._missing is not None:
            return f"Not drawn: {self._missing}."
        return safe_text.unescaped(f"{self._finding.replace(chr(10), '. ')}. {self._numbers}.")

    @property
    def _missing(self) -> str | None:
        return None

    @property
    @abstractmethod
    def _finding(self) -> str: ...

    @property
    @abstractmethod
    def _numbers(self) -> str:
        """The values in one sentence, without its full stop."""

    @property
    def _notes(self) -> Sequence[str]:
        """What n counts, what the error bars are, what is missing."""
        return ()

    @property
    def _trust(self) -> Trust | None:
        """The client trust of the run, if times are drawn."""
        return None

    @property
    def _timed_metrics(self) -> Sequence[str]:
        """The metrics whose times are drawn, by their names in ``Trust``."""
        return ()

    @property
    def _client_bound(self) -> str | None:
        """The label for times that may be the client's own; None if they are not, or if this is unknown."""
        trust = self._trust
        if trust is None:
            return None
        bound = [name for name in trust.client_bound_metrics or () if name in self._timed_metrics]
        if not bound:
            return None
        delay = run_results.delay_added_by_client(trust.loop_lag_p99_ms, trust.medians_ms, bound)
        return f"client-bound: {delay}"

    @property
    def _height(self) -> float:
        """Height of a new figure, in inches."""
        return HEIGHT

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw the data and label the axes."""

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw the chart on an Axes, or on a new figure if none is given.

        The background is white and text is dark, whatever style is active, so that a chart looks the same in a light
        and in a dark notebook. If the figure of a given Axes is dark, it becomes white too.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        """
        if ax is None:
            ax = style.subplots(WIDTH, self._height)[1]
        with style.styled():
            style.whiten(ax)
            if self._missing is not None:
                return style.show_sentence(ax, self._missing)
            self._draw(ax)
            style.add_frame(ax, self._grid_axis, self._finding, self._notes, self._client_bound)
        return ax

    def save(self, path: Path | str, dpi: float = 150) -> None:
        """Save the chart as ``.png`` or ``.svg``. No figure stays open.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        OSError
            The file cannot be written.
        SettingsError
            Its name ends in something else.
        """
        path = Path(path)
        if path.suffix[1:] not in _METADATA:
            raise SettingsError(f"{path} cannot be written: charts are saved as .png or .svg")
        self._write(path, {"svg.hashsalt": "evalkit"}, dpi=dpi, file_format=path.suffix[1:])

    def svg(self, width: float = WIDTH) -> bytes:
        """Return the chart as a small SVG image, which follows the reader's light or dark colour scheme.

        Text stays text in the reader's font, large scatters are pixels. ``width`` is in inches.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        """
        written = io.BytesIO()
        settings = {"svg.hashsalt": "evalkit", "svg.fonttype": "none"}
        self._write(written, settings, dpi=150, file_format="svg", width=width)
        return dark_scheme.following(_DECIMALS.sub(rb"\1", written.getvalue()))

    def _write(
        self, target: Path | io.BytesIO, settings: Any, *, dpi: float, file_format: str, width: float = WIDTH
    ) -> None:
        with style.styled():
            from matplotlib import rc_context
            from matplotlib.figure import Figure

            figure = Figure(figsize=(width, self._height), layout="constrained")
            self.draw(figure.subplots())
            # with these settings the same chart gives the same bytes
            with rc_context(settings):
                figure.savefig(target, dpi=dpi, format=file_format, metadata=_METADATA[file_format])


def height_for_rows(rows: int) -> float:
    """Height in inches of a figure with this many rows."""
    return max(HEIGHT, 2.0 + 0.2 * rows)
