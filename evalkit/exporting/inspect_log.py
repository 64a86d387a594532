"""Logs of inspect (``.eval``): a zip with a file for each sample, which its viewer shows and ``evalkit import`` reads.

A turn is a sample, with the messages before it as its input, and a repeat is an epoch. So each score stands where
inspect looks for it, and the accuracy is that over turns.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

from evalkit.conversation import Message, ToolCall
from evalkit.datasets.content_parts import note
from evalkit.exporting.exported import Exported, json_line
from evalkit.exporting.request_ids import request_id
from evalkit.exporting.timed_turns import TurnTimes, timed_transcripts
from evalkit.runfile import request_messages
from evalkit.runfile.plain_text import clipped, plain
from evalkit.runfile.plain_transcripts import value_text
from evalkit.runfile.reader import run_info
from evalkit.runfile.schema import JOIN_SCORE
from evalkit.runfile.transcripts import Transcript, TranscriptTurn

MARK = b"evalkit"  # the comment of the last file: inspect's viewer finds nothing in a zip that has one itself
_STOP = {"length": "max_tokens", "stop": "stop", "tool_calls": "tool_calls", "content_filter": "content_filter"}
_SHORT = 1_000  # characters of a question in the list of samples
_LONGEST_ID = 10_000  # characters of a name in a zip, which has 65,535 bytes at most
_DOTS = re.compile(r"(?<![^/\\]) *\.[. ]*(?=[/\\])")  # a folder named .. and what Windows takes for it
_SEVERAL = "evalkit"  # the name of the score if turns have different scorers
_SCORERS = f"SELECT DISTINCT s.scorer FROM turn t {JOIN_SCORE} WHERE s.scorer NOT NULL LIMIT 2"  # noqa: S608 - SQL of our own
# epochs are reduced by their mean, as inspect does
_ACCURACY = f"""
    SELECT avg(mean), sum(scored) FROM (
      SELECT avg(s.value) mean, count(s.value) scored FROM turn t {JOIN_SCORE}
      WHERE s.value NOT NULL AND t.status = 'answered' GROUP BY t.conversation, t.turn)"""  # noqa: S608 - SQL of our own
_NOT_SENT = "turns that were never sent"

Json = dict[str, Any]


def write(connection: sqlite3.Connection, path: Path) -> Exported:
    """Write one sample for each turn that was answered or failed."""
    info = run_info(connection)
    model = info["endpoint"].get("model") or "unknown"
    scorers = [name for (name,) in connection.execute(_SCORERS)]
    scorer = scorers[0] if len(scorers) == 1 else _SEVERAL
    golden = info["settings"].get("history") == "golden"
    done = Exported("samples")
    samples = _Samples(model, scorer, golden)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log, tempfile.TemporaryFile() as summaries:
        for transcript, times in timed_transcripts(connection):
            for sample in samples.of(transcript, times, done):
                _number_if_taken(sample, log)
                log.writestr(_file_name(sample), json_line(sample))
                summaries.write((b"," if done.rows else b"[") + json_line(_summary(sample)))
                done.rows += 1
        summaries.write(b"]" if done.rows else b"[]")
        _copy(summaries, log, "summaries.json")
        log.writestr("header.json", json_line(_header(connection, info, samples, done.rows)))
        log.infolist()[-1].comment = MARK
    return done


class _Samples:
    """Makes the samples, and remembers what the header says about all of them."""

    def __init__(self, model: str, scorer: str, golden: bool) -> None:
        self.model, self.scorer, self.golden = model, scorer, golden
        self.epochs, self.completed = 1, 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.usage: dict[str, int] = {}

    def of(self, transcript: Transcript, times: list[TurnTimes], done: Exported) -> Iterator[Json]:
        self.epochs = max(self.epochs, transcript.repeat)
        messages = request_messages.opening(transcript.row)
        for turn, time in zip(transcript.turns, times, strict=True):
            if turn.error_kind is not None and not turn.attempts:
                done.left_out[_NOT_SENT] += 1
                continue
            messages.append(request_messages.question(turn))
            yield self._sample(transcript, turn, time, messages)
            if self.golden or turn.error_kind is None:
                messages += request_messages.seen_later(transcript, turn, golden=self.golden)

    def _sample(self, transcript: Transcript, turn: TranscriptTurn, time: TurnTimes, messages: list[Message]) -> Json:
        asked = list(map(_message, messages))
        failed = turn.error_kind is not None
        sample: Json = {
            "id": _named(request_id(transcript.conversation, turn.turn, len(transcript.row["turns"]))),
            "epoch": transcript.repeat,
            "input": asked,
            "target": "" if turn.target is None else value_text(turn.target),
            "messages": asked,
            "output": {"model": self.model, "choices": [], "completion": ""},
            "scores": {},
            "metadata": {"conversation": transcript.conversation, "turn": turn.turn},
            "store": {},
            "events": [],
            "model_usage": {},
            "attachments": {},
        }
        if not failed:
            self.completed += 1
            rounds, answer = request_messages.rounds_and_answer(transcript, turn)
            last = {**_message(answer), "source": "generate", "model": self.model}
            last["content"] = _with_reasoning(turn, last["content"])
            sample["messages"] = [*asked, *map(_message, rounds), last]
            sample["output"] = self._output(turn, last)
            usage = sample["output"]["usage"]
            if usage is not None:
                sample["model_usage"] = {self.model: usage}
                self._count(usage)
        if turn.score is not None and not failed:
            sample["scores"] = {self.scorer: _score(turn)}
        if failed:
            message = turn.error or ""
            # the viewer shows only the traceback, with its ANSI colours
            sample["error"] = {"message": message, **dict.fromkeys(("traceback", "traceback_ansi"), plain(message))}
        self._add_times(sample, time)
        return sample

    def _output(self, turn: TranscriptTurn, message: Json) -> Json:
        took = {} if turn.latency_ns is None else {"time": turn.latency_ns / 1e9}
        return {
            "model": self.model,
            "choices": [{"message": message, "stop_reason": _STOP.get(turn.finish_reason or "", "unknown")}],
            "completion": turn.answer or turn.refusal or "",
            "usage": _usage(turn),
            **took,
        }

    def _count(self, usage: Mapping[str, int]) -> None:
        for name, count in usage.items():
            self.usage[name] = self.usage.get(name, 0) + count

    def _add_times(self, sample: Json, time: TurnTimes) -> None:
        if time.start_ns is None or time.end_ns is None:
            return
        self.first_ns = time.start_ns if self.first_ns is None else min(self.first_ns, time.start_ns)
        self.last_ns = time.end_ns if self.last_ns is None else max(self.last_ns, time.end_ns)
        took = (time.end_ns - time.start_ns) / 1e9
        sample |= {"started_at": _date(time.start_ns), "completed_at": _date(time.end_ns), "total_time": took}


def _message(message: Message) -> Json:
    content: Any = [_part(part) for part in message.parts] if message.parts else message.content or ""
    found: Json = {"role": "system" if message.role == "developer" else message.role, "content": content}
    if message.tool_calls:
        found["tool_calls"] = list(map(_call, message.tool_calls))
    if message.role == "tool":
        found |= {"tool_call_id": message.tool_call_id, "function": message.name}
    return found


def _part(part: Mapping[str, Any]) -> Json:
    image = part.get("image_url")
    address = image.get("url") if isinstance(image, dict) else image
    if isinstance(address, str) and address.startswith(("data:", "https://", "http://")):
        return {"type": "image", "image": address}
    return {"type": "text", "text": note(part)}


def _call(call: ToolCall) -> Json:
    found: Json = {"id": call.id or "", "function": call.name, "type": "function"}
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        return {**found, "arguments": {}, "parse_error": f"not an object in JSON: {call.arguments}"}
    return {**found, "arguments": arguments}


def _with_reasoning(turn: TranscriptTurn, content: Any) -> Any:
    if not turn.reasoning:
        return content
    text = [{"type": "text", "text": content}] if content else []
    return [{"type": "reasoning", "reasoning": turn.reasoning}, *text]


def _usage(turn: TranscriptTurn) -> dict[str, int] | None:
    """The token counts under inspect's names, whose input leaves out cached tokens; None: the endpoint sent none."""
    tokens = turn.tokens
    prompt, output = tokens["prompt_tokens"], tokens["output_tokens"]
    cached = (tokens["cached_tokens"] or 0) + (tokens["cache_write_tokens"] or 0)
    counted = {
        "input_tokens": None if prompt is None else max(prompt - cached, 0),
        "output_tokens": output,
        "reasoning_tokens": tokens["reasoning_tokens"],
        "input_tokens_cache_read": tokens["cached_tokens"],
        "input_tokens_cache_write": tokens["cache_write_tokens"],
    }
    usage = {name: count for name, count in counted.items() if count is not None}
    return {**usage, "total_tokens": (prompt or 0) + (output or 0)} if usage else None


