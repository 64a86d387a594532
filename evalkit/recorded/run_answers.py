"""The answer of a stored attempt in pieces, as the endpoint may have sent it; failures too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.conversation import Message
from evalkit.recorded import answer_forms
from evalkit.recorded.exchange import BROKEN, COMPLETE, EVENT_STREAM, SILENT, Exchange, Piece
from evalkit.runfile.transcripts import TranscriptTurn

_STREAM, _JSON = {"content-type": EVENT_STREAM}, {"content-type": "application/json"}
# how the error in a stream is named, so that clients find its kind again; see also the status
_ERROR_TYPES = {
    "auth": "authentication_error",
    "bad_request": "invalid_request_error",
    "not_found": "not_found_error",
    "rate_limited": "rate_limit_error",
    "server": "server_error",
}
_STATUSES = {"auth": 401, "bad_request": 400, "not_found": 404, "rate_limited": 429, "server": 500}
_Answer = tuple[int | None, Mapping[str, str], tuple[Piece, ...], float | None, float | None, str]
_Delta = tuple[str, Any]


class StoredAttempt(NamedTuple):
    """The columns of an attempt that its answer is made from; times in ns of one clock, arrivals since sent."""

    sent_ns: int
    headers_ns: int | None
    end_ns: int | None
    first_visible_ns: int | None
    arrivals: Any
    arrival_events: Any
    streamed: int
    http_status: int | None
    flags: str | None
    error_kind: str | None
    error_message: str | None
    error_code: str | None
    retry_after_s: float | None
    partial: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None

    def since_sent_ms(self, stamp: int | None) -> float | None:
        """A stamp in ms since the request was sent."""
        return None if stamp is None else max(0.0, (stamp - self.sent_ns) / 1e6)


def answer(
    head: Mapping[str, Any],
    attempt: StoredAttempt,
    message: Message | None,
    turn: TranscriptTurn | None,
    finish_reason: str | None,
) -> _Answer:
    """Status, headers, pieces, times and ending of the answer to an attempt.

    Parameters
    ----------
    head : mapping
        ``id``, ``created`` and ``model``.
    attempt : StoredAttempt
    message : Message or None
        The answer; None: it failed.
    turn : TranscriptTurn or None
        The turn, if this is the answer whose reasoning and refusal it has.
    finish_reason : str or None
    """
    headers_ms, end_ms = attempt.since_sent_ms(attempt.headers_ns), attempt.since_sent_ms(attempt.end_ns)
    pieces: tuple[Piece, ...]
    if message is None:
        status, headers, pieces, ending = _failed(head, attempt)
        return status, headers, pieces, headers_ms, end_ms, ending
    deltas = _deltas(message, turn)
    usage = _usage(attempt, turn.tokens.get("reasoning_tokens") if turn else None)
    if not attempt.streamed or not attempt.arrivals:
        body = _event(head, deltas) + answer_forms.ending(head, finish_reason, usage)
        pieces = (Piece(end_ms or 0.0, body),)
        if attempt.streamed:
            return 200, _STREAM, pieces, headers_ms, end_ms, COMPLETE
        stream = Exchange("", None, 200, _STREAM, pieces, headers_ms, end_ms)
        whole = answer_forms.in_form(stream, stream=False)
        return 200, _JSON, whole.pieces, headers_ms, end_ms, COMPLETE
    pieces = tuple(_pieces(head, attempt, deltas))
    rest = answer_forms.ending(head, finish_reason, usage)
    if "no_done" in (attempt.flags or "").split():
        rest = rest.removesuffix(b"data: [DONE]\n\n")
    final = Piece(max(end_ms or 0.0, pieces[-1].at_ms if pieces else 0.0), rest)
    return 200, _STREAM, (*pieces, final), headers_ms, end_ms, COMPLETE


def _failed(
    head: Mapping[str, Any], attempt: StoredAttempt
) -> tuple[int | None, Mapping[str, str], tuple[Piece, ...], str]:
    kind, status, end = attempt.error_kind or "", attempt.http_status, attempt.since_sent_ms(attempt.end_ns) or 0.0
    if status is None:
        return None, {}, (), SILENT if kind == "timeout" else BROKEN
    word = attempt.error_code or ""
    code = int(word) if word.isascii() and word.isdecimal() and len(word) < 16 else word or None
    error: dict[str, Any] = {"message": attempt.error_message, "type": _ERROR_TYPES.get(kind, kind), "code": code}
    if not 200 <= status < 300:
        wait = {} if attempt.retry_after_s is None else {"retry-after": f"{attempt.retry_after_s:g}"}
        return status, {**_JSON, **wait}, (Piece(end, json.dumps({"error": error}).encode()),), COMPLETE
    deltas = [("content", character) for character in attempt.partial or ""]
    pieces = tuple(_pieces(head, attempt, deltas))
    headers = _STREAM if attempt.streamed else _JSON
    if kind in _ERROR_TYPES:
        error["code"] = error["code"] or _STATUSES[kind]
        body = {"error": error}
        data = answer_forms.event(body) if attempt.streamed else json.dumps(body).encode()
        return status, headers, (*pieces, Piece(end, data)), COMPLETE
    if kind == "protocol":
        return status, headers, (*pieces, Piece(end, b"data: {not JSON\n\n" if attempt.streamed else b"{")), COMPLETE
    if kind == "empty":
        data = answer_forms.ending(head, "stop", None) if attempt.streamed else b'{"choices": []}'
        return status, headers, (Piece(end, data),), COMPLETE
    return status, headers, pieces, SILENT if kind == "timeout" else BROKEN


def _deltas(message: Message, turn: TranscriptTurn | None) -> list[_Delta]:
    """The answer in its smallest pieces: characters, and the beginnings of calls."""
    extra = message.extra or {}
    reasoning = turn.reasoning if turn else extra.get("reasoning_content") or extra.get("reasoning")
    found: list[_Delta] = [("reasoning_content", character) for character in reasoning or ""]
    found += [("content", character) for character in message.content or ""]
    found += [("refusal", character) for character in (turn.refusal if turn else None) or ""]
    for number, call in enumerate(message.tool_calls):
        value = call.to_json()
        arguments, value["function"] = value["function"]["arguments"], {**value["function"], "arguments": ""}
        found.append(("tool_calls", {"index": number, **value}))
        found += [("tool_calls", {"index": number, "function": {"arguments": text}}) for text in arguments]
    return found


def _pieces(head: Mapping[str, Any], attempt: StoredAttempt, deltas: Sequence[_Delta]) -> Iterator[Piece]:
    """The deltas divided over the recorded arrivals: reasoning over those before the first visible one."""
    visible = attempt.since_sent_ms(attempt.first_visible_ns)
    arrivals = [(at / 1e6, count) for at, count in zip(attempt.arrivals, attempt.arrival_events, strict=False)]
    if not arrivals:
        return
    early = [each for each in arrivals if visible is None or each[0] < visible]
    hidden = [delta for delta in deltas if delta[0] == "reasoning_content"] if early else []
    rest = deltas[len(hidden) :]
    if not rest:
        yield from _over(head, arrivals, hidden)
        return
    late = arrivals[len(early) :] if hidden else arrivals
    yield from _over(head, early, hidden)
    yield from _over(head, late or arrivals[-1:], rest)


def _over(head: Mapping[str, Any], arrivals: Sequence[tuple[float, int]], deltas: Sequence[_Delta]) -> Iterator[Piece]:
    times = [at for at, count in arrivals for _ in range(max(1, min(count, len(deltas))))]
    events = _divided(deltas, len(times))
    at_each: dict[float, bytes] = {}
    for at, group in zip(times, events, strict=True):
        if group:
            at_each[at] = at_each.get(at, b"") + _event(head, group)
    for at, data in at_each.items():
        yield Piece(at, data)


def _divided(deltas: Sequence[_Delta], count: int) -> list[Sequence[_Delta]]:
    """The deltas in ``count`` groups of nearly the same size; the first and the last are never empty."""
    total = len(deltas)
    if total >= count:
        return [deltas[total * k // count : total * (k + 1) // count] for k in range(count)]
    places = {round(k * (count - 1) / max(total - 1, 1)): k for k in range(total)}
    return [deltas[places[k] : places[k] + 1] if k in places else () for k in range(count)]


def _event(head: Mapping[str, Any], deltas: Sequence[_Delta]) -> bytes:
    """One event with several deltas: what belongs together is joined."""
    delta: dict[str, Any] = {}
    for name, value in deltas:
        if name == "tool_calls":
            _add_call(delta.setdefault("tool_calls", []), value)
        else:
            delta[name] = delta.get(name, "") + value
    return answer_forms.event(answer_forms.chunk(head, delta))


def _add_call(calls: list[dict[str, Any]], value: dict[str, Any]) -> None:
    if calls and calls[-1]["index"] == value["index"]:
        function = calls[-1]["function"]
        function["arguments"] += value["function"]["arguments"]
    else:
        calls.append({**value, "function": dict(value["function"])})


def _usage(attempt: StoredAttempt, reasoning: int | None) -> dict[str, Any] | None:
    if attempt.output_tokens is None and attempt.prompt_tokens is None:
        return None
    counts = {"prompt_tokens": attempt.prompt_tokens, "completion_tokens": attempt.output_tokens}
    usage: dict[str, Any] = {name: count for name, count in counts.items() if count is not None}
    usage["total_tokens"] = sum(usage.values())
    if attempt.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": attempt.cached_tokens}
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage
