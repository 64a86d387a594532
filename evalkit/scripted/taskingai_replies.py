"""Replies in the form of the profile ``taskingai``: JSON, streams and failures of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any

import orjson

from evalkit.scripted.http_messages import Piece, Reply
from evalkit.scripted.taskingai_requests import ApiError

DONE = b"data: [DONE]\n\n"
_JSON = "application/json"


class UpstreamError(Exception):
    """A failure between the service and its model, as one part of the service reports it to the other."""

    def __init__(self, status: int, code: str, message: str, debug: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.detail = {"code": code, "message": message} | ({"debug": debug} if debug else {})


def reply_headers(content_type: str = "", streamed: bool = False) -> dict[str, str]:
    """The headers of the service's own web server."""
    headers = {"date": formatdate(usegmt=True), "server": "uvicorn"}
    if not streamed:
        headers["content-length"] = ""
    return headers | {"content-type": content_type} if content_type else headers


def json_reply(status: int, body: Mapping[str, Any], at: int = 0) -> Reply:
    """A JSON body, due ``at`` ns after the request was received."""
    kind = "body" if status == 200 else "other"
    return Reply(status, reply_headers(_JSON), [Piece(at, kind, orjson.dumps(body))])


def stream_reply(pieces: Sequence[Piece], ending: str = "keep") -> Reply:
    """A stream; its head is sent immediately, before the model receives the request."""
    headers = reply_headers("text/event-stream; charset=utf-8", streamed=True)
    return Reply(200, headers, pieces, streamed=True, head_at=0, ending=ending)


def failure_reply(assistant: bool, streamed: bool, failure: UpstreamError, at: int = 0) -> Reply:
    """The reply to a failure: a stream hides it, an assistant wraps it in another error, a model id passes it on."""
    if streamed:
        return stream_reply([Piece(at, "done", DONE)]) if assistant else stream_reply([], ending="eof")
    if not assistant:
        return json_reply(failure.status, ApiError(0, failure.code, failure.message).body, at)
    message = "Error occurred in chat completion inference"
    if failure.message:
        message += f". {failure.detail}"
    return json_reply(500, ApiError(0, "GENERATION_ERROR", message).body, at)
