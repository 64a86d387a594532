"""Examples for fine-tuning in OpenAI's chat format: conversations up to their last right answer.

A model learns every assistant message of an example whose ``weight`` is not 0. Here these are the right answers, with
the tool rounds that led to them. Answers without a score stay where a right one follows, since that one has seen them,
and have the weight 0, as have the assistant messages that the dataset gives.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.conversation import Message
from evalkit.exporting.exported import Exported, json_line
from evalkit.runfile import request_messages
from evalkit.runfile.reader import run_info
from evalkit.runfile.transcripts import Transcript, TranscriptTurn, transcripts

_FILES = "conversations with a file beside the dataset, which the run file does not have"
_NONE_RIGHT = "conversations without a right answer at their beginning"
_UNSCORED = "answers without a score"
_WRONG, _FAILED, _CUT_OFF = "wrong answers", "failed turns", "answers that were cut off"
_AFTER = "answers after a wrong, failed or cut-off one"

Json = dict[str, Any]


def write(connection: sqlite3.Connection, path: Path) -> Exported:
    """Write one example a line: one for each conversation and repeat; with the golden history one for each turn."""
    golden = run_info(connection)["settings"].get("history") == "golden"
    done = Exported("examples")
    with path.open("wb") as file:
        for transcript in transcripts(connection):
            if request_messages.names_file(transcript):
                done.left_out[_FILES] += 1
                continue
            found = 0
            for messages in (_golden if golden else _own)(transcript, done):
                file.write(json_line(_example(messages, transcript.row)))
                found += 1
            done.rows += found
            done.left_out[_NONE_RIGHT] += not found
    return done


def _own(transcript: Transcript, done: Exported) -> Iterator[list[Json]]:
    """The conversation up to the last right answer before the first that is wrong, cut off or failed."""
    messages = [_message(each, learnt=False) for each in request_messages.opening(transcript.row)]
    right = unscored = 0  # messages up to the last right answer, and answers without a score after it
    for number, turn in enumerate(transcript.turns, start=1):
        why = _why_not(turn)
        if turn.turn != number or why not in (None, _UNSCORED):
            done.left_out[why or _AFTER] += 1
            done.left_out[_AFTER] += len(transcript.turns) - number
            break
        messages.append(_message(request_messages.question(turn)))
        answer = request_messages.answered(transcript, turn)
        messages += [_message(each, learnt=why is None) for each in answer]
        unscored += 1
        if why is None:
            right, unscored = len(messages), 0
    done.left_out[_UNSCORED] += unscored
    if right:
        yield _to_last_answer(messages[:right])


def _golden(transcript: Transcript, done: Exported) -> Iterator[list[Json]]:
    """For each right answer the golden answers that it has seen, and the answer."""
    seen = [_message(each, learnt=False) for each in request_messages.opening(transcript.row)]
    turns = transcript.row["turns"]
    for turn in transcript.turns:
        why = _why_not(turn)
        if why is not None:
            done.left_out[why] += 1
            continue
        earlier: list[Json] = []
        for asked in turns[: turn.turn - 1]:
            earlier.append({"role": "user", "content": asked["user"]})
            earlier.append({"role": "assistant", "content": asked.get("assistant"), "weight": 0})
        answer = [_message(each) for each in request_messages.answered(transcript, turn)]
        yield _to_last_answer([*seen, *earlier, _message(request_messages.question(turn)), *answer])


def _why_not(turn: TranscriptTurn) -> str | None:
    """Why a turn's answer is not to be learnt; None: it is right."""
    if turn.verdict == "error":
        return _FAILED
    if turn.cut_off:
        return _CUT_OFF
    if turn.outcome in ("reasoning_only", "empty") or turn.verdict == "wrong":
        return _WRONG
    return _UNSCORED if turn.verdict == "unscored" else None


def _to_last_answer(messages: list[Json]) -> list[Json]:
    """Without what later turns see in place of the results of calls that ended the last turn."""
    while messages[-1]["role"] != "assistant":
        messages.pop()
    return messages


def _message(message: Message, *, learnt: bool = True) -> Json:
    found: Json = {"role": message.role, "content": list(message.parts) if message.parts else message.content}
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.role == "assistant" and not learnt:
        found["weight"] = 0
    return found


def _example(messages: list[Json], row: Mapping[str, Any]) -> Json:
    example: Json = {"messages": messages}
    if row.get("tools"):
        example["tools"] = row["tools"]
        parallel = (row.get("params") or {}).get("parallel_tool_calls")
        if isinstance(parallel, bool):
            example["parallel_tool_calls"] = parallel
    return example
