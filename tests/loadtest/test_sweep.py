"""Load tests over real HTTP: what is sent and left out, when they stop, and their warnings."""

import json
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.bench_sweep_alarms import COUNTED, Case, false_alarms
from sweeps import step_in, sweep_of, varied

import evalkit as ek
from evalkit.errors import EndpointError, RunFileError, SettingsError
from evalkit.loadtest.load_plan import LoadPlan
from evalkit.loadtest.saturation import saturation, why_saturated
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.sweep import load
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve

ARITHMETIC = Arithmetic()


def one_at_a_time(body):
    """An answer that blocks the server's loop: it can give fifty per second, however many requests come."""
    time.sleep(0.02)
    return ARITHMETIC(body)


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=ARITHMETIC, law=Law(ttft_ms=5)), process=True) as running:
        yield running


@pytest.fixture
def endpoint(server):
    return ek.Endpoint(server.base_url, server.model)


def conversations(path):
    """Every turn of a run file with the start of its attempts, one row per turn."""
    with sqlite3.connect(path) as connection:
        turns = pd.read_sql("SELECT * FROM turn", connection)
        attempts = pd.read_sql("SELECT * FROM attempt", connection)
    connection.close()
    key = ["conversation", "repeat", "turn"]
    due = attempts.groupby(key)["due_ns"].min().reset_index()
    turns = turns.merge(due, on=key)
    turns["begin"] = turns.groupby(key[:2])["due_ns"].transform("min")
    turns["last_end"] = turns.groupby(key[:2])["end_ns"].transform("max")
    return turns


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return step_in(tmp_path_factory.mktemp("step"))


def test_each_step_has_a_run_file_with_whole_conversations_at_its_concurrency(sums, endpoint, tmp_path):
    sweep = load(sums(6, 3), endpoint, concurrency=(1, 3), per_step=10, out=tmp_path / "steps")
    assert sorted(path.name for path in sweep.folder.iterdir()) == ["concurrency-1.evalkit", "concurrency-3.evalkit"]
    for step, slots in zip(sweep.measured, (1, 3), strict=True):
        run = ek.Run(step.path)
        settings = run.info["settings"]
        assert (settings["concurrency"], settings["retries"], settings["rate"]) == (slots, 0, None)
        # the dataset of 6 is repeated
        asked = run.turns().groupby(["conversation", "repeat"])["turn"].agg(list)
        assert len(asked) >= slots + 10
        assert all(turns == [1, 2, 3] for turns in asked)


def test_figures_exclude_warm_up_and_tail_and_goodput_agrees_with_pandas(sums, endpoint, tmp_path):
    slo = {"ttft": "1s", "latency": "5.6ms"}
    sweep = load(sums(8, 2), endpoint, concurrency=(4,), per_step=20, slo=slo, out=tmp_path / "steps")
    (step,) = sweep.measured
    turns = conversations(step.path)
    talks = turns.groupby(["conversation", "repeat"]).agg(begin=("begin", "first"), end=("last_end", "first"))
    warm = talks.nsmallest(4, "begin")
    opened, last = warm["end"].max(), talks["begin"].max()
    closed = talks.loc[talks["end"] > last, "end"].min()
    cold = turns[turns["begin"] > warm["begin"].max()]
    kept = cold[cold["due_ns"] < closed]
    assert len(talks) - len(cold.groupby(["conversation", "repeat"])) == step.warm_up == 4
    assert step.turns == len(kept)
    assert step.window_s == pytest.approx((closed - opened) / 1e9)
    span = (np.minimum(cold["end_ns"], closed) - np.maximum(cold["due_ns"], opened)).clip(lower=0)
    part = span / (cold["end_ns"] - cold["due_ns"])
    met = (cold["ttft_ns"] <= 1e9) & (cold["latency_ns"] <= 5.6e6)
    assert step.turns_per_s == pytest.approx(part.sum() / step.window_s)
    assert step.goodput == pytest.approx((part * met).sum() / step.window_s)
    assert step.output_tokens_per_s == pytest.approx((part * cold["output_tokens"]).sum() / step.window_s)
    assert step.within_slo == pytest.approx((kept["latency_ns"] <= 5.6e6).mean())
    assert step.latency_ms["p95"].value == pytest.approx(kept["latency_ns"].quantile(0.95) / 1e6)


