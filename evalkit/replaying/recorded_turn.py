"""The request of a turn of a run, made again by the code that made it when the run sent it.

A run file has what a request depends on, and not the request: the conversation, earlier answers, settings. The dialogue
of the engine runs over these up to the turn; what its session left out for the endpoint by then is learned again from
the refusals in the file.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import orjson

from evalkit import __version__
from evalkit.client.refusals import stored_failure
from evalkit.client.request_as_code import KEY_VARIABLE, ReachedBy
from evalkit.conversation import Conversation, Message
from evalkit.datasets import reader as datasets_reader
from evalkit.datasets.part_files import PartFiles
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import event_loop
from evalkit.engine.asking.dataset_fingerprint import CheckedDataset
from evalkit.engine.asking.dialogue import Dialogue
from evalkit.engine.asking.request_fallbacks import FittedRequest, RequestFallbacks
from evalkit.errors import DatasetError, Failure, RunFileError, SettingsError
from evalkit.record import Attempt, TurnRecord
from evalkit.replaying.chat_request import ChatRequest
from evalkit.runfile import kept_checkup, raised_limits, store, trusted_endpoint
from evalkit.runfile.finished_turn import stored_record
from evalkit.runfile.transcripts import TranscriptTurn, transcript_of
from evalkit.settings import Settings

EMBEDDED = ("SERVICE_HOST", "TASKINGAI_API_KEY")  # what ``evalkit serve`` prints for a shell
_TURN = "SELECT status, attempts, session FROM turn WHERE (conversation, repeat, turn) = (?, ?, ?)"
_ATTEMPTS = """
    SELECT round, error_kind, error_message, http_status, error_code, sent_ns, provenance FROM attempt
    WHERE (conversation, repeat, turn, session) = (?, ?, ?, ?) ORDER BY id DESC LIMIT ?"""
# turns of a session with a refusal after which the request was changed and sent again, before a time
_CHANGED = """
    SELECT DISTINCT a.conversation, a.repeat, a.turn FROM attempt a JOIN attempt b
      ON (b.conversation, b.repeat, b.turn, b.session, b.round, b.number)
        = (a.conversation, a.repeat, a.turn, a.session, a.round, a.number + 1)
    WHERE a.session = ? AND a.sent_ns < ? AND a.http_status IS NOT NULL
      AND a.error_kind IN ('bad_request', 'server', 'empty', 'connection')
    ORDER BY b.sent_ns LIMIT 500"""
_VERSION = re.compile(r"[\w.+-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """A turn of a run with its request.

    Parameters
    ----------
    request : ChatRequest
        The last one of the turn, whose answer is the turn's: after tool rounds it has their calls and results.
    turn : TranscriptTurn
        What was recorded.
    record : TurnRecord
        The same as a record, without its stamps.
    model : str
        That answered; the requested one, unless the endpoint names another.
    rounds : int
        Tool rounds before the request.
    order_known : bool
        False: the dataset is gone or was changed, so keys inside of tools and parameters may be in another order.
    """

    request: ChatRequest
    turn: TranscriptTurn
    record: TurnRecord
    model: str
    rounds: int
    order_known: bool


def recorded_turn(path: Path | str, conversation: str, turn: int, repeat: int = 1) -> RecordedTurn:
    """Make the request of a turn again.

    Parameters
    ----------
    path : path-like
        The run file.
    conversation : str
        Its id.
    turn, repeat : int
        Counted from 1.

    Raises
    ------
    RunFileError
        There is no such turn, it was never sent, or the run was imported.
    DatasetError
        An image or audio file that the request holds is gone or was changed.
    """
    with store.reading(path) as connection:
        return _Run(Path(path), connection).recorded(conversation, turn, repeat)


class _Found(Exception):
    """The request that a dialogue is about to send."""

    def __init__(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], params: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.messages, self.tools, self.params = messages, tools, params


class _Finds:
    """In place of a ``RequestSender``: sends nothing."""

    async def send_with_retries(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, Any] | None = None,
        round: int = 0,
        due: int,
        attempts: list[Attempt] | None = None,
    ) -> NoReturn:
        """Raise what would be sent."""
        raise _Found(messages, tools, params or {})


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A stored attempt; ``failure`` is None if it was good."""

    round: int
    failure: Failure | None
    sent_ns: int
    provenance: Mapping[str, Any]


