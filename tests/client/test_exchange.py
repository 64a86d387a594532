"""Streams whose end is only a finish reason: the answer ends a short time after it."""

import asyncio
import json
import time

import loops
import pytest
from raw_server import DONE, STREAM_HEAD, ask, chunk, event

from evalkit.client import exchange

pytest_generate_tests = loops.pytest_generate_tests

GRACE_S = 0.4
COUNTS = (
    b"data: " + json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}).encode() + b"\n\n"
)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    assert exchange.GRACE_NS == 2_000_000_000
    monkeypatch.setattr(exchange, "GRACE_NS", round(GRACE_S * 1e9))


def left_open(*events, beat=b""):
    """A handler that sends these events, or waits so many seconds, and then leaves the stream open for a minute."""

    async def handler(request, writer):
        writer.write(STREAM_HEAD)
        for each in events:
            if isinstance(each, bytes):
                writer.write(chunk(each))
                await asyncio.sleep(0.02)
            else:
                await asyncio.sleep(each)
        for _ in range(600):
            await asyncio.sleep(0.1)
            if beat:
                writer.write(chunk(beat))

    return handler


def timed(run, handler, **limits):
    began = time.monotonic()
    (attempt,), _ = ask(run, handler, **{"timeout_s": 60, **limits})
    return attempt, time.monotonic() - began


@pytest.mark.parametrize(
    "beat", [b"", b": heartbeat\n\n", b'data: {"type": "ping"}\n\n', b"event: ping\ndata: {}\n\n"],
    ids=["silence", "comment", "ping", "named"],
)  # fmt: skip
def test_nothing_after_the_finish_reason(run, beat):
    attempt, took = timed(run, left_open(event("3"), event("5"), event(finish_reason="stop"), COUNTS, beat=beat))
    assert (attempt.failure, attempt.answer.text, attempt.answer.finish_reason) == (None, "35", "stop")
    assert attempt.usage.output_tokens == 2
    assert {"left_open", "no_done"} <= set(attempt.flags)
    assert GRACE_S < took < 30
    # neither latency nor end has the time that was waited
    assert attempt.latency_ns < attempt.timing.end - attempt.timing.sent < took * 1e9 - 0.9 * GRACE_S * 1e9


def test_token_counts_are_waited_for(run):
    attempt, _ = timed(run, left_open(event("35"), event(finish_reason="stop"), GRACE_S / 8, COUNTS))
    assert (attempt.failure, attempt.usage.output_tokens) == (None, 2)


def test_a_time_limit_within_the_grace_ends_a_good_answer(run):
    attempt, _ = timed(run, left_open(event("35"), event(finish_reason="length")), timeout_s=0.3)
    assert (attempt.failure, attempt.answer.finish_reason) == (None, "length")


def test_an_empty_answer_has_the_latency_of_its_end(run):
    attempt, took = timed(run, left_open(event(finish_reason="stop"), COUNTS))
    assert (attempt.failure, attempt.answer.text) == (None, "")
    assert attempt.latency_ns < took * 1e9 - 0.9 * GRACE_S * 1e9


def test_a_failing_finish_reason_is_not_waited_out(run):
    attempt, took = timed(run, left_open(event("3"), event(finish_reason="abort")))
    assert (attempt.failure.kind, attempt.answer.text) == ("server", "3")
    assert took < 30


@pytest.mark.parametrize("later", [event("5"), event("5", finish_reason="stop"), event(delta={"reasoning": "so"})])
def test_an_answer_that_goes_on_after_a_finish_reason_is_not_ended(run, later):
    events = event("3", finish_reason="stop"), later, 2 * GRACE_S, event("7", finish_reason="stop"), DONE
    attempt, _ = timed(run, left_open(*events))
    assert attempt.failure is None
    assert attempt.answer.text in ("357", "37")
    assert "left_open" not in attempt.flags


PAUSE = 2.5 * GRACE_S


@pytest.mark.parametrize(
    "events",
    [
        # a finish reason of a call without one
        (event("3", finish_reason="tool_calls"), PAUSE, event("5"), event(finish_reason="stop")),
        (event("3"), event(finish_reason="function_call"), PAUSE, event("5", finish_reason="stop")),
        (event("3"), event(finish_reason="tool_use"), COUNTS, PAUSE, event("5"), event(finish_reason="stop")),
        # one with every event
        (event("3", finish_reason="stop"), PAUSE, event("5", finish_reason="stop")),
        (event("3", finish_reason="stop"), event("5", finish_reason="stop"), PAUSE, event(finish_reason="stop")),
        (event(delta={"role": "assistant", "content": ""}, finish_reason="stop"), PAUSE, event("35")),
        (event("3", finish_reason="length"), b'data: {"type": "ping"}\n\n', PAUSE, event("5", finish_reason="length")),
        (event(delta={"reasoning": "so"}, finish_reason="stop"), PAUSE, event("35", finish_reason="stop")),
        (event(delta={"role": "assistant", "content": "3"}, finish_reason="end_turn"), PAUSE, event("5")),
    ],
    ids=range(9),
)
def test_a_finish_reason_that_is_not_the_end(run, events):
    attempt, _ = timed(run, left_open(*events, DONE))
    assert (attempt.failure, attempt.answer.text) == (None, "35")
    assert "left_open" not in attempt.flags


@pytest.mark.parametrize(
    "last",
    [
        (event("5", finish_reason="stop"),),
        (event("5", finish_reason="stop"), COUNTS),
        (event(delta={"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), event(finish_reason="tool_calls")),
    ],
    ids=["with the last token", "and counts", "call"],
)
def test_a_finish_reason_that_is_the_end(run, last):
    attempt, took = timed(run, left_open(event("3"), *last))
    assert attempt.failure is None
    assert "left_open" in attempt.flags
    assert took < 30


@pytest.mark.parametrize("broken", [{"choices": 5}, {"choices": [{"delta": "5"}]}, {"choices": [7]}, 5])
def test_a_broken_event_after_a_finish_reason(run, broken):
    for first in (event("3", finish_reason="stop"), event("3") + event(finish_reason="stop")):
        attempt, took = timed(run, left_open(first, b"data: " + json.dumps(broken).encode() + b"\n\n"))
        assert (attempt.failure.kind, attempt.answer.text) == ("protocol", "3")
        assert took < 30


def test_counts_or_an_event_of_its_own_end_an_answer_with_a_finish_reason_in_every_event(run):
    for last in (COUNTS, event(finish_reason="stop")):
        attempt, took = timed(run, left_open(event("3", finish_reason="stop"), event("5", finish_reason="stop"), last))
        assert (attempt.failure, attempt.answer.text) == (None, "35")
        assert took < 30


def test_without_a_finish_reason_the_time_limit_holds(run):
    attempt, took = timed(run, left_open(event("3"), event("5")), timeout_s=1)
    assert (attempt.failure.kind, attempt.answer.text) == ("timeout", "35")
    assert took >= 1


def test_a_connection_left_open_is_not_used_again(run):
    attempts, server = ask(run, left_open(event("35"), event(finish_reason="stop")), times=2, timeout_s=60)
    assert [attempt.answer.text for attempt in attempts] == ["35", "35"]
    assert server.connections == 2
