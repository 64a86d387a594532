"""API keys: no traceback that prints variables shows them, and processes that do not need them do not get them."""

import io
import os
import re
import subprocess
import sys
import traceback

import pytest
import rich.console
import rich.traceback
from IPython.core.ultratb import VerboseTB

from evalkit import Endpoint, SettingsError
from evalkit.client.transport import Transport
from evalkit.local import server
from evalkit.process.api_keys import key_in, without_keys

SECRET = "tkSECRETaaaa" + "1111bbbb2222"
GIVEN_AWAY = re.compile("aaaa11|bbbb22")
MALFORMED = [f"{SECRET} ", f" {SECRET}", f"{SECRET}\n", f"tk SECRET{SECRET}", f"{SECRET}é", f"{SECRET}\x7f"]


@pytest.fixture
def endpoint():
    return Endpoint("http://127.0.0.1:1", "m", "MY_KEY")


def shown_of(error):
    """An error as tools print it that print local variables too, without the frames of the test itself."""
    kind, trace = type(error), error.__traceback__.tb_next
    yield "".join(traceback.TracebackException(kind, error, trace, capture_locals=True).format())
    yield "\n".join(VerboseTB(theme_name="nocolor").structured_traceback(kind, error, trace))
    out = io.StringIO()
    whole = rich.traceback.Traceback.from_exception(kind, error, trace, show_locals=True, locals_max_string=8)
    rich.console.Console(file=out, width=400).print(whole)
    yield out.getvalue()


def served():
    with server.serve(key_env="MY_KEY"):
        pass


WAYS = {
    "key": lambda endpoint: endpoint.key(),
    "check": Transport.check,
    "openai": lambda endpoint: endpoint.openai(),
    "async": lambda endpoint: endpoint.async_openai(),
    "local": lambda endpoint: served(),
}


@pytest.mark.parametrize("key", MALFORMED)
@pytest.mark.parametrize("way", WAYS)
def test_a_malformed_key_is_in_no_traceback(monkeypatch, endpoint, way, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(SettingsError, match="the key in MY_KEY contains a blank") as caught:
        WAYS[way](endpoint)
    for text in shown_of(caught.value):
        assert "MY_KEY" in text
        assert not GIVEN_AWAY.search(text)


@pytest.mark.parametrize(
    "fail",
    [
        lambda endpoint: endpoint.openai(max_retries="\0", http_client="none"),
        lambda endpoint: endpoint.async_openai(http_client=1),
        lambda endpoint: endpoint.openai(no_such_option=1),
        lambda endpoint: Endpoint.from_env(key_env="NOT_SET"),
        lambda endpoint: Endpoint.from_env(base_url="http://a", key_env="MY_KEY"),
    ],
)
def test_a_good_key_is_in_no_traceback_either(monkeypatch, endpoint, fail):
    monkeypatch.setenv("MY_KEY", SECRET)
    with pytest.raises(Exception) as caught:  # noqa: PT011  (some are the official client's)
        fail(endpoint)
    for text in shown_of(caught.value):
        assert not GIVEN_AWAY.search(text)


def test_pytest_shows_no_key_with_its_local_variables(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from evalkit import Endpoint\ndef test_it(): Endpoint('http://127.0.0.1:1', 'm', 'MY_KEY').key()\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-l",
        "--tb=long",
        "-p",
        "no:cacheprovider",
        str(tmp_path / "test_it.py"),
    ]
    environment = {**os.environ, "MY_KEY": f"{SECRET} "}
    said = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout
    assert "the key in MY_KEY contains a blank" in said
    assert "SECRET" not in said


def test_a_key_is_text_like_any_other_but_its_value_is_not_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    key = key_in("MY_KEY")
    assert (key, f"{key}", str(key), key.encode()) == (SECRET, SECRET, SECRET, SECRET.encode())
    assert SECRET[:5] not in f"{key!r} {[key]} { ({'key': key}) } {key[:8]!r}"


def test_what_a_process_needs_and_no_secret():
    needed = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "LD_LIBRARY_PATH": "/l",
        "OMP_NUM_THREADS": "2",
        "TMPDIR": "/t",
    }
    secrets = dict.fromkeys(
        (
            "OPENAI_API_KEY", "TASKINGAI_API_KEY", "HF_TOKEN", "MY_OWN", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL",
            "PGPASSWORD", "LLAMA_API_KEY", "PYTHON_KEYRING_PASS", "GGML_TOKEN", "cuda_credentials", "HTTPS_PROXY",
            "EVALKIT_LOCAL_KEY",
        ),
        SECRET,
    )  # fmt: skip
    assert without_keys(needed | secrets) == needed
