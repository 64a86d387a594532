import io

import pytest
from rich.console import Console
from test_sweep import measured, sweep_of, varied  # noqa: F401  a fixture of that module

from evalkit.console_load import show_sweep, sparkline


def shown(sweep, **how):
    written = io.StringIO()
    show_sweep(Console(file=written, width=120, highlight=False, markup=False, **how), sweep)
    return written.getvalue()


@pytest.mark.parametrize(
    ("values", "bars"),
    [((0, 1, 2, 4, 7), "▁▂▃▅█"), ((3,), "█"), ((None, 7.0), " █"), ((0, 0), "▁▁"), ((), "")],
)
def test_a_sparkline_has_a_bar_a_step_from_nothing_to_the_most(values, bars):
    assert sparkline(values) == bars


def test_charts_are_for_terminals_alone(measured):  # noqa: F811
    sweep = sweep_of(varied(measured, 1, 10.0), varied(measured, 2, 20.0))
    assert "▅█  10 to 20" in shown(sweep, force_terminal=True, color_system=None)
    assert "█" not in shown(sweep)


def test_what_is_said_of_the_knee(measured):  # noqa: F811
    one, two = varied(measured, 1, 10.0, goodput=9.0), varied(measured, 2, 10.1, goodput=0.0)
    assert "knee: not reached, throughput was still growing\n" in shown(sweep_of(one, two))
    assert "knee: concurrency 1, the last step before saturation: 10 turns/s\n" in shown(
        sweep_of(one, two, saturated=True)
    )
    assert "knee: below the first step\n" in shown(sweep_of(one, saturated=True))
    assert "knee: concurrency 1, the best goodput: 9 turns/s within the SLO\n" in shown(
        sweep_of(one, two, slo="ttft=1s")
    )
    assert "knee: none, no turn kept within the SLO\n" in shown(sweep_of(two, slo="ttft=1s"))
