import math
import os
import pickle

import pytest

from evalkit.endpoint import Endpoint, environment_names_endpoint, normalise_base_url
from evalkit.errors import SettingsError

VARIABLES = (
    "SERVICE_HOST", "TASKINGAI_API_KEY", "ASSISTANT_ID", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL",
)  # fmt: skip
KEY = "tkTESTKEYaaaabbbbccccdddd"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/chat/completions", "http://127.0.0.1:8080/v1"),
        ("  https://api.openai.com/v1 ", "https://api.openai.com/v1"),
        ("https://host/proxy/openai", "https://host/proxy/openai/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("https://host/api/v3", "https://host/api/v3"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("[::1]:80", "http://[::1]:80/v1"),
        ("api.example.com", "https://api.example.com/v1"),
    ],
)
def test_base_url_with_or_without_version_slash_or_route(given, kept):
    assert normalise_base_url(given) == kept
    assert normalise_base_url(kept) == kept


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("ftp://host/v1", "'ftp://host/v1' is not an http:// or https:// address"),
        ("http://", "'http://' is not an http:// or https:// address"),
        ("http://host:port", "'http://host:port' cannot be read: Port could not be cast to integer value as 'port'"),
        ("https://me:secret@host", "contains a user name or password: put the key into an environment variable"),
        ("https://host/v1?a=1", "'https://host/v1?a=1' has a query or a fragment: leave out what follows ? or #"),
    ],
)
def test_a_base_url_that_cannot_be_used_is_named(given, problem):
    with pytest.raises(SettingsError) as caught:
        normalise_base_url(given)
    assert str(caught.value) == f"the base URL {problem}"


def test_the_guides_three_variables(monkeypatch):
    monkeypatch.setenv("SERVICE_HOST", "https://tasking.example")
    monkeypatch.setenv("TASKINGAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANT_ID", "X5lM00000000000000000000")
    endpoint = Endpoint.from_env()
    assert (endpoint.base_url, endpoint.model) == ("https://tasking.example/v1", "X5lM00000000000000000000")
    assert endpoint.key() == KEY
    assert endpoint.source == "SERVICE_HOST"


def test_a_part_of_the_three_is_named_as_missing(monkeypatch):
    monkeypatch.setenv("SERVICE_HOST", "https://tasking.example")
    with pytest.raises(SettingsError) as caught:
        Endpoint.from_env()
    assert str(caught.value) == (
        "SERVICE_HOST is set, but not ASSISTANT_ID and TASKINGAI_API_KEY: set all three or none"
    )


def test_openai_variables_and_flags_over_them(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "small")
    assert Endpoint.from_env().model == "small"
    endpoint = Endpoint.from_env(base_url="127.0.0.1:2", model="large")
    assert (endpoint.base_url, endpoint.model, endpoint.source) == ("http://127.0.0.1:2/v1", "large", "--base-url")


def test_flags_win_over_the_guides_variables_one_by_one(monkeypatch):
    monkeypatch.setenv("SERVICE_HOST", "https://tasking.example")
    monkeypatch.setenv("TASKINGAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANT_ID", "X5lM00000000000000000000")
    assert Endpoint.from_env(model="Tp000000").model == "Tp000000"
    assert Endpoint.from_env(base_url="https://tasking.example/v1/").key() == KEY


def test_the_guides_key_is_not_sent_to_another_host(monkeypatch):
    monkeypatch.setenv("SERVICE_HOST", "https://tasking.example")
    monkeypatch.setenv("TASKINGAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANT_ID", "X5lM00000000000000000000")
    assert Endpoint.from_env(base_url="http://127.0.0.1:8080", model="m").key() is None


def test_an_assistant_without_its_host_is_not_taken_for_no_endpoint(monkeypatch):
    monkeypatch.setenv("ASSISTANT_ID", "X5lM00000000000000000000")
    assert environment_names_endpoint()
    with pytest.raises(SettingsError) as caught:
        Endpoint.from_env()
    assert str(caught.value) == (
        "ASSISTANT_ID is set, but not SERVICE_HOST and TASKINGAI_API_KEY: set all three or none"
    )


