"""The pages about load tests and continuous integration name every key, metric and exit code."""

import re
from pathlib import Path

import pytest
from runfiles import S, T, write
from sweeps import step_in, sweep_of

from evalkit.analysis.summary_json import summary_json
from evalkit.cli import shared_flags
from evalkit.gates.gate_expression import OPERATORS
from evalkit.gates.metrics import METRICS

DOCS = Path(__file__).parents[2] / "evalkit" / "docs"


def words(page):
    """The texts in backticks on a page, also split at commas."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in (code, *code.split(", "))}


def test_every_key_of_a_run_is_on_the_page(tmp_path):
    keys = summary_json(write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])).keys() | {"gates"}
    assert keys - words("ci.md") == set()


def test_every_key_of_a_load_test_and_of_its_steps_is_on_the_page(tmp_path):
    result = sweep_of(step_in(tmp_path)).to_json()
    (step,) = result["steps"]
    assert (result.keys() | step.keys() | step["trust"].keys() | {"rate"}) - words("load.md") == set()


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_a_gate_is_on_the_page(metric):
    name, _, quantile = metric.rpartition("_p")
    assert {metric, f"{name}_…" if quantile.isdigit() else metric, f"{name}_p50"} & words("ci.md")


def test_operators_and_exit_codes_are_on_the_page():
    text = (DOCS / "ci.md").read_text(encoding="utf-8")
    assert set(OPERATORS) - words("ci.md") == set()
    codes = re.findall(r"^  (\d+(?:, \d+)*) ", shared_flags.EXIT_CODES, re.MULTILINE)
    assert len(codes) == 6
    assert [code for code in codes if f"| {code} |" not in text] == []
