"""Caps on tokens and money: reported counts are added up, and missing ones are estimated from what was sent."""

import pytest
from records import attempt

from evalkit.conversation import ToolCall
from evalkit.engine.stopping.spending_caps import CapReached, SpendingCaps
from evalkit.errors import Failure
from evalkit.record import Answer, Attempt, Timing, Usage
from evalkit.settings import Settings

NEVER = Timing(1, 1, 1)


def test_tokens_of_every_attempt_count():
    spending = SpendingCaps(Settings(max_tokens_total=60))
    spending.add(attempt(), 999)  # 20 tokens of prompt, 5 of output
    assert (spending.prompt_tokens, spending.output_tokens) == (20, 5)
    spending.add(attempt(failure=Failure("server", "It fell over.")), 999)  # it had counted before it failed
    spending.check()
    spending.add(attempt(), 999)
    assert spending.used_up == "max_tokens_total"
    with pytest.raises(CapReached, match="max_tokens_total"):
        spending.check()


def test_what_the_server_does_not_count_is_estimated_from_what_was_sent_and_answered():
    spending = SpendingCaps(Settings(max_tokens_total=60))
    spending.add(Attempt(NEVER, answer=Answer("x" * 40, "y" * 20, "z" * 20)), 40)
    assert (spending.prompt_tokens, spending.output_tokens) == (10, 20)
    spending.add(Attempt(NEVER, answer=Answer(tool_calls=(ToolCall("look", "x" * 36),))), 0)
    assert spending.output_tokens == 30
    spending.add(Attempt(NEVER, answer=Answer("x" * 80), usage=Usage(None, 15)), 40)
    assert (spending.prompt_tokens, spending.output_tokens) == (20, 45)
    assert spending.used_up == "max_tokens_total"


@pytest.mark.parametrize(
    ("kind", "text", "paid"),
    [
        *[(kind, "", True) for kind in ("timeout", "truncated", "empty", "protocol")],
        *[(kind, "", False) for kind in ("auth", "bad_request", "rate_limited", "server", "connection")],
        ("server", "a part", True),
    ],
)
def test_a_failed_attempt_counts_unless_it_was_refused_or_never_arrived(kind, text, paid):
    spending = SpendingCaps(Settings(max_tokens_total=100))
    spending.add(Attempt(NEVER, answer=Answer(text), failure=Failure(kind, "No.")), 400)
    assert (spending.used_up is not None) == paid


def test_cost_is_by_the_million_tokens():
    spending = SpendingCaps(Settings(max_cost=0.0005, price=(10.0, 40.0)))
    spending.add(attempt(), 0)
    assert spending.used_up is None
    assert spending.cost == pytest.approx((20 * 10 + 5 * 40) / 1e6)
    spending.add(attempt(), 0)
    assert spending.used_up == "max_cost"