@dataclass(slots=True)
class _Run:
    """A run file open to read."""

    path: Path
    connection: sqlite3.Connection
    info: dict[str, Any] = field(init=False)
    endpoint: Endpoint = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.info = store.run_info(self.connection, self.path)
        self.endpoint = trusted_endpoint.stored_endpoint(self.path, self.info["endpoint"])
        try:
            self.settings = Settings(**raised_limits.without(self.info["settings"]))
        except (SettingsError, TypeError) as error:
            raise RunFileError(f"{self.path} has settings that cannot be used: {error}") from None

    def recorded(self, name: str, turn: int, repeat: int) -> RecordedTurn:
        """The turn with its request."""
        transcript = transcript_of(self.connection, name, repeat)
        position = self._position(name)
        shown = None if transcript is None else next((one for one in transcript.turns if one.turn == turn), None)
        if shown is None:
            raise RunFileError(f"{self.path} has no turn {turn} of conversation {name!r} in repeat {repeat}")
        if not shown.attempts:
            raise RunFileError(f"turn {turn} of conversation {name!r} was never sent: {shown.error_message}")
        key = (position, repeat, turn)
        _, _, session = self.connection.execute(_TURN, key).fetchone()
        attempts = self._attempts(key)
        rounds = attempts[-1].round
        body, order_known = self._body(key, self._learned(session, attempts[-1].sent_ns))
        record = stored_record(
            name, repeat, turn, shown.answer, shown.refusal, shown.tool_calls_json, shown.exchange_json, shown.reasoning
        )
        model = attempts[-1].provenance.get("model") or self.endpoint.model
        return RecordedTurn(self._request(body, session), shown, record, str(model), rounds, order_known)

    def _position(self, name: str) -> int:
        found = self.connection.execute("SELECT position FROM conversation WHERE id = ?", (name,)).fetchone()
        if found is None:
            rows = self.connection.execute("SELECT id FROM conversation ORDER BY position LIMIT 3").fetchall()
            names = ", ".join(repr(row[0]) for row in rows)
            raise RunFileError(
                f"{self.path} has no conversation {name!r}"
                + (f"; its conversations begin with {names}" if names else "")
                + ": 'evalkit export' lists all turns"
            )
        return int(found[0])

    def _attempts(self, key: tuple[int, int, int]) -> list[_Attempt]:
        """The attempts of a turn as it counts now, in order."""
        _, number, session = self.connection.execute(_TURN, key).fetchone()
        rows = self.connection.execute(_ATTEMPTS, (*key, session, number)).fetchall()
        if not rows:
            raise RunFileError(f"{self.path} has no attempt of turn {key[2]}: it was changed after the run")
        attempts = []
        for round, kind, message, status, code, sent_ns, provenance in reversed(rows):
            failure = stored_failure(kind, message, status, code)
            attempts.append(_Attempt(round, failure, sent_ns, orjson.loads(provenance) if provenance else {}))
        return attempts

    # -- the body

    def _body(self, key: tuple[int, int, int], fallbacks: RequestFallbacks) -> tuple[bytes, bool]:
        """The body of the last request of a turn."""
        attempts = self._attempts(key)
        conversation, order_known = self._conversation(*key)
        fitted, tools = self._fitted(key, conversation, fallbacks, attempts[-1].round)
        for attempt in attempts[:-1]:
            if attempt.round == attempts[-1].round and attempt.failure is not None:
                fitted.params_to_send()
                fitted.note_outcome(attempt.failure)
        fitted.params_to_send()
        return fitted.body(self.endpoint.model, tools), order_known

    def _learned(self, session: int, before_ns: int) -> RequestFallbacks:
        """What a session left out for the endpoint before a time: learned as it was then, from its refusals."""
        fallbacks = RequestFallbacks(no_usage=kept_checkup.refuses_usage(self.info["settings"]))
        for key in self.connection.execute(_CHANGED, (session, before_ns)).fetchall():
            conversation, _ = self._stored(key[0])
            attempts = self._attempts(key)
            for round in sorted({attempt.round for attempt in attempts}):
                fitted, _ = self._fitted(key, conversation, fallbacks, round)
                for attempt in attempts:
                    if attempt.round != round or attempt.sent_ns >= before_ns:
                        continue
                    fitted.params_to_send()
                    fitted.note_outcome(attempt.failure)
        return fallbacks

    def _fitted(
        self, key: tuple[int, int, int], conversation: Conversation, fallbacks: RequestFallbacks, round: int
    ) -> tuple[FittedRequest, Sequence[Mapping[str, Any]]]:
        """A request of a turn before anything is left out, and its tools."""
        position, repeat, number = key
        limit = self._token_limit(key)
        answered = dict(store.answered_turns(self.connection, conversation, position, repeat))
        if self.settings.history == "golden":  # later turns see the dataset's answers, also after a failed turn
            answered = {n: TurnRecord(conversation.id, repeat, n) for n in range(1, number)}
        elif (missing := next((n for n in range(1, number) if n not in answered), None)) is not None:
            raise RunFileError(
                f"turn {number} of conversation {conversation.id!r} saw an answer of turn {missing} that no longer "
                f"counts: continue the run with 'evalkit resume {self.path}' first"
            )
        dialogue = Dialogue(
            _Finds(),
            conversation._replace(params=raised_limits.raised(conversation.params, limit)),
            repeat,
            self.settings.history,
            files=PartFiles(Path(self.info["dataset"].get("path") or "")),
            seed=None if self.settings.seed is None else self.settings.seed + repeat - 1,
        )
        found = _found(dialogue, {n: answer for n, answer in answered.items() if n < number})
        endpoint = raised_limits.with_limit(self.endpoint, limit)
        messages = [*found.messages, *self._exchange(key, round)]
        params = {**endpoint.params, **found.params}
        fitted = FittedRequest.of(fallbacks, messages, params, stream=self.settings.stream, round=round)
        return fitted, found.tools

    def _exchange(self, key: tuple[int, int, int], rounds: int) -> Iterator[Message]:
        """The calls and results of the first tool rounds of a turn."""
        query = "SELECT exchange FROM turn WHERE (conversation, repeat, turn) = (?, ?, ?)"
        (text,) = self.connection.execute(query, key).fetchone()
        started = 0
        for message in map(Message.from_json, orjson.loads(text) if text else ()):
            started += message.role == "assistant"
            if started > rounds:
                return
            yield message

    def _conversation(self, position: int, repeat: int, turn: int) -> tuple[Conversation, bool]:
        """A conversation as it was sent, and whether the order of its keys is certain.

        The run file has its row with sorted keys. A session that continues a conversation sends that row; the session
        that started it sent that of the dataset.
        """
        stored, digest = self._stored(position)
        query = "SELECT min(session) FROM attempt WHERE conversation = ?"
        (first,) = self.connection.execute(query, (position,)).fetchone()
        _, _, session = self.connection.execute(_TURN, (position, repeat, turn)).fetchone()
        if session != first or not _has_keys(stored):
            return stored, True
        dataset = self.info["dataset"]
        path = Path(dataset.get("path") or "")
        with contextlib.suppress(DatasetError, SettingsError, OSError):
            if path.is_file():  # the path in a stranger's file may be a device that never ends
                found = next(CheckedDataset(path, self.settings, dataset).read(position), None)
                if found is not None and found[1].content_hash == digest:
                    return found[1], True
        return stored, False

    def _stored(self, position: int) -> tuple[Conversation, str]:
        """A conversation as the run file has it, and its hash."""
        query = "SELECT row, hash FROM conversation WHERE position = ?"
        row, digest = self.connection.execute(query, (position,)).fetchone()
        return datasets_reader.parse_row(orjson.loads(row)), digest

    def _token_limit(self, key: tuple[int, int, int]) -> int | None:
        """The raised token limit of the session that sent a turn."""
        _, _, session = self.connection.execute(_TURN, key).fetchone()
        query = "SELECT started_wall_ns FROM session WHERE id = ?"
        (started,) = self.connection.execute(query, (session,)).fetchone()
        given = [one for one in raised_limits.raised_limits(self.info["settings"]) if one.wall_ns <= started]
        return given[-1].after if given else None

    # -- what the body is sent with

    def _request(self, body: bytes, session: int) -> ChatRequest:
        endpoint = self.endpoint
        reached_by = ReachedBy.for_report(endpoint.to_json())
        query = "SELECT about FROM session WHERE id = ?"
        (about,) = self.connection.execute(query, (session,)).fetchone()
        version = (json.loads(about).get("versions") or {}).get("evalkit")
        named = "user-agent" in (name.lower() for name in (*endpoint.headers, *endpoint.headers_env))
        if isinstance(version, str) and version != __version__ and _VERSION.fullmatch(version) and not named:
            reached_by = replace(reached_by, headers={**reached_by.headers, "User-Agent": f"evalkit/{version}"})
        if endpoint.source == "embedded":  # its server has ended: code names another one
            return ChatRequest(endpoint.url, body, EMBEDDED[1], reached_by, EMBEDDED[0])
        # the variable that the file names may hold another key of the reader, and the file may be a stranger's
        variable = trusted_endpoint.key_variable_of(endpoint.base_url) or KEY_VARIABLE
        return ChatRequest(endpoint.url, body, variable if endpoint.key_env else None, reached_by)


def _found(dialogue: Dialogue, answered: Mapping[int, TurnRecord]) -> _Found:
    """The first request of a dialogue after its answered turns."""

    async def keep(record: TurnRecord) -> bool:
        return True

    try:  # on a thread of its own: a notebook has an event loop already
        event_loop.run_in_thread(lambda: dialogue.run(keep, answered), "evalkit-request")
    except _Found as found:
        return found
    raise RunFileError("the turn is not in the conversation: the run file was changed")


def _has_keys(conversation: Conversation) -> bool:
    """Whether a request has objects of the dataset whose keys have an order."""
    return bool(conversation.tools or conversation.params or conversation.has_parts) or any(
        message.tool_calls or message.extra for message in conversation.context
    )
