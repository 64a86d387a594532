"""The turns of a run as a report stores them: columns of plain values, limited in number and length."""

from __future__ import annotations

import json
import re
import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.conversation import FUNCTION
from evalkit.datasets import content_parts
from evalkit.report.extracted_mark import extracted_mark
from evalkit.report.pictures import Pictures, picture
from evalkit.report.turn_commands import LONGEST_PART, Requests
from evalkit.runfile import store
from evalkit.runfile.schema import JOIN_SCORE
from evalkit.runfile.transcripts import Transcript, TranscriptTurn, transcripts_at
from evalkit.scorers.json_equality import is_deep_text

MOST_TURNS = 50_000
MOST_CHARACTERS = 48_000_000  # in all texts together
LONGEST_TEXT = 20_000  # characters
_BLANKS = re.compile(r"\s+")
_FAILED_SHARE = 4  # one part in 4 of a sample is reserved for conversations with a failed turn

_COUNTS = """
    SELECT conversation, count(*), max(error_kind NOT NULL) FROM turn GROUP BY conversation ORDER BY conversation"""
# characters; those of commands, which repeat texts, are not counted
_LENGTH = f"""
    SELECT length(c.row) + total(min(coalesce(length(t.answer), 0), {LONGEST_TEXT})
      + min(coalesce(length(t.refusal), 0), {LONGEST_TEXT})
      + min(coalesce(length(t.reasoning), 0), {LONGEST_TEXT})
      + 2 * coalesce(length(t.tool_calls), 0) + coalesce(length(t.exchange), 0) + coalesce(length(s.reason), 0))
    FROM conversation c JOIN turn t ON t.conversation = c.position {JOIN_SCORE} WHERE c.position = ?"""  # noqa: S608 - SQL of our own