def _score(turn: TranscriptTurn) -> Json:
    extracted = turn.extracted
    score: Json = {"value": turn.score, "metadata": {"scorer": turn.scorer}}
    if extracted is not None:
        score["answer"] = extracted if isinstance(extracted, str) else json.dumps(extracted, ensure_ascii=False)
    if turn.reason is not None:
        score["explanation"] = turn.reason
    return score


def _number_if_taken(sample: Json, log: zipfile.ZipFile) -> None:
    """Give a sample another id if there is one with its id: ``a/turn-2`` may be a conversation of its own."""
    name, number = sample["id"], 2
    while _file_name(sample) in log.NameToInfo:
        sample["id"], number = f"{name}~{number}", number + 1


def _file_name(sample: Json) -> str:
    return f"samples/{sample['id']}_epoch_{sample['epoch']}.json"  # where inspect looks for it


def _named(name: str) -> str:
    """An id that can be the name of a file in a zip, below the folder of the samples."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in name[:_LONGEST_ID])
    return _DOTS.sub(lambda dots: "\ufffd" * len(dots[0]), printable)


def _summary(sample: Json) -> Json:
    """What the list of samples shows."""
    content = sample["input"][-1]["content"]
    text = content if isinstance(content, str) else " ".join(part.get("text", "[image]") for part in content)
    names = ("id", "epoch", "target", "metadata", "scores", "model_usage", "started_at", "completed_at", "total_time")
    found = {name: sample[name] for name in names if name in sample}
    error = {"error": sample["error"]["message"]} if "error" in sample else {}
    return {
        **found, **error, "input": clipped(text, _SHORT), "retries": 0, "message_count": len(sample["messages"]),
        "completed": True,  # it has ended; the viewer waits for the rest of one that has not
    }  # fmt: skip


def _header(connection: sqlite3.Connection, info: Mapping[str, Any], samples: _Samples, rows: int) -> Json:
    accuracy, scored = connection.execute(_ACCURACY).fetchone()
    unfinished = connection.execute("SELECT 1 FROM session WHERE ended_mono_ns IS NULL").fetchone() is not None
    data, endpoint = str(info["dataset"].get("path") or ""), info["endpoint"]
    params = endpoint.get("params") or {}
    names = ("temperature", "top_p", "max_tokens", "seed")
    config = {name: params[name] for name in names if type(params.get(name)) in (int, float)}
    created = _date(info["created_ns"])
    score = {
        "name": samples.scorer, "scorer": samples.scorer, "scored_samples": scored or 0,
        "unscored_samples": rows - (scored or 0), "params": {},
        "metrics": {} if accuracy is None else {"accuracy": {"name": "accuracy", "value": accuracy, "params": {}}},
    }  # fmt: skip
    return {
        "version": 2,
        "status": "started" if unfinished else "success",
        "eval": {
            "eval_id": info["name"], "run_id": info["name"], "created": created,
            "task": Path(data).stem or info["name"], "task_id": info["name"], "task_version": 0,
            "dataset": {"name": Path(data).stem, "location": data},
            "model": samples.model, "model_generate_config": config,
            "model_base_url": endpoint.get("base_url") or None, "config": {"epochs": samples.epochs},
            "metadata": {"evalkit": {"run": info["name"]}},
        },
        "plan": {"name": "plan", "steps": [], "config": config},
        "results": {
            "total_samples": rows, "completed_samples": samples.completed, "scores": [score] if scored else [],
        },
        "stats": {
            "started_at": created if samples.first_ns is None else _date(samples.first_ns),
            "completed_at": created if samples.last_ns is None else _date(samples.last_ns),
            "model_usage": {samples.model: samples.usage} if samples.usage else {},
        },
    }  # fmt: skip


def _date(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat()


def _copy(file: IO[bytes], log: zipfile.ZipFile, name: str) -> None:
    file.seek(0)
    with log.open(name, "w", force_zip64=True) as entry:
        while piece := file.read(1 << 20):
            entry.write(piece)
