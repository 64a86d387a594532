"""Ways in which measuring clients have been wrong: each is served for real, and must be measured right.

The server knows when its tokens left; its laws are long enough that a wrong reading lies far outside the bounds.
"""

import asyncio
import math
import statistics
import time

import pytest

import evalkit as ek
from evalkit.client import transport
from evalkit.client.request_body import request_body
from evalkit.client.transport import Transport
from evalkit.conversation import Message
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.pacing.retries import RetryPolicy
from evalkit.scripted.server import Fault, Law, Script, serve

LAW = Law(ttft_ms=200, itl_ms=20, tokens=20)  # the whole stream: 580 ms
MS = 1e6


def ask(script, *, stream=True, times=1, retry=None, **limits):
    """Ask once, or several times one after the other; give the attempts and what the server knows of each."""

    async def go(base_url, model):
        endpoint = Endpoint(base_url, model, **limits)
        async with Transport(endpoint) as transport:
            if retry is not None:
                sender = RequestSender(transport, endpoint, stream=stream, retry=retry)
                return await sender.send_with_retries([Message("user", "hello")], due=time.perf_counter_ns())
            body = request_body([Message("user", "hello")], model=model, stream=stream)
            now = time.perf_counter_ns
            return [await transport.send(body, stream=stream, due=now(), slot=now()) for _ in range(times)]

    with serve(script) as server:
        return asyncio.run(go(server.base_url, server.model))


def faulty(kind, law=LAW, **options):
    return Script(law=law, faults=[Fault(kind, options=options)])


def test_a_role_only_first_chunk_is_not_the_first_token():
    (attempt,) = ask(faulty("early_role"))
    assert attempt.timing.headers - attempt.timing.sent < 150 * MS
    assert attempt.ttft_ns >= 200 * MS


def test_chunks_without_choice_delta_or_text_are_not_the_first_token():
    (attempt,) = ask(faulty("blank_chunks"))
    assert attempt.failure is None
    assert attempt.ttft_ns >= 200 * MS


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "both"])
def test_reasoning_is_tokens_and_counts_once(field):
    (attempt,) = ask(faulty("reasoning", tokens=25, field=field))
    assert attempt.answer.reasoning
    assert attempt.ttft_ns < attempt.ttfv_ns
    assert sum(attempt.timing.arrival_events) == 45


def test_one_chunk_is_not_one_token():
    (attempt,) = ask(faulty("group_tokens", size=4))
    assert sum(attempt.timing.arrival_events) == 5
    assert attempt.usage.output_tokens == 20
    span = attempt.timing.arrivals[-1] - attempt.timing.arrivals[0]
    assert attempt.tpot_ns == span / 19


def test_usage_in_every_chunk_is_the_last_one_and_never_summed():
    (attempt,) = ask(faulty("cumulative_usage"))
    assert attempt.usage.output_tokens == 20


def test_stamps_are_of_the_monotonic_clock_and_in_order():
    before = time.perf_counter_ns()
    (attempt,) = ask(Script(law=LAW))
    timing = attempt.timing
    stamps = [before, timing.due, timing.slot, timing.sent, timing.headers, *timing.arrivals, timing.end]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= time.perf_counter_ns()


def test_reading_ahead_does_not_make_the_first_token_late():
    attempts = ask(Script(law=LAW), times=3)
    for attempt in attempts:
        assert len(attempt.timing.arrivals) > 10
        assert 200 * MS <= attempt.ttft_ns < 400 * MS < attempt.latency_ns


def test_the_official_client_is_set_up_not_to_retry_inside_a_timed_call():
    with serve(faulty("server_error")) as server:
        client = ek.Endpoint(server.base_url, server.model).openai()
        with pytest.raises(Exception, match="server had an error"):
            client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "hello"}])
        client.close()
        assert server.stats()["requests"] == 1


LINE_ENDS = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven"


@pytest.mark.parametrize("stream", [True, False])
def test_line_separators_inside_json_do_not_cut_it(stream):
    (attempt,) = ask(Script(answer=lambda body: LINE_ENDS), stream=stream)
    assert attempt.answer.text == LINE_ENDS


@pytest.mark.parametrize("size", [1, 2, 7])
def test_reads_that_end_inside_characters_lines_and_line_ends(size):
    text = "Grüße, 世界 👋🏽 é\u2028!"
    (attempt,) = ask(
        Script(answer=lambda body: text, faults=[Fault("split_writes", options={"size": size, "gap_ms": 0.05})])
    )
    assert attempt.answer.text == text


