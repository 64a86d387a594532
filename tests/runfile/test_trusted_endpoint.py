"""What leaves this machine when a run is resumed whose file names address and key variable itself."""

import contextlib
import shlex
import sqlite3
from dataclasses import replace

import pytest
from resuming import SECRET, VARIABLE, answered, evalkit

import evalkit as ek
from evalkit.errors import RunFileError, SettingsError
from evalkit.report.html_report import report
from evalkit.runfile import trusted_endpoint


def test_a_key_never_goes_where_only_a_file_says(half, listener):
    path = half(base_url=listener.base_url)
    done = evalkit("resume", path)
    assert done.returncode == 2
    assert f"evalkit resume {path} --base-url {listener.base_url} --api-key-env {VARIABLE}" in done.stderr
    assert SECRET not in done.stderr
    with pytest.raises(RunFileError, match="nothing is sent to an address that only a file names"):
        ek.resume(path)
    assert listener.received == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--api-key-env", VARIABLE],  # the key, but not where to
        ["--base-url", "{listener}"],  # where to, but not the key
        ["--base-url", "{server}", "--api-key-env", VARIABLE],  # another address
        ["--base-url", "{listener}", "--api-key-env", "NOT_SET"],
    ],
)
def test_half_a_name_is_none(flags, half, listener, server):
    path = half(base_url=listener.base_url)
    given = [flag.format(listener=listener.base_url, server=server.base_url) for flag in flags]
    assert evalkit("resume", path, *given).returncode == 2
    assert listener.received == []


@pytest.mark.parametrize(
    "env",
    [
        {"OPENAI_BASE_URL": "{server}", "OPENAI_API_KEY": "other"},
        {"SERVICE_HOST": "{server}", "TASKINGAI_API_KEY": "other", "ASSISTANT_ID": "scripted"},
        {"OPENAI_API_KEY": "other"},
        {"OPENAI_BASE_URL": "no address at all", "OPENAI_API_KEY": "other"},
    ],
)
def test_an_environment_that_names_another_address_names_nothing(env, half, listener, server):
    path = half(base_url=listener.base_url)
    assert (
        evalkit("resume", path, **{name: text.format(server=server.base_url) for name, text in env.items()}).returncode
        == 2
    )
    assert listener.received == []


def test_an_address_that_is_named_gets_the_key_that_is_named_with_it(half, listener):
    path = half(base_url=listener.base_url)
    evalkit("resume", path, OPENAI_BASE_URL=listener.base_url, OPENAI_API_KEY="its-own")
    assert listener.received
    assert all(b"Bearer its-own" in request and SECRET.encode() not in request for request in listener.received)


def test_what_the_user_names_is_resumed(half, server):
    path = half()
    assert answered(path) == 4
    assert evalkit("resume", path, "--base-url", server.base_url, "--api-key-env", VARIABLE).returncode == 0
    assert answered(path) == 6


