import re

import pytest

from evalkit.errors import SettingsError
from evalkit.inputs.addresses import (
    hidden_secrets,
    normalise_base_url,
    path_note,
    route_of,
    service_base_url,
    without_version,
)

BASIC = (
    ": leave them out, and give them as a header: export BASIC_AUTH=\"Basic $(printf %s 'USER:PASSWORD' | base64)\", "
    "then --header-env Authorization=BASIC_AUTH"
)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/chat/completions", "http://127.0.0.1:8080/v1"),
        ("  https://api.openai.com/v1 ", "https://api.openai.com/v1"),
        ("https://host/proxy/openai", "https://host/proxy/openai"),
        ("https://host/proxy/openai/chat/completions/", "https://host/proxy/openai"),
        ("https://host/chat/completions", "https://host/chat/completions"),
        ("https://host/chat/completions/chat/completions/", "https://host/chat/completions"),
        ("https://host?api-version=2", "https://host/v1?api-version=2"),
        ("https://host/chat/completions?a=1&b=%20", "https://host/chat/completions?a=1&b=%20"),
        (
            "https://host/openai/deployments/g/chat/completions?api-version=2024-10-21",
            "https://host/openai/deployments/g?api-version=2024-10-21",
        ),
        (
            "https://host/x?max_tokens=12345678&sort-key=12345678",
            "https://host/x?max_tokens=12345678&sort-key=12345678",
        ),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("https://host/api/v3", "https://host/api/v3"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("[::1]:80", "http://[::1]:80/v1"),
        ("api.example.com", "https://api.example.com/v1"),
        ("https://host/v1/chat/completions/chat/completions", "https://host/v1"),
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
        ("[host", "'[host' cannot be read: Invalid IPv6 URL"),
        ("http://host:port", "'http://host:port' cannot be read: Port could not be cast to integer value as 'port'"),
        ("https://me:secret@host", f"contains a user name or password{BASIC}"),
        ("https://me:pass/word@host", f"contains a user name or password{BASIC}"),
        ("me:secret@host", f"contains a user name or password{BASIC}"),
        ("https://host/v1#top", "'https://host/v1#top' has a fragment: leave out what follows #"),
    ],
)
def test_a_base_url_that_cannot_be_used_is_named(given, problem):
    with pytest.raises(SettingsError) as caught:
        normalise_base_url(given)
    assert str(caught.value) == f"the base URL {problem}"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("api-version=1&key=abcdefgh1", "key"),
        ("api_key=abcdefgh1", "api_key"),
        ("subscription-key=abcdefgh1", "subscription-key"),
        ("access_token=abcdefgh1", "access_token"),
        ("sv=2024&sig=abc%2Fdefgh1", "sig"),
        ("X-Amz-Signature=abcdefgh1", "X-Amz-Signature"),
        ("code=abcdefgh1", "code"),
        ("api%5Fkey=abcdefgh1", "api_key"),
        ("tenant=sk-abcdefghijklmnopqr1", "tenant"),
    ],
)
def test_a_secret_in_the_query_is_refused_and_not_shown(query, name):
    for base_url in (f"https://host/v1?{query}", f"https://host/v1/chat/completions?{query}"):
        with pytest.raises(SettingsError, match=rf"a secret in its query \({re.escape(name)}=…\)") as caught:
            normalise_base_url(base_url)
        assert "abcdefgh" not in str(caught.value)
        assert "abcdefgh" not in hidden_secrets(base_url)
    with pytest.raises(SettingsError) as caught:
        normalise_base_url(f"ftp://host/v1?{query}")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://host", "https://host/v1/chat/completions"),
        ("https://host/chat/completions", "https://host/chat/completions"),
        ("https://host/inference", "https://host/inference/chat/completions"),
        ("https://host/v1beta/openai?a=1", "https://host/v1beta/openai/chat/completions?a=1"),
    ],
)
def test_the_address_of_the_route(base_url, url):
    assert route_of(normalise_base_url(base_url)) == url


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("https://host", "https://host/v1"),
        ("https://host/tasking", "https://host/tasking/v1"),
        ("https://host/tasking/v1", "https://host/tasking/v1"),
        ("https://host/tasking/chat/completions", "https://host/tasking"),
        ("https://host/chat/completions", "https://host/chat/completions"),
    ],
)
def test_a_service_has_its_version_below_any_path(host, base_url):
    assert service_base_url(host) == base_url


def test_a_path_of_its_own_is_announced():
    assert path_note("https://host/api") == (
        "requests go to https://host/api/chat/completions; "
        "for https://host/api/v1/chat/completions give https://host/api/v1 as base URL"
    )
    for plain in ("https://host", "https://host/api/v3", "https://host/api/chat/completions", "https://host?a=1"):
        assert path_note(plain) is None


@pytest.mark.parametrize(
    ("base_url", "short"),
    [
        ("https://host/v1", "https://host"),
        ("https://host/proxy/v1", "https://host/proxy"),
        ("https://host/api/v3", "https://host/api/v3"),
        ("https://host/v1/acct/compat/v1", "https://host/v1/acct/compat/v1"),
        ("https://host/v2/v1", "https://host/v2/v1"),
        ("https://host/chat/completions/v1", "https://host/chat/completions/v1"),
        ("https://host//v1", "https://host//v1"),
    ],
)
def test_without_version_it_is_still_the_same_address(base_url, short):
    assert normalise_base_url(base_url) == base_url
    assert without_version(base_url) == short
    assert service_base_url(short) == base_url