@pytest.mark.parametrize("after", [0, 3])
def test_an_error_event_under_status_200_is_a_failure_and_keeps_the_text_before_it(after):
    (attempt,) = ask(faulty("error_event", after=after))
    assert attempt.http_status == 200
    assert attempt.failure.kind == "server"
    assert "The model is overloaded" in attempt.failure.message
    assert (attempt.answer.text if attempt.answer else "").split() == [f"tok{n}" for n in range(after)]
    assert attempt.latency_ns is None


def test_text_without_an_end_is_truncated_and_kept():
    (attempt,) = ask(faulty("eof_midway", after=5, clean=True))
    assert attempt.failure.kind == "truncated"
    assert attempt.answer.text.split() == ["tok0", "tok1", "tok2", "tok3", "tok4"]


def test_done_without_a_token_is_empty_and_not_a_fast_success():
    (attempt,) = ask(faulty("empty"))
    assert attempt.failure.kind == "empty"
    assert (attempt.ttft_ns, attempt.latency_ns) == (None, None)


def test_a_whole_answer_to_a_stream_request_has_a_latency_but_no_first_token_time():
    (attempt,) = ask(faulty("json_for_stream"))
    assert attempt.failure is None
    assert "json_for_stream" in attempt.flags
    assert attempt.ttft_ns is None
    assert attempt.latency_ns >= 500 * MS


def test_keep_alive_comments_do_not_put_off_the_limit_for_the_first_token():
    (attempt,) = ask(faulty("comments_only"), ttft_timeout_s=0.4, timeout_s=20)
    assert attempt.failure.kind == "timeout"
    assert "first token" in attempt.failure.message
    assert 0.4e9 <= attempt.censored_ns < 15e9


def test_an_endless_stream_ends_at_the_total_limit():
    (attempt,) = ask(faulty("endless", law=Law(ttft_ms=1), itl_ms=5), timeout_s=0.5)
    assert attempt.failure.kind == "timeout"
    assert attempt.answer.text.startswith("tok0 tok1")


def test_a_stream_that_comes_in_one_read_at_its_end_is_flagged():
    (attempt,) = ask(faulty("buffered"))
    assert "buffered" in attempt.flags


def test_a_pause_before_a_retry_is_not_latency():
    script = Script(law=Law(ttft_ms=20), faults=[Fault("server_error", numbers={1})])
    first, second = ask(
        script, retry=RetryPolicy(retries=1, base_s=3.0, rng=type("Half", (), {"uniform": lambda *_: 1.5})())
    )
    assert first.failure.kind == "server"
    assert second.timing.sent - first.timing.end >= 1_500 * MS
    assert second.latency_ns < 1_400 * MS


def test_errors_are_not_averaged_in_as_zero(sums, tmp_path):
    with serve(Script(law=Law(ttft_ms=100), faults=[Fault("server_error", numbers=range(2, 40))])) as server:
        run = ek.evaluate(
            sums(20, 1), ek.Endpoint(server.base_url, "scripted"), out=tmp_path / "r.evalkit", concurrency=1, retries=0
        )
    assert run.turns()["latency_ms"].count() == 1
    assert run.summary_json()["latency_ms"]["p50"] >= 100


def test_opening_the_connection_is_not_in_the_first_token_time(monkeypatch):
    opened = transport.open_connection

    async def slow(*given):
        await asyncio.sleep(1.5)
        return await opened(*given)

    monkeypatch.setattr(transport, "open_connection", slow)
    first, second = ask(Script(law=Law(ttft_ms=50)), times=2)
    assert (first.connection_opened, second.connection_opened) == (True, False)
    assert first.timing.sent - first.timing.slot >= 1_500 * MS
    assert first.ttft_ns < 1_400 * MS


@pytest.mark.parametrize("streams", [1, 64])
def test_first_token_time_over_a_known_schedule(streams, capsys):
    """Prints the error of the first-token time over the server's own truth."""

    async def at_once(base_url, model):
        endpoint = Endpoint(base_url, model)
        async with Transport(endpoint) as transport:
            body = request_body([Message("user", "hello")], model=model, stream=True)

            async def one():
                return [await transport.send(body, stream=True, due=0, slot=0) for _ in range(3)]

            return [attempt for each in await asyncio.gather(*(one() for _ in range(streams))) for attempt in each[1:]]

    middle = math.inf
    with serve(Script(law=Law(ttft_ms=50, itl_ms=10, tokens=20)), process=True) as server:
        for _ in range(10):  # reading ahead adds 190 ms, and a busy machine a few
            attempts = asyncio.run(at_once(server.base_url, server.model))
            errors = sorted(attempt.ttft_ns / MS - 50 for attempt in attempts)
            assert errors[0] > -1
            middle = min(middle, statistics.median(errors))
            if middle < 25:
                break
    with capsys.disabled():
        print(f"\n  TTFT error at {streams} streams: p50 {middle:+.2f} ms, worst {errors[-1]:+.2f} ms")
    assert middle < 25
