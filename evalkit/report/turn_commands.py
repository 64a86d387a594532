"""The requests of a conversation as cURL and Python, in parts that a report stores once for all its turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from evalkit.client.request_as_code import (
    KEY_VARIABLE,
    CodeInParts,
    ReachedBy,
    curl_command,
    file_note,
    python_program,
)
from evalkit.client.request_body import request_body
from evalkit.conversation import Message
from evalkit.datasets import content_parts
from evalkit.errors import SettingsError
from evalkit.inputs.addresses import route_of
from evalkit.report.pictures import Pictures, picture
from evalkit.runfile import kept_checkup, request_messages
from evalkit.runfile.transcripts import Transcript, TranscriptTurn

LONGEST_PART = 2_000_000  # characters of an image or another part
_PART_TOO_LONG = "# not available: an image or another part is too long for this report; the run file has it"
_ANSWER_TOO_LONG = "# not available: an earlier answer is too long for this report; the run file has it"


@dataclass(frozen=True, slots=True)
class Requests:
    """How the turns of a run were requested.

    Parameters
    ----------
    endpoint, settings : mapping
        As the run file has them.
    longest_answer : int
        Characters of an answer, above which later turns have no command.
    """

    endpoint: Mapping[str, Any]
    settings: Mapping[str, Any]
    longest_answer: int

    @property
    def golden(self) -> bool:
        """Whether later turns see the golden answers of earlier ones."""
        return bool(self.settings.get("history", "own") == "golden")

    def commands(self, transcript: Transcript, pictures: Pictures) -> tuple[dict[str, Any] | None, list[Any]]:
        """The commands and programs of all turns of a transcript.

        Returns
        -------
        command : dict or None
            ``curl`` and ``python``, each with ``head``, ``tail`` and ``separator`` as text and ``messages``, each a
            list of texts and of numbers of pictures; ``notes``, lines about files. None: no turn has a command.
        turns : list
            For each turn how many of ``messages`` and of ``notes`` its command has, or in words why there is none;
            None: it was never sent.
        """
        messages, notes, turns = request_messages.opening(transcript.row), list[str](), list[Any]()
        notes += _notes_on_files(transcript.row.get("context", ()))
        why = None if all(map(_fits, transcript.row.get("context", ()))) else _PART_TOO_LONG
        for turn in transcript.turns:
            asked = {"role": "user", "content": turn.asked["user"]}
            if not _fits(asked):
                why = why or _PART_TOO_LONG
            notes += [note for note in _notes_on_files([asked]) if note not in notes]
            messages.append(request_messages.question(turn))
            turns.append(None if not turn.attempts else why or [len(messages), len(notes)])
            later = self._seen_later(transcript, turn)
            if later is None:
                why = why or _ANSWER_TOO_LONG
            else:
                messages += later
        counts = [each[0] for each in turns if isinstance(each, list)]
        if not counts:
            return None, turns
        try:
            made = self._code(transcript, messages[: max(counts)])
        except SettingsError as error:  # of a run file that evalkit has not written
            return None, [each if each is None else f"# not available: {error}" for each in turns]
        cut = {url for each in messages for url in map(picture, each.parts) if url is not None}
        return {name: _stored(code, pictures, cut) for name, code in made.items()} | {"notes": notes}, turns

    def _code(self, transcript: Transcript, messages: Sequence[Message]) -> dict[str, CodeInParts]:
        seed, row = self.settings.get("seed"), transcript.row
        params = {
            **(self.endpoint.get("params") or {}),
            **({} if seed is None else {"seed": seed + transcript.repeat - 1}),
            **(row.get("params") or {}),
        }
        body = orjson.loads(
            request_body(
                messages,
                model=self.endpoint.get("model") or "",
                stream=self.settings.get("stream", True),
                params=params,
                tools=row.get("tools") or (),
                include_usage="stream_options" not in params and not kept_checkup.refuses_usage(self.settings),
            )
        )
        base_url, key_env = self.endpoint.get("base_url") or "", KEY_VARIABLE if self.endpoint.get("key_env") else None
        reached_by = ReachedBy.for_report(self.endpoint)
        return {
            "curl": curl_command(route_of(base_url), body, key_env=key_env, reached_by=reached_by),
            "python": python_program(base_url, body, key_env=key_env, reached_by=reached_by),
        }

    def _seen_later(self, transcript: Transcript, turn: TranscriptTurn) -> list[Message] | None:
        """The messages after a question that later turns saw; None: too long for a report."""
        messages = request_messages.seen_later(transcript, turn, golden=self.golden)
        if self.golden:
            return messages
        return None if any(len(message.content or "") > self.longest_answer for message in messages) else messages


def _stored(code: CodeInParts, pictures: Pictures, cut: set[str]) -> dict[str, Any]:
    messages = [pictures.numbered(text, cut) for text in code.messages]
    return {"head": code.head, "messages": messages, "tail": code.tail, "separator": code.separator}


def _fits(message: Mapping[str, Any]) -> bool:
    content = message["content"]
    return not isinstance(content, list) or all(content_parts.text_length(part) <= LONGEST_PART for part in content)


def _notes_on_files(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which files to put into the command: the run file does not have them."""
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    files = [content_parts.file_name(part) for part in parts if content_parts.FROM_FILE in part]
    return [file_note(file) for file in dict.fromkeys(files) if file is not None]
