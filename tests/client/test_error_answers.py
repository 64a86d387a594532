"""Error answers of every form: kind, message and code."""

import json
import time
from email.utils import formatdate

import pytest
from dialects import unhurried
from hypothesis import given
from hypothesis import strategies as st

from evalkit.client.error_answers import failure_of, failure_of_error
from evalkit.engine.asking.request_fallbacks import refuses_stream_options
from evalkit.errors import ERROR_KINDS

PROVIDER = "Error on calling provider model API: {'error': {'message': 'stub says %d', 'type': 'x', 'code': '%d'}}"


def taskingai(code, message, **more):
    return {"status": "error", "error": {"code": code, "message": message, **more}}


def failure(status, body, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failure_of(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


# -- kinds


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, "protocol"), (307, "protocol"), (400, "bad_request"), (401, "auth"), (402, "auth"), (403, "auth"),
        (404, "not_found"), (405, "not_found"), (408, "server"), (409, "server"), (410, "not_found"),
        (413, "bad_request"), (415, "bad_request"), (422, "bad_request"), (423, "server"), (424, "server"),
        (425, "server"), (420, "rate_limited"), (429, "rate_limited"), (444, "server"), (449, "server"),
        (451, "bad_request"), (460, "server"), (498, "server"), (499, "server"), (520, "server"), (524, "server"),
        (530, "server"),
        (500, "server"), (502, "server"), (503, "server"), (504, "server"), (529, "server"), (100, "protocol"),
        (999, "protocol"),
    ],
)  # fmt: skip
def test_kind_by_status(status, kind):
    for body in (b"", b"nothing to say", b'{"detail":"no"}', b"<html><body>no</body></html>", b'{"error":{}}', b"[]"):
        result = failure_of(status, {}, body)
        assert (result.kind, result.http_status) == (kind, status)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (422, "REQUEST_VALIDATION_ERROR", "Cannot connect to host a:1 ssl:default [Connect call failed]", "server"),
        (400, "PROVIDER_ERROR", "Provider's service is unavailable", "server"),
        (
            500,
            "GENERATION_ERROR",
            "Error. {'code': 'PROVIDER_ERROR', 'message': \"%s\"}" % (PROVIDER % (429, 429)),
            "rate_limited",
        ),
        (400, "PROVIDER_ERROR", PROVIDER % (429, 429), "rate_limited"),
        (400, "PROVIDER_ERROR", PROVIDER % (400, 400), "bad_request"),
        (500, "GENERATION_ERROR", PROVIDER % (400, 400), "bad_request"),
        (400, "PROVIDER_ERROR", PROVIDER % (401, 401), "auth"),
        (400, "PROVIDER_ERROR", PROVIDER % (503, 503), "server"),
        (400, "PROVIDER_ERROR", "Error code: 429 - slow down", "rate_limited"),
        (400, "PROVIDER_ERROR", "Rate limit reached for requests", "rate_limited"),
        (400, "PROVIDER_ERROR", "The model service is overloaded", "server"),
        (400, "PROVIDER_ERROR", "something else", "bad_request"),
        (500, "GENERATION_ERROR", "something else", "server"),
        (500, "GENERATION_ERROR", "", "server"),
        (500, "INTERNAL_SERVER_ERROR", "Unsupported message type: <class 'dict'>", "bad_request"),
        (500, "INTERNAL_SERVER_ERROR", "'parameters'", "server"),
        # the number is one of the request's own here
        (400, "context_length_exceeded", "This model's maximum is 429 tokens", "bad_request"),
        (404, "OBJECT_NOT_FOUND", "assistant X5lM not found", "not_found"),
        (422, "REQUEST_VALIDATION_ERROR", "Invalid model_id", "bad_request"),
    ],
)
def test_text_tells_the_kind_where_the_status_does_not(status, code, message, kind):
    assert failure(status, taskingai(code, message)).kind == kind


def test_refusal_by_the_provider_is_not_blamed_on_the_users_key():
    result = failure(400, taskingai("PROVIDER_ERROR", PROVIDER % (401, 401)))
    assert result.message.startswith("The model's provider behind the endpoint refused the key stored there (HTTP 400")
    assert result.message.endswith("Your own key was accepted: renew the provider's key in the service's settings.")


