"""How every chart looks: its colours, type, frame, legend and notes."""

from __future__ import annotations

import io
import math
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evalkit.analysis.client_trust import Trust
from evalkit.charts import safe_text
from evalkit.errors import MissingExtra
from evalkit.stats.arrays import Floats
from evalkit.stats.estimate import Estimate
from evalkit.wording import numbers, run_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# M. Okabe, K. Ito: colours that stay apart for every kind of colour vision
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, FAINT, RULE, PAPER = "#222222", "#5F5F5F", "#DDDDDD", "#FFFFFF"
# each also has a marker and a line of its own, for print in grey
SERIES: tuple[tuple[str, str, Any], ...] = (
    (BLUE, "o", "-"),
    (ORANGE, "s", (0, (5, 1.5))),
    (GREEN, "^", (0, (1.2, 1.2))),
    (VERMILION, "D", (0, (6, 1.5, 1.2, 1.5))),
    ("#CC79A7", "v", (0, (3, 1, 1, 1, 1, 1))),
    ("#56B4E9", "P", (0, (8, 2))),
)
WIDTH, HEIGHT = 7.5, 4.4  # inches
MANY_POINTS = 2_000  # beyond which points are drawn as one picture: each takes 100 bytes of an SVG
_PLACES = re.compile(rb"(\d*[1-9]\d*\.\d)\d+")  # numbers from 1 on, to a tenth of a point
_SMALL = 8.3  # points, of a text of 10
_LETTER = 0.53  # mean width of a letter, of its size
_TURNS_LABELLED = 12
_SETTINGS: dict[str, Any] = {
    "font.size": 10.0, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "text.usetex": False,
    "hatch.linewidth": 0.6,
}  # fmt: skip


class Chart(ABC):
    """One chart: what it shows is measured before; drawing it computes nothing.

    A chart says its finding, the numbers behind it, notes, and what is missing, by the methods below that begin with
    an underscore.

    Attributes
    ----------
    missing : str or None
        Why there is nothing to draw; None: there is.
    finding : str
        The title: it claims no difference that an interval does not bear.
    alt : str
        The chart in words, for those who cannot see it.
    """

    _bar_axis: Literal["x", "y", "both"] = "y"  # the axis whose values are read, which has the grid

    @property
    def missing(self) -> str | None:
        """Why there is nothing to draw; None: there is."""
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
        """In a sentence without its full stop."""

    @property
    def _notes(self) -> Sequence[str]:
        """What n counts, what the bars are, what is missing."""
        return ()

    @property
    def _trust(self) -> Trust | None:
        """Of the run, where times are drawn."""
        return None

    @property
    def _timed(self) -> Sequence[str]:
        """The metrics whose times are drawn, by their names in ``Trust``."""
        return ()

    @property
    def _client_bound(self) -> str | None:
        """The mark of times that may be the client's; None: these are not, or it is not known."""
        trust = self._trust
        bound = [] if trust is None else [name for name in trust.client_bound_metrics or () if name in self._timed]
        if trust is None or not bound:
            return None
        return f"client-bound: {run_results.client_added(trust.loop_lag_p99_ms, trust.medians_ms, bound)}"

    @property
    def _height(self) -> float:
        """Of a figure of its own, in inches."""
        return HEIGHT

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw the data and name the axes."""

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw it, on a figure of its own where no Axes is given.

        Paper is white and ink dark, whatever style is in use: the same picture in a light and in a dark notebook. The
        figure of an Axes that is given is made white too where it is dark.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        """
        if ax is None:
            ax = subplots(WIDTH, self._height)[1]
        with styled():
            _whiten(ax)
            if self._missing is not None:
                return _nothing(ax, self._missing)
            self._draw(ax)
            _frame(ax, self._bar_axis, self._finding, self._notes, self._client_bound)
        return ax

    def save(self, path: Path, dpi: float = 150) -> None:
        """Draw it into a file, ``.png`` or ``.svg``, with no figure left open.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        OSError
            The file cannot be written.
        """
        self._write(path, {"svg.hashsalt": "evalkit"}, dpi=dpi, form=path.suffix[1:])

    def svg(self) -> bytes:
        """Draw it as a small SVG image: its letters are text in a font of the reader's, clouds of points are pixels.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        """
        written = io.BytesIO()
        self._write(written, {"svg.hashsalt": "evalkit", "svg.fonttype": "none"}, dpi=150, form="svg")
        return _PLACES.sub(rb"\1", written.getvalue())

    def _write(self, place: Path | io.BytesIO, settings: Any, *, dpi: float, form: str) -> None:
        with styled():
            from matplotlib import rc_context
            from matplotlib.figure import Figure

            page = Figure(figsize=(WIDTH, self._height), layout="constrained")
            self.draw(page.subplots())
            # the same chart makes the same file
            with rc_context(settings):
                page.savefig(place, dpi=dpi, format=form, metadata=_MADE_BY[form])


