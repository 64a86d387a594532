"""Which proxy the environment names."""

import traceback

import pytest

from evalkit.client.proxy import Proxy, proxy_for
from evalkit.errors import SettingsError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment without proxies; sets variables."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def where(scheme="https", host="model.example", port=443):
    proxy = proxy_for(scheme, host, port)
    return None if proxy is None else (proxy.scheme, proxy.host, proxy.port, proxy.source)


def test_no_variable_no_proxy():
    assert where() is None


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, ("http", "proxy.example", 3128, "HTTPS_PROXY")),
        ({"https_proxy": "http://proxy.example:3128"}, ("http", "proxy.example", 3128, "https_proxy")),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None),
        ({"ALL_PROXY": "http://proxy.example:3128"}, ("http", "proxy.example", 3128, "ALL_PROXY")),
        (
            {"ALL_PROXY": "http://all.example", "https_proxy": "http://https.example"},
            ("http", "https.example", 80, "https_proxy"),
        ),
        (
            {"HTTPS_PROXY": "http://upper.example", "https_proxy": "http://lower.example"},
            ("http", "lower.example", 80, "https_proxy"),
        ),
        ({"HTTPS_PROXY": "proxy.example:3128"}, ("http", "proxy.example", 3128, "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "https://proxy.example"}, ("https", "proxy.example", 443, "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, ("http", "fd00::1", 3128, "HTTPS_PROXY")),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_which_variable_counts(environment, variables, found):
    environment(**variables)
    assert where() == found


@pytest.mark.parametrize(
    ("exceptions", "host", "direct"),
    [
        ("model.example", "model.example", True),
        (".example", "model.example", True),
        ("example", "model.example", True),
        ("other.test, model.example", "MODEL.example", True),
        ("model.example:443", "model.example", True),
        ("model.example:8443", "model.example", False),
        ("*", "model.example", True),
        ("odel.example", "model.example", False),
        ("fd00::1", "fd00::1", True),
        # ranges
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.9.9.9/8", "10.1.2.3", True),
        ("192.168.0.0/255.255.0.0", "192.168.7.1", True),
        ("0.0.0.0/0", "8.8.8.8", True),
        ("0.0.0.0/0", "model.example", False),
        ("10.0.0.0/33", "10.1.2.3", False),
        ("fd00::/8", "fd12:3456::1", True),
        ("FD00::/8", "fe80::1", False),
        ("[fd00::]/8", "fd12:3456::1", True),
        ("[fd00::/8]", "fd12:3456::1", True),
        ("10.0.0.0/8:443", "10.1.2.3", True),
        ("10.0.0.0/8:80", "10.1.2.3", False),
        # addresses, in every form of theirs
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("[fd00::1]:80", "fd00::1", False),
        ("fd00:0:0::1", "FD00::0001", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.1.2.3", "10.1.2.3", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("10.0.0.1", "10.1", True),
        ("10.0.0.0/8", "0x0a000001", True),
        ("10.1.2", "10.1.2.3", False),
        # names
        ("*.example", "model.example", True),
        ("*.example", "a.model.example", True),
        ("*.example", "example", False),
        ("*.example:443", "model.example", True),
        ("*.example:80", "model.example", False),
        (".example", "example", True),
        ("EXAMPLE.", "model.example.", True),
        ("model.example.", "model.example", True),
        ("model.example", "model.example.", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "Bücher.example", True),
        # lists
        ("other.test model.example", "model.example", True),
        (" other.test\t,, model.example , ", "model.example", True),
        ("other.test,*", "model.example", True),
        ("", "model.example", False),
        (",. ,", "model.example", False),
        ("*xample", "model.example", False),
        (":443", "model.example", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_goes_without(environment, name, exceptions, host, direct):
    environment(HTTPS_PROXY="http://proxy.example:3128", **{name: exceptions})
    assert (where(host=host) is None) is direct


def test_of_two_variables_both_count(environment):
    environment(HTTPS_PROXY="http://proxy.example:3128", NO_PROXY="a.example", no_proxy="b.example")
    assert [where(host=host) is None for host in ("a.example", "b.example", "c.example")] == [True, True, False]


def test_the_system_s_own_exceptions_count_still(environment, monkeypatch):
    environment(HTTPS_PROXY="http://proxy.example:3128")
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host == "model.example:443")
    assert where() is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost.",
        "[::1]",
        "::ffff:127.0.0.1",
        "127.1",
        "127.8.9.10",
        "localhost",
        "model.localhost",
        "::1",
        "0.0.0.0",
    ],
)
def test_this_machine_goes_without(environment, host):
    environment(HTTP_PROXY="http://proxy.example:3128", ALL_PROXY="http://proxy.example:3128")
    assert proxy_for("http", host, 8000) is None


def test_user_and_password_are_used_and_never_shown(environment):
    environment(HTTPS_PROXY="http://anna:pass%20word@proxy.example:3128")
    proxy = proxy_for("https", "model.example", 443)
    assert proxy == Proxy("http", "proxy.example", 3128, "HTTPS_PROXY", "Basic YW5uYTpwYXNzIHdvcmQ=")
    assert "pass" not in repr(proxy) + str(proxy)
    assert "YW5" not in repr(proxy) + str(proxy)
    assert str(proxy) == "the proxy proxy.example:3128 (from HTTPS_PROXY)"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "socks5://anna:secret@proxy.example:1080",
            "the proxy in ALL_PROXY is a socks5:// address: evalkit supports http:// and https:// proxies. "
            "Set one of these, or set NO_PROXY=model.example to connect without a proxy",
        ),
        (
            "http://anna:secret@proxy.example:port",
            "the proxy in ALL_PROXY cannot be read: write it as http://host:port",
        ),
        ("http://", "the proxy in ALL_PROXY cannot be read: write it as http://host:port"),
    ],
)
def test_proxies_that_cannot_be_used(environment, url, message):
    environment(ALL_PROXY=url)
    with pytest.raises(SettingsError) as caught:
        where()
    assert str(caught.value) == message
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(caught.tb)]
    assert "secret" not in repr(frames[1:])  # the first is the test's own
