"""Transcripts of a run's conversations, read from a run file one at a time, and as plain text for people."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from evalkit.datasets.content_parts import shown
from evalkit.runfile.schema import JOIN_CORRECTED, JOIN_SCORE, ROW
from evalkit.runfile.turn_columns import OUTCOME, json_value, model_texts

MOST = 4_000  # characters of one text
MOST_TURNS = 20  # of one transcript, the last ones

_ROWS = f"""
    SELECT t.conversation, t.repeat, c.id, {ROW}, t.turn, {OUTCOME}, t.answer, t.refusal, t.reasoning, t.tool_calls,
      t.error_kind,
      t.error_message, coalesce(t.latency_ns, t.end_ns - t.sent_ns), s.value, s.reason, s.extracted
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE} {JOIN_CORRECTED}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own


@dataclass(frozen=True, slots=True)
class TranscriptTurn:
    """One finished turn of a transcript.

    Parameters
    ----------
    turn : int
    user : str
    target : any JSON value
        None: the turn is not scored.
    outcome : str
        ``answered``, ``refused``, ``tool_calls``, ``reasoning_only``, ``empty`` or ``failed``.
    texts : list of (str, str)
        The model's texts, as ``turn_columns.model_texts`` returns them.
    tool_calls : list or None
    error_kind, error_message : str or None
        None: the turn did not fail.
    took_s : float or None
        Its latency; of a failed turn, the duration of its last attempt. None: no request was sent.
    score : float or None
    reason : str or None
        The scorer's reason.
    extracted : any JSON value
    """

    turn: int
    user: str
    target: Any
    outcome: str
    texts: list[tuple[str, str]]
    tool_calls: Any
    error_kind: str | None
    error_message: str | None
    took_s: float | None
    score: float | None
    reason: str | None
    extracted: Any

    @property
    def verdict(self) -> str:
        """``error``, ``unscored``, ``wrong`` (the score is below 1) or ``right``."""
        if self.error_kind is not None:
            return "error"
        if self.score is None:
            return "unscored"
        return "wrong" if self.score < 1 else "right"


@dataclass(frozen=True, slots=True)
class Transcript:
    """The finished turns of one conversation in one repeat, in order."""

    conversation: str
    repeat: int
    turns: tuple[TranscriptTurn, ...]

    def up_to(self, number: int) -> str:
        """The conversation as text, up to the turn with this number; long texts and conversations are cut."""
        turns = [turn for turn in self.turns if turn.turn <= number]
        left_out = len(turns) - MOST_TURNS
        note = [f"({left_out} earlier turns are left out)"] if left_out > 0 else []
        return "\n\n".join([*note, *map(_as_text, turns[-MOST_TURNS:])])


def transcripts(connection: sqlite3.Connection) -> Iterator[Transcript]:
    """Every conversation with a finished turn, in the order of the dataset; one at a time is in memory."""
    rows = connection.execute(_ROWS)
    for _, group in groupby(rows, key=lambda row: row[:2]):
        turns = list(group)
        _, repeat, name, row, *_ = turns[0]
        dataset_turns = json_value(row)["turns"]
        yield Transcript(name, repeat, tuple(_turn(dataset_turns, *columns) for _, _, _, _, *columns in turns))


def clipped(text: str, most: int = MOST) -> str:
    """A text; if it is longer than ``most`` characters, it is cut and a note is added."""
    return text if len(text) <= most else f"{text[:most]}… (cut: {len(text):,} characters in all)"


def plain(text: str) -> str:
    """Untrusted text with control characters, which could control a terminal, replaced."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def _turn(
    dataset_turns: list[dict[str, Any]], turn: int, outcome: str, answer: str | None, refusal: str | None,
    reasoning: str | None, tool_calls: str | None, kind: str | None, message: str | None, took_ns: int | None,
    score: float | None, reason: str | None, extracted: str | None,
) -> TranscriptTurn:  # fmt: skip
    return TranscriptTurn(
        turn=turn,
        user=shown(dataset_turns[turn - 1]["user"]),
        target=dataset_turns[turn - 1].get("target"),
        outcome=outcome,
        texts=model_texts(outcome, answer, refusal, reasoning),
        tool_calls=json_value(tool_calls),
        error_kind=kind,
        error_message=message,
        took_s=None if took_ns is None else took_ns / 1e9,
        score=score,
        reason=reason,
        extracted=json_value(extracted),
    )


def _as_text(turn: TranscriptTurn) -> str:
    lines = [("user", turn.user), *turn.texts]
    functions = [call["function"] for call in turn.tool_calls or ()]
    lines += [("call", f"{function['name']}({function['arguments']})") for function in functions]
    if turn.error_kind is not None:
        lines.append(("error", f"{turn.error_kind}: {turn.error_message}"))
    if turn.target is not None:
        lines.append(("target", _json(turn.target)))
    if turn.extracted is not None:
        lines.append(("extracted", _json(turn.extracted)))
    if turn.score is not None:
        lines.append(("score", f"{turn.score:g}"))
    if turn.reason is not None:
        lines.append(("reason", turn.reason))
    return "\n".join([f"turn {turn.turn}", *(f"  {name}: {clipped(text)}" for name, text in lines)])


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
