import math
import os
import pickle

import pytest

import evalkit
from evalkit.conversation import Conversation, Turn
from evalkit.endpoint import Endpoint, connect, environment_names_endpoint
from evalkit.errors import SettingsError
from evalkit.evaluation import converse

VARIABLES = (
    "SERVICE_HOST", "TASKINGAI_API_KEY", "ASSISTANT_ID", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL",
)  # fmt: skip
KEY = "tkTESTKEYaaaabbbbccccdddd"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


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


def test_it_says_what_answers_and_with_which_versions_but_not_the_key(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    lines = Endpoint("http://127.0.0.1:1", "m", "MY_KEY", source="SERVICE_HOST").about().splitlines()
    assert lines[:2] == ["model     m", "endpoint  http://127.0.0.1:1/v1, from: SERVICE_HOST"]
    assert lines[2].startswith(f"versions  evalkit {evalkit.__version__}, openai 3.")
    assert len(lines) == 3
    assert KEY not in "".join(lines)


def test_the_embedded_model_is_said_to_be_small():
    assert "very small" in Endpoint("http://127.0.0.1:1", "m", source="embedded").about()


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("https://h/v1/acct/compat/v1", "https://h/v1/acct/compat/v1"),
        ("https://h/v1/chat/completions/chat/completions", "https://h"),
    ],
)
def test_what_it_exports_names_it_again(monkeypatch, base_url, host):
    for name in ("SERVICE_HOST", "TASKINGAI_API_KEY", "ASSISTANT_ID"):
        monkeypatch.setenv(name, "")  # restored after the test
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint = Endpoint(base_url, "m", "MY_KEY")
    endpoint.export()
    assert os.environ["SERVICE_HOST"] == host
    again = Endpoint.from_env()
    assert (again.base_url, again.model, again.key()) == (endpoint.base_url, "m", KEY)


def test_connecting_again_after_an_export_is_still_the_embedded_endpoint(monkeypatch):
    embedded = Endpoint("http://127.0.0.1:1", "small", source="embedded")
    monkeypatch.setattr("evalkit.endpoint._embedded", embedded)
    monkeypatch.setenv("SERVICE_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("TASKINGAI_API_KEY", "no-key")
    monkeypatch.setenv("ASSISTANT_ID", "small")
    assert connect(params={"temperature": 0}) == embedded.with_params(temperature=0)
    monkeypatch.setenv("SERVICE_HOST", "http://127.0.0.1:2")
    assert connect().source == "SERVICE_HOST"


def test_a_scripted_endpoint_has_the_fault_that_was_asked_for():
    conversation = Conversation("a", (Turn("Hello"),))
    with Endpoint.scripted("eof_midway", ttft_ms=20, tokens=9, timeout_s=5) as endpoint:
        (record,) = converse(conversation, endpoint)
    assert (endpoint.source, endpoint.timeout_s) == ("scripted", 5)
    assert record.failure.kind == "truncated"
    assert record.answer.text
    assert record.times_ms["ttft"] >= 20


def test_a_scripted_endpoint_refuses_a_fault_that_it_does_not_know():
    with pytest.raises(SettingsError, match="no_such_fault"), Endpoint.scripted("no_such_fault"):
        pass


@pytest.mark.parametrize(
    "wrong",
    [{"ttft_ms": -5}, {"ttft_ms": "a"}, {"itl_ms": math.nan}, {"tokens": 0}, {"tokens": -1}, {"profile": "other"}],
)
def test_a_scripted_endpoint_refuses_values_that_no_server_can_have(wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=name), Endpoint.scripted(**wrong):
        pass


def test_a_scripted_endpoint_behaves_as_taskingai_does():
    with Endpoint.scripted("upstream_cut", profile="taskingai") as endpoint:
        (record,) = converse(Conversation("a", (Turn("Hello"),)), endpoint)
    assert record.failure is None
    assert "no_finish_reason" in record.attempts[-1].flags


# -- headers and certificates

REACHED_BY = {
    "headers": {"X-Team": "search"},
    "headers_env": {"X-Trace-Token": "TRACE"},
    "client_cert_env": "CERT",
    "client_key_env": "KEY",
    "ca_env": "CA",
}


def test_headers_and_certificates_are_stored_by_name_and_only_if_set(monkeypatch):
    for name in ("TRACE", "CERT", "KEY", "CA"):
        monkeypatch.setenv(name, f"/secret-place/of-{name}")
    endpoint = Endpoint("https://127.0.0.1:1", "m", **REACHED_BY)
    assert Endpoint.from_json(endpoint.to_json()) == endpoint
    assert {name: endpoint.to_json()[name] for name in REACHED_BY} == REACHED_BY
    assert "secret-place" not in repr(endpoint) + str(endpoint.to_json()) + endpoint.about()
    assert b"secret-place" not in pickle.dumps(endpoint)
    assert not REACHED_BY.keys() & Endpoint("https://127.0.0.1:1", "m").to_json().keys()


def test_a_header_that_holds_a_key_takes_the_place_of_the_environments_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_KEY", "k-of-azure")
    here = {"base_url": "http://127.0.0.1:1", "model": "m"}
    for name in ("api-key", "x-api-key", "Authorization", "cf-aig-authorization"):
        assert Endpoint.from_env(**here, headers_env={name: "AZURE_KEY"}).key() is None
    assert Endpoint.from_env(**here, headers_env={"X-Trace": "AZURE_KEY"}).key() == KEY
    both = Endpoint.from_env(**here, key_env="OPENAI_API_KEY", headers_env={"api-key": "AZURE_KEY"})
    assert both.key() == KEY
    assert both.secrets() == (KEY, "k-of-azure")
    with pytest.raises(SettingsError, match="exclude each other"):
        Endpoint.from_env(**here, key_env="OPENAI_API_KEY", headers_env={"Authorization": "AZURE_KEY"})


def test_a_service_below_a_path_is_reached_as_the_guide_writes_it(monkeypatch):
    monkeypatch.setenv("SERVICE_HOST", "https://corp.example/tasking")
    monkeypatch.setenv("TASKINGAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANT_ID", "X5lM00000000000000000000")
    assert Endpoint.from_env().url == "https://corp.example/tasking/v1/chat/completions"
