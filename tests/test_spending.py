import pytest
from records import answered, failed

from evalkit.record import Answer, Attempt, Failure, Timing, TurnRecord, Usage
from evalkit.settings import Settings
from evalkit.spending import Spending


def test_tokens_of_every_attempt_count(tmp_path):
    spending = Spending(Settings(max_tokens_total=60))
    refused = Attempt(Timing(1, 1, 1), failure=Failure("rate_limited", "Slow down."))
    good = answered().attempts[0]  # 20 tokens of prompt, 5 of output
    assert spending.add(TurnRecord("c", 1, 1, (refused, good)), 100) is None
    assert (spending.prompt_tokens, spending.output_tokens) == (20, 5)
    assert spending.add(failed(), 100) is None  # its server had counted before it failed
    assert spending.add(answered(), 100) == "max_tokens_total"


def test_what_the_server_does_not_count_is_estimated():
    spending = Spending(Settings(max_tokens_total=50))
    uncounted = Attempt(Timing(1, 1, 1), answer=Answer("x" * 80))
    assert spending.add(TurnRecord("c", 1, 1, (uncounted,)), 40) is None
    assert (spending.prompt_tokens, spending.output_tokens) == (10, 20)
    half = Attempt(Timing(1, 1, 1), answer=Answer("x" * 80), usage=Usage(None, 15))
    assert spending.add(TurnRecord("c", 1, 2, (half,)), 40) == "max_tokens_total"


def test_cost_is_by_the_million_tokens():
    spending = Spending(Settings(max_cost=0.0005, price=(10.0, 40.0)))
    assert spending.add(answered(), 0) is None
    assert spending.cost == pytest.approx((20 * 10 + 5 * 40) / 1e6)
    assert spending.add(answered(), 0) == "max_cost"


def test_without_a_budget_there_is_nothing_to_add_up():
    assert not Spending(Settings()).limited
    assert Spending(Settings(max_cost=1.0, price=(1.0, 1.0))).limited
