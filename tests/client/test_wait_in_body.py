"""How long an error answer asks to wait, where only its body says so."""

import json
import time

import pytest
from dialects import unhurried
from hypothesis import given
from hypothesis import strategies as st

from evalkit.client.durations import LONGEST_S, wait_s
from evalkit.client.wait_in_body import names_daily_quota, wait_in_body_s

NOW = 1_795_407_799.0  # 2026-11-23 04:23:19 UTC


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("Rate limit reached for m on requests per min (RPM): Limit 3, Used 3. Please try again in 20s.", 20.0),
        ("Please try again in 864ms. Visit https://x.test/limits to learn more.", 0.864),
        ("Please try again in 1m30.5s.", 90.5),
        ("Please try again in 6m0s", 360.0),
        ("Please retry after 3 seconds.", 3.0),
        ("Please retry in 37.4s.", 37.4),
        ("Please retry in 2h35m3.27s.", 9303.27),
        ("Too many requests, wait 2 minutes", 120.0),
        ("Please wait 41234 seconds before retrying.", 41234.0),
        ("You hit a rate limit. Please try again in 7 hours.", 25200.0),
        ("Please wait 10 hours 58 minutes before trying again.", 39480.0),
        ("Please wait for your limit to reset in 3 hours 49 minutes or use another model.", 13740.0),
        ("Your quota will reset after 27h41m36s.", 99696.0),
        ("Try again in about 1 minute and 30 seconds.", 90.0),
        ("Consumed (req/min): 11, Remaining: 0. Please retry after 25s, resets at noon", 25.0),
        ("Retry-After: 30", 30.0),
        ("retry after 60", 60.0),
        ("Limit exceeded. Try again at 2026-11-23T04:24:19Z.", 60.0),
        ("Limit exceeded, resets at 1795407859", 60.0),
        ("", None),
        ("Please try again later.", None),
        ("The request timed out after 30 seconds, please try again", None),
        ("The limit is 3 requests per 10 seconds. Please retry.", None),
        ("wait: 20 requests per 60 seconds", None),
        ("Retry after 3 attempts", None),
        ("upstream connection reset after 25s", None),
        ("connection reset by peer after 100 ms", None),
        ("no worker available after 90s", None),
        ("Failed after retrying for 60 seconds", None),
        ("Model output not available after 45 s", None),
        ("Gateway timeout: gave up wait for 300 seconds", None),
        ("upstream reset: retry failed after 3 attempts in 110 seconds", None),
        ("Timed out: wait 300s exceeded", None),
        ("Wait for 20 seconds", 20.0),
        ("The request timed out. Please try again in 20s.", 20.0),
        ("Back off for 5 s", 5.0),
        ("The model will be available in 40s", 40.0),
        ("Your limit resets in 3 minutes", 180.0),
        ("retry after 50% of the window", None),
    ],
)
def test_a_wait_in_words(sentence, seconds):
    body = json.dumps({"error": {"message": sentence, "type": "requests", "code": "rate_limit_exceeded"}})
    assert wait_in_body_s(body, NOW) == wait_in_body_s(sentence, NOW) == pytest.approx(seconds)


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ([{"error": {"code": 429, "message": "No.", "details": [RETRY_INFO]}}], 17.5),
        ({"error": {"details": [{"retryDelay": {"seconds": 17, "nanos": 0}}]}}, 17.0),
        ({"error": {"details": [{"metadata": {"quotaResetDelay": "373.801628ms"}}]}}, 0.373801628),
        ({"retry_after": 12}, 12.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"message": "Slow", "retryAfter": "00:00:20"}, 20.0),
        ({"retry_after_ms": 1500, "message": "x"}, 1.5),
        ({"retryAfterMs": "250"}, 0.25),
        ({"retryAfterSeconds": 8}, 8.0),
        ({"error": {"metadata": {"retry_after_seconds": 5}}}, 5.0),
        ({"error": {"retry_after": "2026-11-23T04:24:19.000Z"}}, 60.0),
        ({"error": {"metadata": {"headers": {"Retry-After": "30"}}}}, 30.0),
        ({"error": {"metadata": {"headers": {"retry-after": ["12"]}}}}, 12.0),
        (
            {"error": {"metadata": {"headers": {
                "X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795407808000",
            }}}},
            9.0,
        ),
        ({"error": "Model m is currently loading", "estimated_time": 35.6677}, 35.6677),
        ({"retry_after": 3, "message": "Please try again in 20s"}, 3.0),
        ({"error": {"message": json.dumps({"error": {"details": [RETRY_INFO]}})}}, 17.5),
        ({"error": {"message": "litellm.RateLimitError: " + json.dumps(json.dumps({"retry_after": 4}))}}, 4.0),
        ({"error": {"message": "Error: {'error': {'retry_after': 5}}"}}, 5.0),
        ({"retry_after": None, "message": "no"}, None),
        ({"retry_after": True}, None),
        ({"not_retry_after": 5}, None),
        ({"max_retry_attempts": 5}, None),
        ({"retry_after": 1e300}, LONGEST_S),
        ({"retry_after": -5}, 0.0),
    ],
)  # fmt: skip
def test_a_wait_in_a_field(body, seconds):
    assert wait_in_body_s(json.dumps(body), NOW) == pytest.approx(seconds)
    assert wait_in_body_s(json.dumps(body, separators=(",", ":")), NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "daily"),
    [
        ("free-models-per-day. Add 10 credits to unlock more", True),
        ('"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"', True),
        ("Rate limit of 150 per 86400s exceeded for UserByModelByDay", True),
        ("you have used up your daily free allocation", True),
        ("on tokens per day (TPD): Limit 100000", True),
        ("Monthly quota exceeded", True),
        ("Come back tomorrow", True),
        ("Rate limit reached on requests per minute (RPM)", False),
        ("20 requests per minute, 1000 per day: 20 per minute exceeded", False),
        ("Too many requests", False),
        ("on Friday", False),
        ("Rate limit exceeded: 20 requests/min. Daily limit: 1000 requests.", False),
        ("Too many requests (5 req/s). Your daily limit is 10,000.", False),
        ("Free accounts get 50 messages per day and 5 every minute", False),
        ("Rate limit exceeded (5/s). Check your daily dashboard", False),
        ("Rate limit hit. See your daily usage page", False),
        ("3 requests each 10 seconds, 1000/day", False),
        ("limit 10 RPM / 200 RPD", False),
        ("Limit of 100/day exceeded", True),
        ("Your daily limit is used up", True),
    ],
)
def test_a_quota_of_the_day_is_told_from_one_of_the_minute(text, daily):
    assert names_daily_quota(text) is daily


