"""One recorded HTTP exchange: what was requested, and the pieces of the answer with their times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

CHAT_ROUTE = "POST /chat/completions"
MODELS_ROUTE = "GET /models"
COMPLETE, BROKEN, SILENT = "complete", "broken", "silent"
ENDINGS = (COMPLETE, BROKEN, SILENT)
EVENT_STREAM = "text/event-stream"
_LONGEST_MS = 24 * 3600e3
_WITHOUT_BODY = (204, 205)
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]{0,8000}")
# belong to one connection or one moment, are secret, or send the client elsewhere: neither recorded nor served
_NOT_KEPT = frozenset({
    "alt-svc", "clear-site-data", "connection", "content-encoding", "content-length", "content-location", "date",
    "keep-alive", "location", "proxy-authenticate", "refresh", "server", "set-cookie", "strict-transport-security",
    "trailer", "transfer-encoding", "upgrade", "www-authenticate",
})  # fmt: skip


class Piece(NamedTuple):
    """What one read from the network brought.

    Parameters
    ----------
    at_ms : float
        Since the request was sent.
    data : bytes
        Of the body.
    """

    at_ms: float
    data: bytes


class Exchange(NamedTuple):
    """One recorded exchange.

    Parameters
    ----------
    route : str
        Method and path, without ``/v1``: ``POST /chat/completions``.
    request : any JSON value
        The body; as text if it is not JSON, None if there is none.
    status : int or None
        None: the connection ended before a status line.
    headers : mapping
        Without those that belong to one connection.
    pieces : tuple of Piece
    headers_ms, end_ms : float or None
        When the headers and the end of the body came, in ms since the request was sent. None: unknown.
    ending : str
        ``complete``; ``broken``: the connection was closed too early; ``silent``: nothing more came until the client
        gave up.
    """

    route: str
    request: Any
    status: int | None = 200
    headers: Mapping[str, str] = {}
    pieces: tuple[Piece, ...] = ()
    headers_ms: float | None = None
    end_ms: float | None = None
    ending: str = COMPLETE

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.headers.get("content-type", "").startswith(EVENT_STREAM)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(piece.data for piece in self.pieces)

    def to_json(self) -> dict[str, Any]:
        """The exchange as a line of a recording; bytes that are not UTF-8 become halves of surrogate pairs."""
        pieces = [[round(at, 3), data.decode("utf-8", "surrogateescape")] for at, data in self.pieces]
        return {**self._asdict(), "headers": dict(self.headers), "pieces": pieces}

    @classmethod
    def from_json(cls, line: Any) -> Exchange:
        """The exchange of a line of a recording, which may be a stranger's.

        Raises
        ------
        ValueError
            A value is missing or cannot be served; the message names it.
        """
        if not isinstance(line, dict) or not {"route", "request", "status", "pieces"} <= line.keys():
            raise ValueError("it is not an exchange with route, request, status and pieces")
        pieces, headers = line["pieces"], line.get("headers", {})
        if not isinstance(line["route"], str) or not isinstance(headers, dict) or not isinstance(pieces, list):
            raise ValueError("route, headers or pieces is of another type than evalkit writes")
        if line.get("ending", COMPLETE) not in ENDINGS:
            raise ValueError(f"ending is none of {', '.join(ENDINGS)}")
        exchange = cls(
            line["route"],
            line["request"],
            line["status"],
            kept_headers(headers),
            tuple(map(_piece, pieces)),
            line.get("headers_ms"),
            line.get("end_ms"),
            line.get("ending", COMPLETE),
        )
        return checked(exchange)


def checked(exchange: Exchange) -> Exchange:
    """The exchange, once its status and its times are known to be ones that can be served.

    Raises
    ------
    ValueError
        One of them is not; the message names it.
    """
    status = exchange.status
    if not (status is None or (type(status) is int and (200 <= status <= 299 or 400 <= status <= 599))):
        raise ValueError("status is not a number from 200 to 299 or from 400 to 599, or null")
    if status in _WITHOUT_BODY and exchange.body:  # the client would read it as the next answer
        raise ValueError(f"an answer with the status {status} has a body, and HTTP allows none")
    return exchange._replace(
        pieces=tuple(Piece(_time(at, "the time of a piece") or 0.0, data) for at, data in exchange.pieces),
        headers_ms=_time(exchange.headers_ms, "headers_ms"),
        end_ms=_time(exchange.end_ms, "end_ms"),
    )


def kept_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers that are recorded and served, by their names in small letters.

    Raises
    ------
    ValueError
        A name or a value cannot be sent in a header.
    """
    kept = {}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("a header cannot be sent: its name or value has other characters than HTTP allows")
        if name.lower() not in _NOT_KEPT:
            kept[name.lower()] = value
    return kept


def _piece(value: Any) -> Piece:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)):
        raise ValueError("a piece is not a pair of time and text")
    try:
        return Piece(value[0], value[1].encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise ValueError("the text of a piece has half a character") from None


def _time(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= _LONGEST_MS:
        raise ValueError(f"{name} is not a time in ms from 0 to one day")
    return float(value)
