"""The measures of a run beside those that pandas makes of its table, and of the conversations that were asked."""

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runfiles import S, T, talk, write
from scipy import stats as scipy_stats

from evalkit.analysis import measures, tables
from evalkit.analysis.measures import Measures, measure
from evalkit.analysis.times import quantiles as times_quantiles
from evalkit.analysis.times.quantiles import SAMPLED
from evalkit.gates.gates import evaluate, parse
from evalkit.runfile import query_arrays
from evalkit.stats import proportions, quantiles

KINDS = ["timeout", "server", "truncated", "empty"]
TARGETS = (35, None, 276, 311)


@pytest.fixture(scope="module", params=["streamed", "whole"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """230 conversations of 1 to 4 turns, twice, some of them in groups; the second turn has no target."""
    rng = np.random.default_rng(11)
    stream = request.param == "streamed"
    conversations, turns = [], []
    for number in range(230):
        conversations.append(
            talk(f"c{number}", targets=TARGETS, group=f"g{rng.integers(40)}" if rng.random() < 0.4 else None)
        )
        for repeat in (1, 2):
            for turn in range(1, int(rng.integers(1, 5)) + 1):
                error = str(rng.choice(KINDS)) if rng.random() < 0.15 else None
                began = stream and (error is None or rng.random() < 0.5)
                scored = error is None and TARGETS[turn - 1] is not None and rng.random() < 0.9
                turns.append(
                    T(
                        f"c{number}",
                        turn,
                        repeat=repeat,
                        error=error,
                        ttft_ms=round(float(rng.gamma(4, 20)), 2) if began else None,
                        latency_ms=round(300 + float(rng.gamma(4, 100)), 1),
                        end_ms=float(rng.integers(400, 900)),
                        tokens=int(rng.integers(2, 90)) if rng.random() < 0.8 else None,
                        score=float(rng.choice([0, 0.5, 1])) if scored else None,
                        due_ms=-round(float(rng.gamma(2, 100)), 1) if turn == 1 else None,
                    )
                )
    return write(tmp_path_factory.mktemp("runs") / "r.evalkit", [S(turns, end_ms=9000.0)], conversations, stream=stream)


@pytest.fixture(scope="module")
def table(run: Path) -> pd.DataFrame:
    """The table of the turns, with what the dataset said of each, and the lower bounds of time-outs."""
    frame = tables.turns(run)
    with measures.opened(run) as connection:
        talks = pd.read_sql("SELECT id AS conversation, cluster FROM conversation", connection)
        bounds = pd.read_sql(
            "SELECT censored_ns / 1e6 AS bound, schedule_latency_ns / 1e6 AS due_ms FROM turn", connection
        )
        due = pd.read_sql(
            "SELECT min(due_ns) / 1e6 AS due FROM attempt GROUP BY conversation, repeat, turn", connection
        )
        streamed = pd.read_sql("SELECT json_extract(settings, '$.stream') AS s FROM run", connection)["s"][0]
    frame = pd.concat([frame, bounds, due], axis=1).merge(talks, on="conversation")
    late = frame["error_kind"] == "timeout"
    return frame.assign(
        cluster=frame["cluster"].fillna("conversation " + frame["conversation"]),
        target=[TARGETS[turn - 1] is not None for turn in frame["turn"]],
        latency=frame["latency_ms"].where(~late, frame["bound"]),
        latency_late=late,
        ttft=frame["ttft_ms"].where(~(late & frame["ttft_ms"].isna() & bool(streamed)), frame["bound"]),
        ttft_late=late & frame["ttft_ms"].isna() & bool(streamed),
        tpot=frame["tpot_ms"],
        tpot_late=False,
        schedule_latency=frame["due_ms"].where(~(late & (frame["turn"] == 1)), frame["bound"] - frame["due"]),
        schedule_latency_late=late & (frame["turn"] == 1),
    )


def parts(run: Path, table: pd.DataFrame) -> list[tuple[Measures, pd.DataFrame]]:
    measured = measure(run)
    assert [row.turn for row in measured.by_turn] == [1, 2, 3, 4]
    return [(measured.all, table), *((row, table[table["turn"] == row.turn]) for row in measured.by_turn)]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_arrays, "AT_ONCE", 64)


def test_counts_are_those_of_the_table(run: Path, table: pd.DataFrame) -> None:
    for row, part in parts(run, table):
        assert (row.turns, row.answered) == (len(part), (part["status"] == "answered").sum())
        assert row.errors == part["error_kind"].value_counts().to_dict()
        assert list(row.errors.values()) == sorted(row.errors.values(), reverse=True)


def test_accuracy_is_that_of_the_table(run: Path, table: pd.DataFrame) -> None:
    for row, part in parts(run, table):
        failed = part["status"] == "error"
        answered = part[~failed & part["score"].notna()]
        every = part[(~failed & part["score"].notna()) | (failed & part["target"])]
        rights = {"accuracy": answered["score"], "accuracy_all": every["score"].where(~failed[every.index], 0.0)}
        for name, right in rights.items():
            got = getattr(row, name)
            expected = proportions.proportion(right.to_numpy(), part.loc[right.index, "cluster"].to_numpy(dtype=str))
            assert (got.mean.n, got.wrong) == (len(right), (answered["score"] < 1).sum())
            if len(right):
                assert got.mean.value == pytest.approx(right.mean(), abs=1e-12)
                assert (got.mean.low, got.mean.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert row.accuracy.unscored == (~failed).sum() - len(answered)
        assert row.accuracy_all.unscored == len(part) - len(every)


@pytest.mark.parametrize("metric", ["ttft", "latency", "tpot", "schedule_latency"])
def test_times_are_those_of_the_table(run: Path, table: pd.DataFrame, metric: str) -> None:
    for row, part in parts(run, table):
        times, late = part[metric].dropna().to_numpy(), part[f"{metric}_late"][part[metric].notna()].to_numpy()
        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            got = getattr(row, f"{metric}_ms")[name]
            assert got.n == len(times)
            if got.value is None:
                assert got.reason
            elif late.any():
                curve = scipy_stats.ecdf(scipy_stats.CensoredData.right_censored(times, late)).sf
                down = np.flatnonzero(curve.probabilities <= 1 - q + 1e-12)
                assert got.value == curve.quantiles[down[0]]
            else:
                assert got.value == np.quantile(times, q)


def test_a_sample_is_a_choice_of_the_times_with_the_span_of_all(run: Path, table: pd.DataFrame) -> None:
    for row, part in parts(run, table):
        for metric, sample in row.samples.items():
            values = part[metric].dropna()
            assert len(sample.values) == min(len(values), SAMPLED)
            assert set(sample.values) <= set(values)
            assert sample.timed_out == part[f"{metric}_late"].sum()
            if len(values):
                assert (sample.low, sample.high) == (values.min(), values.max())


def test_one_turn_index_is_the_whole_run(tmp_path: Path) -> None:
    measured = measure(write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, score=n % 2) for n in range(30)])]))
    (first,) = measured.by_turn
    assert first.turn == 1
    assert (first.accuracy, first.latency_ms, first.turns) == (measured.all.accuracy, measured.all.latency_ms, 30)


