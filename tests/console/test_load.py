import io
from dataclasses import replace

import pytest
from rich.console import Console
from sweeps import step_in, sweep_of, varied

from evalkit.console.fitted_tables import FittingConsole
from evalkit.console.load import show_sweep
from evalkit.console.sparklines import ASCII, BLOCKS
from evalkit.loadtest.load_plan import LoadPlan


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return step_in(tmp_path_factory.mktemp("step"))


def shown(sweep, draw=None):
    written = io.StringIO()
    show_sweep(Console(file=written, width=120, highlight=False, markup=False), sweep, draw)
    return written.getvalue()


def test_the_steps_are_drawn_and_the_knee_is_marked_below_its_bar(measured):
    sweep = sweep_of(varied(measured, 1, 10.0), varied(measured, 2, 20.0), varied(measured, 4, 20.1), saturated=True)
    lines = shown(sweep, draw=BLOCKS).splitlines()
    assert "turns/s      ▄ █ █  10 to 20.1" in lines
    knee = next(line for line in lines if line.startswith("knee  "))
    assert knee == f"{'knee':13}{'  ' * sweep.measured.index(sweep.knee)}▲ concurrency {sweep.knee.load:g}"
    plain = shown(sweep, draw=ASCII)
    assert "turns/s      - # #  10 to 20.1" in plain.splitlines()
    assert "▲" not in plain


def test_one_step_needs_no_chart(measured):
    assert "█" not in shown(sweep_of(varied(measured, 1, 10.0)), draw=BLOCKS)


def test_the_line_about_the_knee(measured):
    one, two = varied(measured, 1, 10.0, goodput=9.0), varied(measured, 2, 10.1, goodput=0.0)
    assert "knee: not reached, throughput was still rising\n" in shown(sweep_of(one, two))
    assert "knee: concurrency 1, the last step before saturation: 10 turns/s\n" in shown(
        sweep_of(one, two, saturated=True)
    )
    assert "knee: below the first step\n" in shown(sweep_of(one, saturated=True))
    assert "knee: concurrency 1, the best goodput: 9 turns/s within the SLO\n" in shown(
        sweep_of(one, two, slo="ttft=1s")
    )
    assert "knee: none, no turn met the SLO\n" in shown(sweep_of(two, slo="ttft=1s"))


def test_a_narrow_terminal_breaks_no_row(measured):
    sweep = sweep_of(varied(measured, 1, 10.0, goodput=9.0), varied(measured, 16, 20.0, goodput=8.0), slo="ttft=1s")
    written = io.StringIO()
    show_sweep(FittingConsole(file=written, width=80, highlight=False, markup=False), sweep, BLOCKS)
    lines = written.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:10]] == [
        "concurrency", "1", "16", "concurrency", "1", "16", "concurrency", "1", "16",
    ]  # fmt: skip
    assert "…" not in written.getvalue()


def test_a_narrow_terminal_has_every_number_of_a_wide_one(measured):
    step = replace(varied(measured, 1, 10.0), schedule_latency_ms=measured.latency_ms)
    sweep = replace(sweep_of(step, varied(step, 2, 20.0)), plan=LoadPlan.of(None, (1.0, 2.0)))
    numbers = []
    for width in (200, 120, 80, 60):
        written = io.StringIO()
        show_sweep(FittingConsole(file=written, width=width, highlight=False, markup=False), sweep, BLOCKS)
        assert "…" not in written.getvalue()
        rows = [line.split()[1:] for line in written.getvalue().splitlines() if line.startswith(("1  ", "2  "))]
        numbers.append(sorted(number for row in rows for number in row))
    assert numbers == [numbers[0]] * 4
