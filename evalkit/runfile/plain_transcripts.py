"""Conversations as they went, read from a run file one at a time, and as plain text for people."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from evalkit.runfile.schema import JOIN_SCORE
from evalkit.runfile.turn_columns import OUTCOME, json_value, spoken

MOST = 4_000  # characters of one text
MOST_TURNS = 20  # of one transcript, the last ones

_ROWS = f"""
    SELECT t.conversation, t.repeat, c.id, c.row, t.turn, {OUTCOME}, t.answer, t.refusal, t.reasoning, t.tool_calls,
      t.error_kind,
      t.error_message, coalesce(t.latency_ns, t.end_ns - t.sent_ns), s.value, s.reason, s.extracted
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own


@dataclass(frozen=True, slots=True)
class Said:
    """One finished turn: what was asked and what came of it.

    Parameters
    ----------
    turn : int
    user : str
    target : any JSON value
        None: the turn is not scored.
    outcome : str
        ``answered``, ``refused``, ``tool_calls``, ``reasoning_only``, ``empty`` or ``failed``.
    said : list of (str, str)
        What the model said, as ``turnrows.spoken`` names it.
    tool_calls : list or None
    error_kind, error_message : str or None
        Of a failed turn.
    took_s : float or None
        Its latency; of a failed turn, how long its last attempt took. None: it was never asked.
    score : float or None
    reason : str or None
        The scorer's.
    extracted : any JSON value
    """

    turn: int
    user: str
    target: Any
    outcome: str
    said: list[tuple[str, str]]
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
    turns: tuple[Said, ...]

    def up_to(self, number: int) -> str:
        """The conversation in words, up to the turn of this index; long texts and long conversations are cut."""
        turns = [said for said in self.turns if said.turn <= number]
        left_out = len(turns) - MOST_TURNS
        words = [f"({left_out} earlier turns are left out)"] if left_out > 0 else []
        return "\n\n".join([*words, *map(_in_words, turns[-MOST_TURNS:])])


def transcripts(connection: sqlite3.Connection) -> Iterator[Transcript]:
    """Every conversation of a run that has a finished turn, in the order of the dataset; one is held at a time."""
    rows = connection.execute(_ROWS)
    for _, group in groupby(rows, key=lambda row: row[:2]):
        turns = list(group)
        _, repeat, name, row, *_ = turns[0]
        asked = json_value(row)["turns"]
        yield Transcript(name, repeat, tuple(_said(asked, *came) for _, _, _, _, *came in turns))


def clipped(text: str, most: int = MOST) -> str:
    """A text, cut after ``most`` characters; it then says so."""
    return text if len(text) <= most else f"{text[:most]}… (cut: {len(text):,} characters in all)"


def plain(text: str) -> str:
    """Text from a stranger without the control characters that could drive a terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def _said(
    asked: list[dict[str, Any]], turn: int, outcome: str, answer: str | None, refusal: str | None,
    reasoning: str | None, tool_calls: str | None, kind: str | None, message: str | None, took_ns: int | None,
    score: float | None, reason: str | None, extracted: str | None,
) -> Said:  # fmt: skip
    return Said(
        turn=turn,
        user=asked[turn - 1]["user"],
        target=asked[turn - 1].get("target"),
        outcome=outcome,
        said=spoken(outcome, answer, refusal, reasoning),
        tool_calls=json_value(tool_calls),
        error_kind=kind,
        error_message=message,
        took_s=None if took_ns is None else took_ns / 1e9,
        score=score,
        reason=reason,
        extracted=json_value(extracted),
    )


def _in_words(said: Said) -> str:
    lines = [("user", said.user), *said.said]
    functions = [call["function"] for call in said.tool_calls or ()]
    lines += [("call", f"{function['name']}({function['arguments']})") for function in functions]
    if said.error_kind is not None:
        lines.append(("error", f"{said.error_kind}: {said.error_message}"))
    if said.target is not None:
        lines.append(("target", _json(said.target)))
    if said.extracted is not None:
        lines.append(("extracted", _json(said.extracted)))
    if said.score is not None:
        lines.append(("score", f"{said.score:g}"))
    if said.reason is not None:
        lines.append(("reason", said.reason))
    return "\n".join([f"turn {said.turn}", *(f"  {name}: {clipped(text)}" for name, text in lines)])


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
