"""Giving up on an endpoint: which first failures are enough, and which are not."""

from records import answered, failed

from evalkit.engine.stopping.giving_up import GIVE_UP_AFTER, GivingUp
from evalkit.record import Failure, TurnRecord


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
