"""The server of ``evalkit view``: on loopback only, for the browser that knows its random path, and only to read.

A page of another site can make a browser send requests to this machine. So a request is answered only if its path
begins with the token, its ``Host`` is this server (a name that an attacker points at 127.0.0.1 is not), and neither
``Origin`` nor ``Sec-Fetch-Site`` names another site.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from evalkit.errors import InputError, SettingsError
from evalkit.viewer import page
from evalkit.viewer.run_folder import NotThere, RunFolder

_HOST = "127.0.0.1"
_IDLE_S = 60.0  # without a request, a connection is closed
_MOST_FIELDS = 100  # of a query
_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src data:",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
))  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingHTTPServer):
    """A server for one folder of runs.

    Attributes
    ----------
    address : str
        The address of the page, with its token.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, folder: RunFolder, port: int) -> None:
        super().__init__((_HOST, port), _Handler)
        self.folder = folder
        self.token = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in (_HOST, "localhost")}
        self.address = f"http://{_HOST}:{self.server_port}/{self.token}/"
        self._connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def end(self) -> None:
        """Stop serving, also on connections that browsers keep open."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has left; raise what is a bug."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


@contextmanager
def serving(folder: Path | str, *, port: int = 0) -> Iterator[ViewServer]:
    """Serve a folder of runs for the duration of the block.

    Parameters
    ----------
    folder : path-like
    port : int
        Port on 127.0.0.1; 0: a free port.

    Raises
    ------
    SettingsError
        There is no such folder, or the port is not free.
    """
    try:
        server = ViewServer(RunFolder(folder), port)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"port {port} of {_HOST} cannot be used: {why}. Choose another, or omit --port") from None
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="evalkit-view", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.end()


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "evalkit"
    sys_version = ""
    timeout = _IDLE_S

    def do_GET(self) -> None:
        """Answer a request of the page."""
        if (refused := self._refused()) is not None:
            self._send(refused, b"", "text/plain")
            return
        asked = urlsplit(self.path)
        name = asked.path.removeprefix(f"/{self.server.token}/")
        try:
            if (found := page.files().get(name)) is not None:
                content, kind = found
                self._send(HTTPStatus.OK, content, kind)
                return
            query = parse_qs(asked.query, max_num_fields=_MOST_FIELDS)
            self._send_json(HTTPStatus.OK, self.server.folder.answer(name, query))
        except NotThere as error:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": str(error)})
        except (InputError, ValueError) as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except Exception:
            traceback.print_exc()
            bug = "This is a bug in evalkit: the terminal in which 'evalkit view' runs shows where."
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": bug})

    def _refused(self) -> HTTPStatus | None:
        """The status of a request that is not of the page; None: it is. The reasons are at the top of this file."""
        headers = self.headers
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if host not in self.server.hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        if origin is not None and origin != f"http://{host}":
            return HTTPStatus.FORBIDDEN
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return HTTPStatus.FORBIDDEN
        token = self.path.split("/", 2)[1:2] or [""]
        own = self.path.count("/") >= 2 and secrets.compare_digest(token[0].encode(), self.server.token.encode())
        return None if own else HTTPStatus.NOT_FOUND

    def _send_json(self, status: HTTPStatus, value: object) -> None:
        try:
            content = orjson.dumps(value)
        except TypeError:  # halves of characters and huge numbers, which a dataset may hold as escapes
            content = json.dumps(value).encode()
        self._send(status, content, "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: the terminal is the user's."""
