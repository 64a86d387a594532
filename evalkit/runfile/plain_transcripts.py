"""Transcripts as plain text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evalkit.runfile.plain_text import clipped
from evalkit.runfile.transcripts import Transcript, TranscriptTurn

MOST_TURNS = 20  # of one transcript, the last ones


def lines(turn: TranscriptTurn) -> Iterator[tuple[str, str]]:
    """What a transcript shows of a turn, in order: labels and texts."""
    yield "user", turn.user
    yield from turn.texts
    for call in turn.answered_calls():
        yield "call", f"{call.name}({call.arguments})"
        if call.result is not None:
            yield "result", call.result
    if turn.error is not None:
        yield "error", turn.error
    for label, value in (("target", turn.target), ("extracted", turn.extracted)):
        if value is not None:
            yield label, value_text(value)
    if turn.score is not None or turn.reason is not None:
        value = "none" if turn.score is None else f"{turn.score:g}"
        yield "score", f"{value}: {turn.reason}" if turn.reason else value


def up_to(transcript: Transcript, number: int) -> str:
    """A conversation as text, up to the turn with this number; long texts and conversations are cut."""
    turns = [turn for turn in transcript.turns if turn.turn <= number]
    left_out = len(turns) - MOST_TURNS
    note = [f"({left_out} earlier turns are left out)"] if left_out > 0 else []
    return "\n\n".join([*note, *map(_as_text, turns[-MOST_TURNS:])])


def value_text(value: Any) -> str:
    """A target, or what a scorer extracted, as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_text(turn: TranscriptTurn) -> str:
    return "\n".join([f"turn {turn.turn}", *(f"  {label}: {clipped(text)}" for label, text in lines(turn))])
