"""Workers on networks of their own, as on several machines: network namespaces of this one, each with its host name.

Making them needs root on Linux; elsewhere this is skipped.
"""

import contextlib
import json
import os
import shutil
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import distributed
import pytest

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Law, Script, serve

NAME = f"ek{os.getpid() % 10**6}"
HERE, PLACES = "10.254.77.1", {f"{NAME}-a": "10.254.77.2", f"{NAME}-b": "10.254.77.3"}  # the bridge, and two namespaces
KEY = "sk-only-the-workers-have-it"


def ip(*words):
    """Run ``ip``; skip the test where the system does not allow it."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        pytest.skip(f"no network namespaces here: ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def network():
    """A bridge with an address, and two namespaces that are connected to it."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("no network namespaces here: ip and unshare are missing")
    with contextlib.ExitStack() as stack:

        def add(*words, remove):
            ip(*words)
            stack.callback(subprocess.run, ["ip", *remove], check=False, capture_output=True)

        add("link", "add", NAME, "type", "bridge", remove=("link", "del", NAME))
        ip("addr", "add", f"{HERE}/24", "dev", NAME)
        ip("link", "set", NAME, "up")
        for number, (place, address) in enumerate(PLACES.items()):
            outer, inner = f"{NAME}v{number}", f"{NAME}w{number}"
            add("netns", "add", place, remove=("netns", "del", place))
            ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            ip("link", "set", inner, "netns", place)
            ip("link", "set", outer, "master", NAME, "up")
            ip("-n", place, "addr", "add", f"{address}/24", "dev", inner)
            ip("-n", place, "link", "set", inner, "up")
            ip("-n", place, "link", "set", "lo", "up")
        yield


class Door(socketserver.ThreadingTCPServer):
    """Passes connections on to a server on loopback, which no namespace reaches, and notes where they come from."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__((HERE, 0), Passing)
        self.to, self.seen = port, set()


class Passing(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.seen.add(self.client_address[0])
        with socket.create_connection(("127.0.0.1", self.server.to)) as inside:
            threading.Thread(target=self.copy, args=(inside, self.request), daemon=True).start()
            self.copy(self.request, inside)

    @staticmethod
    def copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def opened(server):
    with Door(int(server.base_url.split(":")[2].split("/")[0])) as door:
        thread = threading.Thread(target=door.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield door
        finally:
            door.shutdown()


@contextlib.contextmanager
def worker(place, scheduler):
    """A worker in a namespace, whose host has the namespace's name; it has a key that this process has not."""
    dask = [sys.executable, "-m", "dask", "worker", scheduler, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    named = f'hostname {place} && exec "$@"'
    command = ["ip", "netns", "exec", place, "unshare", "--uts", "sh", "-c", named, "sh", *dask]
    environment = {**os.environ, "KEY_OF_THE_WORKERS": KEY}
    with subprocess.Popen([*command, "--host", PLACES[place]], env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.timeout(120)
def test_each_worker_reaches_the_endpoint_from_its_own_network(network, sums, tmp_path):
    script = Script(answer=Arithmetic(), law=Law(ttft_ms=30), key=KEY)
    with (
        serve(script) as server, opened(server) as door,
        distributed.LocalCluster(
            n_workers=0, host=HERE, dashboard_address=f"{HERE}:0", processes=False, protocol="tcp"
        ) as cluster,
        distributed.Client(cluster) as client, contextlib.ExitStack() as stack,
    ):  # fmt: skip
        processes = [stack.enter_context(worker(place, cluster.scheduler_address)) for place in PLACES]
        deadline = time.monotonic() + 60
        while len(client.scheduler_info()["workers"]) < len(PLACES) and time.monotonic() < deadline:
            assert all(process.poll() is None for process in processes), processes[0].stderr.read()
            time.sleep(0.05)
        endpoint = ek.Endpoint(f"http://{HERE}:{door.server_address[1]}/v1", "scripted", key_env="KEY_OF_THE_WORKERS")
        run = ek.evaluate(sums(40, 2), endpoint, out=tmp_path / "r.evalkit", concurrency=8, cluster=client)
        requests = server.stats()["requests"]
    assert door.seen == set(PLACES.values())
    with closing(sqlite3.connect(run.path)) as connection:
        places = connection.execute(
            "SELECT provenance ->> 'host', provenance ->> 'worker', count(*) FROM attempt GROUP BY 1, 2 ORDER BY 1"
        ).fetchall()
        answered = connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()[0]
    assert [place for place, _, _ in places] == list(PLACES)
    assert all(f"//{PLACES[place]}:" in address for place, address, _ in places)
    assert sum(count for *_, count in places) == requests == answered == 80
    assert KEY.encode() not in run.path.read_bytes()
    assert json.dumps(run.info["endpoint"]).count("KEY_OF_THE_WORKERS") == 1
