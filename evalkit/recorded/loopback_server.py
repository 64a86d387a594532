"""An HTTP server on loopback that requires a key: what the player and the recorder share.

A connection is served by a thread of its own. A request is read whole before it is answered, with limits on its size.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import secrets
import select
import socket
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from evalkit.errors import SettingsError
from evalkit.process.api_keys import key_in

HOST = "127.0.0.1"
MOST_BODY = 64 * 2**20  # bytes of a request
KEY_ENV = "EVALKIT_RECORDED_KEY"
_IDLE_S = 60.0
_LONGEST_LINE = 1_000  # of the head of a chunk
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_TOO_LARGE = f"a body of more than {MOST_BODY >> 20} MiB"


class LoopbackServer(ThreadingHTTPServer):
    """A server on loopback for those who have the key in an environment variable.

    Attributes
    ----------
    base_url : str
        ``http://127.0.0.1:PORT/v1``.
    key_env : str
        NAME of the variable.
    ending : Event
        Set when the server ends: answers that wait stop then.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, handler: type[Handler], *, port: int, key_env: str | None) -> None:
        self.key_env = named_key(key_env)
        self.ending = Event()
        self._open: set[Any] = set()
        try:
            super().__init__((HOST, port), handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"port {port} of {HOST} cannot be used: {str(why).rstrip('.')}. Choose another, or omit --port"
            ) from None
        self.base_url = f"http://{HOST}:{self.server_port}/v1"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has left; raise what is a bug."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for the duration of the block."""
        thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="evalkit-recorded", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.ending.set()
            self.shutdown()
            self.server_close()
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def named_key(key_env: str | None) -> str:
    """The variable of the required key; None: ``EVALKIT_RECORDED_KEY``, set to a random key if it is not set.

    Raises
    ------
    SettingsError
        The variable named does not hold a valid key.
    """
    if key_env is None:
        key_env = KEY_ENV
        if not os.environ.get(KEY_ENV):
            os.environ[KEY_ENV] = secrets.token_urlsafe(32)
    if key_in(key_env) is None:
        raise SettingsError(f"{key_env} is named as the variable of the API key, but it is not set")
    return key_env


class _Refused(Exception):
    """A request that is not read to its end."""

    def __init__(self, what: str, status: int = 400) -> None:
        super().__init__(f"The request has {what}.")
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Reads a request whole, checks its key, and has it answered."""

    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    server_version = "evalkit"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = _IDLE_S

    @abstractmethod
    def answer(self, route: str, body: bytes) -> None:
        """Answer a request with the right key; ``route`` is its method and path without ``/v1``."""

    def do_GET(self) -> None:
        """Read and answer a request."""
        try:
            body = self._body()
        except _Refused as refused:
            self.close_connection = True  # what follows may be the body of this request
            self.send_error_object(refused.status, {"message": str(refused), "type": "invalid_request_error"})
            return
        if not self._authorised():
            message = "Invalid API Key"
            self.send_error_object(401, {"message": message, "type": "authentication_error", "code": 401})
            return
        path = self.path.partition("?")[0].rstrip("/")
        self.answer(f"{self.command} {path.removeprefix('/v1')}", body)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def _authorised(self) -> bool:
        given = self.headers.get_all("Authorization", [])
        # neither a local variable nor a traceback shows the key
        return len(given) == 1 and hmac.compare_digest(
            given[0].encode(), f"Bearer {os.environ[self.server.key_env]}".encode()
        )

    def _body(self) -> bytes:
        """The body of the request.

        Raises
        ------
        _Refused
            It is too large or cannot be read.
        """
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            if lengths:
                raise _Refused("both a length and chunks")
            return self._chunked_body()
        if not lengths:
            return b""
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdecimal() and len(lengths[0]) < 16):
            raise _Refused("a length that is not a number")
        length = int(lengths[0])
        if length > MOST_BODY:
            raise _Refused(_TOO_LARGE, 413)
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Refused("a body that is cut short")
        return body

    def _chunked_body(self) -> bytes:
        body = bytearray()
        while True:
            head = self.rfile.readline(_LONGEST_LINE).split(b";")[0].strip()
            if not _CHUNK_SIZE.fullmatch(head):
                raise _Refused("chunks that cannot be read")
            size = int(head, 16)
            if len(body) + size > MOST_BODY:
                raise _Refused(_TOO_LARGE, 413)
            body += self.rfile.read(size)
            while self.rfile.readline(_LONGEST_LINE).strip():  # trailers; after a chunk there is nothing
                if size:
                    raise _Refused("a chunk that is longer than it says")
            if not size:
                return bytes(body)

    def send_error_object(self, status: int, error: Mapping[str, Any]) -> None:
        """Send an error in OpenAI's form."""
        self.send_json(status, {"error": error})

    def send_json(self, status: int, value: Any) -> None:
        """Send a JSON value."""
        content = json.dumps(value).encode()
        self.send_head(status, {"content-type": "application/json"}, length=len(content))
        self.wfile.write(content)

    def send_head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        """Send the status line and the headers; ``length`` None: the body comes in chunks."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        elif self.request_version == "HTTP/1.1":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_chunk(self, data: bytes) -> None:
        """Send a part of a body that comes in chunks; empty: its end."""
        if self.request_version == "HTTP/1.1":
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        elif data:
            self.wfile.write(data)

    def wait_for_client(self, limit_s: float) -> None:
        """Send nothing until the client closes the connection, the server ends, or the time is over."""
        end = time.monotonic() + limit_s
        connection = select.poll()  # select() refuses descriptors from 1,024
        connection.register(self.connection, select.POLLIN)
        while time.monotonic() < end and not self.server.ending.is_set():
            if connection.poll(100):
                if not self.connection.recv(1, socket.MSG_PEEK):
                    return
                self.server.ending.wait(0.1)  # the client has sent its next request already

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: the terminal is the user's."""
