"""The metrics of one attempt, each compared with its definition in the page of metrics."""

import pytest
from records import MS, answered, attempt, failed

from evalkit.conversation import Message, ToolCall
from evalkit.errors import Failure
from evalkit.record import Answer, Attempt, Timing, TurnRecord, Usage


def timed(*arrivals_ms, events=None, tokens=None, **fields):
    arrivals = tuple(int(ms * MS) for ms in arrivals_ms)
    timing = Timing(
        due=-5 * MS, slot=-2 * MS, sent=0, arrivals=arrivals,
        arrival_events=tuple(events or [1] * len(arrivals)), end=1000 * MS, **fields,
    )  # fmt: skip
    return Attempt(timing, streamed=True, usage=Usage(output_tokens=tokens), answer=Answer("x"))


def test_ttft_is_first_token_bearing_arrival_minus_sent():
    assert timed(50, 60).ttft_ns == 50 * MS


def test_latency_of_a_stream_is_its_last_token_not_its_end():
    assert timed(50, 60).latency_ns == 60 * MS
    assert timed().latency_ns is None  # text without an arrival: when it came is not known
    empty = timed()._replace(answer=Answer(finish_reason="stop"))  # the model ended it itself
    assert (empty.latency_ns, empty.ttft_ns) == (1000 * MS, None)


def test_latency_of_a_whole_answer_is_body_complete_and_its_ttft_is_missing():
    whole = Attempt(Timing(0, 0, 0, end=70 * MS), answer=Answer("x"))
    assert (whole.latency_ns, whole.ttft_ns, whole.tpot_ns) == (70 * MS, None, None)


def test_ttft_of_a_stream_without_tokens_is_missing_not_zero():
    assert timed().ttft_ns is None


def test_first_visible_is_missing_when_only_reasoning_came():
    assert timed(50).ttfv_ns is None
    assert timed(50, 80, first_visible=80 * MS).ttfv_ns == 80 * MS


def test_tpot_leaves_out_the_prefill_and_counts_tokens_of_the_server_not_chunks():
    assert timed(50, 60, 90, tokens=11).tpot_ns == 40 * MS / 10


def test_tpot_knows_the_tokens_of_the_first_arrival_when_each_event_is_a_token():
    assert timed(50, 90, events=[3, 2], tokens=5).tpot_ns == 40 * MS / 2


@pytest.mark.parametrize(
    ("arrivals", "tokens"), [((50, 90), None), ((50, 90), 1), ((50,), 9)], ids=["N unknown", "N ≤ n1", "one arrival"]
)
def test_tpot_is_missing(arrivals, tokens):
    assert timed(*arrivals, tokens=tokens).tpot_ns is None


def test_a_failed_attempt_has_no_latency_but_a_time_out_has_a_lower_bound():
    out_of_time = attempt(failure=Failure("timeout", "too late"))
    assert (out_of_time.latency_ns, out_of_time.censored_ns) == (None, 81 * MS)
    assert failed().attempts[0].censored_ns is None


def test_queue_delay_is_slot_minus_due():
    assert timed(50).queue_delay_ns == 3 * MS


def test_a_retry_and_its_back_off_are_in_the_turn_time_and_never_in_the_latency():
    first = attempt(failure=Failure("server", "busy"))
    second = attempt(sent=9000 * MS)
    record = TurnRecord("c", 1, 1, (first, second))
    assert record.good is second
    assert record.good.latency_ns == 80 * MS
    assert record.turn_time_ns == (9000 + 81 - 998) * MS


def test_a_failed_turn_keeps_the_part_that_came_and_has_no_good_attempt():
    record = failed()
    assert (record.status, record.good, record.turn_time_ns) == ("error", None, None)
    assert record.answer.text == "part"


def test_calls_of_all_tool_rounds_are_the_turns_calls():
    call = ToolCall("add", "{}", "1")
    exchange = (Message("assistant", None, (call,)), Message("tool", "3", tool_call_id="1"))
    assert TurnRecord("c", 1, 1, answered().attempts, exchange).tool_calls == (call,)


def test_the_times_of_a_turn_are_those_of_its_last_attempt_in_ms():
    first = timed(900)._replace(failure=Failure("server", "down"))
    record = TurnRecord("a", 1, 1, attempts=(first, timed(40, 55, headers=3 * MS)))
    assert record.times_ms == {"headers": 3, "ttft": 40, "ttfv": None, "latency": 55, "end": 1000}


def test_the_times_of_a_turn_that_was_never_sent_are_missing():
    assert set(TurnRecord("a", 1, 1).times_ms.values()) == {None}
