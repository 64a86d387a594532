"""The exchanges of a run, made from its file again: requests from rows and answers, answers from texts and arrivals.

A run file has the text of an answer and, for every arrival, its time and how many events it held, but not which text
came in which: here the text is divided evenly over the events.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.client.request_body import request_body
from evalkit.conversation import Message, with_names
from evalkit.datasets.content_parts import shown
from evalkit.errors import RunFileError
from evalkit.recorded import run_answers
from evalkit.recorded.exchange import CHAT_ROUTE, Exchange
from evalkit.recorded.run_answers import StoredAttempt
from evalkit.runfile import reader, transcripts
from evalkit.runfile.finished_turn import stored_record
from evalkit.runfile.transcripts import Transcript, TranscriptTurn

MOST_EXCHANGES = 100_000
MOST_CHARACTERS = 256 * 2**20  # of all requests and answers together
_ATTEMPTS = f"""
    SELECT conversation, repeat, turn, round, session, {", ".join(StoredAttempt._fields)} FROM attempt
    ORDER BY conversation, repeat, turn, id"""  # noqa: S608 - SQL of our own
_Key = tuple[int, int, int]


class _Sent(NamedTuple):
    """An attempt with its place: the round of tool results, and when it was sent."""

    round: int
    sent: tuple[int, int]
    attempt: StoredAttempt


def read(path: Path) -> tuple[str, list[Exchange]]:
    """The model of a run, and its exchanges in the order in which they were sent.

    Raises
    ------
    RunFileError
        The file cannot be read, or has too much to be served from memory.
    """
    with reader.reading(path) as connection:
        info = connection.info
        endpoint, settings = info["endpoint"], info["settings"]
        if not endpoint.get("model"):
            raise RunFileError(f"{path} names no model, so it cannot be served: it holds answers of another tool")
        found: list[tuple[tuple[int, int], Exchange]] = []
        characters = 0
        for sent, exchange in _exchanges(connection, endpoint, settings, info["created_ns"] // 10**9):
            found.append((sent, exchange))
            characters += sum(len(piece.data) for piece in exchange.pieces)
            if len(found) > MOST_EXCHANGES or characters > MOST_CHARACTERS:
                raise RunFileError(
                    f"{path} has more than {MOST_EXCHANGES:,} requests or {MOST_CHARACTERS >> 20} MiB of answers, "
                    "which is more than can be served: run a part of the dataset, with --limit"
                )
    found.sort(key=lambda each: each[0])  # the k-th time that a request was sent
    return endpoint["model"], [exchange for _, exchange in found]


def _exchanges(
    connection: sqlite3.Connection, endpoint: Mapping[str, Any], settings: Mapping[str, Any], created: int
) -> Iterator[tuple[tuple[int, int], Exchange]]:
    attempts = _attempts(connection)
    positions = {name: place for place, name in connection.execute("SELECT position, id FROM conversation")}
    for transcript in transcripts.transcripts(connection):
        requests = _Requests(endpoint, settings, transcript)
        for turn in transcript.turns:
            key = (positions[transcript.conversation], transcript.repeat, turn.turn)
            head = {"id": "chatcmpl-{}-{}-{}".format(*key), "created": created, "model": endpoint["model"]}
            rounds = requests.rounds(turn)
            sent_attempts = attempts.get(key, [])
            for number, (round, sent, attempt) in enumerate(sent_attempts):
                if attempt.error_kind == "cancelled" or round >= len(rounds):
                    continue  # the client ended it, so nobody knows what would have come
                request, answer = rounds[round]
                last = number == len(sent_attempts) - 1
                yield sent, Exchange(
                    CHAT_ROUTE, request,
                    *run_answers.answer(head, attempt, answer if attempt.error_kind is None else None, turn, last),
                )  # fmt: skip
            requests.add(turn)


def _attempts(connection: sqlite3.Connection) -> dict[_Key, list[_Sent]]:
    found: dict[_Key, list[_Sent]] = {}
    for place, repeat, turn, round, session, *columns in connection.execute(_ATTEMPTS):
        attempt = StoredAttempt(*columns)
        attempt = attempt._replace(
            arrivals=_numbers("q", attempt.arrivals), arrival_events=_numbers("i", attempt.arrival_events)
        )
        found.setdefault((place, repeat, turn), []).append(_Sent(round, (session, attempt.sent_ns), attempt))
    return found


def _numbers(typecode: str, packed: Any) -> tuple[int, ...]:
    numbers = array(typecode)
    numbers.frombytes(packed or b"")
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


class _Requests:
    """The requests of a conversation, turn after turn."""

    def __init__(self, endpoint: Mapping[str, Any], settings: Mapping[str, Any], transcript: Transcript) -> None:
        self._row, self._repeat = transcript.row, transcript.repeat
        self._golden = settings.get("history", "own") == "golden"
        seed, own = settings.get("seed"), self._row.get("params") or {}
        self._params = {
            **(endpoint.get("params") or {}),
            **({} if seed is None else {"seed": seed + self._repeat - 1}),
            **own,
        }
        self._model, self._stream = endpoint["model"], bool(settings.get("stream", True))
        system = self._row.get("system")
        context = with_names([Message.from_json(message) for message in self._row.get("context", ())])
        self._messages = [*([] if system is None else [Message("system", system)]), *map(_with_parts, context)]

    def rounds(self, turn: TranscriptTurn) -> list[tuple[Any, Message]]:
        """The request of each round of a turn, and its answer as an assistant's message."""
        record = _record(turn, self._repeat)
        messages, rounds = [*self._messages, _user(turn)], []
        for message in record.exchange:
            if message.role == "assistant":
                rounds.append((self._request(messages), message))
            messages.append(message)
        answer = record.answer
        last = Message("assistant", turn.answer, answer.tool_calls if answer else ())
        return [*rounds, (self._request(messages), last)]

    def add(self, turn: TranscriptTurn) -> None:
        """Add a turn to what later turns see."""
        later = [Message("assistant", turn.asked.get("assistant"))]
        self._messages += [_user(turn), *(later if self._golden else _record(turn, self._repeat).seen_later)]

    def _request(self, messages: Sequence[Message]) -> Any:
        body = request_body(
            messages, model=self._model, stream=self._stream, params=self._params, tools=self._row.get("tools") or ()
        )
        return orjson.loads(body)


def _record(turn: TranscriptTurn, repeat: int) -> Any:
    stored = (turn.answer, turn.refusal, turn.tool_calls_json, turn.exchange_json, turn.reasoning)
    return stored_record("", repeat, turn.turn, *stored)


def _user(turn: TranscriptTurn) -> Message:
    content = turn.asked["user"]
    return Message("user", content) if isinstance(content, str) else Message("user", None, parts=tuple(content))


def _with_parts(message: Message) -> Message:
    content: Any = message.content
    return message._replace(content=shown(content), parts=tuple(content)) if isinstance(content, list) else message