def test_an_api_key_alone_names_no_endpoint(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert not environment_names_endpoint()
    with pytest.raises(SettingsError, match="no endpoint is set"):
        Endpoint.from_env()


def test_a_model_alone_means_openai(monkeypatch):
    monkeypatch.setenv("OPENAI_MODEL", "gpt-x")
    assert Endpoint.from_env().base_url == "https://api.openai.com/v1"


def test_a_named_key_variable_must_be_set():
    with pytest.raises(SettingsError, match="MY_KEY is named as the variable of the API key, but it is not set"):
        Endpoint.from_env(base_url="127.0.0.1:2", model="m", key_env="MY_KEY")


def test_the_key_is_in_no_repr_pickle_or_json(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint = Endpoint("http://127.0.0.1:1", "m", "MY_KEY")
    assert endpoint.key() == KEY
    assert KEY not in repr(endpoint)
    assert KEY.encode() not in pickle.dumps(endpoint)
    assert KEY not in str(endpoint.to_json())
    assert Endpoint.from_json(endpoint.to_json()) == endpoint


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_no_header_can_carry_is_refused_without_showing_it(monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(SettingsError) as caught:
        Endpoint("http://127.0.0.1:1", "m", "MY_KEY").key()
    assert str(caught.value) == (
        "the key in MY_KEY contains a blank, a line break or a non-ASCII character: copy it again"
    )


@pytest.mark.parametrize(
    ("id", "problem"),
    [
        ("X5lM ", "ends with a blank"),
        (" X5lM", "begins with a blank"),
        ("X5 lM", "contains a blank"),
        ("X5lM\n", "ends with a line break"),
        ("X5lM\r\n", "ends with a line break"),
        ("X5\tlM", "contains a tab"),
        ("X5lM\u3000", "ends with the character '\\u3000'"),
        ("X5\u200blM", "contains the character '\\u200b'"),
        ("   ", "begins with a blank"),
    ],
)
def test_blanks_in_an_id_or_an_address_are_refused_and_the_variable_is_named(monkeypatch, id, problem):
    monkeypatch.setenv("SERVICE_HOST", "https://tasking.example")
    monkeypatch.setenv("TASKINGAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANT_ID", id)
    monkeypatch.setenv("OPENAI_MODEL", id)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://host")
    makers = {
        "ASSISTANT_ID": Endpoint.from_env,
        "OPENAI_MODEL": lambda: Endpoint.from_env(base_url="http://127.0.0.1:1"),
        "--model": lambda: Endpoint.from_env(model=id),
        "the model's name": lambda: Endpoint("http://127.0.0.1:1", id),
    }
    for what, make in makers.items():
        if problem.startswith("contains") and (what == "the model's name" or (what != "ASSISTANT_ID" and " " in id)):
            assert make().model == id  # a name in code is taken as it is, and files that are served may have blanks
            continue
        with pytest.raises(SettingsError) as caught:
            make()
        assert str(caught.value) == f"{what} {problem}: copy it again without it"


@pytest.mark.parametrize("host", ["https://tasking.example ", "https://tasking.example\n", "https://task ing.example"])
def test_blanks_in_a_host_are_refused(monkeypatch, host):
    monkeypatch.setenv("SERVICE_HOST", host)
    monkeypatch.setenv("TASKINGAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANT_ID", "X5lM")
    with pytest.raises(SettingsError, match=r"^SERVICE_HOST (ends with|contains) a (blank|line break): copy it again"):
        Endpoint.from_env()
    with pytest.raises(
        SettingsError, match=r"^(--base-url|the base URL) (ends with|contains) a (blank|line break): copy it again"
    ):
        Endpoint.from_env(base_url=host, model="m")


@pytest.mark.parametrize("limit", ["timeout_s", "ttft_timeout_s", "connect_timeout_s"])
def test_limits_must_be_positive(limit):
    with pytest.raises(SettingsError, match=f"{limit} is 0: it must be a number of seconds above 0"):
        Endpoint("http://127.0.0.1:1", "m", **{limit: 0})


@pytest.mark.parametrize("limit", ["timeout_s", "ttft_timeout_s", "connect_timeout_s"])
@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf, 1e10, "5", True])
def test_limits_that_no_clock_holds_are_refused(limit, value):
    with pytest.raises(SettingsError, match=f"^{limit} is "):
        Endpoint("http://127.0.0.1:1", "m", **{limit: value})
    assert Endpoint("http://127.0.0.1:1", "m", **{limit: 86_400}).to_json()[limit] == 86_400


@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
@pytest.mark.parametrize(
    ("params", "place"),
    [
        (lambda value: {"temperature": value}, "temperature"),
        (lambda value: {"logit_bias": {"50256": value}}, "logit_bias.50256"),
        (lambda value: {"seed": 7, "stop": ["a", [value]]}, "stop.1.0"),
    ],
)
def test_parameters_that_json_has_no_word_for_are_refused_by_name(params, place, value):
    with pytest.raises(SettingsError, match=f"^the parameter {place} is {value}: JSON has no such number"):
        Endpoint("http://127.0.0.1:1", "m", params=params(value))
    with pytest.raises(SettingsError, match=place):
        Endpoint("http://127.0.0.1:1", "m").with_params(**params(value))


def test_official_clients_are_set_up_for_the_endpoint_and_never_retry(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint = Endpoint("http://127.0.0.1:1", "m", "MY_KEY", timeout_s=7)
    client = endpoint.openai()
    assert (str(client.base_url), client.api_key, client.max_retries, client.timeout) == (
        "http://127.0.0.1:1/v1/", KEY, 0, 7,
    )  # fmt: skip
    client.close()
    assert endpoint.async_openai().max_retries == 0
    assert KEY not in os.environ.get("OPENAI_API_KEY", "")