def test_it_stops_at_saturation_says_why_and_marks_the_step_before(sums, tmp_path):
    with serve(Script(answer=one_at_a_time)) as server:
        endpoint = ek.Endpoint(server.base_url, server.model)
        sweep = load(sums(24, 1), endpoint, concurrency=(1, 2, 4, 8, 16, 32), out=tmp_path / "steps")
    assert sweep.saturated
    assert len(sweep.measured) > 1
    last = sweep.measured[-1]
    assert sweep.stopped.startswith(f"at concurrency {last.load:g} throughput ")
    assert ", while the median latency rose from " in sweep.stopped
    assert sweep.stopped.endswith(" not run") == (len(sweep.measured) < 6)
    assert sweep.knee is sweep.measured[-2]


def test_past_saturation_every_step_is_run_and_the_knee_is_before_the_first_saturated_one(sums, tmp_path):
    with serve(Script(answer=one_at_a_time)) as server:
        endpoint = ek.Endpoint(server.base_url, server.model)
        how = {"concurrency": (1, 4, 16), "per_step": 24, "warm_up": 4, "past_saturation": True, "slo": "latency=60ms"}
        sweep = load(sums(24, 1), endpoint, out=tmp_path / "steps", **how)
    assert [step.load for step in sweep.measured] == [1, 4, 16]
    assert sweep.saturated
    assert sweep.stopped is None
    place, _ = saturation(sweep.measured, sweep.slo)
    assert place < 2  # four requests at a time wait 80 ms each
    assert sweep.knee is sweep.measured[place - 1]


def test_it_stops_when_turns_fail(sums, tmp_path):
    with serve(Script(answer=ARITHMETIC, faults=[Fault("server_error", share=0.5)])) as server:
        endpoint = ek.Endpoint(server.base_url, server.model)
        sweep = load(sums(24, 1), endpoint, concurrency=(1, 2), out=tmp_path / "steps")
    (step,) = sweep.measured
    assert step.errors["server"] == step.turns - step.answered
    assert sweep.stopped == (
        f"at concurrency 1 {step.error_share:.0%} of the turns failed, more than 10%; concurrency 2 not run"
    )
    assert sweep.knee is None


def test_an_endpoint_that_answers_nothing_in_the_first_step_is_an_error(sums, tmp_path):
    with pytest.raises(EndpointError, match="none was answered"):
        load(sums(3, 1), ek.Endpoint("http://127.0.0.1:9", "m"), concurrency=(1, 2), out=tmp_path / "steps")


def test_an_endpoint_that_dies_in_a_later_step_ends_the_sweep_and_keeps_the_steps_before(sums, tmp_path):
    dead = Fault("server_error", numbers=range(30, 10_000))
    with serve(Script(answer=ARITHMETIC, faults=[dead])) as server:
        endpoint = ek.Endpoint(server.base_url, server.model)
        how = {"concurrency": (1, 2, 4), "per_step": 28, "warm_up": 1}
        sweep = load(sums(24, 1), endpoint, out=tmp_path / "steps", **how)
    assert [step.load for step in sweep.measured] == [1, 2]
    assert sweep.stopped == "at concurrency 2 100% of the turns failed, more than 10%; concurrency 4 not run"


def test_the_frame_and_the_json_agree(sums, endpoint, tmp_path):
    sweep = load(sums(8, 2), endpoint, concurrency=(1, 2), slo="ttft=1s", out=tmp_path / "steps")
    frame, told = sweep.steps(), json.loads(json.dumps(sweep.to_json()))
    assert list(told) == [
        "data", "base_url", "model", "folder", "by", "arrivals", "slo_ms", "steps", "knee", "stopped", "warnings",
        "partial", "seed",
    ]  # fmt: skip
    assert list(told["steps"][0]) == [
        "concurrency", "run", "warm_up", "turns", "answered", "errors", "window_s", "turns_per_s",
        "output_tokens_per_s", "goodput", "within_slo", "unknown", "ttft_ms", "tpot_ms", "latency_ms",
        "schedule_latency_ms", "accuracy", "trust", "interrupted", "realised_rate", "arrivals_seed",
    ]  # fmt: skip
    assert (told["by"], told["arrivals"], told["slo_ms"]) == ("concurrency", None, {"ttft": 1000.0})
    assert frame.index.name == "concurrency"
    assert frame.index.tolist() == [1, 2]
    for step, (_, row) in zip(told["steps"], frame.iterrows(), strict=True):
        assert row["turns_per_s"] == step["turns_per_s"]
        assert row["ttft_p50_ms"] == step["ttft_ms"]["p50"]
        assert step["ttft_ms"]["p99"] is None
        assert pd.isna(row["ttft_p99_ms"])
        assert pd.isna(row["schedule_latency_p50_ms"])
        assert step["accuracy"]["value"] == row["accuracy"] == 1.0
    assert frame.index[frame["knee"]].tolist() == [told["knee"]]


