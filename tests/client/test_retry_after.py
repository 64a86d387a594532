"""How long an answer asks to wait: every header and spelling."""

from email.utils import formatdate

import pytest
from dialects import unhurried
from hypothesis import given
from hypothesis import strategies as st

from evalkit.client.durations import LONGEST_S
from evalkit.client.retry_after import retry_after_s

NOW = 1_795_407_799.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "20s"}, 20.0),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"retry-after": "Mon Nov 23 04:24:19 2026"}, 60.0),
        ({"retry-after": "Monday, 23-Nov-26 04:24:19 GMT"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "2, 9, 4"}, 9.0),
        ({"retry-after": "soon, 4"}, 4.0),
        ({"retry-after": str(NOW + 5)}, 5.0),
        ({"retry-after": "1e300"}, LONGEST_S),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after-ms": "-3"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "9", "x-ratelimit-reset-requests": "1s"}, 9.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "1m30.5s"}, 90.5),
        ({"x-ratelimit-reset-requests": "1h0m1s"}, 3601.0),
        ({"x-ratelimit-reset-tokens": "250ms"}, 0.25),
        ({"x-ratelimit-reset-tokens": "12"}, 12.0),
        ({"x-ratelimit-reset": str(NOW + 5)}, 5.0),
        ({"x-ratelimit-reset": str(int((NOW + 5) * 1000))}, 5.0),
        ({"x-ratelimit-reset": str(NOW - 5)}, 0.0),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "9s"}, 9.0),
        (
            {
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-reset-tokens": "9s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-remaining-tokens": "80",
            },
            2.0,
        ),
        ({"x-ratelimit-reset-requests": "x"}, None),
        # of other services and the drafts of the IETF
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2026-11-23T04:24:19Z"}, 60.0),
        ({"retry-after": "2026-11-23T05:24:19.000+01:00"}, 60.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "00:01:30"}, 90.0),
        ({"retry-after": "2 minutes"}, 120.0),
        ({"ratelimit-reset": "30", "ratelimit-remaining": "0"}, 30.0),
        ({"x-rate-limit-reset": "7"}, 7.0),
        ({"x-ratelimit-reset-ms": "2500"}, 2.5),
        ({"ratelimitbysize-reset": "34", "ratelimitbysize-remaining": "0"}, 34.0),
        ({"ratelimit": "limit=100, remaining=0, reset=30"}, 30.0),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"ratelimit": '"hour";r=50;t=900, "minute";r=0;t=12'}, 12.0),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-11-23T06:00:00Z",
                "anthropic-ratelimit-tokens-limit": "40000",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-11-23T04:24:19Z",
            },
            60.0,
        ),
        (  # none is used up: the request needs more tokens than remain, and the quota of the day is far from its end
            {
                "x-ratelimit-limit-requests": "14400",
                "x-ratelimit-remaining-requests": "14370",
                "x-ratelimit-reset-requests": "2h59m",
                "x-ratelimit-limit-tokens": "6000",
                "x-ratelimit-remaining-tokens": "500",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            7.66,
        ),
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}, None),
    ],
)
def test_wait_asked_for_in_all_its_forms(headers, seconds):
    assert retry_after_s(headers, NOW) == pytest.approx(seconds)


@unhurried
@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "date"]), st.text()))
def test_any_header_gives_a_wait_or_none(headers):
    wait = retry_after_s(headers, NOW)
    assert wait is None or 0 <= wait < float("inf")


@given(st.floats(-1e6, 1e6), st.sampled_from(["{:.3f}", "{:.0f}", " {:.3f} ", "{:.3f}s", "{:e}"]))
def test_seconds_in_any_spelling_are_kept_to(seconds, spelling):
    text = spelling.format(seconds)
    if text.endswith("s") and text.startswith("-"):  # also of -0.0
        return
    wait = retry_after_s({"retry-after": text}, NOW)
    assert wait == pytest.approx(max(0.0, float(text.strip().rstrip("s"))))


@given(st.integers(-(10**7), 10**7))
def test_a_date_is_a_wait_from_now_and_none_when_it_is_past(ahead):
    wait = retry_after_s({"retry-after": formatdate(NOW + ahead, usegmt=True)}, NOW)
    assert wait == max(0, ahead)


@given(st.integers(0, 59), st.integers(0, 59), st.integers(0, 23), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(seconds, minutes, hours, ms):
    wait = retry_after_s({"x-ratelimit-reset-tokens": f"{hours}h{minutes}m{seconds}s{ms}ms"}, NOW)
    assert wait == pytest.approx(hours * 3600 + minutes * 60 + seconds + ms / 1000)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 3)), min_size=1, max_size=4))
def test_of_several_limits_the_longest_of_those_used_up_counts(limits):
    headers = {}
    for number, (wait, remaining) in enumerate(limits):
        headers |= {f"x-ratelimit-reset-{number}": f"{wait}s", f"x-ratelimit-remaining-{number}": str(remaining)}
    used_up = [wait for wait, remaining in limits if remaining == 0]
    assert retry_after_s(headers, NOW) == max(used_up or [wait for wait, _ in limits])
