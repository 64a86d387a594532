"""A cluster that uses TLS: scheduler and worker are processes, and Dask's configuration names the certificates."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import dask
import pytest
import trustme
from commands import evalkit

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Law, Script, serve

DOCUMENT = Path(ek.__file__).parent / "docs" / "cluster.md"
TLS = "DASK_DISTRIBUTED__COMM__TLS__"


def certificates(folder):
    """Files of an authority and of certificates that it signed, named as in the document."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("node", "client"):
        own = authority.issue_cert("127.0.0.1")
        own.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        own.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


def documented(command):
    """The words of a command in the document."""
    (line,) = (line for line in DOCUMENT.read_text("utf-8").splitlines() if line.strip().startswith(command))
    return shlex.split(line)


@contextlib.contextmanager
def process(words, *more, folder):
    command = [sys.executable, "-m", *words, *map(str, more)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            yield
        finally:
            child.terminate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler with one worker, started as the document says: its address and the folder of the certificates."""
    folder = certificates(tmp_path_factory.mktemp("tls") / "own")
    written, at = folder / "scheduler.json", ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    scheduler, worker = documented("dask scheduler --protocol tls"), documented("dask worker tls")
    with process(scheduler, *at, "--port", 0, "--scheduler-file", written, folder=folder):
        while not (written.exists() and written.read_text().endswith("}")):
            time.sleep(0.05)
        address = json.loads(written.read_text())["address"]
        with process([word if "://" not in word else address for word in worker], *at, folder=folder):
            yield address, folder


@pytest.fixture
def run(sums, tmp_path):
    """The command, with a run of three turns on a cluster at an address."""

    def make(address):
        with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5))) as server:
            done = evalkit(
                "run", sums(3, 1), "--base-url", server.base_url, "--model", "scripted", "--dask", address, "--json",
                "--out", tmp_path / "r.evalkit",
            )  # fmt: skip
            return done, server.stats()["requests"]

    return make


def configured(ca, cert, key):
    """Dask's configuration of a client in this process."""
    tls = "distributed.comm.tls"
    return dask.config.set({f"{tls}.ca-file": str(ca), f"{tls}.client.cert": str(cert), f"{tls}.client.key": str(key)})


def test_certificates_are_named_in_the_environment(cluster, sums, tmp_path):
    address, folder = cluster
    exports = dict(re.findall(rf"export ({TLS}\w+)=(\S+)", DOCUMENT.read_text("utf-8")))
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5))) as server:
        command = [sys.executable, "-m", "evalkit.cli", "run", sums(3, 1), "--base-url", server.base_url]
        command += ["--model", "scripted", "--dask", address, "--out", tmp_path / "r.evalkit", "--json"]
        done = subprocess.run(
            list(map(str, command)), env=os.environ | exports, cwd=folder, capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip
    assert len(exports) == 3
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 3
    stored = (tmp_path / "r.evalkit").read_bytes()
    assert b"tls://127.0.0.1:" in stored  # the worker
    assert b"client.key" not in stored


def test_a_client_with_security_needs_no_configuration(cluster, sums, tmp_path):
    import distributed
    from distributed.security import Security

    address, folder = cluster
    names = {"tls_ca_file": "ca.pem", "tls_client_cert": "client.pem", "tls_client_key": "client.key"}
    security = Security(**{name: str(folder / file) for name, file in names.items()})
    with (
        serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5))) as server,
        distributed.Client(address, security=security) as client,
    ):
        endpoint = ek.Endpoint(server.base_url, "scripted")
        found = ek.evaluate(sums(3, 1), endpoint, out=tmp_path / "r.evalkit", cluster=client)
    assert found.outcome == "done"


def test_a_client_without_a_certificate_is_refused(cluster, run):
    done, requests = run(cluster[0])
    assert (done.returncode, requests) == (2, 0), done.stderr
    assert "it uses TLS, and Dask's configuration names no certificates here" in done.stderr
    assert f"{TLS}CLIENT__CERT" in done.stderr


@pytest.mark.parametrize(("ca", "own"), [("others", "others"), ("own", "others"), ("others", "own")])
def test_certificates_of_another_authority_are_refused(cluster, run, tmp_path, ca, own):
    address, folder = cluster
    folders = {"own": folder, "others": certificates(tmp_path / "others")}
    with configured(folders[ca] / "ca.pem", folders[own] / "client.pem", folders[own] / "client.key"):
        done, requests = run(address)
    assert (done.returncode, requests) == (2, 0), done.stderr
    assert "do not accept each other's certificates" in done.stderr


def test_a_missing_file_is_reported_without_its_path(cluster, run):
    address, folder = cluster
    with configured(folder / "ca.pem", folder / "client.pem", folder / "none.key"):
        done, requests = run(address)
    assert (done.returncode, requests) == (2, 0), done.stderr
    assert "certificate that Dask's configuration names cannot be read" in done.stderr
    assert "none.key" not in done.stderr


@pytest.mark.parametrize("cert", ["client.key", "scheduler.json"])
def test_a_file_that_is_no_certificate_is_refused(cluster, run, cert):
    address, folder = cluster
    with configured(folder / "ca.pem", folder / cert, folder / "client.key"):
        done, _ = run(address)
    assert done.returncode == 2
    assert f"{TLS}CLIENT__CERT" in done.stderr


def test_an_address_without_tls_gets_a_hint(cluster, run):
    done, requests = run(cluster[0].replace("tls://", "tcp://"))
    assert (done.returncode, requests) == (2, 0), done.stderr
    assert "write tls://" in done.stderr


def test_local_workers_that_cannot_start_are_an_error_in_words(run):
    with dask.config.set({"distributed.comm.require-encryption": True}):
        done, requests = run("local:1")
    assert (done.returncode, requests) == (2, 0), done.stderr
    assert "local workers cannot be started: TLS expects" in done.stderr
