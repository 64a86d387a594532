"""Giving up on an endpoint: which first failures are enough, and which are not."""

import pytest
from records import answered, failed

from evalkit.engine.stopping.giving_up import GIVE_UP_AFTER, GivingUp
from evalkit.errors import DAILY_QUOTA, Failure
from evalkit.record import TurnRecord


def noted(giving_up, records, parallel=1):
    return [giving_up.note(record, parallel) for record in records]


def test_five_first_failures_alike_are_enough():
    giving_up = GivingUp(has_answers=False)
    assert noted(giving_up, [failed(kind="auth", message="No.")] * 5) == [False] * 4 + [True]
    assert giving_up.cause == (GIVE_UP_AFTER, "auth", "No.")


def test_every_running_conversation_counts():
    giving_up = GivingUp(has_answers=False)
    assert not any(noted(giving_up, [failed()] * 11, parallel=12))
    assert giving_up.note(failed(), parallel=3)


def test_one_answer_is_enough_to_continue():
    giving_up = GivingUp(has_answers=False)
    assert not any(noted(giving_up, [failed()] * 4 + [answered()] + [failed()] * 50))
    assert giving_up.cause is None


def test_failures_of_several_kinds_are_no_reason_to_give_up():
    giving_up = GivingUp(has_answers=False)
    assert not any(noted(giving_up, [failed(kind="server"), failed(kind="timeout")] * 20))


def test_turns_that_were_never_sent_do_not_count():
    giving_up = GivingUp(has_answers=False)
    never = TurnRecord("c", 1, 2, failure=Failure("cancelled", "Not asked."))
    assert not any(noted(giving_up, [failed(), never] * 4))


def test_turns_that_the_end_of_the_session_cut_off_do_not_count():
    giving_up = GivingUp(has_answers=False)
    assert not any(noted(giving_up, [failed(kind="cancelled")] * 50))
    giving_up.decide_at_end()
    assert giving_up.cause is None


def test_rate_limits_are_no_reason_unless_they_last():
    assert not any(noted(GivingUp(has_answers=False), [failed(kind="rate_limited")] * 50))
    spent = failed(kind="rate_limited")
    spent = TurnRecord("c", 1, 1, spent.attempts, failure=Failure("rate_limited", "Spent.", code="insufficient_quota"))
    assert any(noted(GivingUp(has_answers=False), [spent] * 5))


def test_a_run_with_answers_gives_up_for_lasting_failures_only():
    assert not any(noted(GivingUp(has_answers=True), [failed(kind="server")] * 50))
    assert any(noted(GivingUp(has_answers=True), [failed(kind="connection")] * 5))


def test_a_short_dataset_is_decided_at_its_end():
    giving_up = GivingUp(has_answers=False)
    noted(giving_up, [failed(kind="auth")] * 2)
    giving_up.decide_at_end()
    assert giving_up.cause is not None
    resumed = GivingUp(has_answers=True)
    noted(resumed, [failed(kind="auth")] * 2)
    resumed.decide_at_end()
    assert resumed.cause is None


def quota_turn(code=None, wait_s=None, pending=None):
    turn = failed(kind="rate_limited")
    failure = Failure("rate_limited", "Spent.", code=code, retry_after_s=wait_s, pending=pending)
    return TurnRecord("c", 1, 1, turn.attempts, failure=failure)


QUOTAS = [quota_turn("insufficient_quota"), quota_turn(wait_s=7200.0), quota_turn(pending=DAILY_QUOTA)]


@pytest.mark.parametrize("spent", QUOTAS)
def test_a_quota_that_is_used_up_after_answers_ends_the_session(spent):
    giving_up = GivingUp(has_answers=True)
    assert not any(noted(giving_up, [answered()] * 3 + [spent] * 4 + [answered()] + [spent] * 4))
    assert giving_up.note(spent, 1)
    assert giving_up.cause == (0, "rate_limited", "Spent.")


@pytest.mark.parametrize("spent", QUOTAS)
def test_a_quota_that_is_used_up_from_the_start_ends_also_a_short_session(spent):
    giving_up = GivingUp(has_answers=False)
    noted(giving_up, [spent] * 2)
    giving_up.decide_at_end()
    assert giving_up.cause == (2, "rate_limited", "Spent.")


def test_a_short_wait_after_answers_ends_nothing():
    giving_up = GivingUp(has_answers=False)
    assert not any(noted(giving_up, [answered()] + [quota_turn(wait_s=60.0)] * 50))
