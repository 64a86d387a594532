"""What all charts have in common, and every chart of runs that are empty, tiny, broken or named by an enemy."""

import os
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("agg")

import charted
import comparing
import lab
import nbclient
import nbformat
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from runfiles import S, T, talk, write

from evalkit.charts import catalogue, style
from evalkit.charts.chart import Chart
from evalkit.errors import SettingsError

BOUND = "client-bound: up to 12 ms of "
HOSTILE = "$\\frac{a}{ 🚀 مرحبا 模型 \x1b[31m\u202e</text><script>"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def named(path: Path, name: str) -> Path:
    """The run, called so."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET name = ?, endpoint = json_object('model', ?)", (name, name))
    return path


def all_of(path: Path) -> dict[str, Chart]:
    return {**catalogue.charts(path), "accuracy-latency": catalogue.models_chart([path, path])}


def seen(chart: Chart, *, rendered: bool = True) -> str:
    """All that is written on the chart; rendered, a missing glyph would be a warning, and so an error."""
    page = Figure(figsize=(7.5, 4.4), dpi=40)
    chart.draw(page.subplots())
    if rendered:
        FigureCanvasAgg(page).draw()
    return "\n".join(text.get_text() for text in page.findobj(Text))


def test_a_run_without_a_finished_turn_says_so_in_every_chart(path: Path) -> None:
    charts = all_of(write(path, [S([])]))
    for name, chart in charts.items():
        assert chart.missing, name
        assert chart.missing in seen(chart).replace("\n", " ")
        assert chart.alt == f"Not drawn: {chart.missing}."
    assert {charts[name].missing for name in charts if name != "accuracy-latency"} == {
        "This run has no finished turn yet"
    }


def test_a_run_of_failures_draws_what_there_is_and_no_accuracy_of_0(path: Path) -> None:
    turns = [T(f"c{n}", 1, error="auth" if n else "server", ttft_ms=None) for n in range(5)]
    charts = all_of(write(path, [S(turns)], [talk(f"c{n}", tags=("t",)) for n in range(5)]))
    failed = "No turn was answered: 5 failed (auth 4, server 1)"
    for name in (
        "latency-distribution",
        "first-token-distribution",
        "gaps",
        "prompt-length",
        "context-growth",
        "answer",
    ):
        assert charts[name].missing == failed
    for name in ("accuracy", "latency", "timeline"):
        assert charts[name].finding == failed
        assert failed in seen(charts[name])
    assert charts["tags"].finding == "No answer with a tag has a score"
    assert "no scored answer" in seen(charts["tags"])
    assert " 0 %" not in charts["accuracy"].alt


def test_one_turn_makes_charts_without_an_interval_that_it_does_not_have(path: Path) -> None:
    turn = T("a", 1, score=1.0, tokens=3, between_ms=(60.0,))
    charts = all_of(write(path, [S([turn])], [talk("a", tags=("t",))]))
    drawn = {name for name, chart in charts.items() if chart.missing is None and seen(chart)}
    assert drawn == set(charts) - {"context-growth"}
    assert charts["latency-distribution"].finding == "Median latency in turn 1: 400 ms"
    assert "no interval" in charts["latency-distribution"].alt
    assert charts["prompt-length"].finding == "Too few turns to show how times change with prompt length"
    assert charts["answer"].finding == "First token after 50 ms, then 2 reads in 350 ms; longest gap 340 ms"


def test_charts_say_that_times_or_tokens_are_missing(path: Path) -> None:
    turns = [T(f"c{n}", 1, ttft_ms=None, latency_ms=None, score=1.0) for n in range(3)]
    charts = all_of(write(path, [S(turns)]))
    assert charts["gaps"].missing == "There is no gap between reads: no answer arrived in two or more reads"
    assert charts["answer"].missing == "There is no stream to show: no answer arrived in two or more reads"
    assert charts["accuracy-latency"].missing == "No run has both a scored answer and a median latency"
    assert charts["accuracy"].finding == "Accuracy: 100 % in turn 1"
    for chart in charts.values():
        seen(chart)


def test_names_of_any_kind_are_drawn_as_text(path: Path, tmp_path: Path) -> None:
    talks = [talk(f"{HOSTILE}{n}", tags=(HOSTILE, "$", "שלום")) for n in range(3)]
    turns = [T(f"{HOSTILE}{n}", turn, score=1.0, tokens=5) for n in range(3) for turn in (1, 2)]
    charts = all_of(named(write(path, [S(turns)], talks), HOSTILE))
    for name, chart in charts.items():
        words = seen(chart)
        assert "\x1b" not in words, name
    for name in ("tags", "answer"):
        charts[name].save(tmp_path / f"{name}.svg")
        assert "<script>" not in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
    assert r"\$\frac{a}{" in seen(charts["tags"])
    assert r"$\frac{a}{" in charts["accuracy-latency"].alt
    assert r"\$" not in charts["accuracy-latency"].alt


def test_200_tags_show_the_most_frequent_and_say_how_many_are_left_out(path: Path) -> None:
    talks = [talk(f"c{n}", tags=(f"tag {n}",)) for n in range(200)]
    charts = catalogue.charts(write(path, [S([T(f"c{n}", 1, score=1.0) for n in range(200)])], talks))
    words = seen(charts["tags"])
    assert "the 20 most frequent of 200 tags; 180 less frequent tags left out" in words
    assert len({line for line in words.splitlines() if line.startswith("tag ")}) == 20
    assert len(charts["tags"].alt) < 2_000


def test_a_client_bound_run_is_marked_on_every_chart_of_times(path: Path) -> None:
    turn = T("a", 1, score=1.0, tokens=3, between_ms=(60.0,))
    charts = catalogue.charts(write(path, [S([turn], trust={"loop_lag_p99_ms": 12.0})]))
    marked = {name: seen(chart, rendered=False) for name, chart in charts.items()}
    assert {name for name, words in marked.items() if BOUND in words} == {
        "latency", "first-token-distribution", "gaps", "prompt-length", "answer",
    }  # fmt: skip
    assert f"{BOUND}50 ms (TTFT)" in marked["first-token-distribution"]
    assert f"{BOUND}175 ms (gap between reads)" in marked["gaps"]


def test_the_accuracy_of_a_client_bound_run_is_not_marked_and_its_latency_is(path: Path) -> None:
    turn = T("a", 1, score=1.0, ttft_ms=50.0, latency_ms=100.0)
    file = write(path, [S([turn], trust={"loop_lag_p99_ms": 12.0})])
    charts = catalogue.charts(file)
    assert "client-bound" not in seen(charts["accuracy"], rendered=False)
    assert f"{BOUND}100 ms (latency)" in seen(charts["latency-distribution"], rendered=False)
    against = catalogue.models_chart([file]).draw()
    assert f"{BOUND}100 ms (latency)" in "".join(text.get_text() for text in against.texts)


def test_text_neither_overlaps_nor_leaves_the_page(path: Path) -> None:
    for name, chart in catalogue.charts(charted.run(path, conversations=16)).items():
        page = Figure(figsize=(style.WIDTH, style.HEIGHT), dpi=40, layout="constrained")
        ax = chart.draw(page.subplots())
        FigureCanvasAgg(page).draw()
        written = [*ax.texts, ax._left_title, ax.xaxis.label, ax.yaxis.label]
        assert [text.get_text() for text in written if text.get_text() and not _within(page, text)] == [], name
        legend = ax.get_legend()
        if legend is not None:
            assert ax._left_title.get_window_extent().y0 >= legend.get_window_extent().y1 - 3, name


def _within(page: Figure, text: Text) -> bool:
    box = text.get_window_extent()
    return box.x0 >= -1 and box.x1 <= page.bbox.x1 + 1 and box.y0 >= -1 and box.y1 <= page.bbox.y1 + 1


def test_user_settings_neither_affect_charts_nor_change(path: Path) -> None:
    chart = catalogue.charts(charted.run(path, conversations=8))["latency"]
    with pyplot.rc_context({"text.usetex": True, "font.size": 30, "axes.grid": True, "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        ax: Axes = chart.draw()
        assert dict(mpl.rcParams) == before
        assert not any(text.get_usetex() for text in ax.findobj(Text))
        assert ax.yaxis.label.get_fontsize() == 10


# What the user's process has of its own, before and after.
STATE = """
import gc, locale, logging, os, random, signal, sys, warnings
import matplotlib, numpy, pandas, scipy.stats
from matplotlib import font_manager, pyplot
if BACKEND:
    pyplot.figure()
    pyplot.close("all")

