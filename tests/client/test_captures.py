"""Every recorded answer, asked for over a real socket: what it must come to."""

import asyncio
import time
from dataclasses import dataclass, replace

import pytest
from captures import Capture, load, names, serve

from evalkit.client.answer_reader import AnswerReader
from evalkit.client.request_body import request_body
from evalkit.client.transport import Transport
from evalkit.conversation import Message, ToolCall
from evalkit.endpoint import Endpoint
from evalkit.record import Attempt, Usage

KEY_ADVICE = "Check that the key is set, complete and meant for this endpoint."
REQUEST_ADVICE = "Check the messages and parameters against what it accepts."
LOG_ADVICE = "The model or its server has most likely failed: check the endpoint's log."
PROVIDER_ADVICE = "Try again when the model's provider is back."


@dataclass(frozen=True)
class Row:
    """``tokens``: token-bearing events; None: not streamed. ``calls``: name, arguments, id."""

    file: str
    status: int = 200
    tokens: int | None = None
    text: str = ""
    calls: tuple[tuple[str, str, str | None], ...] = ()
    finish: str | None = None
    usage: tuple[int, int] | None = None
    error: str | None = None
    message: str = ""
    flags: tuple[str, ...] = ()


PARIS = '{"city": "Paris"}'

TABLE = [
    # whole answers
    Row("A_01_single", text="The capital of France is Paris.", finish="stop", usage=(27, 8)),
    Row("A_02_multi", text="Hello Bob.", finish="stop", usage=(43, 4)),
    Row(
        "A_40_tool_call",
        calls=(("get_weather", PARIS, "P3lfunZHQcSr7wU1xEhUzfN8"),),
        finish="tool_calls",
        usage=(86, 12),
    ),
    Row(
        "A_45_tool_result_round",
        text="alpha bravo charlie delta echo foxtrot golf hotel",
        finish="stop",
        usage=(138, 13),
    ),
    # streams that end with [DONE]; text never has a finish reason
    Row(
        "A_03_stream",
        tokens=35,
        text="It's an honor to meet you. I'm here to assist you in any manner that you'd like to discuss or share your "
        "creative endeavors. What brings you here today?",
        flags=("no_finish_reason",),
    ),
    Row(
        "A_05_stream_multi",
        tokens=26,
        text="I'm thrilled to meet you. I'm a small business developer, and I have a wonderful team here at Elysia.",
        flags=("no_finish_reason",),
    ),
    Row("A_80_unicode_stream", tokens=5, text='  Привет 你好 🎉 a\u2028b\n\n"q" \\ end  ', flags=("no_finish_reason",)),
    Row(
        "A_40_tool_call_stream",
        tokens=1,
        calls=(("get_weather", PARIS, "P3lfeQYvnc5MwjxqNWt69Sln"),),
        finish="tool_calls",
    ),
    Row(
        "A_41_two_tool_calls_stream",
        tokens=1,
        calls=(
            ("get_weather", PARIS, "P3lfVDsh3orJdh5wgfbS9QRa"),
            ("get_time", '{"city": "Rome"}', "P3lfI0rfO7DwFIOK6tbV3GYP"),
        ),
        finish="tool_calls",
    ),
    Row("A_42_functions_legacy_stream", tokens=1, calls=(("get_weather", PARIS, None),), finish="function_call"),
    # the model was cut off or killed, and the service says nothing of it
    Row("A_50_up_cut_stream", tokens=3, text="alpha bravo charlie", flags=("no_finish_reason",)),
    Row(
        "A_71_llama_killed_midstream",
        tokens=23,
        text="A story of a knight, a knight, and the castle of a legendary dragon. The story of the Tower of",
        flags=("no_finish_reason",),
    ),
    # failures inside a stream, under status 200
    Row(
        "A_50_up_err500_stream",
        tokens=0,
        error="empty",
        message=f"The endpoint ended its answer without any text or tool call (HTTP 200). {LOG_ADVICE}",
    ),
    Row(
        "M_50_up_err500_stream",
        tokens=0,
        error="connection",
        message=f"The endpoint closed the connection before sending any text (HTTP 200). {LOG_ADVICE}",
    ),
    Row(
        "M_82_very_long_output_stream",
        tokens=8,
        text="alpha bravo charlie delta echo november oscar papa",
        error="truncated",
        message="The endpoint broke off its stream after 8 events with tokens, with neither a finish reason nor [DONE] "
        "(HTTP 200). The part received is kept; if it happens again, check the endpoint's log.",
    ),
    # error answers
    Row(
        "30_wrong_key",
        401,
        error="auth",
        message=f'The endpoint refused the API key (HTTP 401, TOKEN_VALIDATION_FAILED): "Invalid apikey". {KEY_ADVICE}',
    ),
    Row(
        "31_missing_auth",
        401,
        error="auth",
        message="The endpoint refused the API key (HTTP 401, APIKEY_VALIDATION_FAILED): "
        f'"API Key validation failed". {KEY_ADVICE}',
    ),
    Row(
        "33_malformed_json",
        422,
        error="bad_request",
        message="The endpoint refused the request (HTTP 422, REQUEST_VALIDATION_ERROR): "
        f'"body/15: JSON decode error". {REQUEST_ADVICE}',
    ),
    Row(
        "34c_get_models",
        404,
        error="not_found",
        message='The endpoint did not find what was requested (HTTP 404): "Not Found". '
        "Check the model name or assistant id, and the base URL.",
    ),
    Row(
        "95_nginx_backend_down_502",
        502,
        error="server",
        message='The endpoint failed (HTTP 502): "502 Bad Gateway". '
        "Try again; if it keeps failing, check the endpoint's log.",
    ),
    Row(
        "A_10_developer_role",
        500,
        error="bad_request",
        message="The endpoint refused a message (HTTP 500, INTERNAL_SERVER_ERROR): "
        "\"Unsupported message type: <class 'dict'>\". "
        "Use the roles system, user, assistant and tool, with text as content.",
    ),
    Row(
        "A_13_empty_messages",
        422,
        error="bad_request",
        message="The endpoint refused the request (HTTP 422, DATA_MODEL_VALIDATION_ERROR): "
        f'"Value error, messages cannot be empty". {REQUEST_ADVICE}',
    ),
    Row(
        "A_50_up_err500",
        500,
        error="server",
        message="The endpoint cannot reach the model behind it (HTTP 500, GENERATION_ERROR): "
        "\"Error occurred in chat completion inference. {'code': 'PROVIDER_ERROR', 'message': "
        f'"Provider\'s service is unavailable"}}". {PROVIDER_ADVICE}',
    ),
    Row(
        "M_50_up_err429",
        400,
        error="rate_limited",
        message="The model's provider behind the endpoint asks for fewer requests (HTTP 400, PROVIDER_ERROR): "
        "\"Error on calling provider model API: {'error': {'message': 'stub says 429', 'type': 'stub_error', "
        "'code': '429'}}\". Lower the concurrency or set a limit of requests per minute.",
    ),
    Row(
        "M_72_upstream_down",
        422,
        error="server",
        message="The endpoint cannot reach the model behind it (HTTP 422, REQUEST_VALIDATION_ERROR): "
        "\"Cannot connect to host host:port ssl:default [Connect call failed ('127.0.0.1', 18080)]\". "
        f"{PROVIDER_ADVICE}",
    ),
]