def test_a_sweep_over_the_embedded_model(sums, embedded, tmp_path):
    sweep = load(sums(2, 1), embedded.with_params(max_tokens=4), concurrency=(1, 2), per_step=3, out=tmp_path / "steps")
    assert sweep.measured[0].answered == sweep.measured[0].turns > 0
    assert sweep.measured[0].ttft_ms["p50"].value > 0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"concurrency": (4, 2)}, "the steps are 4, 2: give them in rising order, such as 1,2,4,8"),
        ({"concurrency": ()}, "the steps are none: give them in rising order, such as 1,2,4,8"),
        ({"concurrency": (0,)}, "concurrency 0: each step must be a whole number, 1 or more"),
        ({"concurrency": (1.5,)}, "concurrency 1.5: each step must be a whole number, 1 or more"),
        ({"rate": (-1.0,)}, "rate -1.0: each step must be a number above 0, in conversations per second"),
        ({"rate": (float("nan"),)}, "rate nan: each step must be a number above 0, in conversations per second"),
        ({"concurrency": (1,), "rate": (1,)}, "concurrency and rate exclude each other: give one of them"),
        (
            {"per_step": 3, "step_time_s": 3.0},
            "per_step and step_time_s exclude each other: give one of them",
        ),
        ({"per_step": 0}, "per_step is 0: it must be a whole number, 1 or more"),
        ({"warm_up": -1}, "warm_up is -1: it must be a whole number, 0 or more"),
        ({"step_time_s": 0}, "step_time_s is 0: it must be above 0"),
        ({"seed": 3}, "a seed applies to poisson arrivals only: give a rate and arrivals 'poisson' too"),
        ({"arrivals": "poisson"}, "arrivals 'poisson' need a rate: give the steps as rates"),
        ({"limit": 3}, "limit: a load test sets this itself, from its steps. Leave it out"),
        ({"slo": {"ttfb": "1s"}}, "slo 'ttfb' is not a known metric: write ttft, tpot or latency"),
    ],
)
def test_invalid_settings_are_refused_before_a_request_is_sent(sums, tmp_path, how, message):
    with pytest.raises(SettingsError) as caught:
        load(sums(), ek.Endpoint("http://127.0.0.1:9", "m"), out=tmp_path / "steps", **how)
    assert str(caught.value) == message
    assert not (tmp_path / "steps").exists()


def test_run_files_are_never_mixed_with_those_of_another_sweep(sums, endpoint, tmp_path):
    folder = tmp_path / "steps"
    load(sums(), endpoint, concurrency=(1,), per_step=2, out=folder)
    with pytest.raises(RunFileError) as caught:
        load(sums(), endpoint, concurrency=(1,), per_step=2, out=folder)
    assert str(caught.value) == f"{folder} already holds runs (concurrency-1.evalkit): name another folder with --out"


