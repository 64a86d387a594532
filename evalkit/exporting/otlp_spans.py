"""OpenTelemetry spans as OTLP JSON lines, which the collector's ``otlpjsonfile`` receiver reads.

A conversation in one repeat is a trace: a span for it, and one for each turn, with the attributes of the semantic
conventions for generative AI. A line is one trace. What was said is only there when asked for.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from evalkit.conversation import Message
from evalkit.datasets.content_parts import shown
from evalkit.errors import SettingsError
from evalkit.exporting.exported import Exported, json_line
from evalkit.exporting.timed_turns import TurnTimes, timed_transcripts
from evalkit.runfile import request_messages
from evalkit.runfile.reader import run_info
from evalkit.runfile.transcripts import Transcript, TranscriptTurn

SCOPE = "evalkit"
_CLIENT, _INTERNAL, _ERROR = 3, 1, 2  # kinds and a status code of OTLP
_PROVIDER = "openai"  # whose API the endpoint speaks, not who runs it
_PORTS = {"http": 80, "https": 443}
_NOT_TIMED = "turns without times: never sent, or interrupted"
# request parameters whose attributes are gen_ai.request.NAME, with their types
_PARAMS: Mapping[str, Callable[[Any], Any]] = {
    "temperature": float, "top_p": float, "top_k": float, "max_tokens": int, "seed": int, "frequency_penalty": float,
    "presence_penalty": float,
}  # fmt: skip
_TOKENS = {
    "prompt_tokens": "input_tokens", "output_tokens": "output_tokens", "reasoning_tokens": "reasoning.output_tokens",
    "cached_tokens": "cache_read.input_tokens", "cache_write_tokens": "cache_creation.input_tokens",
}  # fmt: skip
_TIMED = "SELECT 1 FROM turn WHERE sent_ns > 0 AND session > 0 LIMIT 1"

Json = dict[str, Any]


def write(connection: sqlite3.Connection, path: Path, *, content: bool = False) -> Exported:
    """Write one trace a line.

    Raises
    ------
    SettingsError
        The run was imported: it has no times, which every span needs.
    """
    info = run_info(connection)
    if info["settings"].get("imported") and connection.execute(_TIMED).fetchone() is None:
        raise SettingsError(
            "the run was imported and has no times, which every span needs: choose another format, such as jsonl"
        )
    done = Exported("spans")
    spans = _Spans(info, content)
    with path.open("wb") as file:
        for transcript, times in timed_transcripts(connection):
            found = spans.of(transcript, times, done)
            if found:
                file.write(json_line(spans.request(found)))
                done.rows += len(found)
    return done


class _Spans:
    def __init__(self, info: Mapping[str, Any], content: bool) -> None:
        endpoint = info["endpoint"]
        self._content = content
        self._golden = info["settings"].get("history") == "golden"
        self._seed = f"{info['name']}\0{info['created_ns']}"
        self._model = endpoint.get("model") or "unknown"
        self._endpoint = _endpoint(endpoint, self._model)
        self._params = endpoint.get("params") or {}
        self._resource = _attributes({"service.name": SCOPE, "evalkit.run": info["name"]})

    def request(self, spans: Sequence[Json]) -> Json:
        """The spans as the body of an export request of OTLP."""
        scope = {"scope": {"name": SCOPE}, "spans": list(spans)}
        return {"resourceSpans": [{"resource": {"attributes": self._resource}, "scopeSpans": [scope]}]}

    def of(self, transcript: Transcript, times: Sequence[TurnTimes], done: Exported) -> list[Json]:
        """The spans of a conversation in one repeat, its own first; empty if no turn was sent."""
        place = f"{self._seed}\0{transcript.conversation}\0{transcript.repeat}"
        trace, root = _id(place, 16), _id(f"{place}\0root", 8)
        messages, spans, ends = request_messages.opening(transcript.row), list[Json](), list[int]()
        for turn, time in zip(transcript.turns, times, strict=True):
            messages.append(request_messages.question(turn))
            if time.start_ns is None or time.end_ns is None:
                done.left_out[_NOT_TIMED] += 1
            else:
                own: Json = {
                    "traceId": trace, "spanId": _id(f"{place}\0{turn.turn}", 8), "parentSpanId": root,
                    "name": f"chat {self._model}", "kind": _CLIENT,
                    "startTimeUnixNano": str(time.start_ns), "endTimeUnixNano": str(max(time.start_ns, time.end_ns)),
                }  # fmt: skip
                spans.append(own | self._turn(transcript, turn, time, messages))
                ends += time.start_ns, time.end_ns
            if self._golden or turn.error_kind is None:
                messages += request_messages.seen_later(transcript, turn, golden=self._golden)
        if not spans:
            return []
        about = {"gen_ai.conversation.id": transcript.conversation, "evalkit.repeat": transcript.repeat}
        tags = transcript.row.get("tags")
        own = {
            "traceId": trace, "spanId": root, "name": "conversation", "kind": _INTERNAL,
            "startTimeUnixNano": str(min(ends)), "endTimeUnixNano": str(max(ends)),
            "attributes": _attributes({**about, "evalkit.tags": tags or None}),
        }  # fmt: skip
        return [own, *spans]

    def _turn(self, transcript: Transcript, turn: TranscriptTurn, time: TurnTimes, messages: Sequence[Message]) -> Json:
        failed = turn.error_kind is not None
        params = {**self._params, **(transcript.row.get("params") or {})}
        stop = params.get("stop")
        found: Json = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDER,
            **self._endpoint,
            "gen_ai.conversation.id": transcript.conversation,
            "gen_ai.request.stream": time.streamed or None,
            **{
                f"gen_ai.request.{name}": kind(params[name])
                for name, kind in _PARAMS.items()
                if _is_number(params, name)
            },
            "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
            "gen_ai.response.finish_reasons": [turn.finish_reason] if turn.finish_reason else None,
            **{f"gen_ai.usage.{name}": turn.tokens[key] for key, name in _TOKENS.items()},
            "error.type": turn.error_kind,
            "evalkit.repeat": transcript.repeat,
            "evalkit.turn": turn.turn,
            "evalkit.attempts": turn.attempts,
            "evalkit.outcome": turn.outcome,
        }
        if time.streamed and turn.ttft_ns is not None:
            found["gen_ai.response.time_to_first_chunk"] = turn.ttft_ns / 1e9
        if self._content:
            found |= _contents(transcript, turn, messages)
        span: Json = {"attributes": _attributes(found)}
        if failed:
            span["status"] = {"code": _ERROR, **({"message": turn.error_message or ""} if self._content else {})}
        if turn.scorer is not None and not failed:
            span["events"] = [self._evaluation(turn, time)]
        return span

    def _evaluation(self, turn: TranscriptTurn, time: TurnTimes) -> Json:
        labels = {"right": "correct", "wrong": "incorrect"}
        about: Json = {
            "gen_ai.evaluation.name": turn.scorer,
            "gen_ai.evaluation.score.value": None if turn.score is None else float(turn.score),
            "gen_ai.evaluation.score.label": labels.get(turn.verdict),
            "gen_ai.evaluation.explanation": turn.reason if self._content else None,
        }
        return {
            "name": "gen_ai.evaluation.result",
            "timeUnixNano": str(time.end_ns),
            "attributes": _attributes(about),
        }


def _endpoint(endpoint: Mapping[str, Any], model: str) -> Json:
    about: Json = {"gen_ai.request.model": model}
    try:
        address = urlsplit(endpoint.get("base_url") or "")
        port = address.port or _PORTS.get(address.scheme)
    except ValueError:  # of a run file that evalkit has not written
        return about
    return about | {"server.address": address.hostname, "server.port": port if address.hostname else None}


def _is_number(params: Mapping[str, Any], name: str) -> bool:
    return type(params.get(name)) in (int, float)


def _contents(transcript: Transcript, turn: TranscriptTurn, messages: Sequence[Message]) -> Json:
    """What was said, as JSON text."""
    system = [message for message in messages if message.role in ("system", "developer")]
    asked = [_said(message) for message in messages if message not in system]
    found: Json = {"gen_ai.input.messages": _text(asked)}
    if system:
        parts = [{"type": "text", "content": shown(list(each.parts)) or each.content} for each in system]
        found["gen_ai.system_instructions"] = _text(parts)
    if transcript.row.get("tools"):
        found["gen_ai.tool.definitions"] = _text(transcript.row["tools"])
    if turn.error_kind is None:
        answer = _said(request_messages.rounds_and_answer(transcript, turn)[1])
        if turn.reasoning:
            answer["parts"].insert(0, {"type": "reasoning", "content": turn.reasoning})
        found["gen_ai.output.messages"] = _text([{**answer, "finish_reason": turn.finish_reason or "unknown"}])
    return found


def _said(message: Message) -> Json:
    parts: list[Json] = []
    if message.role == "tool":
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": message.tool_call_id, "result": message.content}],
        }
    text = shown(list(message.parts)) if message.parts else message.content
    if text:
        parts.append({"type": "text", "content": text})
    calls = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return {"role": message.role, "parts": [*parts, *calls]}


def _text(value: Any) -> str:
    return json_line(value).decode().rstrip("\n")


def _attributes(values: Mapping[str, Any]) -> list[Json]:
    """Attributes in the form of OTLP JSON; None is left out."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": list(map(_value, value))}}
    return {"stringValue": value if isinstance(value, str) else orjson.dumps(value).decode()}


def _id(text: str, size: int) -> str:
    """The id of a span or trace in hexadecimal: the same for each export of a run."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: 2 * size]
