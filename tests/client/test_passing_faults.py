"""Failures that pass: what an endpoint says about its state, and what the user is told."""

import json

import pytest

from evalkit.client.error_answers import failure_of, failure_of_error
from evalkit.errors import AT_CAPACITY, DAILY_QUOTA, LOADING

NGINX = (
    b"<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n"
    b"<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n<hr><center>nginx/1.24.0</center>\r\n</body>"
)
HAPROXY = (
    b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
)


def failed(status, body, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failure_of(status, headers, raw)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        (503, {"error": "Model m is currently loading", "estimated_time": 20.0}),
        (503, {"error": "Model too busy", "estimated_time": 20.0}),
        (500, {"error": {"code": 1, "message": "Error code: 503 - {'error': {'message': 'Loading model'}}"}}),
        (500, {"error": "llm server loading model"}),
        (503, {"detail": "Model is still loading"}),
        (503, b"Service is starting up: the model is being loaded"),
        (503, {"error": {"message": "The endpoint is scaled to zero. It is starting, please wait"}}),
        (503, {"message": "Server is warming up"}),
        (503, {"error": {"message": "Model m is not ready yet"}}),
        (409, {"error": {"message": "Model is loading"}}),
        (400, {"error": {"message": "The model is currently loading, try again"}}),
        (400, {"error": {"message": "Model 'org/llama-3.1-8b' is not ready yet"}}),
        (404, {"detail": "Model weights are still being loaded"}),
        (422, {"message": "Warming up the model. Try again soon"}),
        (425, {"message": "The model my-model is starting"}),
        (503, {"message": "Pulled the image. The engine is starting"}),
        (502, b"<html><body>The engine is initializing</body></html>"),
    ],
)
def test_a_model_that_is_loading(status, body):
    failure = failed(status, body)
    assert (failure.kind, failure.pending) == ("server", LOADING)
    assert failure.message.startswith(f"The endpoint is still loading its model (HTTP {status}")
    assert "--wait-ready" in failure.message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error": {"message": "Error loading model: file not found"}}),
        (500, {"error": {"message": "model failed to load, this may be due to resource limitations"}}),
        (500, {"error": {"message": "Unable to start: loading model weights ran out of memory"}}),
        (503, {"error": {"message": "The model is overloaded"}}),
        (401, {"error": {"message": "Loading model"}}),
        (422, {"detail": [{"loc": ["body"], "msg": "Field required", "input": "the page is loading"}]}),
        (503, b""),
        (400, {"error": {"message": "File file-abc is not ready"}}),
        (400, {"error": {"message": "The conversation is starting with an assistant message"}}),
        (400, {"error": {"message": "prompt is starting with role system, not supported"}}),
        (400, {"error": {"message": "Vector store is not ready"}}),
        (404, {"error": {"message": "Assistant is not ready: publish it first"}}),
        (400, {"error": {"message": "The image at https://x.test/a.png is still loading"}}),
        (422, {"detail": "This deployment is starting a new conversation with role assistant"}),
        (400, {"error": {"message": "Knowledge base kb-1 is being loaded"}}),
        (409, {"error": {"message": "Document d7 is not yet ready for retrieval"}}),
        (400, {"error": {"message": "The file for model m is not ready"}}),
        (400, {"error": {"message": "Model output is not ready"}}),
        (400, {"error": {"message": "Session is warming up"}}),
        (400, {"error": {"message": "System role not supported: the model is loading no template"}}),
        (500, {"error": {"message": "Vector store vs_1 is not ready"}}),
        (503, {"error": {"message": "The conversation is starting with an assistant message"}}),
    ],
)
def test_what_is_no_loading(status, body):
    assert failed(status, body).pending != LOADING


@pytest.mark.parametrize(
    "body",
    [
        NGINX,
        HAPROXY,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
        {"error": {"message": "The request queue is full.", "type": "BadRequestError"}},
        {"message": "Too many concurrent requests"},
        {"message": "Concurrency limit exceeded"},
        b"upstream connect error or disconnect/reset before headers. reset reason: overflow",
    ],
)
def test_a_limiters_503_hints_at_lower_concurrency(body):
    failure = failed(503, body)
    assert (failure.kind, failure.pending) == ("server", AT_CAPACITY)
    assert failure.message.endswith(
        "Lower the concurrency (--concurrency) or set a limit of requests per minute (--rpm)."
    )


def test_an_ordinary_503_does_not():
    failure = failed(503, {"error": {"message": "Backend crashed"}})
    assert failure.pending is None
    assert "concurrency" not in failure.message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (498, {"error": {"message": "Flex tier capacity exceeded", "code": "capacity_exceeded"}}),
        (424, {"error": "Request failed during generation", "error_type": "generation"}),
        (499, [{"error": {"code": 499, "message": "The operation was cancelled.", "status": "CANCELLED"}}]),
        (425, b"Too Early"),
        (460, b""),
        (444, b""),
        (423, {"detail": "The deployment is locked"}),
        (408, b"<html><body>408 Request Time-out</body></html>"),
    ],
)
def test_a_passing_4xx_does_not_blame_the_request(status, body):
    failure = failed(status, body)
    assert failure.kind == "server"
    assert failure.message.startswith("The endpoint failed")
    assert "messages and parameters" not in failure.message


@pytest.mark.parametrize(
    ("body", "daily"),
    [
        ({"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}}, True),
        ([{"error": {"message": "Quota", "details": [{"violations": [{"quotaId": "RequestsPerDay"}]}]}}], True),
        ({"error": {"message": "Used up your daily free allocation of 10,000 neurons"}}, True),
        ({"error": {"message": "Rate limit reached on tokens per day (TPD). Please try again in 7m12s."}}, True),
        ([{"error": {"message": "Quota", "x": [{"quotaId": "RequestsPerDay"}, {"retryDelay": "17s"}]}}], True),
        ({"error": {"message": "Rate limit reached on tokens per day (TPD). Please try again in 45s."}}, False),
        ({"error": {"message": "Rate limit reached: 3 per minute"}}, False),
        ({"error": {"message": "daily", "code": "insufficient_quota"}}, False),
    ],
)  # fmt: skip
def test_a_quota_of_the_day(body, daily):
    failure = failed(429, body)
    assert failure.kind == "rate_limited"
    assert (failure.pending == DAILY_QUOTA) is daily
    assert ("It renews tomorrow or later" in failure.message) is daily


def test_a_wait_in_the_body_counts_after_retry_after_and_before_limits_on_every_answer():
    body = {"error": {"message": "Please try again in 20s."}}
    assert failed(429, body).retry_after_s == 20.0
    assert failed(503, body).retry_after_s == 20.0
    assert failed(429, body, **{"retry-after": "5"}).retry_after_s == 5.0
    assert failed(429, body, **{"x-ratelimit-reset-tokens": "60s"}).retry_after_s == 20.0
    assert failed(400, body).retry_after_s is None
    assert failed(401, body).retry_after_s is None


def test_a_wait_in_an_error_under_200():
    assert failure_of_error({"code": 429, "message": "Please retry in 4s"}, 200, {}).retry_after_s == 4.0
    assert failure_of_error({"code": 503, "message": "Loading model"}, 200, {}).pending == LOADING


def test_a_wait_in_words_is_told_from_one_in_a_field_or_header():
    words = {"error": {"message": "Please try again in 20s."}}
    assert failed(502, words).worded_wait
    assert not failed(502, words, **{"retry-after": "5"}).worded_wait
    assert not failed(502, {**words, "retry_after": 5}).worded_wait
    assert not failed(502, {"error": {"message": "Failed"}}).worded_wait