def test_the_plan_of_a_step(sums):
    data = sums(10, 1)
    closed = LoadPlan.of(None, None)
    assert closed.loads[:4] == (1, 2, 4, 8)
    assert closed.loads[-1] == 1024
    assert closed.settings_of(1, data, None) == {"concurrency": 1, "repeats": 3, "limit": 7}
    assert closed.settings_of(64, data, None) == {"concurrency": 64, "repeats": 32, "limit": 10}
    few = LoadPlan.of((2,), None, warm_up=0, per_step=4)
    assert few.settings_of(2, data, None) == {"concurrency": 2, "repeats": 1, "limit": 4}
    open_loop = LoadPlan.of(None, (2.5, 5.0), arrivals="poisson", seed=7)
    assert open_loop.warm_up_of(2.5) == 3
    asked = {"rate": 2.5, "arrivals": "poisson", "arrivals_seed": 7, "repeats": 3, "limit": 10}
    assert open_loop.settings_of(2.5, data, None) == asked
    assert open_loop.settings_of(5.0, data, None)["arrivals_seed"] == 8  # different gaps in each step
    timed = LoadPlan.of((2,), None, step_time_s=5.0).settings_of(2, data, None)
    assert timed == {"concurrency": 2, "max_time_s": 5.0, "repeats": 1_000_000, "check": False}
    assert open_loop.file_of(Path("x"), 2.5) == Path("x/rate-2.5.evalkit")


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ((10, 100), (20, 100), None),
        ((10, 100), (11.1, 200), None),
        ((10, 100), (10.5, 101), None),
        ((10, 100), (10.5, 190), "throughput grew by only 5%, while the median latency rose from 100 to 190 ms"),
        ((10, 100), (8, 250), "throughput fell by 20%, while the median latency rose from 100 to 250 ms"),
        ((10, 100), (None, 250), None),
    ],
)
def test_saturation_is_throughput_that_stays_while_latency_rises(measured, before, now, reason):
    assert why_saturated(varied(measured, 1, *before), varied(measured, 2, *now), Slo.of(None)) == reason


def test_saturation_by_objectives_and_by_errors(measured):
    slo = Slo.of("ttft=200ms")
    assert why_saturated(None, replace(measured, within_slo=0.5), slo) is None
    assert why_saturated(None, replace(measured, within_slo=0.49), slo) == (
        "only 49% of the turns met the SLO (ttft ≤ 200 ms)"
    )
    assert why_saturated(None, replace(measured, turns=100, answered=90), slo) is None
    assert why_saturated(None, replace(measured, turns=100, answered=89), slo) == (
        "11% of the turns failed, more than 10%"
    )


def test_the_knee(measured):
    one, two, four = (varied(measured, n, 10.0 * n, goodput=good) for n, good in ((1, 9.0), (2, 18.0), (4, 12.0)))
    assert sweep_of(one, two, four, slo="ttft=1s").knee is two
    assert sweep_of(one, two, four).knee is None
    assert sweep_of(one, two, four, saturated=True).knee is two
    assert sweep_of(one, saturated=True).knee is None
    assert sweep_of(replace(one, goodput=0.0), slo="ttft=1s").knee is None


def answered(right, n=40):
    """Scores of a step with this many conversations; ``right`` says which turns are right."""
    return {(place, 1): (float(right(place)), f"conversation {place}") for place in range(n)}


def test_warnings_about_worse_answers_late_clients_and_missing_times(measured):
    good = replace(measured, load=1, scores=answered(lambda place: place % 10 > 0))
    same = replace(measured, load=2, scores=answered(lambda place: place % 10 > 1))
    worse = replace(
        measured, load=4, scores=answered(lambda place: place % 2), client_bound=True, loop_lag_p99_ms=7.5,
        window_s=None, answered=19, unknown={"tpot": 3},
    )  # fmt: skip
    assert sweep_of(good, same).warnings() == []
    first, *others = sweep_of(good, same, worse).warnings()
    assert first.startswith("at concurrency 4 the answers are worse than at concurrency 1: accuracy -40.0 points (95 %")
    assert " over the 40 turns answered in both steps, p = " in first
    assert first.endswith(", corrected for 2 comparisons")
    assert others == [
        "at concurrency 4 the client adds to the times: its event-loop lag p99 is 7.5 ms",
        "at concurrency 4 the load was never complete after the warm-up, so there are no values per second: "
        "run more conversations per step",
        "at concurrency 4 3 of 19 answered turns have no tpot: they count as not within the SLO",
    ]


def test_a_step_with_harder_conversations_is_not_worse(measured):
    """A later step runs more of the dataset; its accuracy is lower, and every shared answer is the same."""
    few = replace(measured, load=1, scores=answered(lambda place: place < 20, 20))
    many = replace(measured, load=8, scores=answered(lambda place: place < 20, 200))
    assert sweep_of(few, many).warnings() == []