@pytest.mark.parametrize("host", ["OPENAI_BASE_URL", "SERVICE_HOST"])
def test_what_the_environment_names_is_resumed(host, half, server, monkeypatch):
    path = half(key_env="A_VARIABLE_OF_THEN")
    monkeypatch.setenv(host, server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("OPENAI_API_KEY" if host == "OPENAI_BASE_URL" else "TASKINGAI_API_KEY", SECRET)
    assert ek.resume(path).outcome == "done"
    assert answered(path) == 6


def test_what_python_names_is_resumed(half, server):
    path = half(key_env="ANOTHER")
    assert ek.resume(path, endpoint=ek.Endpoint(server.base_url, "scripted", VARIABLE)).outcome == "done"


def test_an_address_on_this_machine_without_a_key_needs_no_name_and_gets_no_key(half, listener):
    path = half(base_url=listener.base_url, key_env="NOT_SET")
    evalkit("resume", path, OPENAI_API_KEY=SECRET)
    assert listener.received
    assert not any(b"authorization" in request.lower() for request in listener.received)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://192.0.2.1/v1",
        "https://example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://localhost.example.com/v1",
        "http://this.localhost/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://0.0.0.0/v1",
        "http://2130706433/v1",
    ],
)
def test_an_address_elsewhere_is_named_also_without_a_key(base_url, tmp_path):
    with pytest.raises(RunFileError, match="--base-url"):
        trusted_endpoint.trusted(tmp_path / "r.evalkit", ek.Endpoint(base_url, "m"))


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ("http://a.example/v1", "https://a.example/v1"),
        ("http://a.example:8080/v1", "http://a.example/v1"),
        ("http://a.example/v1", "http://b.example/v1"),
        ("http://a.example/v1", "http://a.example.org/v1"),
    ],
)
def test_another_scheme_host_or_port_is_another_address(kept, named, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", named)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(RunFileError):
        trusted_endpoint.trusted(tmp_path / "r.evalkit", ek.Endpoint(kept, "m", "OPENAI_API_KEY"))


def test_the_port_of_the_scheme_and_capitals_make_no_other_address(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://A.example:443")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    trusted = trusted_endpoint.trusted(
        tmp_path / "r.evalkit", ek.Endpoint("https://a.example/v1", "m", "OPENAI_API_KEY")
    )
    assert trusted.key_env == "OPENAI_API_KEY"


def test_a_variable_that_is_named_must_be_set(tmp_path):
    with pytest.raises(SettingsError, match="NOT_SET"):
        trusted_endpoint.trusted(tmp_path / "r.evalkit", ek.Endpoint("http://a.example", "m"), key_env="NOT_SET")


def test_a_file_that_claims_to_be_embedded_sends_nothing_elsewhere(half, listener, server, monkeypatch):
    path = half(base_url=listener.base_url, source="embedded")

    @contextlib.contextmanager
    def started(**settings):
        yield ek.Endpoint(server.base_url, "scripted", VARIABLE, source="embedded", **settings)

    monkeypatch.setattr("evalkit.endpoint.local_endpoint", started)
    with trusted_endpoint.opened(path) as endpoint:
        ek.resume(path, endpoint=endpoint)
    assert answered(path) == 6
    with (
        pytest.raises(RunFileError, match="leave out --base-url"),
        trusted_endpoint.opened(path, base_url=listener.base_url),
    ):
        pass
    assert listener.received == []


def test_an_endpoint_that_cannot_be_is_said_to_be_of_the_file(half):
    path = half(base_url="ftp://example.com")
    with pytest.raises(RunFileError, match=r"half\.evalkit names an endpoint that cannot be used: the base URL"):
        ek.resume(path)
    path.unlink()
    path = half(headers={"X-Key": "$CLOUD_SECRET_KEY"})
    with pytest.raises(RunFileError, match=r"half\.evalkit names an endpoint that cannot be used: .*headers"):
        ek.resume(path)


def test_a_judge_is_asked_where_the_user_says_whatever_an_earlier_judges_file_says(half, listener, server, tmp_path):
    path = half()
    judge = ek.Endpoint(server.base_url, "scripted", VARIABLE)
    first = ek.judge(path, judge, "correct")
    with sqlite3.connect(first.judge_run) as connection:
        connection.execute("UPDATE run SET endpoint = json_set(endpoint, '$.key_env', 'HOME')")
        connection.execute("DELETE FROM turn WHERE conversation = 1")
    connection.close()
    assert ek.judge(path, judge, "correct").judged == first.judged  # with the judge's own key: no call fails
    with sqlite3.connect(first.judge_run) as connection:
        connection.execute("UPDATE run SET endpoint = json_set(endpoint, '$.base_url', ?)", (listener.base_url,))
    connection.close()
    assert ek.judge(path, judge, "correct").failed == 0
    assert listener.received == []


def test_a_report_names_no_variable_of_this_machine(half, tmp_path):
    path = half()
    for form in ("r.html", "r.md"):
        report([path], tmp_path / form)
        assert VARIABLE not in (tmp_path / form).read_text(encoding="utf-8")


def test_an_embedded_server_of_this_very_process_needs_no_name(embedded, sums, tmp_path):
    run = ek.evaluate(sums(3, 1), embedded, out=tmp_path / "r.evalkit", watch=lambda progress: progress.done >= 1)
    assert ek.resume(run.path).outcome == "done"
    stranger = replace(embedded, base_url="http://127.0.0.1:9", key_env=embedded.key_env)
    with pytest.raises(RunFileError, match="nothing is sent to an address that only a file names"):
        trusted_endpoint.trusted(run.path, stranger)


# -- headers and certificates


@pytest.mark.parametrize(
    "reached_by",
    [
        {"headers_env": {"x-api-key": VARIABLE}},
        {"headers": {"X-Forward-To": "https://stranger.example"}},
        {"headers_env": {"Cookie": "HOME"}, "headers": {"X-Team": "a"}},
    ],
)
@pytest.mark.parametrize("key_env", [None, VARIABLE])
def test_a_header_that_only_a_file_names_is_not_sent(half, listener, reached_by, key_env):
    path = half(base_url=listener.base_url, key_env=key_env, **reached_by)
    key = ["--api-key-env", VARIABLE] if key_env else []
    for flags in ([], ["--base-url", listener.base_url], ["--base-url", listener.base_url, *key]):
        done = evalkit("resume", path, *flags)
        assert done.returncode == 2, done.stderr
        assert SECRET not in done.stderr
    with pytest.raises(RunFileError, match="name address, variables and headers"):
        ek.resume(path)
    assert listener.received == []


def test_a_certificate_that_only_a_file_names_is_not_shown(half, monkeypatch):
    monkeypatch.setenv("CERT", "/somewhere/cert.pem")
    path = half(base_url="https://127.0.0.1:9/v1", key_env=None, client_cert_env="CERT")
    done = evalkit("resume", path, "--base-url", "https://127.0.0.1:9/v1")
    assert done.returncode == 2
    assert "--client-cert-env=CERT" in done.stderr
    assert "/somewhere" not in done.stderr


def test_headers_that_are_named_again_are_sent_again(half, listener, monkeypatch):
    path = half(base_url=listener.base_url, key_env=None, headers={"X-Team": "a"}, headers_env={"api-key": VARIABLE})
    named = ["--base-url", listener.base_url, "--header=X-Team=a", f"--header-env=api-key={VARIABLE}"]
    assert shlex.join(["evalkit", "resume", str(path), *named]) in evalkit("resume", path).stderr
    evalkit("resume", path, *named)
    assert listener.received
    for request in listener.received:
        assert b"\r\nX-Team: a\r\n" in request
        assert f"\r\napi-key: {SECRET}\r\n".encode() in request
        assert b"Authorization" not in request


@pytest.mark.parametrize(
    ("stored", "flags", "says"),
    [
        ({}, ["--header", "X-Team=a"], "was started without the header x-team"),
        ({"headers": {"X-Team": "a"}}, ["--header", "X-Team=b"], "with the header x-team, and another is given"),
        ({"headers": {"X-Team": "a"}}, ["--header", "X-Other=b"], "with the header x-team, and it is not given"),
        ({"headers_env": {"api-key": VARIABLE}}, ["--header", "api-key=none"], "with the header api-key"),
    ],
)
def test_one_run_has_one_set_of_headers(half, server, stored, flags, says):
    path = half(**stored)
    done = evalkit("resume", path, "--base-url", server.base_url, "--api-key-env", VARIABLE, *flags)
    assert done.returncode == 2
    assert says in done.stderr, done.stderr
    assert answered(path) == 4


def test_a_header_s_variable_may_be_another_one_and_must_be_set(half, server, monkeypatch):
    path = half(headers_env={"x-trace-token": "OF_THEN"})
    named = ["--base-url", server.base_url, "--api-key-env", VARIABLE]
    done = evalkit("resume", path, *named, "--header-env", "x-trace-token=OF_NOW")
    assert done.returncode == 2
    assert "OF_NOW is named as the variable of the header x-trace-token, but it is not set" in done.stderr
    assert evalkit("resume", path, *named, "--header-env", "x-trace-token=OF_NOW", OF_NOW="t-1234").returncode == 0
    assert answered(path) == 6


def test_headers_given_in_python_are_those_of_the_run(half, server):
    path = half(headers={"X-Team": "a"})
    other = ek.Endpoint(server.base_url, "scripted", VARIABLE, headers={"X-Team": "b"})
    with pytest.raises(RunFileError, match="with the header x-team, and another is given"):
        ek.resume(path, endpoint=other)
    assert ek.resume(path, endpoint=replace(other, headers={"X-Team": "a"})).outcome == "done"
