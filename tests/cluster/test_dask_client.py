"""What is named as a cluster, and what is said about what is none."""

import subprocess
import sys

import pytest
from commands import evalkit

import evalkit as ek
from evalkit.cluster import dask_client
from evalkit.errors import SettingsError
from evalkit.scripted.server import Arithmetic, Law, Script, serve


@pytest.mark.parametrize("text", ["local", "local:1", "local:12", "tcp://10.0.0.1:8786", "tls://scheduler:8786"])
def test_addresses_and_local_clusters_are_accepted(text):
    dask_client.check(text)


@pytest.mark.parametrize("text", ["", "local:0", "local:x", "localhost:8786", "4", "file:///etc/passwd"])
def test_anything_else_is_refused_with_an_example(text, sums, tmp_path):
    done = evalkit("run", sums(), "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--dask", text)
    assert done.returncode == 2
    assert "local:" in done.stderr


def test_an_object_that_is_no_cluster_is_refused(sums, tmp_path):
    endpoint = ek.Endpoint("http://127.0.0.1:9/v1", "m")
    with pytest.raises(SettingsError, match=r"cluster is a int: it must be a distributed\.Client"):
        ek.evaluate(sums(), endpoint, out=tmp_path / "r.evalkit", cluster=4)


def test_an_adapted_concurrency_is_refused(sums, tmp_path):
    endpoint = ek.Endpoint("http://127.0.0.1:9/v1", "m")
    with pytest.raises(SettingsError, match="'auto' and a cluster"):
        ek.evaluate(sums(), endpoint, out=tmp_path / "r.evalkit", cluster="local:2", concurrency="auto")


class Linked:
    """A client whose scheduler has a dashboard at this address, which a configuration may set to anything."""

    def __init__(self, link):
        self.dashboard_link = link


@pytest.mark.parametrize("link", ["http://127.0.0.1:8787/status", "https://hub.example/user/a/proxy/8787/status"])
def test_a_dashboard_is_a_page_that_a_browser_opens(link):
    assert dask_client.dashboard(Linked(link)) == link


@pytest.mark.parametrize("link", [
    None, "", "N/A", "/user/a/proxy/8787/status", "javascript:alert(1)//http://", "data:text/html,<b>", "file:///etc/passwd",
    "http://", "http://[::1/status", "http://ann:secret@hub/status", "http://hub/\x1b[2J", "http://hub/a b",
    "http://hub/\u202estatus", "HTTP\n://hub/status", 4, "https://hub/status?token=abc", "https://hub/#token=abc",
])  # fmt: skip
def test_any_other_address_is_no_dashboard(link):
    assert dask_client.dashboard(Linked(link)) is None


def test_an_address_that_dask_cannot_form_is_no_dashboard(client):
    import dask

    with dask.config.set({"distributed.dashboard.link": "{A_VARIABLE_THAT_IS_NOT_SET}proxy/{port}/status"}):
        assert dask_client.dashboard(client) is None


def test_the_progress_of_a_run_names_the_dashboard(client, sums, tmp_path):
    seen = set()
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5))) as server:
        ek.evaluate(
            sums(4, 1), ek.Endpoint(server.base_url, "scripted"), out=tmp_path / "r.evalkit", cluster=client,
            watch=lambda progress: seen.add(progress.dashboard) and False,
        )  # fmt: skip
    assert seen == {client.dashboard_link}


WITHOUT_DASK = """
import sys
sys.modules["distributed"] = sys.modules["dask"] = None
from evalkit.cli.main import main
import evalkit.cluster.asking_side, evalkit.cluster.cluster_link, evalkit.cluster.worker_sessions
sys.exit(main(["run", sys.argv[1], "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--dask", "local:2"]))
"""


def test_without_dask_the_error_names_the_extra(sums):
    command = [sys.executable, "-c", WITHOUT_DASK, str(sums())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "chat-evalkit[dask]" in done.stderr
