"""What finish reasons mean, and what becomes of the answers that have them."""

import json

import loops
import pytest
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, answer, ask, chunk, event, writes

from evalkit.client import finish_reasons
from evalkit.client.finish_reasons import CALLED, ENDED, FAILED, FILTERED, LENGTH, NONE, UNKNOWN

pytest_generate_tests = loops.pytest_generate_tests


@pytest.mark.parametrize(
    ("meaning", "reasons"),
    [
        (
            ENDED,
            "stop STOP Stop end_turn endTurn eos eos_token stop_sequence STOP_SEQUENCE COMPLETE finish_reason_stop",
        ),
        (CALLED, "tool_calls tool_use TOOL_CALL toolUse function_call"),
        (
            LENGTH,
            "length max_tokens MAX_TOKENS maxTokens max_output_tokens model_length REASON_MAX_LEN limit",
        ),
        (FILTERED, "content_filter SAFETY RECITATION PROHIBITED_CONTENT guardrail_intervened sensitive refusal SPII"),
        (FAILED, "abort ABORT aborted error ERROR network_error insufficient_system_resource MALFORMED_FUNCTION_CALL"),
        (
            FAILED,
            "UNEXPECTED_TOOL_CALL cancelled canceled timeout server_error engine-error FINISH_REASON_ERROR USER_CANCEL",
        ),
        (NONE, "null none NONE FINISH_REASON_UNSPECIFIED in_progress ?"),
        (UNKNOWN, "OTHER eleven repetition"),
    ],
)
def test_meaning(meaning, reasons):
    assert {reason: finish_reasons.meaning(reason) for reason in reasons.split()} == dict.fromkeys(
        reasons.split(), meaning
    )


def streamed(*events):
    return writes(STREAM_HEAD, *map(chunk, events), chunk(DONE) + LAST_CHUNK)


def whole(reason, **choice):
    message = {"role": "assistant", "content": "The answer is "}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": reason, **choice}]}
    return writes(answer("200 OK", json.dumps(body).encode()))


def both(run, reason, **choice):
    """The attempts at a stream and at a whole answer that end with this finish reason."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **choice}]}
    events = event("The answer "), event("is "), b"data: " + json.dumps(last).encode() + b"\n\n"
    return ask(run, streamed(*events))[0] + ask(run, whole(reason, **choice), stream=False)[0]


@pytest.mark.parametrize("reason", ["abort", "ERROR", "network_error", "MALFORMED_FUNCTION_CALL", "preempted"])
def test_a_failure_keeps_the_text(run, reason):
    for attempt in both(run, reason):
        assert (attempt.failure.kind, attempt.failure.code, attempt.failure.http_status) == ("server", reason, 200)
        assert f'broke off its answer with the finish reason "{reason}"' in attempt.failure.message
        assert "The part received is kept." in attempt.failure.message
        assert (attempt.answer.text, attempt.answer.finish_reason) == ("The answer is ", reason)
        assert attempt.latency_ns is None


def test_a_failure_that_asks_for_fewer_requests(run):
    for attempt in both(run, "RATE_LIMIT_EXCEEDED"):
        assert attempt.failure.kind == "rate_limited"
        assert "Lower the concurrency" in attempt.failure.message


def test_a_reason_that_is_an_object(run):
    for attempt in both(run, {"type": "abort", "message": "out of cache blocks"}):
        assert (attempt.failure.kind, attempt.failure.code) == ("server", "abort")
        assert '"out of cache blocks"' in attempt.failure.message
    assert {attempt.failure for attempt in both(run, {"type": "stop"})} == {None}


def test_the_reason_of_the_provider_behind_a_gateway(run):
    for attempt in both(run, "stop", native_finish_reason="MALFORMED_FUNCTION_CALL"):
        assert (attempt.failure.kind, attempt.failure.code) == ("server", "MALFORMED_FUNCTION_CALL")
    for attempt in both(run, "stop", native_finish_reason="MAX_TOKENS"):
        assert (attempt.failure, attempt.answer.finish_reason) == (None, "length")
    for attempt in both(run, "stop", native_finish_reason="end_turn"):
        assert (attempt.failure, attempt.answer.finish_reason) == (None, "stop")


def test_an_error_in_the_choice(run):
    error = {"code": 502, "message": "the provider went away", "metadata": {"provider_name": "p"}}
    for attempt in both(run, "error", error=error):
        assert (attempt.failure.kind, attempt.failure.code) == ("server", "502")
        assert "the provider went away" in attempt.failure.message


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
    ],
)
def test_one_word_for_what_cut_an_answer_off(run, reason, kept):
    for attempt in both(run, reason):
        assert (attempt.failure, attempt.answer.finish_reason) == (None, kept)
        assert attempt.provenance == {"finish_reason": reason}
        assert not {"no_finish_reason", "unknown_finish_reason"} & set(attempt.flags)


@pytest.mark.parametrize(("reason", "code"), [("MAX_TOKENS", "length"), ("SAFETY", "content_filter")])
def test_cut_off_before_any_text(run, reason, code):
    (attempt,), _ = ask(run, streamed(event(finish_reason=reason)))
    assert (attempt.failure.kind, attempt.failure.code) == ("empty", code)


@pytest.mark.parametrize("reason", ["STOP", "end_turn", "tool_use", "COMPLETE", "eos"])
def test_an_ordinary_end_is_kept_as_sent(run, reason):
    for attempt in both(run, reason):
        assert (attempt.failure, attempt.answer.finish_reason, attempt.provenance) == (None, reason, None)
        assert "unknown_finish_reason" not in attempt.flags


def test_an_unknown_reason_is_flagged(run):
    for attempt in both(run, "eleven"):
        assert (attempt.failure, attempt.answer.finish_reason) == (None, "eleven")
        assert "unknown_finish_reason" in attempt.flags


def test_a_reason_that_says_nothing_is_none(run):
    (attempt,), _ = ask(run, streamed(event("3", finish_reason="null"), event("5", finish_reason="stop")))
    assert (attempt.failure, attempt.answer.text, attempt.answer.finish_reason) == (None, "35", "stop")
    (attempt,), _ = ask(run, streamed(event("35", finish_reason="null")))
    assert (attempt.answer.finish_reason, "no_finish_reason" in attempt.flags) == (None, True)


def test_a_proxy_that_ends_a_failed_stream_with_stop(run):
    (attempt,), _ = ask(run, streamed(event("3"), event(finish_reason="abort"), event(finish_reason="stop")))
    assert (attempt.failure.code, attempt.answer.text) == ("abort", "3")
