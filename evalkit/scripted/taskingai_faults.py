"""Faults of the profile ``taskingai`` alone: the model behind the service fails or lacks an ability.

``faults`` describes what a fault accepts and returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from evalkit.scripted.http_messages import Piece, Reply, Request
from evalkit.scripted.taskingai_replies import DONE, UpstreamError, failure_reply, json_reply
from evalkit.scripted.taskingai_requests import ASSISTANT_ID, ApiError


def _replaced_by_failure(planned: Reply, failure: UpstreamError, at: int = 0) -> Reply:
    """The reply to a failure, in place of the planned one."""
    model = str((planned.request_json or {}).get("model"))
    failed = failure_reply(len(model) == ASSISTANT_ID, planned.streamed, failure, at)
    return replace(failed, id=planned.id, request_json=planned.request_json)


def upstream_error(planned: Reply, request: Request, status: int = 500, message: str = "stub says so") -> Reply:
    """The model answers with an error status; the service drops the text of a 5xx."""
    error = {"error": {"message": message, "type": "stub_error", "code": str(status)}}
    text = f"Error on calling provider model API: {error}" if status < 500 else "Provider's service is unavailable"
    return _replaced_by_failure(planned, UpstreamError(400, "PROVIDER_ERROR", text))


def upstream_down(planned: Reply, request: Request, host: str = "127.0.0.1", port: int = 18080) -> Reply:
    """Nothing listens where the model should be."""
    text = f"Cannot connect to host {host}:{port} ssl:default [Connect call failed ('{host}', {port})]"
    return _replaced_by_failure(planned, UpstreamError(422, "REQUEST_VALIDATION_ERROR", text))


def upstream_cut(planned: Reply, request: Request, after: int = 3) -> Reply:
    """The model's answer is cut; of a stream the part received is passed on and ended as if it were complete."""
    if not planned.streamed:
        return _replaced_by_failure(
            planned, UpstreamError(500, "INTERNAL_SERVER_ERROR", "Response payload is not completed")
        )
    tokens = [piece for piece in planned.pieces if piece.kind == "token"][:after]
    return replace(planned, pieces=[*tokens, Piece(tokens[-1].at if tokens else 0, "done", DONE)])


@dataclass(slots=True)
class ModelDeath:
    """When the model dies, in s after the first request, and for how many seconds it is unreachable."""

    after_s: float
    seconds: float = 0.3
    _at: float | None = None

    def offset_s(self) -> float:
        """How many seconds from now."""
        now = time.monotonic()
        if self._at is None:
            self._at = now + self.after_s
        return self._at - now


def model_killed(planned: Reply, request: Request, death: ModelDeath) -> Reply | None:
    """The model dies: streams with text end as if complete; other answers fail, and so do requests until it is back."""
    offset = death.offset_s()
    if offset <= 0:
        return upstream_down(planned, request) if offset > -death.seconds else None
    at, pieces = round(offset * 1e9), list(planned.pieces)
    if pieces[-1].at < at:
        return None
    tokens = [piece for piece in pieces if piece.kind == "token" and piece.at < at]
    if tokens:
        return replace(planned, pieces=[*tokens, Piece(at, "done", DONE)])
    failed = _replaced_by_failure(
        planned, UpstreamError(500, "INTERNAL_SERVER_ERROR", "Response payload is not completed"), at
    )
    late = [] if failed.complete else [Piece(at, "other", b"", raw=True)]
    return replace(failed, pieces=[*failed.pieces, *late])


def upstream_empty(planned: Reply, request: Request) -> Reply:
    """The model answers with an empty response."""
    if planned.streamed:
        return replace(planned, pieces=[Piece(0, "done", DONE)])
    text = "Error on calling provider model API: The model response is empty."
    return _replaced_by_failure(planned, UpstreamError(400, "PROVIDER_ERROR", text))


def upstream_hang(planned: Reply, request: Request, seconds: float = 301.0) -> Reply:
    """The model sends nothing until the service gives up."""
    failed = _replaced_by_failure(planned, UpstreamError(500, "INTERNAL_SERVER_ERROR", ""), round(seconds * 1e9))
    late = [] if failed.complete else [Piece(round(seconds * 1e9), "other", b"", raw=True)]
    return replace(failed, pieces=[*failed.pieces, *late])


def no_function_call(planned: Reply, request: Request) -> Reply | None:
    """The model does not support tools: a model id answers with an error, an assistant passes the tools on anyway."""
    body = planned.request_json or {}
    model = str(body.get("model"))
    if len(model) == ASSISTANT_ID or not (body.get("tools") or body.get("functions")):
        return None
    error = ApiError(422, "REQUEST_VALIDATION_ERROR", f"Model {model} does not support function calls.")
    return json_reply(422, error.body)


def no_streaming(planned: Reply, request: Request) -> Reply | None:
    """The model does not support streaming: a model id answers with an error, an assistant's stream is empty."""
    model = str((planned.request_json or {}).get("model"))
    if not planned.streamed:
        return None
    if len(model) == ASSISTANT_ID:
        return replace(planned, pieces=[Piece(0, "done", DONE)])
    error = ApiError(422, "REQUEST_VALIDATION_ERROR", f"Model {model} does not support streaming.")
    return json_reply(422, error.body)


def own_tool(planned: Reply, request: Request, after: int = 3) -> Reply | None:
    """The assistant uses a tool of its own after some tokens: only the events' index, which restarts at 0, shows it."""
    if not planned.streamed:
        return None
    pieces = list(planned.pieces)
    for i, piece in enumerate(pieces):
        if piece.kind == "token" and i >= after:
            data = piece.data.replace(b'"index": %d,' % i, b'"index": %d,' % (i - after))
            pieces[i] = piece._replace(data=data)
    return replace(planned, pieces=pieces)


FAULTS: dict[str, Callable[..., Reply | None]] = {
    fault.__name__: fault
    for fault in (
        upstream_error, upstream_down, upstream_cut, model_killed, upstream_empty, upstream_hang, no_function_call,
        no_streaming, own_tool,
    )
}  # fmt: skip
