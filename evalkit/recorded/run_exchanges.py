"""The exchanges of a run, made from its file again: requests from rows and answers, answers from texts and arrivals.

A run file has the text of an answer and, for every arrival, its time and how many events it held, but not which text
came in which: here the text is divided evenly over the events.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.client.refusals import stored_failure
from evalkit.conversation import Message
from evalkit.errors import RunFileError
from evalkit.record import IN_DOUBT
from evalkit.recorded import run_answers, run_requests
from evalkit.recorded.exchange import CHAT_ROUTE, Exchange, checked
from evalkit.recorded.run_answers import StoredAttempt
from evalkit.recorded.run_requests import Request, Requests, Sent
from evalkit.runfile import raised_limits, reader, transcripts
from evalkit.runfile.transcripts import TranscriptTurn

MOST_EXCHANGES = 100_000
MOST_CHARACTERS = 256 * 2**20  # of all requests and answers together
_CUT_OFF = "length"  # finish reason, and error code of a cut-off answer that was sent again
_ATTEMPTS = f"""
    SELECT conversation, repeat, turn, id, round, number, session, due_ns, {", ".join(StoredAttempt._fields)}
    FROM attempt ORDER BY conversation, repeat, turn, id"""  # noqa: S608 - SQL of our own
_Key = tuple[int, int, int]
_Columns = tuple[int | None, Mapping[str, str], tuple[Any, ...], float | None, float | None, str]


class _Stored(NamedTuple):
    """An attempt with its place."""

    id: int
    round: int
    number: int
    session: int
    due_ns: int
    attempt: StoredAttempt

    @property
    def retracted(self) -> bool:
        """Whether its answer was good when it came, and was taken back later."""
        attempt = self.attempt
        in_doubt = IN_DOUBT in (attempt.flags or "").split()
        return attempt.error_kind == "truncated" and (attempt.error_code == _CUT_OFF or in_doubt)


class _Found(NamedTuple):
    """An attempt with its request, and its answer; None: it is not served."""

    sent: Sent
    order: tuple[int, int]
    answer: _Columns | None


def read(path: Path) -> tuple[str, list[Exchange]]:
    """The model of a run, and its exchanges in the order in which they were sent.

    Raises
    ------
    RunFileError
        The file cannot be read, or has what cannot be served, or too much to be served from memory.
    """
    with reader.reading(path) as connection:
        info = connection.info
        endpoint, settings = info["endpoint"], info["settings"]
        if not endpoint.get("model"):
            raise RunFileError(f"{path} names no model, so it cannot be served: it holds answers of another tool")
        found: list[_Found] = []
        characters = 0
        for one in _attempts_with_requests(connection, endpoint, settings, info["created_ns"] // 10**9):
            found.append(one)
            if one.answer is not None:
                characters += sum(len(piece.data) for piece in one.answer[2])
            if len(found) > MOST_EXCHANGES or characters > MOST_CHARACTERS:
                raise RunFileError(
                    f"{path} has more than {MOST_EXCHANGES:,} requests or {MOST_CHARACTERS >> 20} MiB of answers, "
                    "which is more than can be served: run a part of the dataset, with --limit"
                )
        bodies = run_requests.bodies([one.sent for one in found], settings, model=endpoint["model"])
    served = [(one.order, body, one.answer) for one, body in zip(found, bodies, strict=True) if one.answer is not None]
    served.sort(key=lambda each: each[0])  # the k-th time that a request was sent
    try:
        exchanges = [checked(Exchange(CHAT_ROUTE, body, *columns)) for _, body, columns in served]
    except ValueError as error:
        raise RunFileError(f"{path} has an attempt that cannot be served: {error}") from None
    return endpoint["model"], exchanges


def _attempts_with_requests(
    connection: sqlite3.Connection, endpoint: Mapping[str, Any], settings: Mapping[str, Any], created: int
) -> Iterator[_Found]:
    attempts, limits = _attempts(connection), raised_limits.limits_of_sessions(connection, settings)
    positions = {name: place for place, name in connection.execute("SELECT position, id FROM conversation")}
    own_history = settings.get("history", "own") == "own"
    for transcript in transcripts.transcripts(connection):
        requests = Requests(endpoint, settings, transcript)
        before = 0
        for turn in transcript.turns:
            key = (positions[transcript.conversation], transcript.repeat, turn.turn)
            head = {"id": "chatcmpl-{}-{}-{}".format(*key), "created": created, "model": endpoint["model"]}
            rounds, stored = requests.rounds(turn), attempts.get(key, [])
            for place, one in enumerate(stored, start=turn.attempts - len(stored)):
                if one.round >= len(rounds):
                    continue
                # one that was sent before an earlier turn's answer came again has seen another answer
                known = not own_history or one.id > before
                request = rounds[one.round]
                answer = _answer(head, turn, request, one, place) if known else None
                yield _Found(_sent(request, one, limits), (one.session, one.attempt.sent_ns), answer)
            requests.add(turn)
            before = max([before, *(one.id for one in stored)])


def _answer(
    head: Mapping[str, Any], turn: TranscriptTurn, request: Request, one: _Stored, place: int
) -> _Columns | None:
    """The answer to an attempt; ``place``: among the attempts that count, below 0 if it was sent again since.

    None: it is not served, since nobody knows what it asked or what was answered, or since it sends clients elsewhere.
    """
    attempt, status = one.attempt, one.attempt.http_status
    if attempt.error_kind == "cancelled" or (isinstance(status, int) and 300 <= status <= 399):
        return None
    if place >= 0:
        last = place == turn.attempts - 1
        good = attempt.error_kind is None or (last and one.retracted)
        reason = turn.finish_reason if last else "tool_calls"
        return run_answers.answer(head, attempt, request.answer if good else None, turn if last else None, reason)
    if one.round or attempt.error_kind is None:  # its calls, or its text, were replaced
        return None
    if not one.retracted:
        return run_answers.answer(head, attempt, None, None, None)
    if attempt.error_code != _CUT_OFF or not attempt.partial:
        return None
    return run_answers.answer(head, attempt, Message("assistant", attempt.partial), None, _CUT_OFF)


def _sent(request: Request, one: _Stored, limits: Mapping[int, int | None]) -> Sent:
    attempt = one.attempt
    columns = (attempt.error_kind, attempt.error_message, attempt.http_status, attempt.error_code)
    failure = None if one.retracted else stored_failure(*columns)
    begin = min(one.due_ns, attempt.sent_ns)
    end = attempt.sent_ns if attempt.end_ns is None else attempt.end_ns
    return Sent(request, one.session, one.number, limits.get(one.session), begin, end, failure)


def _attempts(connection: sqlite3.Connection) -> dict[_Key, list[_Stored]]:
    found: dict[_Key, list[_Stored]] = {}
    for place, repeat, turn, id, round, number, session, due_ns, *columns in connection.execute(_ATTEMPTS):
        attempt = StoredAttempt(*columns)
        attempt = attempt._replace(
            arrivals=_numbers("q", attempt.arrivals), arrival_events=_numbers("i", attempt.arrival_events)
        )
        found.setdefault((place, repeat, turn), []).append(_Stored(id, round, number, session, due_ns, attempt))
    return found


def _numbers(typecode: str, packed: Any) -> tuple[int, ...]:
    numbers = array(typecode)
    numbers.frombytes(packed or b"")
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)
