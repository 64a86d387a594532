"""Pictures of every chart against stored ones; what a moved point, a lost bar or another colour does to them."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

import charted
from matplotlib import image, pyplot
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from evalkit.charts.chart import Chart

# of 255; matplotlib 3.10 and 3.11 make the same pictures, and each change below makes more
MOST, MOST_IN_A_PLACE = 1.0, 60.0
NAMES = (
    "accuracy", "tags", "latency", "latency-distribution", "first-token-distribution", "gaps", "prompt-length",
    "context-growth", "timeline", "answer", "answer-length", "accuracy-latency", "differences", "flips",
    "load-throughput", "load-first-token", "load-goodput", "load-accuracy",
)  # fmt: skip


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Chart]:
    return charted.charts(tmp_path_factory.mktemp("charts"))


def apart(page: Figure, name: str) -> tuple[float, float]:
    """How far a picture is from the stored one: root mean square, and the worst place, of 255."""
    stored = charted.blurred(image.imread(charted.IMAGES / f"{name}.png")[..., :3])
    difference = 255 * (charted.pixels(page) - stored)
    return float(np.sqrt((difference**2).mean())), float(np.abs(difference).max())


def alike(page: Figure, name: str) -> bool:
    whole, worst = apart(page, name)
    return whole < MOST and worst < MOST_IN_A_PLACE


def test_every_chart_has_its_picture_and_no_picture_is_left_over(charts: Mapping[str, Chart]) -> None:
    assert tuple(charts) == NAMES
    assert {path.stem for path in charted.IMAGES.iterdir()} == set(NAMES)
    assert all(path.stat().st_size < 30_000 for path in charted.IMAGES.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_chart_looks_as_it_did(charts: Mapping[str, Chart], name: str) -> None:
    assert alike(charted.picture(charts[name]), name), f"{apart(charted.picture(charts[name]), name)}; see charted.py"


@pytest.mark.parametrize("name", NAMES)
def test_picture_shows_when_something_has_moved(charts: Mapping[str, Chart], name: str) -> None:
    page = charted.picture(charts[name])
    low, high = page.axes[0].get_ylim()
    page.axes[0].set_ylim(low, high + 0.04 * (high - low))
    assert not alike(page, name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("accuracy", LineCollection), ("gaps", PolyCollection), ("timeline", StepPatch), ("differences", LineCollection)],
)
def test_picture_shows_when_intervals_or_bars_are_lost(charts: Mapping[str, Chart], name: str, kind: type) -> None:
    page = charted.picture(charts[name])
    for artist in page.axes[0].findobj(kind):
        artist.set_visible(False)
    assert not alike(page, name)


# --- light, dark, grey


@pytest.mark.parametrize("name", ["accuracy", "gaps", "timeline", "answer", "flips", "load-first-token"])
def test_chart_is_the_same_in_a_dark_style(charts: Mapping[str, Chart], name: str) -> None:
    with pyplot.style.context("dark_background"):
        page = charted.picture(charts[name])
        assert alike(page, name)


def test_axes_of_a_dark_figure_are_made_readable(charts: Mapping[str, Chart]) -> None:
    with pyplot.style.context("dark_background"):
        page = Figure(figsize=(5, 3.5), dpi=charted.DPI, layout="constrained")
        ax = charts["accuracy"].draw(page.subplots())
        seen = charted.pixels(page)
    assert (seen[[0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()
    assert np.median(seen) == 1
    written = [text for text in ax.findobj(Text) if text.get_text()]
    assert len(written) > 10
    assert all(sum(mpl.colors.to_rgb(text.get_color())) < 1.2 for text in written)


@pytest.mark.parametrize("name", ["latency", "load-first-token", "prompt-length", "flips"])
def test_series_differ_without_colour(charts: Mapping[str, Chart], name: str) -> None:
    page = Figure()
    ax = charts[name].draw(page.subplots())
    handles, _ = ax.get_legend_handles_labels()
    looks = [
        (handle.get_marker(), handle.get_linestyle()) if hasattr(handle, "get_marker") else _look(handle)
        for handle in handles
    ]
    assert len({str(look) for look in looks}) == len(looks) >= 2


def _look(handle: object) -> object:
    if hasattr(handle, "lines"):  # an error bar
        return handle.lines[0].get_marker()
    return handle.patches[0].get_hatch()
