from records import answered, failed

from evalkit.engine.stopping.giving_up import GIVE_UP_AFTER, GivingUp
from evalkit.record import Failure, TurnRecord


def noted(surrender, records, under_way=1):
    return [surrender.note(record, under_way) for record in records]


def test_five_first_failures_alike_are_enough():
    surrender = GivingUp(kept=False)
    assert noted(surrender, [failed(kind="auth", message="No.")] * 5) == [False] * 4 + [True]
    assert surrender.cause == (GIVE_UP_AFTER, "auth", "No.")


def test_every_conversation_under_way_counts():
    surrender = GivingUp(kept=False)
    assert not any(noted(surrender, [failed()] * 11, under_way=12))
    assert surrender.note(failed(), under_way=3)


def test_one_answer_is_enough_to_go_on():
    surrender = GivingUp(kept=False)
    assert not any(noted(surrender, [failed()] * 4 + [answered()] + [failed()] * 50))
    assert surrender.cause is None


def test_failures_of_several_kinds_are_none_of_the_endpoint():
    surrender = GivingUp(kept=False)
    assert not any(noted(surrender, [failed(kind="server"), failed(kind="timeout")] * 20))


def test_turns_that_were_never_asked_do_not_count():
    surrender = GivingUp(kept=False)
    never = TurnRecord("c", 1, 2, failure=Failure("cancelled", "Not asked."))
    assert not any(noted(surrender, [failed(), never] * 4))


def test_turns_that_the_end_of_the_session_cut_off_do_not_count():
    surrender = GivingUp(kept=False)
    assert not any(noted(surrender, [failed(kind="cancelled")] * 50))
    surrender.judge_all()
    assert surrender.cause is None


def test_being_told_to_slow_down_is_no_reason_unless_it_will_last():
    assert not any(noted(GivingUp(kept=False), [failed(kind="rate_limited")] * 50))
    spent = failed(kind="rate_limited")
    spent = TurnRecord("c", 1, 1, spent.attempts, failure=Failure("rate_limited", "Spent.", code="insufficient_quota"))
    assert any(noted(GivingUp(kept=False), [spent] * 5))


def test_a_run_with_answers_is_given_up_for_lasting_failures_alone():
    assert not any(noted(GivingUp(kept=True), [failed(kind="server")] * 50))
    assert any(noted(GivingUp(kept=True), [failed(kind="connection")] * 5))


def test_a_dataset_shorter_than_that_is_judged_at_its_end():
    surrender = GivingUp(kept=False)
    noted(surrender, [failed(kind="auth")] * 2)
    surrender.judge_all()
    assert surrender.cause is not None
    kept = GivingUp(kept=True)
    noted(kept, [failed(kind="auth")] * 2)
    kept.judge_all()
    assert kept.cause is None
