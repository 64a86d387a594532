"""Serves a recording: a request is answered with what was recorded for it, as often and as fast as it was recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.recorded import answer_forms, matching, recording_file
from evalkit.recorded.exchange import BROKEN, COMPLETE, MODELS_ROUTE, SILENT, Exchange
from evalkit.recorded.loopback_server import Handler, LoopbackServer
from evalkit.recorded.matching import Nearest, Recordings

RECORDED, NONE = "recorded", "none"
TIMINGS = (RECORDED, NONE)
_LONGEST_SILENCE_S = 600.0
_MOST_DIFFERENCES = 3  # in a message


@contextmanager
def recorded_endpoint(path: Path | str, *, timings: str = RECORDED, **settings: Any) -> Iterator[Endpoint]:
    """Serve a recording, or a run file, for the duration of the block.

    Parameters
    ----------
    path : path-like
        A recording of ``evalkit serve --record``, or a run file.
    timings : str
        ``recorded``: headers and pieces come when they came, so that what is measured is what was recorded.
        ``none``: without a wait, for tests; times measured then say nothing about the endpoint.
    **settings
        Passed to ``Endpoint``: ``params``, ``timeout_s``, …

    Yields
    ------
    Endpoint
        On loopback, with a random key.

    Raises
    ------
    SettingsError
        The recording cannot be read, or a setting is not valid.
    RunFileError
        It is a run file that cannot be read.

    Examples
    --------
    >>> with recorded_endpoint("runs/demo.evalkit", timings="none") as endpoint:  # doctest: +SKIP
    ...     run = evaluate("data/primary_math.jsonl", endpoint)
    """
    with playing(path, timings=timings) as server:
        yield Endpoint(server.base_url, server.model, server.key_env, source="recorded", **settings)


@contextmanager
def playing(
    path: Path | str, *, timings: str = RECORDED, port: int = 0, key_env: str | None = None
) -> Iterator[PlayingServer]:
    """Serve a recording for the duration of the block, as ``recorded_endpoint`` does."""
    if timings not in TIMINGS:
        raise SettingsError(f"timings must be {RECORDED!r} or {NONE!r}, not {timings!r}")
    server = PlayingServer(Path(path), timings=timings, port=port, key_env=key_env)
    with server.running():
        yield server


class PlayingServer(LoopbackServer):
    """A server of one recording.

    Attributes
    ----------
    model : str
        The model that was recorded.
    """

    def __init__(self, path: Path, *, timings: str, port: int, key_env: str | None) -> None:
        self.model, exchanges = recording_file.read(path)
        self.recordings = Recordings(exchanges)
        self.count = len(exchanges)
        self.paced = timings == RECORDED
        super().__init__(_Player, port=port, key_env=key_env)


class _Player(Handler):
    server: PlayingServer

    def answer(self, route: str, body: bytes) -> None:
        """Answer with the recording of this request, or say which one is the nearest."""
        request = request_of(body)
        exchange = self.server.recordings.next(route, request)
        if exchange is not None:
            self._play(answer_forms.in_form(exchange, stream=matching.wants_stream(request)))
        elif route == MODELS_ROUTE:
            model = {"id": self.server.model, "object": "model", "owned_by": "recorded"}
            self.send_json(200, {"object": "list", "data": [model]})
        else:
            self.send_error_object(404, self._not_recorded(route, request))

    def _not_recorded(self, route: str, request: Any) -> dict[str, Any]:
        error: dict[str, Any] = {"type": "invalid_request_error", "param": None, "code": "request_not_recorded"}
        nearest = self.server.recordings.nearest(route, request)
        if nearest is None:
            return {"message": f"The recording has no request {route[:200]}.", **error}
        error["param"] = nearest.differences[0].place if nearest.differences else None
        return {"message": f"This request was not recorded. {_where(nearest)}", **error}

    def _play(self, exchange: Exchange) -> None:
        begin = time.monotonic()
        if exchange.status is None:
            self._end_early(exchange, begin)
            return
        pieces = exchange.pieces
        whole = not exchange.streamed and exchange.ending == COMPLETE
        headers_ms = exchange.headers_ms if exchange.headers_ms is not None else 0.0
        self._wait(begin, min([headers_ms, *(piece.at_ms for piece in pieces[:1])]))
        self.send_head(exchange.status, exchange.headers, length=len(exchange.body) if whole else None)
        for piece in pieces:
            self._wait(begin, piece.at_ms)
            if not piece.data:
                continue
            if whole:
                self.wfile.write(piece.data)
            else:
                self.send_chunk(piece.data)
        if exchange.ending != COMPLETE:
            self._end_early(exchange, begin)
            return
        if exchange.end_ms is not None:
            self._wait(begin, exchange.end_ms)
        if not whole:
            self.send_chunk(b"")

    def _end_early(self, exchange: Exchange, begin: float) -> None:
        self.close_connection = True
        if exchange.ending == SILENT:
            self.wait_for_client(_LONGEST_SILENCE_S)
        elif exchange.ending == BROKEN and exchange.end_ms is not None:
            self._wait(begin, exchange.end_ms)

    def _wait(self, begin: float, at_ms: float) -> None:
        if self.server.paced:
            left = begin + at_ms / 1e3 - time.monotonic()
            if left > 0 and self.server.ending.wait(left):
                raise ConnectionAbortedError


def request_of(body: bytes) -> Any:
    """The body of a request as a recording has it: a JSON value, text if it is not JSON, None if it is empty."""
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "surrogateescape")


def _where(nearest: Nearest) -> str:
    """Where the nearest recorded request differs, in words."""
    differences = [
        f"{place}: {matching.shown(here)} here, {matching.shown(recorded)} recorded"
        for place, here, recorded in nearest.differences[:_MOST_DIFFERENCES]
    ]
    more = len(nearest.differences) - len(differences)
    others = f"; and in {more} other {'place' if more == 1 else 'places'}" if more > 0 else ""
    return f"The nearest one differs in {'; '.join(differences)}{others}."
