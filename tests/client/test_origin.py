"""Origins, request paths and where redirects lead."""

import pytest

from evalkit.client.origin import Origin, path_of, redirect_target


@pytest.mark.parametrize(
    ("url", "origin", "text", "authority"),
    [
        ("http://Model.Example/v1", Origin("http", "model.example", 80), "model.example:80", "model.example"),
        ("https://model.example/v1", Origin("https", "model.example", 443), "model.example:443", "model.example"),
        ("https://model.example:80", Origin("https", "model.example", 80), "model.example:80", "model.example:80"),
        ("http://[::1]:8000/v1", Origin("http", "::1", 8000), "[::1]:8000", "[::1]:8000"),
        ("http://bücher.example/", Origin("http", "xn--bcher-kva.example", 80), "xn--bcher-kva.example:80",
         "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_origin_of_an_address(url, origin, text, authority):
    assert (Origin.of(url), str(Origin.of(url)), Origin.of(url).authority) == (origin, text, authority)


@pytest.mark.parametrize("url", ["ftp://model.example", "model.example", "http:///v1", "http://a:port/", ""])
def test_addresses_without_an_origin(url):
    with pytest.raises(ValueError, match=r"port|http"):
        Origin.of(url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h", "/"),
        ("http://h/v1/chat", "/v1/chat"),
        ("http://h/a b/ü?q=a b&r=%20#part", "/a%20b/%C3%BC?q=a%20b&r=%20"),
        ("http://h/%2F/x", "/%2F/x"),
    ],
)
def test_path_of_an_address(url, path):
    assert path_of(url) == path


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2", "http://h:1/v2"),
        ("x", "http://h:1/v1/x"),
        ("//other.example/v1", "http://other.example/v1"),
        ("https://h:1/v1", "https://h:1/v1"),
        ("", None),
        ("ftp://h/", None),
        ("http://[broken/", None),
        ("javascript:x", None),
    ],
)
def test_where_a_redirect_leads(location, target):
    assert redirect_target("http://h:1/v1/chat", location) == target
