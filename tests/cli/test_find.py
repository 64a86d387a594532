"""``evalkit find`` from the command line."""

import json
import shlex

from behaving import behaving, reply
from commands import evalkit

from evalkit.checkup import local_servers

NAMES = ["small model", "$(touch /tmp/x)", "it's"]


def run(monkeypatch, *flags):
    listed = reply({"data": [{"id": name} for name in NAMES]})
    with behaving(get=lambda path: listed) as (base_url, _):
        port = int(base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        monkeypatch.setattr(local_servers, "PORTS", ((port, "a server", "/v1"),))
        return evalkit("find", *flags), base_url


def test_each_model_has_a_line_that_a_shell_reads_back(monkeypatch):
    done, base_url = run(monkeypatch)
    first, *lines = done.stdout.splitlines()
    assert (done.returncode, first) == (0, f"{base_url}  the usual port of a server; 3 models")
    parts = [shlex.split(line) for line in lines]
    assert parts == [
        ["export", f"OPENAI_BASE_URL={base_url}", f"OPENAI_MODEL={name}", "OPENAI_API_KEY=none"] for name in NAMES
    ]


def test_json(monkeypatch):
    done, base_url = run(monkeypatch, "--json")
    (server,) = json.loads(done.stdout)["servers"]
    assert (server["base_url"], server["models"]) == (base_url, NAMES)


def test_nothing_found_is_said(monkeypatch):
    monkeypatch.setattr(local_servers, "PORTS", ((9, "nothing", "/v1"),))
    done = evalkit("find")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stdout.startswith("no OpenAI-compatible server")