def state():
    return {
        "rcParams": {name: repr(matplotlib.rcParams._get(name)) for name in matplotlib.rcParams},
        "interactive": matplotlib.is_interactive(),
        "fonts": [font.name for font in font_manager.fontManager.ttflist],
        "figures": pyplot.get_fignums(),
        "warnings": list(warnings.filters), "locale": locale.setlocale(locale.LC_ALL), "numpy": numpy.geterr(),
        "print": numpy.get_printoptions(), "numpy random": repr(numpy.random.get_state()), "random": random.getstate(),
        "pandas": pandas.get_option("display.max_rows"), "gc": (gc.get_threshold(), gc.isenabled()),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "hooks": (sys.excepthook, sys.displayhook), "logging": (logging.root.level, logging.root.handlers[:]),
        "environ": dict(os.environ), "cwd": os.getcwd(), "recursion": sys.getrecursionlimit(),
    }

before = state()
from evalkit.charts import catalogue
from evalkit.report.html_report import report
charts = catalogue.charts("run.evalkit")
for chart in charts.values():
    chart.draw()
charts["latency"].save("chart.svg")
report(["run.evalkit"], "report.html")
import evalkit.widgets.display, evalkit.judging.judging, evalkit.loadtest.sweep, evalkit.cli.main
assert len(pyplot.get_fignums()) == len(charts), pyplot.get_fignums()
pyplot.close("all")
after = state()
changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
assert not changed, {name: values if name != "rcParams" else {
    key: (values[0][key], values[1][key]) for key in values[0] if values[0][key] != values[1][key]
} for name, values in changed.items()}
"""


def in_a_kernel(folder: Path, *cells: str) -> list[int]:
    """How many images each cell shows, run in a kernel of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}})
    environment = {**lab.environment(folder), "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client.execute(env=environment)
    return [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in notebook.cells]


def test_a_kernel_shows_every_figure_whatever_drew_the_first(path: Path, tmp_path: Path) -> None:
    write(path, [S([T(f"c{n}", 1, score=float(n % 2)) for n in range(9)])])
    assert in_a_kernel(
        tmp_path,
        f"import evalkit as ek\nrun = ek.Run({path.name!r})\nrun.charts()['latency'].svg()",
        "_ = run.plot_accuracy()",
        "_ = run.charts()['latency'].draw()",
        "import pandas as pd\n_ = pd.Series([1, 2]).plot()",
        "from matplotlib import pyplot\n_ = pyplot.plot([1, 2])",
        "from evalkit.charts import catalogue\n_ = catalogue.models_chart([run.path, run.path]).draw()",
        "axes = pyplot.subplots(1, 2)[1]\n_ = run.plot_accuracy(axes[0])",
        "assert pyplot.isinteractive()\npyplot.ioff()\n_ = run.plot_ecdf()",
        "assert not pyplot.isinteractive()",
    ) == [0, 1, 1, 1, 1, 1, 1, 0, 0]  # fmt: skip


def test_what_the_user_configures_for_the_inline_backend_outlives_the_first_chart(path: Path, tmp_path: Path) -> None:
    write(path, [S([T("a", 1, score=1.0)])])
    assert in_a_kernel(
        tmp_path,
        "%config InlineBackend.rc = {'figure.figsize': (3.0, 2.0), 'axes.grid': True}",
        f"import evalkit as ek\n_ = ek.Run({path.name!r}).plot_accuracy()",
        "import matplotlib\nassert matplotlib.rcParams['figure.figsize'] == [3.0, 2.0]\n"
        "assert matplotlib.rcParams['axes.grid']",
    ) == [0, 1, 0]


@pytest.mark.parametrize("backend", [True, False], ids=["a figure before", "no figure before"])
def test_drawing_leaves_the_process_of_the_user_as_it_was(path: Path, tmp_path: Path, backend: bool) -> None:
    turns = [T(f"c{n}", turn, score=float(n % 2), tokens=3, between_ms=(60.0,)) for n in range(9) for turn in (1, 2)]
    write(path, [S(turns)], [talk(f"c{n}", tags=("t",)) for n in range(9)])
    comparing.said(path, endpoint={"model": "m", "base_url": "http://x/v1", "params": {}}, dataset={"path": "d.jsonl"})
    script = f"BACKEND = {backend}\n{STATE}"
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_saved_chart_is_the_same_file_each_time_and_leaves_no_figure(path: Path, tmp_path: Path) -> None:
    chart = catalogue.charts(charted.run(path, conversations=8))["timeline"]
    for form in ("png", "svg"):
        made = [tmp_path / f"{n}.{form}" for n in (1, 2)]
        for file in made:
            chart.save(file)
        assert made[0].read_bytes() == made[1].read_bytes()
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", ["chart.pdf", "chart", "png", ".svg", "chart.svg.gz"])
def test_a_file_of_another_kind_is_refused_by_its_name(path: Path, tmp_path: Path, name: str) -> None:
    chart = catalogue.chart(charted.run(path, conversations=8), "accuracy")
    with pytest.raises(SettingsError, match=rf"{name} cannot be written: charts are saved as \.png or \.svg"):
        chart.save(tmp_path / name)
    assert not (tmp_path / name).exists()