def test_kinds_of_errors_as_frequent_stand_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    kinds = ["timeout", "auth", "server", "auth", "server"]
    turns = [T(f"c{n}", 1, error=kind) for n, kind in enumerate(kinds)]
    measured = measure(write(tmp_path / "r.evalkit", [S(turns)]))
    assert list(measured.all.errors.items()) == [("auth", 2), ("server", 2), ("timeout", 1)]


def test_time_outs_of_one_turn_index_are_lower_bounds_of_the_whole_run(tmp_path: Path) -> None:
    turns = [T(f"c{n}", 1, latency_ms=100.0 + n, error="timeout" if n % 5 == 0 else None) for n in range(100)]
    measured = measure(write(tmp_path / "r.evalkit", [S(turns)]))
    (first,) = measured.by_turn
    assert first.latency_ms == measured.all.latency_ms
    assert measured.all.samples["latency"].timed_out == 20
    assert sorted(measured.all.samples["latency"].values[measured.all.samples["latency"].at_least]) == [500.0] * 20


def test_groups_that_alternate_are_clusters_with_a_single_turn_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    groups = [f"g{n % 7}" if n % 3 else None for n in range(210)]
    scores = (rng.random(210) < [0.2 + 0.1 * (n % 7) for n in range(210)]).astype(float)
    talks = [talk(f"c{n}", targets=(1,), group=group) for n, group in enumerate(groups)]
    turns = [T(f"c{n}", 1, score=score) for n, score in enumerate(scores)]
    mean = measure(write(tmp_path / "r.evalkit", [S(turns)], talks)).all.accuracy.mean
    expected = proportions.proportion(scores, [group or f"alone {n}" for n, group in enumerate(groups)])
    assert (mean.value, mean.low, mean.high) == pytest.approx((expected.value, expected.low, expected.high), rel=1e-12)


def some_times() -> tuple[list[T], list[float], list[int], list[int]]:
    """Turns of 60 conversations; their latencies, positions and turn indices."""
    rng = np.random.default_rng(6)
    turns, times, places, indices = [], [], [], []
    for place in range(60):
        own = rng.gamma(2, 100)
        for index in (1, 2, 3):
            times.append(own + rng.gamma(2, 20))
            places.append(place)
            indices.append(index)
            turns.append(T(f"c{place}", index, latency_ms=times[-1]))
    return turns, times, places, indices


def test_times_know_of_clusters(tmp_path: Path) -> None:
    turns, times_ms, places, indices = some_times()
    measured = measure(write(tmp_path / "r.evalkit", [S(turns)]))
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        told, expected = measured.all.latency_ms[name], quantiles.quantile(times_ms, q, clusters=places)
        assert (told.low, told.high) == pytest.approx((expected.low, expected.high))
        assert told.low < quantiles.quantile(times_ms, q).low
    first = [ms for ms, index in zip(times_ms, indices, strict=True) if index == 1]
    assert measured.by_turn[0].latency_ms["p50"].low == pytest.approx(quantiles.quantile(first, 0.5).low)


