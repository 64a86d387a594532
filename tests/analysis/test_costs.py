import contextlib
import json
import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import finished
from runfiles import S, T, talk, write

import evalkit as ek
from evalkit.analysis import summary_json
from evalkit.analysis.costs import Cost, Price
from evalkit.analysis.measures import measure
from evalkit.engine.stopping.spending_caps import SpendingCaps
from evalkit.errors import Failure, SettingsError
from evalkit.record import Answer, Attempt, Timing, TurnRecord, Usage
from evalkit.run import Run
from evalkit.runfile.store import RunFile
from evalkit.scripted.server import Arithmetic, Script, serve
from evalkit.settings import Settings
from evalkit.wording.numbers import money
from evalkit.wording.run_results import cost as cost_words

PRICE = (2.0, 8.0)  # for a million tokens
REFUSED = ("auth", "not_found", "bad_request", "rate_limited", "server", "connection")


def priced(path, price=PRICE, model=None):
    """The run file, as if it had been made with a price."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET settings = json_set(settings, '$.price', json(?))", (json.dumps(price),))
        connection.execute("UPDATE run SET endpoint = ?", (json.dumps({"model": model} if model else {}),))
    return path


def attempts_of(path, *attempts):
    """A run of one turn that came of these attempts."""
    conversation = talk("a", targets=(35,))
    failure = attempts[-1].failure if attempts else Failure("cancelled", "not asked")
    about = {"settings": {"history": "own", "repeats": 1, "price": PRICE}, "dataset": {}, "endpoint": {}}
    with RunFile.create(path, name="r", **about) as file:
        file.begin_session(0, {})
        file.add([finished(0, conversation, TurnRecord("a", 1, 1, attempts, failure=failure))])
    return path


def attempt(*usage, kind=None, text="", number=1, arrivals=()):
    timing = Timing(0, 0, 0, 1, arrivals, (1,) * len(arrivals), end=9)
    failure = None if kind is None else Failure(kind, "it failed")
    result = Usage(*usage) if usage else None
    return Attempt(
        timing, number=number, answer=Answer(text or ("35" if not kind else "")), usage=result, failure=failure
    )


def test_a_run_costs_its_tokens_times_their_price_and_so_does_each_right_answer(tmp_path):
    turns = [T("a", 1, tokens=10, score=1.0), T("a", 2, tokens=30, score=0.0), T("b", 1, tokens=60, score=1.0)]
    cost = measure(priced(write(tmp_path / "r.evalkit", [S(turns)]))).cost
    total = (3 * 20 * 2.0 + 100 * 8.0) / 1e6
    assert (cost.total, cost.complete, cost.untold) == (total, True, 0)
    assert (cost.per_turn, cost.per_right) == (total / 3, total / 2)


def test_every_request_counts_and_not_only_the_last_one_of_a_turn(tmp_path):
    rounds = (attempt(100, 10), attempt(200, 20)._replace(round=1))
    path = attempts_of(tmp_path / "r.evalkit", attempt(50, 5, kind="truncated", text="3"), *rounds)
    assert measure(path).cost.total == (350 * 2.0 + 35 * 8.0) / 1e6
    assert Run(path).costs()["cost"].tolist() == [(350 * 2.0 + 35 * 8.0) / 1e6]


@pytest.mark.parametrize(
    ("price", "of_prompts"),
    [((2.0, 8.0), 200.0), ((2.0, 8.0, 0.5), 140.0), ((2.0, 8.0, 0.5, 3.0), 150.0)],
)
def test_cached_prompts_and_cache_writes_have_their_own_price(tmp_path, price, of_prompts):
    path = attempts_of(tmp_path / "r.evalkit", attempt(100, 10, None, 40, 10))
    cost = measure(priced(path, price)).cost
    assert cost.total == pytest.approx((of_prompts + 10 * 8.0) / 1e6)
    assert Run(path).costs()["cost"].tolist() == [cost.total]
    caps = SpendingCaps(Settings(max_cost=1, price=price))
    caps.add(attempt(100, 10, None, 40, 10), 400)
    assert caps.cost == pytest.approx(cost.total)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_request_that_was_refused_is_free(tmp_path, kind):
    cost = measure(attempts_of(tmp_path / "r.evalkit", attempt(kind=kind), attempt(20, 5, number=2))).cost
    assert (cost.total, cost.complete) == ((20 * 2.0 + 5 * 8.0) / 1e6, True)


@pytest.mark.parametrize(
    "silent",
    [
        attempt(),
        attempt(20, None),
        attempt(None, 5),
        attempt(kind="timeout"),
        attempt(kind="empty"),
        attempt(kind="protocol"),
        attempt(kind="truncated", text="3"),
        attempt(kind="server", text="3"),  # an error after some text
        attempt(kind="server", arrivals=(5,)),  # after some reasoning
    ],
    ids=["none", "prompt", "output", "timeout", "empty", "protocol", "truncated", "server", "reasoning"],
)
def test_a_request_that_may_be_paid_for_and_tells_no_tokens_makes_a_cost_at_least(tmp_path, silent):
    path = attempts_of(tmp_path / "r.evalkit", silent, attempt(100, 10, number=2))
    usage = silent.usage or Usage()
    least = ((100 + (usage.prompt_tokens or 0)) * 2.0 + (10 + (usage.output_tokens or 0)) * 8.0) / 1e6
    cost = measure(path).cost
    assert (cost.total, cost.complete, cost.untold) == (least, False, 1)
    assert Run(path).costs()["cost"].isna().tolist() == [True]


def test_tokens_with_a_price_of_0_need_not_be_reported(tmp_path):
    path = attempts_of(tmp_path / "r.evalkit", attempt(None, 10))
    cost = measure(priced(path, (0.0, 8.0))).cost
    assert (cost.total, cost.complete) == (10 * 8.0 / 1e6, True)


def test_a_run_without_reported_tokens_has_no_cost_rather_than_one_of_0(tmp_path):
    cost = measure(attempts_of(tmp_path / "r.evalkit", attempt())).cost
    assert (cost.total, cost.complete, cost.per_turn, cost.per_right) == (None, False, None, None)


def test_a_turn_that_was_never_asked_cost_nothing(tmp_path):
    path = attempts_of(tmp_path / "r.evalkit")
    assert (measure(path).cost.total, measure(path).cost.complete) == (0.0, True)
    assert Run(path).costs().to_dict("records") == [{"conversation": "a", "repeat": 1, "turn": 1, "cost": 0.0}]


def test_a_turn_that_is_asked_again_by_a_later_session_is_paid_for_twice(tmp_path):
    again = [S([T("a", 1, error="truncated", tokens=10)]), S([T("a", 1, tokens=30)], start_ms=2000, end_ms=3000)]
    path = priced(write(tmp_path / "r.evalkit", again))
    assert measure(path).cost.total == (2 * 20 * 2.0 + 40 * 8.0) / 1e6
    assert measure(path).prompt_tokens == 20


@given(st.lists(st.tuples(st.none() | st.integers(0, 10**6), st.integers(1, 3)), min_size=1, max_size=6))
@settings(max_examples=8, deadline=None)
def test_the_costs_of_the_turns_add_up_to_that_of_the_run(tmp_path_factory, turns):
    rows = [T(f"c{n}", 1, tokens=tokens, attempts=attempts) for n, (tokens, attempts) in enumerate(turns)]
    run = Run(priced(write(tmp_path_factory.mktemp("r") / "r.evalkit", [S(rows)])))
    costs, cost = run.costs(), run.measures().cost
    assert costs["cost"].isna().sum() == cost.untold == sum(tokens is None for tokens, _ in turns)
    assert cost.complete == (cost.untold == 0)
    assert costs["cost"].sum() == pytest.approx(cost.total or 0.0)


def test_without_a_price_there_is_no_cost(tmp_path):
    path = priced(write(tmp_path / "r.evalkit", [S([T("a", 1, tokens=10)])]), None)
    assert measure(path).cost is None
    assert summary_json.summary_json(path)["cost"] is None
    assert Run(path).summary_json()["cost"] is None
    assert Run(path).costs()["cost"].isna().all()


def test_a_run_that_keeps_no_price_is_shown_by_the_price_file_of_now_and_says_so(tmp_path, monkeypatch):
    prices = tmp_path / "prices.toml"
    prices.write_text("[m]\nprompt = 1000000\noutput = 0\n", encoding="utf-8")
    monkeypatch.setenv("EVALKIT_PRICES", str(prices))
    turns = [S([T("a", 1, tokens=10, score=1.0)])]
    without = Run(priced(write(tmp_path / "without.evalkit", turns), None, model="m"))
    kept = Run(priced(write(tmp_path / "kept.evalkit", turns), PRICE, model="m"))
    assert without.summary_json()["cost"] == {
        "total": 20.0, "complete": True, "untold": 0, "per_turn": 20.0, "per_right": 20.0, "prompt_price": 1e6,
        "output_price": 0.0, "cached_price": None, "cache_write_price": None, "price_from": "file",
    }  # fmt: skip
    assert kept.summary_json()["cost"]["price_from"] == "run"
    assert kept.summary_json()["cost"]["prompt_price"] == 2.0
    prices.write_text("[m]\nprompt = 1\n", encoding="utf-8")
    assert kept.summary_json()["cost"]["prompt_price"] == 2.0
    with pytest.raises(SettingsError, match="needs a number from 0 up as output of 'm'"):
        without.summary_json()


def test_a_run_keeps_the_price_that_holds_when_it_is_made(sums, tmp_path, monkeypatch):
    prices = tmp_path / "prices.toml"
    prices.write_text("[other]\nprompt = 3\noutput = 5\n", encoding="utf-8")
    monkeypatch.setenv("EVALKIT_PRICES", str(prices))
    with serve(Script(answer=Arithmetic())) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        unknown = ek.evaluate(sums(1, 1), endpoint, out=tmp_path / "unknown.evalkit")
        prices.write_text("[scripted]\nprompt = 3\noutput = 5\n", encoding="utf-8")
        known = ek.evaluate(sums(1, 1), endpoint, out=tmp_path / "known.evalkit")
        given = ek.evaluate(sums(1, 1), endpoint, out=tmp_path / "given.evalkit", price=(1.0, 1.0))
        prices.write_text("[scripted]\nprompt = 3\n", encoding="utf-8")
        with pytest.raises(SettingsError, match="needs a number from 0 up as output of 'scripted'"):
            ek.evaluate(sums(1, 1), endpoint, out=tmp_path / "broken.evalkit")
    assert not (tmp_path / "broken.evalkit").exists()
    assert [run.info["settings"]["price"] for run in (unknown, known, given)] == [None, [3.0, 5.0], [1.0, 1.0]]
    tokens = known.summary_json()["tokens"]
    assert known.summary_json()["cost"]["total"] == (tokens["prompt"] * 3 + tokens["output"] * 5) / 1e6


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.0123, "0.0123"), (0.00017, "0.000170"), (1.5e-8, "0.0000000150"), (0.5, "0.500"),
     (3.14159, "3.14"), (1234.567, "1,234.57"), (math.pi * 1e6, "3,141,592.65")],
)  # fmt: skip
def test_money_is_never_shown_with_an_exponent(value, text):
    assert money(value) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ((0.0123, 0, 72, 20, "run"), "cost: 0.0123, 0.000171 per turn, 0.000615 per right answer"),
        ((0.5, 3, 5, 0, "run"), "cost: at least 0.500, 0.100 per turn; no tokens reported for 3 requests"),
        ((None, 5, 5, 2, "run"), "cost: –; no tokens reported for 5 requests"),
        ((0.0, 0, 0, 0, "file"), "cost: 0, – per turn; by the current price file: the run stores no price"),
    ],
)
def test_the_line_of_the_cost_says_when_it_is_not_all_and_by_which_price_it_is(cost, text):
    total, untold, turns, right, source = cost
    assert cost_words(summary_json._cost_json(Cost(Price(*PRICE, source), total, untold, turns, right))) == text