_COLUMNS = (
    "conversation", "repeat", "turn", "status", "user", "parts", "answer", "refusal", "reasoning", "cut", "calls",
    "golden", "target", "extracted", "mark", "score", "scorer", "reason", "outcome", "error", "attempts", "ttft",
    "latency", "tpot", "prompt_tokens", "output_tokens", "command",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transcripts:
    """Turns of a run, or a sample of them.

    Parameters
    ----------
    data : dict
        ``conversations`` and ``turns``, each a dict of columns, and ``commands``, from ``turn_commands``. The
        ``status`` of a turn is one letter: right, partly right, wrong, error, unscored. ``answer``, ``refusal`` and
        ``reasoning`` are what is shown of the model's output, ``mark`` is from ``extracted_mark``, ``calls`` have a
        name, arguments and a result, ``parts`` are those of the user message, if it is more than text. ``command`` is
        the number of the command, then how much of it is the turn's, or says why there is none. Times in ms; missing
        values are None.
    turns, total : int
        Turns in ``data``, and turns of the run.
    """

    data: dict[str, Any]
    turns: int
    total: int

    def by_conversation(self) -> list[dict[str, Any]]:
        """The data as a page has them: commands next to the texts that they repeat, so that these are small together.

        A dict for each conversation: its own columns, ``turns``, a list of values for each column of turns in order,
        and ``commands``. The first has the names of these columns too.
        """
        conversations, turns, commands = (self.data[name] for name in ("conversations", "turns", "commands"))
        packed, first, first_command = [], 0, 0
        for place in range(len(conversations["id"])):
            last = bisect_right(turns["conversation"], place)
            repeats = len(set(turns["repeat"][first:last]))
            packed.append(
                {name: column[place] for name, column in conversations.items()}
                | {"turns": [column[first:last] for column in turns.values()]}
                | {"commands": commands[first_command : first_command + repeats]}
            )
            first, first_command = last, first_command + repeats
        return [{**packed[0], "columns": list(turns)}, *packed[1:]] if packed else []


def transcripts(connection: sqlite3.Connection, *, most_turns: int = MOST_TURNS, seed: int = 0) -> Transcripts:
    """Read the turns of a run, or a sample of whole conversations if there are too many.

    The sample is random and seeded; up to a quarter of its turns is reserved for conversations with a failed turn. Its
    texts have at most ``MOST_CHARACTERS`` in total.

    Parameters
    ----------
    connection : sqlite3.Connection
        A run file opened for reading.
    most_turns : int
    seed : int
    """
    info = store.run_info(connection)
    columns = _Columns(Requests(info["endpoint"], info["settings"], LONGEST_TEXT))
    total = int(connection.execute("SELECT count(*) FROM turn").fetchone()[0])
    for position in _chosen(connection, total, most_turns, seed):
        columns.add(list(transcripts_at(connection, position)))
    return Transcripts(columns.data(), len(columns.turns["turn"]), total)


def conversation(connection: sqlite3.Connection, position: int | None) -> dict[str, Any]:
    """``Transcripts.data`` of one conversation in all its repeats; without turns for the position None."""
    info = store.run_info(connection)
    columns = _Columns(Requests(info["endpoint"], info["settings"], LONGEST_TEXT))
    if position is not None:
        columns.add(list(transcripts_at(connection, position)))
    return columns.data()


def _chosen(connection: sqlite3.Connection, total: int, most_turns: int, seed: int) -> list[int]:
    """Return the positions of the conversations to show, in order: a random sample if there are too many."""
    positions, sizes, failed = array("q"), array("q"), array("b")
    for position, size, has_failed in connection.execute(_COUNTS):
        positions.append(position)
        sizes.append(size)
        failed.append(has_failed)
    order = np.random.default_rng(seed).permutation(len(positions)).tolist()
    if total > most_turns:
        first = set(_fitting([place for place in order if failed[place]], sizes, most_turns // _FAILED_SHARE))
        left = most_turns - sum(sizes[place] for place in first)
        rest = set(_fitting([place for place in order if place not in first], sizes, left))
        order = [place for place in order if place in first or place in rest]
    lengths = {place: connection.execute(_LENGTH, (positions[place],)).fetchone()[0] for place in order}
    return sorted(positions[place] for place in _fitting(order, lengths, MOST_CHARACTERS))


def _fitting(order: Iterable[int], sizes: Mapping[int, int] | Sequence[int], most: int) -> Iterator[int]:
    """Yield places in this order as long as they fit; one that is too large is skipped."""
    for place in order:
        if sizes[place] <= most:
            most -= sizes[place]
            yield place


class _Columns:
    """Collects the columns of turns and conversations."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.turns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self.conversations: dict[str, list[Any]] = {
            name: [] for name in ("id", "tags", "system", "context", "pictures")
        }
        self.commands: list[dict[str, Any] | None] = []

    def data(self) -> dict[str, Any]:
        """The columns as ``Transcripts.data``."""
        return {"conversations": self.conversations, "turns": self.turns, "commands": self.commands}

    def add(self, repeats: Sequence[Transcript]) -> None:
        """Add the turns of one conversation, in all its repeats."""
        if not repeats:
            return
        row, pictures = repeats[0].row, Pictures()
        place = len(self.conversations["id"])
        values = {
            "id": repeats[0].conversation,
            "tags": row.get("tags", []),
            "system": row.get("system"),
            "context": [_context_message(message, pictures) for message in row.get("context", ())] or None,
        }
        for transcript in repeats:
            self._add_turns(place, transcript, pictures)
        for name, column in self.conversations.items():
            column.append({**values, "pictures": pictures.addresses}[name])

    def _add_turns(self, place: int, transcript: Transcript, pictures: Pictures) -> None:
        command, parts = self._requests.commands(transcript, pictures)
        for turn, part in zip(transcript.turns, parts, strict=True):
            values = {
                "conversation": place,
                "repeat": transcript.repeat,
                "golden": turn.asked.get("assistant") if self._requests.golden else None,
                "parts": _parts(turn.asked["user"], pictures),
                "command": [len(self.commands), *part] if isinstance(part, list) else part,
                **_turn(turn),
            }
            for name, column in self.turns.items():
                column.append(values[name])
        self.commands.append(command)


def _turn(turn: TranscriptTurn) -> dict[str, Any]:
    output = dict(turn.texts)
    shown = {name: output.get(name) for name in ("answer", "refusal", "reasoning")}
    shown = {name: None if text is None else text[:LONGEST_TEXT] for name, text in shown.items()}
    return {
        "turn": turn.turn,
        "status": _letter(turn),
        "user": turn.user,
        **shown,
        "cut": sum(max(len(text) - LONGEST_TEXT, 0) for text in output.values()),
        "calls": [_call(*call) for call in turn.answered_calls()] or None,
        "target": turn.target,
        "extracted": turn.extracted,
        "mark": extracted_mark(shown["answer"], turn.extracted, turn.target, wrong=turn.verdict == "wrong"),
        "score": turn.score,
        "scorer": turn.scorer,
        "reason": turn.reason,
        "outcome": turn.outcome,
        "error": turn.error,
        "attempts": turn.attempts,
        "ttft": _ms(turn.ttft_ns),
        "latency": _ms(turn.latency_ns),
        "tpot": _ms(turn.tpot_ns),
        "prompt_tokens": turn.tokens["prompt_tokens"],
        "output_tokens": turn.tokens["output_tokens"],
    }


def _call(name: str, arguments: str, result: str | None) -> dict[str, Any]:
    return {"name": name, "arguments": laid_out(arguments), "result": None if result is None else laid_out(result)}


def laid_out(text: str) -> str:
    """JSON with a line for each value; any other text, and JSON that would lose something, as it is."""
    if text[:1] not in "{[" or is_deep_text(text):
        return text
    try:
        laid = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        return text
    return laid if _BLANKS.sub("", laid) == _BLANKS.sub("", text) else text


def _context_message(message: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    calls = [call[FUNCTION] for call in message.get("tool_calls") or ()]
    return {
        "role": message["role"],
        "text": content_parts.shown(message["content"]),
        "parts": _parts(message["content"], pictures),
        "calls": [_call(call["name"], call["arguments"], None) for call in calls] or None,
    }


def _parts(content: Any, pictures: Pictures) -> list[dict[str, Any]] | None:
    """The parts of a message, each as text and with the number of its picture; None: it is text."""
    if not isinstance(content, list):
        return None
    shown = [part if content_parts.text_length(part) <= LONGEST_PART else {} for part in content]
    return [
        {"text": content_parts.note(part), "picture": pictures.number(picture(small))}
        for part, small in zip(content, shown, strict=True)
    ]


def _letter(turn: TranscriptTurn) -> str:
    if turn.error_kind is not None:
        return "e"
    if turn.score is None:
        return "u"
    return "r" if turn.score >= 1 else "w" if turn.score <= 0 else "p"


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 1)
