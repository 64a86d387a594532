import pytest

from evalkit.errors import SettingsError
from evalkit.inputs.request_headers import check_headers, parse_headers, suggested_variable

SECRET = "k-Zr8qWx2LmN5pTv7"


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("X-Team=search", {"X-Team": "search"}),
        ("x-portkey-config=a=b; c", {"x-portkey-config": "a=b; c"}),
        ("X-Team: search", {"X-Team": "search"}),
        ("anthropic-version=2023-06-01", {"anthropic-version": "2023-06-01"}),
        ("X-Opencode-Session=0190a5f2-7e31", {"X-Opencode-Session": "0190a5f2-7e31"}),
        ("Idempotency-Key=0190a5f2-7e31", {"Idempotency-Key": "0190a5f2-7e31"}),
    ],
)
def test_plain_headers(text, header):
    assert parse_headers("--header", [text]) == header


def test_a_short_value_of_a_secret_is_taken_for_a_placeholder_with_a_warning():
    with pytest.warns(UserWarning, match="the header api-key is short.*--header-env api-key=API_KEY"):
        assert parse_headers("--header", ["api-key=EMPTY"]) == {"api-key": "EMPTY"}


@pytest.mark.parametrize(
    "name",
    [
        *("api-key", "Authorization", "X-API-Key", "x-goog-api-key", "Ocp-Apim-Subscription-Key", "Helicone-Auth"),
        *("cf-aig-authorization", "Cookie", "X-Auth-Token", "CF-Access-Client-Secret", "x-portkey-api-key", "apikey"),
    ],
)
def test_a_secret_is_refused_with_the_line_to_use_and_never_shown(name):
    for separator in ("=", ": "):
        with pytest.raises(SettingsError) as caught:
            parse_headers("--header", [f"{name}{separator}{SECRET}"])
        variable = suggested_variable(name)
        assert f"export {variable}=…, then --header-env {name}={variable}" in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [f"Bearer {SECRET}", "sk-abcdefghijklmnop1", "Basic dTpw", "eyJhbGciOi.eyJzdWI.c2ln"])
def test_a_value_that_looks_like_a_key_is_refused_whatever_its_name(value):
    with pytest.raises(SettingsError, match="--header-env X-Upstream=X_UPSTREAM"):
        check_headers({"X-Upstream": value}, {})


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Expect"]
)
@pytest.mark.parametrize("flag", ["--header", "--header-env"])
def test_headers_of_evalkit_and_of_a_connection_cannot_be_set(name, flag):
    with pytest.raises(SettingsError, match=f"the header {name} cannot be set"):
        parse_headers(flag, [f"{name}=chunked"])


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "schön", "", " a", "a ", "a\x7fb"])
def test_values_that_http_does_not_allow(value):
    with pytest.raises(SettingsError, match="HTTP headers do not allow that"):
        check_headers({"X-Team": value}, {})


@pytest.mark.parametrize("name", ["X Team", "X-Team:", "Ünit", "", "a\r\nb", "(a)"])
def test_names_that_http_does_not_allow(name):
    with pytest.raises(SettingsError, match="a character that HTTP does not allow"):
        check_headers({name: "a"}, {})


def test_a_header_is_given_once():
    with pytest.raises(SettingsError, match="x-team is given twice"):
        check_headers({"X-Team": "a"}, {"x-team": "TEAM"})
    with pytest.raises(SettingsError, match="X-Team is given twice"):
        parse_headers("--header", ["X-Team=a", "X-Team=b"])


@pytest.mark.parametrize("variable", [SECRET, "Bearer abc", "", "1A", "sk_abcdefghijklmnop1"])
def test_a_secret_in_place_of_a_variable_is_not_shown(variable):
    with pytest.raises(SettingsError, match="needs the NAME of the environment variable") as caught:
        parse_headers("--header-env", [f"api-key={variable}"])
    assert not variable or variable not in str(caught.value).replace("1A", "")


@pytest.mark.parametrize("flag", ["--header", "--header-env"])
def test_a_text_of_another_form_is_not_shown(flag):
    with pytest.raises(SettingsError, match="a header is not written as NAME=") as caught:
        parse_headers(flag, [SECRET])
    assert SECRET not in str(caught.value)