def test_wrong_key_told_as_404_is_auth_and_its_echoed_part_is_left_out():
    result = failure(404, taskingai("OBJECT_NOT_FOUND", "apikey -nope not found"))
    assert result.kind == "auth"
    assert result.message == (
        "The endpoint does not know this API key (HTTP 404, OBJECT_NOT_FOUND). "
        "The key is wrong or belongs to another service: copy it again."
    )


@pytest.mark.parametrize(
    "echo",
    ["sk-abcdefgh1234", "sk-ab***********yz", "tkAbCdEfGh0123456789AbCdEfGh0123", "ab****yz", "sk-proj-1_2-3.x"],
)
def test_key_repeated_by_a_refusal_is_left_out(echo):
    body = {
        "error": {
            "message": f"Incorrect API key provided: {echo}. Find yours at https://x.test/keys.",
            "code": "invalid_api_key",
        }
    }
    result = failure(401, body)
    assert echo not in result.message
    assert '"Incorrect API key provided: …' in result.message
    assert "https://x.test/keys" in result.message


# -- forms


@pytest.mark.parametrize(
    ("body", "quoted", "code"),
    [
        ({"error": {"message": "Bad.", "type": "t", "param": None, "code": "c"}}, '"Bad"', "c"),
        ({"error": {"message": "Bad", "type": "t", "code": None}}, '"Bad"', "t"),
        ({"error": {"message": "Bad", "type": "authentication_error", "code": 401}}, '"Bad"', "401"),
        ({"error": "Bad", "error_type": "validation"}, '"Bad"', "validation"),
        ({"error": "Bad Request", "message": "Too long", "code": 7}, '"Too long"', "7"),
        ({"object": "error", "message": "Bad", "type": "BadRequestError", "code": 400}, '"Bad"', "400"),
        ({"message": "Bad"}, '"Bad"', None),
        ({"detail": "Bad"}, '"Bad"', None),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required", "input": {"a": 1}}, {"msg": "x"}, 5]},
            '"body.messages.0: Field required; x; 5"',
            None,
        ),
        ({"detail": {"reason": "Bad"}}, '"{"reason":"Bad"}"', None),
        ([{"error": {"code": 400, "message": "Bad", "status": "INVALID_ARGUMENT"}}], '"Bad"', "400"),
        (taskingai("C", "", debug="more"), '"more"', "C"),
        (taskingai("C", "{'type': 'value_error', 'loc': ('a',), 'msg': 'Error, no.', 'x': []}"), '"Error, no"', "C"),
        ({"anything": 1}, '"{"anything":1}"', None),
        ("Bad", '"Bad"', None),
        (b"plain words", '"plain words"', None),
        (b'data: {"error": {"message": "Bad", "code": "c"}}\n\n', '"Bad"', "c"),
        (b'\xef\xbb\xbf {"detail": "Bad"}', '"Bad"', None),
        (b'{"error": {"message": "cut', '"{"error": {"message": "cut"', None),
        (b"\xff\xfe", '"\ufffd\ufffd"', None),
    ],
)  # fmt: skip
def test_every_form_is_read(body, quoted, code):
    result = failure(400, body)
    assert f": {quoted}. " in result.message
    assert result.code == code


@pytest.mark.parametrize(
    "body", [b"", b"  \r\n", b"{}", b"[]", b"null", b'{"error": {"message": ""}}', b"<html></html>"]
)
def test_no_reason_given_is_said(body):
    assert failure_of(500, {}, body).message.startswith("The endpoint failed (HTTP 500) and gave no reason. Try again")


def test_no_control_characters_or_terminal_escapes_reach_a_message():
    nasty = "a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x00c\r\nd\x08e\u202ef\u2028g\x9b1mh\x7f\ud800i"
    assert '"aredb c d e f gh"' in failure(500, {"detail": nasty.removesuffix("\ud800i")}).message


def test_quote_is_bounded():
    result = failure(500, {"error": {"message": "x" * 100_000, "code": "y" * 1000}})
    assert len(result.message) < 600
    assert "xxx…" in result.message
    assert len(result.code) <= 80


def test_request_id_is_told():
    result = failure(500, {"detail": "no"}, x_request_id="req_1\x1b[0m")
    assert result.message.startswith('The endpoint failed (HTTP 500, request req_1): "no". ')


# -- what is worth knowing for a retry


