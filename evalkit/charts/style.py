"""How every chart looks: its colours, fonts, frame, legend and notes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from evalkit.charts import safe_text
from evalkit.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GridAxis = Literal["x", "y", "both"]

# M. Okabe, K. Ito: colours that differ for every kind of colour vision
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, FAINT, RULE, PAPER = "#222222", "#5F5F5F", "#DDDDDD", "#FFFFFF"
# each colour has its own marker and line style, for print in grey
SERIES: tuple[tuple[str, str, Any], ...] = (
    (BLUE, "o", "-"),
    (ORANGE, "s", (0, (5, 1.5))),
    (GREEN, "^", (0, (1.2, 1.2))),
    (VERMILION, "D", (0, (6, 1.5, 1.2, 1.5))),
    ("#CC79A7", "v", (0, (3, 1, 1, 1, 1, 1))),
    ("#56B4E9", "P", (0, (8, 2))),
)
WIDTH, HEIGHT = 7.5, 4.4  # inches
MANY_POINTS = 2_000  # more points are drawn as one image: each would take 100 bytes of an SVG
_SMALL_FONT = 8.3  # points, where normal text has 10
_LETTER_WIDTH = 0.53  # mean, as a share of the font size
_SETTINGS: dict[str, Any] = {
    "font.size": 10.0, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "text.usetex": False,
    "hatch.linewidth": 0.6,
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Use the settings of these charts in matplotlib, and restore the user's settings afterwards."""
    try:
        import matplotlib as mpl
        from matplotlib import style
    except ImportError:
        raise MissingExtra("drawing a chart", "charts") from None
    settings = {**_SETTINGS, "figure.dpi": mpl.rcParams["figure.dpi"], "font.family": list(safe_text.families())}
    with style.context(["default", settings]):
        yield


def subplots(width: float, height: float) -> tuple[Figure, Axes]:
    """Create a pyplot figure, its size in inches, and its Axes, as ``pyplot.subplots`` does.

    The figure is created outside of the style: the first figure of a process loads the user's backend, which may turn
    on interactive mode and change other settings, and leaving the style would undo them.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra("drawing a chart", "charts") from None
    figure = pyplot.figure(figsize=(width, height), facecolor=PAPER, edgecolor=PAPER, frameon=True)
    with styled():
        figure.set_layout_engine("constrained")
        return figure, figure.subplots()


def whiten(ax: Axes) -> None:
    """Make an Axes white, and its figure if that is dark."""
    from matplotlib.colors import to_rgb

    if sum(to_rgb(ax.figure.get_facecolor())) < 1.5:
        ax.figure.set_facecolor(PAPER)
    ax.set_facecolor(PAPER)
    ax.spines[:].set_color(INK)


def show_sentence(ax: Axes, sentence: str) -> Axes:
    """Show a sentence in place of a chart."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, wrapped(ax, sentence, 10), transform=ax.transAxes, ha="center", va="center", color=FAINT)
    return ax


def add_frame(ax: Axes, grid_axis: GridAxis, title: str, notes: Sequence[str], warning: str | None) -> None:
    """Add the grid, the legend, the title, the notes, and a warning in a box if there is one."""
    ax.grid(axis=grid_axis, color=RULE, linewidth=0.7, linestyle="-")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize="medium", labelfontfamily=list(safe_text.families()))
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)
    rows = _legend(ax)
    ax.set_title(
        wrapped(ax, title, 11.4), loc="left", fontsize="medium", fontweight="bold", color=INK, pad=7 + 13.5 * rows
    )  # fmt: skip
    _write_notes(ax, notes)
    if warning is not None:
        ax.text(
            0.99, 0.975, warning,
            transform=ax.transAxes, ha="right", va="top", fontsize="small", color=VERMILION, fontweight="bold",
            bbox={"facecolor": PAPER, "edgecolor": VERMILION, "boxstyle": "round"}, zorder=6,
        )  # fmt: skip


def _legend(ax: Axes) -> int:
    """Add a legend above the data, in as many columns as fit, and return its number of rows."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return 0
    column_width = max(map(len, labels)) * _SMALL_FONT * _LETTER_WIDTH + 34
    columns = max(1, min(len(labels), int(_width(ax) // column_width)))
    ax.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, frameon=False, fontsize="small",
        handletextpad=0.5, columnspacing=1.4, borderaxespad=0.2, labelspacing=0.3, labelcolor=INK,
    )  # fmt: skip
    return math.ceil(len(labels) / columns)


def _write_notes(ax: Axes, notes: Sequence[str]) -> None:
    """Write notes below the label of the x axis, or in its place if it has none."""
    if not notes:
        return
    # notes are full of digits, which are wider than most letters
    text = "\n".join(wrapped(ax, note, 1.05 * _SMALL_FONT) for note in notes)
    if not ax.get_xlabel():
        ax.set_xlabel(text, fontsize="small", color=FAINT, loc="left")
        ax.xaxis.label.set_multialignment("left")
        return
    tick_labels = ax.get_xticklabels() if ax.xaxis.get_tick_params().get("labelbottom", True) else ()
    lines = max((label.get_text().count("\n") + 1 for label in tick_labels), default=1)
    down = 4 + 12.5 * lines + 17
    ax.annotate(
        text, (0, 0), (0, -down), xycoords="axes fraction", textcoords="offset points", ha="left", va="top",
        fontsize="small", color=FAINT, annotation_clip=False,
    )  # fmt: skip


def wrapped(ax: Axes, text: str, size: float) -> str:
    """Wrap text to the width of the Axes, at this font size in points."""
    letters = max(int(_width(ax) / (size * _LETTER_WIDTH)), 20)
    return "\n".join(textwrap.fill(line, letters, break_on_hyphens=False) for line in text.split("\n"))


def _width(ax: Axes) -> float:
    """Return the width of the Axes in points, also before a layout engine has set it in the first drawing."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    share = ax.get_position().width
    if figure.get_layout_engine() is not None and (spec := ax.get_subplotspec()) is not None:
        share = 0.87 * len(spec.colspan) / spec.get_gridspec().ncols
    longest = max((len(label.get_text()) for label in ax.get_yticklabels()), default=0)
    return float(share * figure.get_figwidth() * 72 - max(longest - 6, 0) * 10 * _LETTER_WIDTH)
