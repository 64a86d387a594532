"""What gateways, reverse proxies and servers of another protocol answer, over real sockets."""

import json

import pytest
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import answer, ask, writes


def refused(run, status, body, *, stream=False, **headers):
    """The failure of an error answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html" if raw.startswith(b"<") else "application/json"
    (attempt,), _ = ask(run, writes(answer(status, raw, kind, **headers)), stream=stream)
    return attempt.failure


def error(message, **more):
    return {"error": {"message": message, **more}}


# -- headers that a gateway wants


@pytest.mark.parametrize(
    ("status", "body", "headers", "how"),
    [
        (
            "400 Bad Request",
            {"status": "failure", "message": "Either x-portkey-config or x-portkey-provider header is required"},
            {},
            "--header x-portkey-provider=VALUE",
        ),
        ("401 Unauthorized", error("x-api-key header is required"), {}, "--header-env x-api-key=X_API_KEY"),
        ("400 Bad Request", error("anthropic-version: header is required"), {}, "--header anthropic-version=VALUE"),
        ("400 Bad Request", error("Request is missing x-opencode-session and cannot be routed"), {},
         "--header x-opencode-session=VALUE"),
        ("400 Bad Request", {"error": "Missing required header: X-Tenant-ID"}, {}, "--header X-Tenant-ID=VALUE"),
        ("403 Forbidden", {"message": "You must provide the `X-Org-Id` header."}, {}, "--header X-Org-Id=VALUE"),
        ("422 Unprocessable Entity",
         {"detail": [{"type": "missing", "loc": ["header", "x-token"], "msg": "Field required", "input": None}]}, {},
         "--header-env x-token=X_TOKEN"),
        ("401 Unauthorized",
         {"statusCode": 401, "message": "Access denied due to missing subscription key. Make sure to include "
          "subscription key when making requests to an API."},
         {"WWW_Authenticate": 'AzureApiManagementKey realm="h",name="Ocp-Apim-Subscription-Key",type="header"'},
         "--header-env Ocp-Apim-Subscription-Key=OCP_APIM_SUBSCRIPTION_KEY"),
        ("401 Unauthorized", error("Access denied due to missing subscription key.", code="401"), {},
         "--header-env api-key=API_KEY"),
        ("401 Unauthorized", {"message": "No API key found in request"}, {"WWW_Authenticate": 'Key realm="kong"'},
         "--header-env apikey=APIKEY"),
        ("401 Unauthorized", {"success": False, "result": [], "error": [{"code": 2009, "message": "Unauthorized"}]},
         {"CF_Ray": "8c"}, "--header-env cf-aig-authorization=CF_AIG_AUTHORIZATION"),
        ("403 Forbidden", {"message": "Forbidden"}, {"x_amzn_ErrorType": "ForbiddenException"},
         "--header-env x-api-key=X_API_KEY"),
    ],
)  # fmt: skip
def test_a_header_that_a_gateway_wants_is_named_with_how_to_give_it(run, status, body, headers, how):
    failure = refused(run, status, body, **headers)
    assert failure.message.endswith(f"{how}."), failure.message
    assert "wants the header" in failure.message
    assert failure.kind == ("auth" if "env" in how or status[0:3] in ("401", "403") else "bad_request")


@pytest.mark.parametrize(
    "message",
    [
        "The messages must include a user message.",
        "This model's maximum context length is 8192 tokens.",
        "Missing required parameter: 'messages[0].role'.",
        "Content-Type header must be application/json",
        "gpt-4o-mini is required for this feature",
    ],
)
def test_other_refusals_name_no_header(run, message):
    assert "wants the header" not in refused(run, "400 Bad Request", error(message)).message


def test_a_proxy_that_asks_for_user_and_password(run):
    page = b"<html><head><title>401 Authorization Required</title></head></html>"
    failure = refused(run, "401 Unauthorized", page, WWW_Authenticate='Basic realm="models"')
    assert failure.kind == "auth"
    assert "asks for user and password (Basic)" in failure.message
    assert failure.message.endswith("then --header-env Authorization=BASIC_AUTH.")


# -- keys


@pytest.mark.parametrize(
    ("status", "body", "did"),
    [
        ("400 Bad Request", error("No connected db.", type="no_db_connection", param=None, code="400"),
         "does not know this API key"),
        ("401 Unauthorized", error("Authentication Error, No connected db.", type="auth_error", code=401),
         "does not know this API key"),
        ("400 Bad Request", error("Only the master key works", type="no_db_connection", code="400"),
         "does not know this API key"),
        ("500 Internal Server Error",
         error("Authentication Error, No api key passed in.", type="auth_error", code=500), "got no API key"),
        ("500 Internal Server Error", {"detail": "Missing API key"}, "got no API key"),
        ("422 Unprocessable Entity", {"detail": "Missing Authorization header"}, "got no API key"),
        ("400 Bad Request", error("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"),
         "refused the API key"),
        ("500 Internal Server Error", error("Authentication Error, Invalid proxy server token passed"),
         "refused the API key"),
        ("500 Internal Server Error",
         error("The api_key client option must be set either by passing api_key to the client or by setting the "
               "OPENAI_API_KEY environment variable"), "has no key for the model's provider"),
    ],
)  # fmt: skip
def test_a_key_that_is_missing_or_wrong_under_another_status(run, status, body, did):
    failure = refused(run, status, body)
    assert failure.kind == "auth"
    assert did in failure.message
    assert failure.http_status == int(status[:3])


def test_a_server_that_fails_is_not_a_missing_key(run):
    assert refused(run, "500 Internal Server Error", error("Cannot load the tokenizer")).kind == "server"
    assert (
        refused(run, "429 Too Many Requests", error("rate limit for api key is missing a slot")).kind == "rate_limited"
    )


# -- a provider behind the endpoint


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        ("401 Unauthorized",
         error("litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided: "
               "sk-ab***yz"),
         "OpenAI"),
        ("401 Unauthorized",
         error("Provider returned error", code=401, metadata={"raw": "{}", "provider_name": "Novita"}), "Novita"),
        ("401 Unauthorized",
         {"error": {"message": "openai error: Incorrect API key provided"}, "provider": "openai"}, "openai"),
        ("403 Forbidden", {"error": {"message": "denied"}, "extra_fields": {"provider": "bedrock"}}, "bedrock"),
    ],
)  # fmt: skip
def test_a_provider_that_refuses_is_told_from_the_endpoint(run, status, body, name):
    failure = refused(run, status, body)
    assert failure.kind == "auth"
    assert failure.message.startswith(f"The model's provider behind the endpoint, {name}, refused the key")
    assert "The endpoint itself accepted the request" in failure.message
    assert "sk-ab" not in failure.message


def test_the_endpoint_s_own_refusal_names_no_provider(run):
    for message in ("User not found.", "Authentication Error, Invalid proxy server token passed."):
        failure = refused(run, "401 Unauthorized", error(message, code=401))
        assert (failure.kind, "provider" in failure.message) == ("auth", False)
    failure = refused(
        run, "429 Too Many Requests", error("litellm.RateLimitError: RateLimitError: AnthropicException - overloaded")
    )
    assert failure.message.startswith("The model's provider behind the endpoint, Anthropic, asks for fewer requests")


# -- another protocol


@pytest.mark.parametrize(
    "raw",
    [
        answer("400 Bad Request", b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"),
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        answer("400 Bad Request", b"<html><title>400 Bad Request</title><body>It could not be read.<br />"
               b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br /></body></html>", "text/html"),
    ],
)  # fmt: skip
def test_http_to_a_port_of_tls(run, raw):
    (attempt,), _ = ask(run, writes(raw, close=True))
    failure = attempt.failure
    assert (failure.kind, failure.code) == ("connection", "wrong_protocol")
    assert failure.message.startswith("The endpoint speaks TLS on this port (HTTP 400")
    assert failure.message.endswith("Use https:// in the base URL.")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),  # SETTINGS
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8),  # and GOAWAY
        b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8),  # GOAWAY alone
        answer("426 Upgrade Required", b"", Upgrade="h2c"),
        answer("505 HTTP Version Not Supported", b""),
        answer("403 Forbidden", b"Missing ALPN Protocol, expected `h2` to be available.", "text/plain"),
    ],
)
def test_a_server_of_http_2_alone(run, raw):
    (attempt,), _ = ask(run, writes(raw, close=True))
    assert (attempt.failure.kind, attempt.failure.code) == ("connection", "wrong_protocol")
    assert "evalkit uses HTTP/1.1" in attempt.failure.message


@pytest.mark.parametrize(
    ("status", "text", "did"),
    [
        ("400 Bad Request", b"<title>400 No required SSL certificate was sent</title>", "wants a client certificate"),
        ("403 Forbidden", b'{"message": "Client certificate required"}', "wants a client certificate"),
        ("496 SSL Certificate Required", b"", "wants a client certificate"),
        ("400 Bad Request", b"<title>400 The SSL certificate error</title>", "refused the client certificate"),
    ],
)
def test_a_client_certificate_that_is_asked_for_in_http(run, status, text, did):
    failure = refused(run, status, text)
    assert failure.kind == "auth"
    assert did in failure.message


# -- addresses


def test_a_404_names_the_address_that_was_asked_and_where_the_route_may_be(run):
    (attempt,), server = ask(run, writes(answer("404 Not Found", b'{"error": {"message": "no such route"}}')))
    assert attempt.failure.message.endswith(f" The address asked is {server.url}/v1/chat/completions.")


def test_a_redirect_to_a_login_page_of_cloudflare_access(run):
    location = "https://team.cloudflareaccess.com/cdn-cgi/access/login/h?kid=1"
    (attempt,), _ = ask(run, writes(answer("302 Found", Location=location)))
    assert attempt.failure.kind == "auth"
    assert "--header-env CF-Access-Client-Secret=CF_ACCESS_SECRET" in attempt.failure.message