@pytest.mark.parametrize(
    ("wait", "shown"),
    [("0", "0 s"), ("1.25", "1.2 s"), ("20", "20 s"), ("3600", "60 min"), ("30000", "8 hours"), ("200000", "2 days")],
)
def test_a_wait_that_is_asked_for_is_told(wait, shown):
    assert failure(503, b"busy", retry_after=wait).message == (
        f'The endpoint failed (HTTP 503): "busy". It asks to wait {shown}. '
        "Try again; if it keeps failing, check the endpoint's log."
    )


def test_used_up_quota_is_told_by_its_code():
    result = failure(
        429,
        {"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}},
    )
    assert (result.kind, result.code) == ("rate_limited", "insufficient_quota")
    assert result.message == (
        'The endpoint reports that the quota is used up (HTTP 429, insufficient_quota): "You exceeded your quota". '
        "Waiting does not help: check the account's plan and credit."
    )


@pytest.mark.parametrize(
    ("status", "body", "refuses"),
    [
        (400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}, True),
        (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, True),
        (400, {"error": {"message": "x " * 400 + "stream_options"}}, True),
        (400, {"error": {"message": "temperature is too high"}}, False),
        (500, {"error": {"message": "stream_options"}}, False),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "Bad", "input": {"stream_options": 1}}]}, False),
    ],
)
def test_refusal_of_stream_options_is_recognised(status, body, refuses):
    assert refuses_stream_options(failure(status, body)) == refuses


def test_wait_until_a_date_is_counted_by_the_senders_clock():
    hour_ago = time.time() - 3600
    dates = {"date": formatdate(hour_ago, usegmt=True), "retry_after": formatdate(hour_ago + 30, usegmt=True)}
    assert failure(503, b"", **dates).retry_after_s == 30.0


def test_rate_limit_headers_ask_for_nothing_on_other_failures():
    assert failure(500, b"", x_ratelimit_reset_requests="8s").retry_after_s is None
    assert failure(429, b"", x_ratelimit_reset_requests="8s").retry_after_s == 8.0
    assert failure(500, b"", retry_after="8").retry_after_s == 8.0
    assert failure(400, b"", retry_after="8").retry_after_s is None


# -- errors inside a good answer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": 429}, "rate_limited"),
        ({"message": "x", "code": "429"}, "rate_limited"),
        ({"message": "x", "status": 401}, "auth"),
        ({"message": "x", "status_code": 404}, "not_found"),
        ({"message": "x", "type": "rate_limit_error"}, "rate_limited"),
        ({"message": "x", "code": "insufficient_quota"}, "rate_limited"),
        ({"message": "x", "type": "BadRequestError"}, "bad_request"),
        ({"message": "x", "type": "invalid_request_error", "code": "context_length_exceeded"}, "bad_request"),
        ({"message": "x", "type": "invalid_request_error", "code": "invalid_api_key"}, "auth"),
        ({"message": "x", "type": "server_error"}, "server"),
        ({"message": "x", "type": "overloaded_error"}, "server"),
        ({"message": "x", "code": 1301}, "server"),
        ({"message": "Too many requests, slow down"}, "rate_limited"),
        ({"message": "who knows"}, "server"),
        ("The server had an error", "server"),
        (True, "server"),
        (["x"], "server"),
    ],
)
def test_kind_of_an_error_under_200(error, kind):
    result = failure_of_error(error, 200, {})
    assert (result.kind, result.http_status) == (kind, 200)


# -- anything at all

NAMES = st.sampled_from(["error", "message", "detail", "code", "type", "loc", "msg", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=12,
)


@unhurried
@given(
    st.integers(100, 600), JSON.map(lambda value: json.dumps(value).encode()) | st.binary() | st.text().map(str.encode)
)
def test_any_body_gives_a_printable_failure(status, body):
    result = failure_of(status, {}, body)
    assert result.kind in ERROR_KINDS
    assert result.message.isprintable()
    assert result.code is None or result.code.isprintable()


@unhurried
@given(JSON)
def test_any_error_object_gives_a_printable_failure(error):
    result = failure_of_error(error, 200, {})
    assert result.kind in ERROR_KINDS
    assert result.message.isprintable()


@pytest.mark.parametrize(
    "nested", ["[" * 100_000, '{"error":' * 800 + "1" + "}" * 800, '{"error":{"loc":' + "[" * 900 + "]" * 900 + "}}"]
)
def test_deep_nesting_gives_a_failure(nested):
    assert failure_of(500, {}, nested.encode()).kind == "server"
