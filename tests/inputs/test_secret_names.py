import pytest

from evalkit.inputs.secret_names import is_secret, is_secret_name, is_secret_value


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "api_key",
        "apiKey",
        "X-API-KEY",
        "access_token",
        "sig",
        "X-Amz-Signature",
        "AWSAuth",
        "client-secret",
        "pwd",
    ],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "api-version",
        "max_tokens",
        "X-Author",
        "monkey",
        "keyword",
        "deployment",
        "X-Session-Id",
        "cache-key",
        "X-Design",
    ],
)
def test_other_names(name):
    assert not is_secret_name(name)


def test_values_that_look_like_keys():
    assert is_secret_value("sk-proj-abcdefghijklmnop1")
    assert is_secret_value("Bearer x")
    assert not is_secret_value("skateboardingchampion")
    assert not is_secret_value("2024-10-21")


def test_a_short_value_is_a_placeholder():
    assert not is_secret("api-key", "none")
    assert is_secret("api-key", "k-123456789")