def test_table_covers_every_capture():
    assert sorted(f"{row.file}.txt" for row in TABLE) == names()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.file)
def test_over_a_socket(row):
    capture = load(f"{row.file}.txt")
    attempt = asyncio.run(ask(capture, stream=row.tokens is not None))
    if row.error == "not_found" and row.status == 404:
        message, address, asked = attempt.failure.message.partition(" The address asked is ")
        assert not address or asked.endswith("/v1/chat/completions.")
        attempt = attempt._replace(failure=replace(attempt.failure, message=message))
    assert attempt.http_status == row.status
    assert attempt.streamed == (row.tokens is not None)
    assert sum(attempt.timing.arrival_events) == (row.tokens or 0)
    assert_as_in_table(attempt, row)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.file)
def test_by_the_reader_alone(row):
    capture = load(f"{row.file}.txt")
    reader = AnswerReader(
        capture.status,
        capture.headers.get("content-type"),
        stream_requested=row.tokens is not None,
        headers=capture.headers,
    )
    for at, piece in enumerate(capture.body_reads(), start=1):
        reader.feed(piece, at)
    reader.finish(complete=not capture.cut)
    # every recorded read brought one event at most
    assert reader.arrivals == list(range(1, 1 + (row.tokens or 0)))
    assert reader.arrival_events == [1] * (row.tokens or 0)
    assert_as_in_table(reader, row)


def test_shortened_capture_keeps_its_framing():
    reads = load("M_82_very_long_output_stream.txt").body_reads()
    assert len(reads) == 8
    assert all(read.startswith(b"data: {") and read.endswith(b"}\n\n") for read in reads)


async def ask(capture: Capture, stream: bool) -> Attempt:
    body = request_body([Message("user", "x")], model="X5lMRkz2DdiLxE3bOpmFyVvP", stream=stream)
    async with serve(capture) as base_url:
        endpoint = Endpoint(base_url, "X5lMRkz2DdiLxE3bOpmFyVvP", timeout_s=20)
        async with Transport(endpoint) as transport:
            now = time.perf_counter_ns()
            return await transport.send(body, stream=stream, due=now, slot=now)


def assert_as_in_table(read: Attempt | AnswerReader, row: Row) -> None:
    answer, failure = read.answer, read.failure
    assert (failure.kind if failure else None) == row.error
    assert (failure.message if failure else "") == row.message
    assert (answer.text if answer else "") == row.text
    assert (answer.tool_calls if answer else ()) == tuple(ToolCall(*call) for call in row.calls)
    assert (answer.finish_reason if answer else None) == row.finish
    assert read.usage == (Usage(*row.usage) if row.usage else None)
    assert read.flags == row.flags
