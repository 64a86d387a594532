"""What is named as a cluster, and what is said about what is none."""

import subprocess
import sys

import pytest
from commands import evalkit

import evalkit as ek
from evalkit.cluster import dask_client
from evalkit.errors import SettingsError


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
