"""The messages that the requests of a transcript had; files beside the dataset are not in a run file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.conversation import Message, with_names
from evalkit.datasets import content_parts
from evalkit.runfile.finished_turn import stored_record
from evalkit.runfile.transcripts import Transcript, TranscriptTurn


def opening(row: Mapping[str, Any], *, with_files: bool = False) -> list[Message]:
    """The messages before the first turn of a dataset row: system prompt, then context.

    ``with_files``: parts that name a file keep its description, ``from_file``.
    """
    system = [] if row.get("system") is None else [Message("system", row["system"])]
    context = [Message.from_json(message) for message in row.get("context", ())]
    return [*system, *(_with_parts(message, with_files) for message in with_names(context))]


def question(turn: TranscriptTurn, *, with_files: bool = False) -> Message:
    """The user message of a turn; ``with_files`` as for ``opening``."""
    return _with_parts(Message("user", turn.asked["user"]), with_files)


def answered(transcript: Transcript, turn: TranscriptTurn) -> list[Message]:
    """The model's messages of a turn, with its tool rounds, as later turns see them: every call has a result."""
    stored = (turn.answer, turn.refusal, turn.tool_calls_json, turn.exchange_json)
    return stored_record("", transcript.repeat, turn.turn, *stored).seen_later


def rounds_and_answer(transcript: Transcript, turn: TranscriptTurn) -> tuple[list[Message], Message]:
    """The tool rounds of an answered turn, and the answer at their end."""
    messages = answered(transcript, turn)
    last = max(at for at, message in enumerate(messages) if message.role == "assistant")
    return messages[:last], messages[last]


def seen_later(transcript: Transcript, turn: TranscriptTurn, *, golden: bool) -> list[Message]:
    """The messages after a question that later turns saw."""
    return [Message("assistant", turn.asked.get("assistant"))] if golden else answered(transcript, turn)


def names_file(transcript: Transcript) -> bool:
    """Whether a message of the dataset names a file beside it, which the run file does not have."""
    contents = [turn["user"] for turn in transcript.row["turns"]]
    contents += [message.get("content") for message in transcript.row.get("context", ())]
    return any(content_parts.FROM_FILE in part for each in contents if isinstance(each, list) for part in each)


def _with_parts(message: Message, with_files: bool) -> Message:
    """A message whose content is a list of parts, with these as its parts."""
    content: Any = message.content
    if not isinstance(content, list):
        return message
    left_out = () if with_files else (content_parts.FROM_FILE,)
    parts = ({key: value for key, value in part.items() if key not in left_out} for part in content)
    return message._replace(content=None, parts=tuple(parts))