# what tells a chart from other files, so that it may be written over
_MADE_BY: dict[str, dict[str, str | None]] = {
    "png": {"Software": "evalkit"}, "svg": {"Creator": "evalkit", "Date": None},
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with the settings of these charts; those of the user come back afterwards."""
    try:
        import matplotlib as mpl
        from matplotlib import style
    except ImportError:
        raise MissingExtra("drawing a chart", "notebooks") from None
    own = {"figure.dpi": mpl.rcParams["figure.dpi"], "font.family": list(safe_text.families())}
    with style.context(["default", {**_SETTINGS, **own}]):
        yield


def subplots(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of pyplot's, in inches, and its Axes, as ``pyplot.subplots`` returns them.

    The figure is made outside of the style: the first one of a process loads the user's backend, which may turn
    interactive mode on and set more, and the end of the style would undo that.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra("drawing a chart", "notebooks") from None
    page = pyplot.figure(figsize=(width, height), facecolor=PAPER, edgecolor=PAPER, frameon=True)
    with styled():
        page.set_layout_engine("constrained")
        return page, page.subplots(rows, columns)


def _whiten(ax: Axes) -> None:
    from matplotlib.colors import to_rgb

    if sum(to_rgb(ax.figure.get_facecolor())) < 1.5:
        ax.figure.set_facecolor(PAPER)
    ax.set_facecolor(PAPER)
    ax.spines[:].set_color(INK)


def _nothing(ax: Axes, sentence: str) -> Axes:
    ax.set_axis_off()
    ax.text(0.5, 0.5, wrapped(ax, sentence, 10), transform=ax.transAxes, ha="center", va="center", color=FAINT)
    return ax


def _frame(ax: Axes, bar_axis: Literal["x", "y", "both"], finding: str, notes: Sequence[str], mark: str | None) -> None:
    ax.grid(axis=bar_axis, color=RULE, linewidth=0.7, linestyle="-")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize="medium", labelfontfamily=list(safe_text.families()))
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)
    rows = _legend(ax)
    title = wrapped(ax, finding, 10.6)
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold", color=INK, pad=7 + 13.5 * rows)
    _write_notes(ax, notes)
    if mark is not None:
        ax.text(
            0.99, 0.975, mark,
            transform=ax.transAxes, ha="right", va="top", fontsize="small", color=VERMILION, fontweight="bold",
            bbox={"facecolor": PAPER, "edgecolor": VERMILION, "boxstyle": "round"}, zorder=6,
        )  # fmt: skip


def _legend(ax: Axes) -> int:
    """A legend above the data, in as many columns as there is room for; how many rows it has."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return 0
    each = max(map(len, labels)) * _SMALL * _LETTER + 34
    columns = max(1, min(len(labels), int(_width(ax) // each)))
    ax.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, frameon=False, fontsize="small",
        handletextpad=0.5, columnspacing=1.4, borderaxespad=0.2, labelspacing=0.3, labelcolor=INK,
    )  # fmt: skip
    return math.ceil(len(labels) / columns)


def _write_notes(ax: Axes, notes: Sequence[str]) -> None:
    """Notes below the label of the x axis; where it has none, in its place."""
    if not notes:
        return
    text = "\n".join(wrapped(ax, note, _SMALL) for note in notes)
    if not ax.get_xlabel():
        ax.set_xlabel(text, fontsize="small", color=FAINT, loc="left")
        ax.xaxis.label.set_multialignment("left")
        return
    shown = ax.get_xticklabels() if ax.xaxis.get_tick_params().get("labelbottom", True) else ()
    lines = max((label.get_text().count("\n") + 1 for label in shown), default=1)
    down = 4 + 12.5 * lines + 17
    ax.annotate(
        text, (0, 0), (0, -down), xycoords="axes fraction", textcoords="offset points", ha="left", va="top",
        fontsize="small", color=FAINT, annotation_clip=False,
    )  # fmt: skip


def wrapped(ax: Axes, text: str, size: float) -> str:
    """Text in lines that are no wider than the Axes, at this size in points."""
    letters = max(int(_width(ax) / (size * _LETTER)), 20)
    return "\n".join(textwrap.fill(line, letters, break_on_hyphens=False) for line in text.split("\n"))


def _width(ax: Axes) -> float:
    """Of the Axes, in points; a layout engine will widen it from what it is before the first drawing."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    columns = ax.get_position().width
    if figure.get_layout_engine() is not None and (spec := ax.get_subplotspec()) is not None:
        columns = 0.87 * len(spec.colspan) / spec.get_gridspec().ncols
    names = max((len(label.get_text()) for label in ax.get_yticklabels()), default=0)
    return float(columns * figure.get_figwidth() * 72 - max(names - 6, 0) * 10 * _LETTER)


def errorbars(ax: Axes, at: Floats, estimates: Sequence[Estimate], *, across: bool = False, **look: Any) -> None:
    """Markers at the values, bars to the limits; a missing limit leaves that half of the bar out.

    ``across``: the values lie along the x axis.
    """
    value = values(estimates)
    low = np.array([estimate.low for estimate in estimates], dtype=float)
    high = np.array([estimate.high for estimate in estimates], dtype=float)
    reach = np.maximum(np.nan_to_num(np.array([value - low, high - value])), 0)
    drawing = {"markeredgecolor": INK, "markeredgewidth": 0.8, "markersize": 6, "zorder": 4, "capsize": 3, **look}
    colour = drawing.pop("color")
    common: dict[str, Any] = {"linestyle": "none", "color": colour, "ecolor": INK, "elinewidth": 1.3, **drawing}
    if across:
        ax.errorbar(value, at, xerr=reach, **common)
    else:
        ax.errorbar(at, value, yerr=reach, **common)


def write(ax: Axes, x: float, y: float, text: str, away: tuple[float, float], ha: str, **look: Any) -> None:
    """A value beside its marker."""
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    how: dict[str, Any] = {"va": "center", "fontsize": "small", "color": INK, "bbox": box, "zorder": 3, **look}
    ax.annotate(text, (x, y), away, textcoords="offset points", ha=ha, **how)


def percent_axis(axis: Any) -> None:
    """An axis from 0 to 100 %."""
    axis.set_ticks(np.linspace(0, 1, 6))
    axis.set_major_formatter(lambda value, _: percent(value))


def time_scale(ax: Axes, low: float, high: float, *, axis: str = "y", room: float = 1.8) -> bool:
    """Scale an axis of times in ms: from 0, or logarithmic where they span more than a factor of 20.

    Parameters
    ----------
    low, high : float
        The smallest time above 0, and the largest.
    room : float
        The factor by which a logarithmic axis goes beyond the largest.

    Returns
    -------
    bool
        Whether it is logarithmic.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    which, limits = (ax.yaxis, ax.set_ylim) if axis == "y" else (ax.xaxis, ax.set_xlim)
    logarithmic = high > 20 * low
    if logarithmic:
        (ax.set_yscale if axis == "y" else ax.set_xscale)("log")
        wide = high > 2000 * low
        which.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        which.set_minor_formatter(NullFormatter())
        limits(low / 1.6, high * room)
    elif high > 0:
        limits(0, high * (1 + (room - 1) * 0.15))
    else:
        which.set_ticks([])
    which.set_major_formatter(lambda value, _: f"{value:,g}")
    return logarithmic


def values(estimates: Sequence[Estimate]) -> Floats:
    """The values of estimates; a missing one is NaN, which is not drawn."""
    return np.array([estimate.value for estimate in estimates], dtype=float)


def height(rows: int) -> float:
    """Of a figure with so many rows, in inches."""
    return max(HEIGHT, 2.0 + 0.2 * rows)


def percent(share: float) -> str:
    """A share in whole percent."""
    return numbers.percent(share, 0, " %")


def figure(value: float) -> str:
    """A number with as many digits as it bears."""
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def signed(value: float) -> str:
    """A change, with its sign."""
    return f"{'−' if value < 0 else '+'}{figure(abs(value))}"


def ms(value: float) -> str:
    """A time in ms."""
    return f"{figure(value)} ms"


def within(estimate: Estimate, form: Any = percent) -> str:
    """A value with its interval and n, in words."""
    if estimate.value is None:
        return f"missing ({estimate.reason or 'no samples'})"
    if estimate.low is None and estimate.high is None:
        return f"{form(estimate.value)} (no interval, n = {estimate.n:,})"
    low = "no lower limit" if estimate.low is None else form(estimate.low)
    high = "no upper limit" if estimate.high is None else form(estimate.high)
    return f"{form(estimate.value)} (95 % interval {low} to {high}, n = {estimate.n:,})"


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where it is not 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def turn_axis(ax: Axes, rows: Sequence[Any], counts: Sequence[int]) -> None:
    """Turn indices along the x axis, each with its n and its failed turns; some, where there are many.

    ``rows`` are ``Measures``.
    """
    every = math.ceil(len(rows) / _TURNS_LABELLED)
    labels = []
    for row, n in zip(rows[::every], counts[::every], strict=True):
        errors = row.turns - row.answered - row.interrupted
        labels.append(f"turn {row.turn}\nn = {n:,}" + (f"\n{errors:,} failed" if errors else ""))
    ax.set_xticks(range(0, len(rows), every), labels)
    edge = 0.5 if len(rows) > 1 else 1.0
    ax.set_xlim(-edge, len(rows) - 1 + edge)
    ax.tick_params(axis="x", length=0)