def test_equal_steps_are_called_worse_in_five_sweeps_of_a_hundred_at_most():
    alarms = [false_alarms(Case(COUNTED[:steps], 200, 0.5), sweeps=200, seed=steps) for steps in (5, 10)]
    assert max(alarms) <= 0.05, alarms


def test_a_saturated_step_is_never_the_knee(measured):
    one, two = (varied(measured, n, 10.0 * n, goodput=good) for n, good in ((1, 9.0), (2, 18.0)))
    assert sweep_of(one, two, slo="ttft=1s", saturated=True).knee is one
    assert sweep_of(two, slo="ttft=1s", saturated=True).knee is None


def test_a_watch_that_stops_ends_the_sweep_and_its_step_is_not_measured(sums, endpoint, tmp_path):
    data = sums(40, 2)

    seen = {}

    def watch(progress):
        seen[id(progress)] = progress
        return len(seen) == 2 and progress.done >= 5

    sweep = load(data, endpoint, concurrency=(1, 2, 4), per_step=100, out=tmp_path / "steps", watch=watch)
    assert [step.load for step in sweep.measured] == [1]
    assert sweep.partial.load == 2
    assert sweep.stopped == (
        "by the user at concurrency 2: that step was cut short and is not measured; concurrency 4 not run"
    )
    assert (sweep.knee, sweep.saturated) == (None, False)
    told = sweep.to_json()
    assert (len(told["steps"]), told["partial"]["concurrency"]) == (1, 2)


def test_an_interrupt_passes_on_the_steps_before_it(sums, endpoint, tmp_path):
    kept, seen = [], {}

    def watch(progress):
        seen[id(progress)] = progress
        if len(seen) == 2 and progress.done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(
            sums(40, 2), endpoint, concurrency=(1, 2, 4), per_step=100, out=tmp_path / "steps", watch=watch,
            interrupted=kept.append,
        )  # fmt: skip
    (sweep,) = kept
    assert ([step.load for step in sweep.measured], sweep.partial.load) == ([1], 2)
    assert sweep.stopped.startswith("by an interrupt at concurrency 2: ")


def test_a_budget_that_ends_a_step_early_leaves_it_unmeasured(sums, endpoint, tmp_path):
    sweep = load(sums(10, 1), endpoint, concurrency=(1, 2), out=tmp_path / "steps", max_tokens_total=50)
    assert (sweep.measured, sweep.partial.load) == ((), 1)
    assert sweep.stopped.startswith("by max_tokens_total at concurrency 1: ")


def test_poisson_gaps_differ_each_time_and_repeat_with_their_seed(sums, endpoint, tmp_path):
    def gaps(name, **more):
        how = {"rate": (200.0,), "arrivals": "poisson", "per_step": 30, "warm_up": 0}
        (step,) = load(sums(40, 1), endpoint, out=tmp_path / name, **how, **more).measured
        begun = conversations(step.path)["begin"].sort_values()
        realised = (len(begun) - 1) / (begun.max() - begun.min()) * 1e9
        assert step.realised_rate == pytest.approx(realised)
        assert ek.Run(step.path).summary_json()["arrivals"]["realised_rate"] == pytest.approx(realised)
        assert ek.Run(step.path).info["settings"]["arrivals_seed"] == step.arrivals_seed
        return begun.diff().dropna().tolist()

    assert gaps("a", seed=1) == gaps("b", seed=1)
    assert gaps("c") != gaps("d")


def test_a_step_ended_by_time_is_readable_and_keeps_interrupted_turns(sums, tmp_path):
    silent = Fault("silence", numbers=range(4, 60, 4))
    with serve(Script(answer=ARITHMETIC, faults=[silent]), process=True) as server:
        endpoint = ek.Endpoint(server.base_url, server.model)
        how = {"concurrency": (4,), "warm_up": 0, "step_time_s": 0.5, "slo": "latency=2s"}
        sweep = load(sums(20, 1), endpoint, out=tmp_path / "steps", **how)
    (step,) = sweep.measured
    assert (step.errors, step.interrupted, step.failed) == ({"cancelled": 4}, 4, 0)
    assert step.within_slo == step.answered / step.turns  # turns cut off after 5 s had missed it
    assert any("turns were cut off by the end of the step" in said for said in sweep.warnings())
    assert (sweep.saturated, sweep.stopped) == (False, None)
