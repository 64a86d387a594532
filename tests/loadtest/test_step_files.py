"""Load tests opened again from their folder, with other objectives, and as turns in time."""

import shutil
import sqlite3

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import evalkit as ek
from evalkit.errors import RunFileError, SettingsError
from evalkit.loadtest.sweep import load
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20)), process=True) as running:
        yield running


@pytest.fixture
def endpoint(server):
    return ek.Endpoint(server.base_url, server.model)


@pytest.fixture
def closed(sums, endpoint, tmp_path):
    return load(sums(8, 2), endpoint, concurrency=(1, 2), per_step=8, slo="ttft=1s", out=tmp_path / "closed")


def figures(sweep):
    return sweep.steps().drop(columns="run")


def test_a_load_test_is_the_same_when_it_is_opened_again(closed):
    again = ek.Sweep.open(closed.folder, slo="ttft=1s")
    pd.testing.assert_frame_equal(figures(again), figures(closed))
    assert again.knee.load == closed.knee.load
    assert again.to_json() == {**closed.to_json(), "data": again.to_json()["data"], "stopped": again.stopped}


def test_one_by_rate_keeps_its_gaps_and_its_seed(sums, endpoint, tmp_path):
    how = {"rate": (10, 40), "arrivals": "poisson", "seed": 7, "per_step": 8, "warm_up": 2}
    sweep = load(sums(8, 2), endpoint, out=tmp_path / "open", **how)
    again = ek.Sweep.open(str(tmp_path / "open"), warm_up=2)
    pd.testing.assert_frame_equal(figures(again), figures(sweep))
    assert (again.plan.by, again.plan.arrivals, again.plan.seed) == ("rate", "poisson", 7)


def test_other_objectives_give_another_goodput_from_the_same_turns(closed):
    strict, none = closed.with_slo("ttft=1ms"), closed.with_slo(None)
    assert strict.steps()["goodput"].tolist() == [0, 0]
    assert strict.knee is None
    assert strict.saturated
    assert none.steps()["goodput"].isna().all()
    same = ["turns", "turns_per_s", "ttft_p50_ms"]
    pd.testing.assert_frame_equal(strict.steps()[same], none.steps()[same])
    assert figures(strict.with_slo("ttft=1s")).equals(figures(closed))
    assert ek.Sweep.open(closed.folder, slo="ttft=1ms").stopped is None  # the first step was saturated, not the last
    (closed.folder / "concurrency-2.evalkit").unlink()
    stopped = ek.Sweep.open(closed.folder, slo="ttft=1ms").stopped
    assert stopped == "at concurrency 1 only 0% of the turns met the SLO (ttft ≤ 1 ms)"
    with pytest.raises(SettingsError, match="is not a known metric"):
        closed.with_slo("speed=1s")


def test_a_step_that_was_cut_short_is_partial(sums, endpoint, tmp_path):
    how = {"concurrency": (1, 2), "per_step": 8, "max_tokens_total": 100}
    sweep = load(sums(8, 2), endpoint, out=tmp_path / "steps", **how)
    again = ek.Sweep.open(sweep.folder)
    assert sweep.partial is not None
    assert again.partial.turns == sweep.partial.turns
    assert [step.load for step in again.measured] == [step.load for step in sweep.measured]


@pytest.mark.parametrize(
    ("loads", "more", "measured"),
    [((1, 2, 4), {}, [1, 2]), ((1, 2, 4, 8), {"past_saturation": True}, [1, 2, 4, 8])],
)
def test_steps_that_the_endpoint_failed_completely_are_measured_again(sums, tmp_path, loads, more, measured):
    how = {"concurrency": loads, "per_step": 20, "warm_up": 2, **more}
    with serve(Script(answer=Arithmetic(), faults=[Fault("server_error", numbers=set(range(22, 400)))])) as server:
        sweep = load(sums(24, 1), ek.Endpoint(server.base_url, server.model), out=tmp_path / "steps", **how)
    again = ek.Sweep.open(sweep.folder, warm_up=2)
    assert [step.load for step in sweep.measured] == measured
    assert again.measured == sweep.measured
    assert (again.saturated, again.partial, again.knee) == (sweep.saturated, None, sweep.knee)
    assert again.saturated
    pd.testing.assert_frame_equal(again.steps(), sweep.steps())