def test_times_know_of_groups_and_of_repeats(tmp_path: Path) -> None:
    turns, times_ms, places, _ = some_times()
    talks = [talk(f"c{n}", group=f"g{n % 12}" if n >= 6 else None) for n in range(60)]
    grouped = measure(write(tmp_path / "g.evalkit", [S(turns)], talks)).all.latency_ms["p50"]
    labels = [f"g{place % 12}" if place >= 6 else str(place) for place in places]
    expected = quantiles.quantile(times_ms, 0.5, clusters=labels)
    assert (grouped.low, grouped.high) == pytest.approx((expected.low, expected.high))
    again = [T(turn.conversation, 1, latency_ms=turn.latency_ms, repeat=turn.turn) for turn in turns]
    repeated = measure(write(tmp_path / "r.evalkit", [S(again)])).all.latency_ms["p50"]
    expected = quantiles.quantile(times_ms, 0.5, clusters=places)
    assert (repeated.low, repeated.high) == pytest.approx((expected.low, expected.high))


def test_turns_that_come_after_the_counting_are_left_out(run: Path) -> None:
    with measures.opened(run) as connection:
        timed = times_quantiles.times_by_turn(connection, {1: 10, 2: 5}, streamed=False, scheduled=False)
    known = timed["latency"][None].quantiles["p50"].n - timed["latency"][None].sample.timed_out
    assert known == 15


def test_a_run_without_turns_has_counts_of_0_and_no_times(tmp_path: Path) -> None:
    measured = measure(write(tmp_path / "r.evalkit", [S([])]))
    assert (measured.all.turns, measured.by_turn, measured.all.errors) == (0, (), {})
    assert measured.all.latency_ms["p50"].reason == measured.all.accuracy.mean.reason == "no samples"


def test_the_scoring_that_counts_is_the_one_that_is_read(tmp_path):
    path = write(tmp_path / "run.evalkit", [S([T("a", 1, score=0.0), T("a", 2, score=1.0), T("b", 1, score=0.0)])])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO score (conversation, repeat, turn, scoring, scorer, value) "
            "SELECT conversation, repeat, turn, 1, 'exact', 1.0 FROM score"
        )
        assert measure(connection).all.accuracy.mean.value == pytest.approx(1 / 3)
        connection.execute("UPDATE run SET scoring = 1")
        assert measure(connection).all.accuracy.mean.value == 1.0


def test_no_interval_is_doubted_where_there_is_none(tmp_path):
    turns = [T("a", 1, score=1.0), T("a", 2, score=0.0)]
    accuracy = measure(write(tmp_path / "r.evalkit", [S(turns)])).all.accuracy
    assert (accuracy.mean.value, accuracy.mean.low, accuracy.doubt) == (0.5, None, None)


def test_a_turn_cut_by_the_end_of_its_session_is_counted_and_is_no_failure(tmp_path):
    turns = [T("a", 1, score=1.0), T("b", 1, error="cancelled", ttft_ms=None), T("c", 1, error="server", ttft_ms=None)]
    asked = [talk(name, targets=(35,)) for name in "abc"]
    run = measure(write(tmp_path / "r.evalkit", [S(turns)], asked))
    assert (run.all.interrupted, run.all.turns, run.all.answered) == (1, 3, 1)
    assert run.all.errors == {"cancelled": 1, "server": 1}
    assert (run.all.accuracy_all.mean.n, run.all.accuracy_all.mean.value, run.all.accuracy_all.unscored) == (2, 0.5, 1)
    assert run.all.latency_ms["p50"].n == 2  # as a lower bound
    assert (run.conversations.n, run.conversations.incomplete) == (1, 2)
    result = evaluate([parse("errors<=60%"), parse("errors<=40%")], run)
    assert [(gate.value, gate.met) for gate in result] == [(0.5, True), (0.5, False)]
    assert result[0].words == "errors is 0.5 of 2 turns, without 1 cancelled when the session ended"


@pytest.mark.parametrize(
    ("conversations", "wrong", "graded", "doubted"),
    [(8, 1, False, False), (30, 2, False, True), (30, 0, False, False), (30, 2, True, False)],
)
def test_an_interval_is_doubted_where_it_is_known_to_be_too_short(tmp_path, conversations, wrong, graded, doubted):
    names = [f"c{number}" for number in range(conversations)]
    # graded ones are never wrong: all lie between 0.93 and 0.99
    scores = [
        [0.93 + 0.03 * ((place + turn) % 3) if graded else 1.0 for turn in range(4)] for place in range(len(names))
    ]
    if not graded:
        for place in range(wrong):
            scores[place][:2] = 0.0, 0.0
    turns = [T(name, turn, score=scores[at][turn - 1]) for at, name in enumerate(names) for turn in range(1, 5)]
    talks = [talk(name, (5,) * 4) for name in names]
    told = measure(write(tmp_path / "r.evalkit", [S(turns)], talks)).all.accuracy
    assert (told.doubt is not None) == doubted