# -- anything at all

PIECES = st.sampled_from(
    [
        "retry", "retry_after", "retryDelay", "try again in ", "after ", "wait ", '"', "\\", ":", "{", "1", "9" * 30,
        "s", "ms", "hours", " ", "-", ".", "e5", "T", "Z", "ratelimit-reset", "2026-11-23T04:24:19", "estimated_time",
    ]
)  # fmt: skip


@unhurried
@given(st.text() | st.lists(PIECES, max_size=60).map("".join))
def test_any_text_gives_a_bounded_wait_or_none(text):
    for wait in (wait_in_body_s(text, NOW), wait_s(text, NOW)):
        assert wait is None or 0 <= wait <= LONGEST_S


@pytest.mark.parametrize(
    "piece",
    [
        "retry after ", "try again in 1", "try again " + "a" * 50, "1m", "9", "9 s and ", "retryDelay",
        '"retry_after": "', "\\", "retry_after" + "\\" * 8, "wait wait ", "ratelimit-reset-", "retry " * 3,
        "try again in 1m ", "{", "[ ",
        "reset-after ", "2026-11-23T", "per day ", "is loading ", "failed ", "max queue ",
    ],
)  # fmt: skip
def test_no_text_takes_long(piece):
    from evalkit.client.error_answers import failure_of

    began = time.process_time()
    for body in (piece * 100_000, json.dumps({"error": {"message": piece * 50_000}})):
        for status in (429, 503):
            failure_of(status, {"retry-after": piece * 1000, "ratelimit": piece * 1000}, body.encode())
    assert time.process_time() - began < 2