def test_a_folder_without_steps_or_with_both_kinds_is_refused(closed, tmp_path):
    with pytest.raises(RunFileError, match="holds no step of a load test"):
        ek.Sweep.open(tmp_path / "none")
    (closed.folder / "other.evalkit").write_bytes(b"")  # no name of a step
    assert len(ek.Sweep.open(closed.folder).measured) == 2
    shutil.copy(closed.folder / "concurrency-1.evalkit", closed.folder / "rate-1.evalkit")
    with pytest.raises(RunFileError, match="by concurrency and by rate"):
        ek.Sweep.open(closed.folder)


@pytest.mark.parametrize("load_name", ["01", "1000000", "0", "2.5", "3e0", "1e400", "2.0", "1.0e+06"])
def test_files_with_names_that_a_load_test_does_not_write_are_left_out(closed, load_name):
    first = closed.folder / "concurrency-1.evalkit"
    shutil.copy(first, closed.folder / f"concurrency-{load_name}.evalkit")
    assert [step.load for step in ek.Sweep.open(closed.folder).measured] == [1, 2]
    only = closed.folder / "rates"
    only.mkdir()
    shutil.copy(first, only / f"rate-{load_name if load_name != '2.5' else '2.50'}.evalkit")
    with pytest.raises(RunFileError, match="holds no step of a load test"):
        ek.Sweep.open(only)


def test_large_and_long_loads_keep_their_value(closed, sums, endpoint, tmp_path):
    shutil.copy(closed.folder / "concurrency-1.evalkit", closed.folder / "concurrency-1e+06.evalkit")
    assert [step.load for step in ek.Sweep.open(closed.folder).measured] == [1, 2, 1_000_000]
    sweep = load(sums(8, 1), endpoint, rate=(100 / 3,), per_step=4, warm_up=1, out=tmp_path / "rates")
    again = ek.Sweep.open(sweep.folder, warm_up=1)
    assert again.plan.loads == sweep.plan.loads
    assert again.measured == sweep.measured


def test_steps_that_cannot_be_planned_or_read_are_named(closed, sums, endpoint, tmp_path):
    rates = tmp_path / "rates"
    load(sums(8, 1), endpoint, rate=(50,), per_step=4, warm_up=1, out=rates)
    with sqlite3.connect(rates / "rate-50.evalkit") as connection:
        connection.execute("UPDATE run SET settings = json_set(settings, '$.arrivals_seed', 7)")
    connection.close()
    with pytest.raises(RunFileError, match="no load test has written"):
        ek.Sweep.open(rates)
    (closed.folder / "concurrency-4.evalkit").write_bytes(b"not a run file")
    with pytest.raises(RunFileError, match=r"concurrency-4\.evalkit"):
        ek.Sweep.open(closed.folder)
    with pytest.raises(SettingsError, match="warm_up"):
        ek.Sweep.open(rates, warm_up=-1)


def test_turns_are_in_the_order_in_which_they_were_due_with_times_that_agree(sums, endpoint, tmp_path):
    sweep = load(sums(6, 2), endpoint, rate=(20,), warm_up=0, per_step=6, out=tmp_path / "open")
    turns = sweep.turns()
    assert (turns["rate"] == 20).all()
    assert len(turns) == 12
    assert turns["due_s"].is_monotonic_increasing
    first = turns.query("turn == 1")
    assert first["due_s"].tolist() == pytest.approx([number / 20 for number in range(6)])
    assert (turns["sent_s"] >= turns["due_s"]).all()
    waited = (turns["sent_s"] - turns["due_s"]) * 1000
    assert (turns["schedule_latency_ms"] - turns["latency_ms"]).tolist() == pytest.approx(waited.tolist(), abs=1e-3)


def test_turns_of_a_closed_loop_have_no_schedule(closed):
    turns = closed.turns()
    assert turns["schedule_latency_ms"].isna().all()
    assert turns["error_kind"].isna().all()
    assert set(turns["concurrency"]) == {1, 2}


def test_its_charts_are_drawn_on_an_axes(closed):
    for name, label in (
        ("throughput", "turns per second"),
        ("ttft", "time to first token (ms)"),
        ("goodput", "turns per second"),
        ("accuracy", "accuracy (mean score)"),
    ):
        ax = getattr(closed, f"plot_{name}")()
        assert ax.get_ylabel() == label
        plt.close(ax.figure)
