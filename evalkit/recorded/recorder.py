"""Records what any client sends to the embedded model, and what it gets: a proxy that passes on and writes down.

Every request with the right key is recorded, once its answer has ended; the key is not. A client that leaves before
the end of its answer leaves no recording, since nobody knows what would have come.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

from evalkit.errors import SettingsError
from evalkit.local import server as local_server
from evalkit.local.server import LocalServer
from evalkit.recorded import recording_file
from evalkit.recorded.exchange import BROKEN, COMPLETE, Exchange, Piece, kept_headers
from evalkit.recorded.loopback_server import Handler, LoopbackServer
from evalkit.recorded.player import request_of
from evalkit.recorded.recording_file import RecordingWriter

_READ = 65_536
_LOOK_S = 0.5  # a signal that arrives while a wait begins is handled at its end
_INVALID = "invalid_request_error"
_LIMIT_S = 600.0  # without a byte from the model
# of a request: they belong to one connection, or would make the answer unreadable
_NOT_PASSED_ON = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip


@contextmanager
def recording(
    path: Path, *, port: int = 0, key_env: str | None = None, overwrite: bool = False
) -> Iterator[RecordingServer]:
    """Run the embedded model behind a recorder for the duration of the block.

    Parameters
    ----------
    path : Path
        The recording to write.
    port : int
        Port on loopback; 0: a free one.
    key_env : str, optional
        NAME of the environment variable with the required key; None: a random key.
    overwrite : bool
        Replace an earlier recording.

    Raises
    ------
    LocalError, MissingExtra
        The embedded model does not start.
    SettingsError
        The file cannot be written, or the port or the key cannot be used.
    """
    recording_file.check(path, overwrite=overwrite)
    with (
        RecordingServer(port=port, key_env=key_env) as server,
        local_server.serve(key_env=server.key_env) as local,
        server.recording(local, path, overwrite=overwrite),
    ):
        yield server


class RecordingServer(LoopbackServer):
    """A recording proxy in front of the embedded model, whose port is taken before there is a model.

    Attributes
    ----------
    model : str
    """

    model: str
    upstream: tuple[str, int | None]
    writer: RecordingWriter

    def __init__(self, *, port: int = 0, key_env: str | None = None) -> None:
        self._ended: SimpleQueue[int | SettingsError] = SimpleQueue()
        super().__init__(_Recorder, port=port, key_env=key_env)

    @contextmanager
    def recording(self, local: LocalServer, path: Path, *, overwrite: bool = False) -> Iterator[None]:
        """Pass requests on to this model for the duration of the block, and record them in a file."""
        address = urlsplit(local.base_url)
        self.model, self.upstream = local.model, (address.hostname or "", address.port)
        Thread(target=lambda: self._ended.put(local.wait()), daemon=True).start()
        with RecordingWriter(path, local.model, overwrite=overwrite) as self.writer, self.running():
            yield

    def note_failure(self) -> None:
        """End the recording if it can no longer be written."""
        if self.writer.failure is not None:
            self._ended.put(self.writer.failure)

    def wait(self) -> int:
        """Block until the embedded model ends, and return its exit code.

        Raises
        ------
        SettingsError
            The recording can no longer be written.
        """
        while True:
            with contextlib.suppress(Empty):
                ended = self._ended.get(timeout=_LOOK_S)
                if isinstance(ended, SettingsError):
                    self.writer.failure = None  # it is said once
                    raise ended
                return ended


class _Recorder(Handler):
    server: RecordingServer

    def answer(self, route: str, body: bytes) -> None:
        """Pass the request on, and its answer back as it comes; record both."""
        try:
            self._pass_on(route, body)
        finally:  # the client has its answer first
            self.server.note_failure()

    def _pass_on(self, route: str, body: bytes) -> None:
        exchange = Exchange(route, request_of(body), None, ending=BROKEN)
        connection = http.client.HTTPConnection(*self.server.upstream, timeout=_LIMIT_S)
        with contextlib.closing(connection):
            begin = time.monotonic()
            try:
                connection.request(self.command, self.path, body or None, self._passed_on())
                response = connection.getresponse()
            except ValueError:  # an address or a header that HTTP does not allow
                self.send_error_object(400, {"message": "The request cannot be passed on.", "type": _INVALID})
                return
            except (OSError, http.client.HTTPException):
                self.close_connection = True
                self.server.writer.add(exchange._replace(end_ms=_since(begin)))
                return
            exchange = exchange._replace(
                status=response.status, headers=kept_headers(dict(response.getheaders())), headers_ms=_since(begin)
            )
            self._relay(exchange, response, begin)

    def _relay(self, exchange: Exchange, response: http.client.HTTPResponse, begin: float) -> None:
        pieces: list[Piece] = []
        ending = COMPLETE
        self.send_head(response.status, exchange.headers, length=response.length)
        in_chunks = response.length is None
        while True:
            try:
                data = response.read1(_READ)
            except (OSError, http.client.HTTPException):
                ending = BROKEN
                break
            if not data:
                ending = BROKEN if response.length else COMPLETE
                break
            pieces.append(Piece(_since(begin), data))
            if in_chunks:
                self.send_chunk(data)
            else:
                self.wfile.write(data)
        self.close_connection = self.close_connection or ending == BROKEN
        end = exchange._replace(pieces=tuple(pieces), end_ms=_since(begin), ending=ending)
        self.server.writer.add(end)
        if in_chunks and ending == COMPLETE:
            self.send_chunk(b"")

    def _passed_on(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}


def _since(begin: float) -> float:
    return (time.monotonic() - begin) * 1e3
