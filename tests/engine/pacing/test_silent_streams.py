"""Streams that end without a cause: one whole answer is requested to learn it."""

import json
import sqlite3

import pytest
from answering import answering, rows, stream, whole
from raw_server import STREAM_HEAD, answer

import evalkit as ek
from evalkit.engine.pacing.silent_streams import MOST_UNEXPLAINED, SilentStreams
from evalkit.errors import Failure
from evalkit.record import Attempt, Timing

DONE_ONLY = stream((), finish=None)
REASON = "The prompt has 5000 tokens, and the context length is 4096"


def refusal(status, message, code="PROVIDER_ERROR"):
    return answer(status, json.dumps({"status": "error", "error": {"code": code, "message": message}}).encode())


class Endpoint:
    """Streams end like this, and whole answers are that; counts both."""

    def __init__(self, streamed=DONE_ONLY, whole=b""):
        self.streamed, self.whole, self.asked = streamed, whole, []

    def __call__(self, body, number):
        self.asked.append("stream" if body.get("stream") else "whole")
        answer = self.streamed if body.get("stream") else self.whole
        return answer(body) if callable(answer) else answer


def run(tmp_path, endpoint, count=1, **settings):
    """A run, or the message of the error that ended it, and the attempts by conversation."""
    settings = {"retries": 0, "concurrency": 1, **settings}
    out = tmp_path / "r.evalkit"
    with answering(endpoint) as url:
        try:
            done = ek.evaluate(rows(tmp_path / "d.jsonl", count), ek.Endpoint(url, "m"), out=out, **settings)
        except ek.EndpointError as error:
            done = str(error)
    with sqlite3.connect(out) as connection:
        attempts = connection.execute("SELECT conversation, error_kind, http_status, streamed FROM attempt").fetchall()
    return done, attempts


@pytest.mark.parametrize(
    ("streamed", "cause", "kind", "words"),
    [
        (DONE_ONLY, refusal("400 Bad Request", REASON), "bad_request", REASON),
        (STREAM_HEAD + b"0\r\n\r\n", refusal("400 Bad Request", "{'status': 401, 'text': 'Wrong key'}"), "auth",
         "renew the provider's key"),
        (DONE_ONLY, answer("200 OK", b'{"error": {"message": "out of credit", "code": "insufficient_quota"}}'),
         "rate_limited", "out of credit"),
    ],
)  # fmt: skip
def test_the_cause_is_learned_before_a_run_gives_up(tmp_path, streamed, cause, kind, words):
    endpoint = Endpoint(streamed, cause)
    message, attempts = run(tmp_path, endpoint, 6)
    assert f"({kind})" in message
    assert words in message
    assert "ended its answer without any text" in message
    assert "The same request without a stream shows the cause." in message
    assert endpoint.asked == ["stream", "whole"] * 5  # each is an attempt of its turn, and then the run ends
    assert [(kind, streamed) for _, kind, _, streamed in attempts] == [("empty", 1), (attempts[1][1], 0)] * 5


def test_it_is_asked_after_the_retries(tmp_path):
    endpoint = Endpoint(whole=refusal("400 Bad Request", REASON))
    message, attempts = run(tmp_path, endpoint, retries=1)
    assert endpoint.asked == ["stream", "stream", "whole"]
    assert REASON in message
    assert [kind for _, kind, _, _ in attempts] == ["empty", "empty", "bad_request"]


def test_a_good_whole_answer_is_not_the_answer_of_the_turn(tmp_path):
    """Its tokens are counted, and it is asked for a few times only: it explains nothing."""
    endpoint = Endpoint(whole=whole("35", usage={"prompt_tokens": 7, "completion_tokens": 2}))
    message, attempts = run(tmp_path, endpoint, 5)
    assert endpoint.asked == ["stream", "whole"] * MOST_UNEXPLAINED + ["stream"] * (5 - MOST_UNEXPLAINED)
    assert "(empty)" in message
    assert "it fails in streams only" in message
    assert {kind for _, kind, _, _ in attempts} == {"empty"}
    turns = ek.Run(tmp_path / "r.evalkit").turns()
    assert set(turns["status"]) == {"error"}
    assert turns["answer"].isna().all()


def test_a_whole_answer_that_is_empty_too_says_nothing(tmp_path):
    endpoint = Endpoint(whole=answer("200 OK", b'{"choices": []}'))
    message, _ = run(tmp_path, endpoint, 5)
    assert endpoint.asked.count("whole") == MOST_UNEXPLAINED
    assert "The same request without a stream failed too (empty)." in message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("429 Too Many Requests", "Too many requests"),
        ("503 Service Unavailable", "server busy"),
        ("503 Service Unavailable", "Loading model"),
        ("429 Too Many Requests", "Please try again in 1s"),
    ],
)
def test_a_refusal_that_passes_is_not_the_cause(tmp_path, status, message):
    endpoint = Endpoint(whole=answer(status, json.dumps({"error": {"message": message}}).encode()))
    told, _ = run(tmp_path, endpoint)
    assert "(empty)" in told
    assert "The same request without a stream failed too" in told


@pytest.mark.parametrize(
    ("streamed", "settings"),
    [
        (answer("500 Internal Server Error", b'{"error": {"message": "no"}}'), {}),
        (stream((), finish="length"), {}),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 22\r\n\r\n"
         b'data: {"detail": "no"}', {}),
        (stream(("3",), finish="abort"), {}),
        (DONE_ONLY, {"stream": False}),
    ],
    ids=["error status", "token limit", "error event", "finish reason", "no stream"],
)  # fmt: skip
def test_nothing_is_asked_where_a_cause_is_known(tmp_path, streamed, settings):
    endpoint = Endpoint(streamed, answer("200 OK", b'{"choices": []}'))
    run(tmp_path, endpoint, **settings)
    assert endpoint.asked == ["whole" if settings else "stream"]


def test_a_spending_cap_holds(tmp_path):
    endpoint = Endpoint(whole=refusal("400 Bad Request", REASON))
    run(tmp_path, endpoint, max_tokens_total=1)
    assert endpoint.asked == ["stream"]


def test_a_cause_starts_the_count_again():
    causes, silent = SilentStreams(), Failure("empty", "It ended. Why?", 200)
    good = Attempt(Timing(0, 0, 0))
    explained = good._replace(failure=Failure("auth", "No key.", 401))
    for _ in range(MOST_UNEXPLAINED - 1):
        causes.explained(silent, good)
    assert causes.explained(silent, explained).failure.message.startswith("It ended. The same request")
    for _ in range(MOST_UNEXPLAINED):
        assert causes.is_unexplained(silent)
        causes.explained(silent, good)
    assert not causes.is_unexplained(silent)
