"""Records as rows of the tables: what a conversation, a turn, an attempt and a score store."""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from evalkit.conversation import Turn, canonical
from evalkit.record import Attempt, Score, Timing, TurnRecord, Usage
from evalkit.runfile import schema
from evalkit.runfile.schema import GROUPS_OF, Row

_TO_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # created once: dumps creates one per call
_NO_ANSWER = (None, None, None, (), None, None, None)
_NO_USAGE = Usage()
_NOT_SENT = Attempt(Timing(0, 0, 0))


def conversation_row(position: int, row: Mapping[str, Any]) -> Row:
    """The row of a conversation, given as ``Conversation.to_json`` returns it."""
    text = canonical(row)
    groups = "key"
    values: list[Any] = [position, row["id"], hashlib.sha256(text).hexdigest(), text.decode(), len(row["turns"])]
    group, tags = row.get("group"), row.get("tags")
    if group is not None or tags:
        groups += " labels"
        values += group, _as_json(tags) if tags else None
    return groups, values


def turn_row(position: int, turn: Turn, record: TurnRecord, *, scored: bool = False) -> Row:
    """The row of a turn; ``scored``: the run's scorer needs no target."""
    _, repeat, number, attempts, exchange, failure, scheduled = record
    last = attempts[-1] if attempts else None
    # fields of a named tuple are unpacked where many are needed: reading them by name takes several times as long
    timing, _, _, streamed, http_status, answer, usage, _, flags, *_ = last or _NOT_SENT
    text, reasoning, refusal, tool_calls, finish_reason, logprobs, _ = answer or _NO_ANSWER
    prompt_tokens, output_tokens, reasoning_tokens, cached, cache_write = usage or _NO_USAGE
    source = "none" if output_tokens is None else "usage"
    scorable = scored or turn.target is not None or turn.scorer is not None
    groups = "key"
    values: list[Any] = [position, repeat, number, record.status, int(scorable), len(attempts), source]
    if last:
        groups += " asked"
        values += (
            int(streamed),
            http_status,
            " ".join(flags),
            text,
            finish_reason,
            last.queue_delay_ns,
            timing.sent,
            timing.end,
            None if failure else last.latency_ns,  # the last attempt may be an answer between two tool rounds
            record.turn_time_ns,
        )
    if usage:
        groups += " usage"
        values += prompt_tokens, output_tokens
    if cached is not None or cache_write is not None:
        groups += " cache"
        values += cached, cache_write
    if last and timing.arrivals:
        groups += " tokens"
        values += last.ttft_ns, last.ttfv_ns, None if failure else last.tpot_ns
    if reasoning or reasoning_tokens is not None:
        groups += " reasoning"
        values += reasoning or None, reasoning_tokens
    if failure or exchange or scheduled or tool_calls or refusal is not None:
        groups += " more"
        calls = record.tool_calls
        values += (
            refusal,
            _as_json([call.to_json() for call in calls]) if calls else None,
            _as_json([message.to_json() for message in exchange]) if exchange else None,
            failure.kind if failure else None,
            failure.message if failure else None,
            last.censored_ns if last else None,
            record.schedule_latency_ns,
        )
    if logprobs:
        groups += " logprobs"
        values.append(_as_json(logprobs))
    return groups, values


def attempt_row(position: int, record: TurnRecord, attempt: Attempt) -> Row:
    """The row of an attempt, with arrivals as numbers; see ``storable``."""
    timing, number, round, streamed, http_status, answer, usage, failure, flags, opened, _, provenance = attempt
    due, slot, sent, headers, arrivals, events, first_visible, end = timing
    _, repeat, turn, *_ = record
    groups = "key"
    values: list[Any] = [
        position, repeat, turn, number, round, due, slot, sent, headers, end,
        http_status, " ".join(flags), int(streamed), int(opened),
    ]  # fmt: skip
    if usage:
        prompt_tokens, output_tokens, _, cached, cache_write = usage
        groups += " usage"
        values += prompt_tokens, output_tokens
        if cached is not None or cache_write is not None:
            groups += " cache"
            values += cached, cache_write
    if failure:
        groups += " error"
        partial = answer.text if answer else None
        values += failure.kind, failure.message, failure.code, failure.retry_after_s, partial
    if provenance:
        groups += " provenance"
        values.append(_object_as_json(tuple(provenance.items())))
    if arrivals:
        groups += " tokens"
        values += first_visible, [stamp - sent for stamp in arrivals], events
    return groups, values


_STAMPS = {
    "turn": ("sent_ns", "end_ns"),
    "attempt": ("due_ns", "slot_ns", "sent_ns", "headers_ns", "end_ns", "first_visible_ns"),
}


def shift(table: str, row: Row, offset_ns: int) -> None:
    """Add an offset to the stamps in a row, which are on another machine's clock; durations stay as they are."""
    for place in _stamp_places(table, row[0]):
        if row[1][place] is not None:
            row[1][place] += offset_ns


@lru_cache(maxsize=256)
def _stamp_places(table: str, groups: str) -> tuple[int, ...]:
    names = schema.columns(table, groups)
    return tuple(place for place, name in enumerate(names) if name in _STAMPS[table])


def storable(attempt: Row) -> Row:
    """The row of an attempt with its arrivals packed into bytes, as they are stored."""
    groups, values = attempt
    if not groups.endswith("tokens"):
        return attempt
    *values, arrivals, events = values
    return groups, [*values, _packed("q", arrivals), _packed("i", events)]


def score_row(position: int, repeat: int, turn: int, score: Score, scoring: int = 0) -> Row:
    """The row of a score; scoring 0 is the run's own."""
    groups = "key"
    values: list[Any] = [position, repeat, turn, scoring, score.scorer]
    if score.value is not None:
        groups += " value"
        values.append(score.value)
    if score.reason is not None:
        groups += " reason"
        values.append(_storable_text(score.reason))
    if score.extracted is not None:
        groups += " extracted"
        values.append(_storable_text(_as_json(score.extracted)))
    if score.parts is not None:
        groups += " parts"
        values.append(_storable_text(_as_json(score.parts)))
    return groups, values


def score_rows(scores: Iterable[tuple[int, int, int, Score]], scoring: int = 0) -> list[Row]:
    """The rows of scores, given as (position, repeat, turn, score), with those of the same groups together."""
    return sorted((score_row(*score, scoring) for score in scores), key=GROUPS_OF)


def _storable_text(text: str) -> str:
    """A text without unpaired surrogates, which a user's own scorer may return."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=256)
def _object_as_json(items: tuple[tuple[str, str], ...]) -> str:
    """An object as JSON; cached, since the provenance of most answers is the same."""
    return _TO_JSON(dict(items))


def _packed(typecode: str, numbers: Iterable[int]) -> bytes:
    packed = array(typecode, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _as_json(value: Any) -> str:
    try:
        return _TO_JSON(value)
    except ValueError:  # NaN or infinity, which JSON does not have
        return _TO_JSON(repr(value))
