"""A real HAProxy in front of a server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


@contextmanager
def behind_haproxy(
    folder: Path, base_url: str, *, defaults: str = "", frontend: str = "", backend: str = "", server: str = ""
) -> Iterator[str]:
    """The base URL of HAProxy, as Debian packages it, in front of the server at another base URL.

    ``defaults``, ``frontend`` and ``backend`` are further lines of those sections, ``server`` options of the server.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = base_url.removeprefix("http://").partition("/")[0]
    settings = folder / "haproxy.cfg"
    settings.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        f"{defaults}\nfrontend in\n  bind 127.0.0.1:{port}\n{frontend}\n  default_backend out\n"
        f"backend out\n{backend}\n  server one {address} {server}\n"
    )
    with subprocess.Popen(["haproxy", "-db", "-f", settings], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with socket.socket() as trial:
                    if not trial.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
