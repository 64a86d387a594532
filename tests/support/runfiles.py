"""Run files made by the store from turns that a test writes down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records import finished

from evalkit.conversation import Conversation, ToolCall
from evalkit.conversation import Turn as AskedTurn
from evalkit.errors import Failure
from evalkit.record import Answer, Attempt, Score, Timing, TurnRecord, Usage
from evalkit.runfile.store import RunFile

MS = 1_000_000


@dataclass(frozen=True)
class T:
    """One turn as it came out, in ms; a failed one has an ``error``, a time-out then ends at ``end_ms``."""

    conversation: str
    turn: int
    ttft_ms: float | None = 50.0
    latency_ms: float | None = 400.0
    score: float | None = None
    error: str | None = None
    end_ms: float = 500.0
    repeat: int = 1
    text: str = "35"
    tokens: int | None = None
    calls: tuple[ToolCall, ...] = ()
    extracted: Any = None
    scorer: str = "number"
    reason: str | None = None
    attempts: int = 1
    sent_ms: float = 0.0
    due_ms: float | None = None  # in open loop
    new_connection: bool = False
    prompt_tokens: int = 20  # told only where ``tokens`` are
    between_ms: tuple[float, ...] = ()  # arrivals after the first and before the last
    refusal: str | None = None
    reasoning: str = ""
    finish_reason: str = "stop"


@dataclass(frozen=True)
class S:
    """One session of a run; ``end_ms`` None: it was killed."""

    turns: Sequence[T]
    start_ms: float = 0.0
    end_ms: float | None = 1000.0
    trust: Mapping[str, Any] = field(default_factory=lambda: {"loop_lag_p99_ms": 1.0})


def talk(name: str, targets: Sequence[Any] = (35, 276, 311), **settings: Any) -> Conversation:
    """A conversation whose turns have these targets."""
    turns = tuple(AskedTurn(f"{name}, question {n}", target) for n, target in enumerate(targets, start=1))
    return Conversation(name, turns, **settings)


def write(
    path: Path, sessions: Iterable[S], conversations: Iterable[Conversation] = (), *, stream: bool = True
) -> Path:
    """A run file that holds these sessions; a conversation that is not given has three turns with targets."""
    known = {conversation.id: conversation for conversation in conversations}
    places: dict[str, int] = {name: place for place, name in enumerate(known)}
    sessions = list(sessions)
    repeats = max((turn.repeat for session in sessions for turn in session.turns), default=1)
    settings = {"history": "own", "repeats": repeats, "concurrency": 4, "stream": stream}
    with RunFile.create(path, name="primary", settings=settings, dataset={}, endpoint={}) as file:
        for session in sessions:
            file.begin_session(round(session.start_ms * MS), {})
            done, scores = [], []
            for turn in session.turns:
                conversation = known.setdefault(turn.conversation, talk(turn.conversation))
                place = places.setdefault(turn.conversation, len(places))
                done.append(finished(place, conversation, record(turn, stream)))
                if turn.score is not None or turn.reason is not None:
                    score = Score(turn.scorer, turn.score, turn.reason, turn.extracted)
                    scores.append((place, turn.repeat, turn.turn, score))
            if done:
                file.add(done)
            file.add((), scores)
            if session.end_ms is not None:
                file.end_session(round(session.end_ms * MS), "done", session.trust)
    return path


def record(turn: T, stream: bool = True) -> TurnRecord:
    """The turn record that a dialogue would have made."""
    failure = None if turn.error is None else Failure(turn.error, f"the {turn.error} message", 500)
    sent = round(turn.sent_ms * MS)
    stamps = [turn.ttft_ms, *turn.between_ms, turn.latency_ms if turn.error is None else None]
    arrivals = tuple(sent + round(stamp * MS) for stamp in stamps if stamp is not None) if stream else ()
    last = turn.end_ms if turn.error else turn.latency_ms
    due = sent if turn.due_ms is None else round(turn.due_ms * MS)
    good = Attempt(
        Timing(due, sent, sent, sent, arrivals, (1,) * len(arrivals), end=sent + round((last or 0) * MS)),
        number=turn.attempts,
        streamed=stream,
        http_status=200,
        answer=Answer(turn.text, turn.reasoning, turn.refusal, turn.calls, None if turn.error else turn.finish_reason),
        usage=None if turn.tokens is None else Usage(turn.prompt_tokens, turn.tokens),
        failure=failure,
        connection_opened=turn.new_connection,
    )
    earlier = Attempt(Timing(due, 0, 0, end=9000 * MS), failure=Failure("server", "try again", 503), http_status=503)
    return TurnRecord(
        turn.conversation,
        turn.repeat,
        turn.turn,
        (earlier,) * (turn.attempts - 1) + (good,),
        (),
        failure,
        scheduled=turn.due_ms is not None,
    )


def create(path: Path, **fields: Any) -> RunFile:
    """A new run file with a session that has begun."""
    parts = {"settings": {}, "dataset": {"path": "d"}, "endpoint": {"model": "m"}}
    runfile = RunFile.create(path, name="test", **{**parts, **fields})
    runfile.begin_session(0, {})
    return runfile


def endpoint(path: Path, **fields: Any) -> Path:
    """Give the run file an endpoint."""
    with RunFile.open(path) as file, file.connection as connection:
        told = {"base_url": "http://127.0.0.1:9/v1", "model": "tiny", "key_env": None, "params": {}, **fields}
        connection.execute("UPDATE run SET endpoint = ?", (json.dumps(told),))
    return path


def never_sent(path: Path, *keys: tuple[int, int, int]) -> Path:
    """Make failed turns, by position, repeat and turn, ones that no request was sent for."""
    with RunFile.open(path) as file, file.connection as connection:
        where = "WHERE (conversation, repeat, turn) = (?, ?, ?)"
        connection.executemany(f"UPDATE turn SET attempts = 0, sent_ns = NULL, end_ns = NULL {where}", keys)
    return path
