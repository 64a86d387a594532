"""What is judged: the answered turns of a run, each as a case for a rubric."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import Conversation, Message, Turn
from evalkit.datasets.content_parts import shown
from evalkit.datasets.native_rows import parse_row
from evalkit.judging.rubric import Rubric
from evalkit.runfile import schema, store
from evalkit.scorers.reading.think_block import without_think_block

NOTHING_BEFORE = "(nothing)"
_TURNS = f"""
    SELECT c.id, {schema.ROW}, c.position, t.repeat, t.turn, t.status, t.answer, t.refusal, t.tool_calls, t.exchange
    FROM turn t JOIN conversation c ON c.position = t.conversation {schema.JOIN_CORRECTED}
    {{}} ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own
_ONLY = "WHERE t.conversation IN (SELECT value FROM json_each(?))"


class Case(NamedTuple):
    """Something to judge: its id, the content of the rubric's fields, and its cluster for statistics."""

    id: str
    material: Mapping[str, str]
    group: str | None = None


def cases(path: Path, rubric: Rubric) -> Iterator[Case]:
    """Every turn of a run that a rubric can judge, as a case."""
    for turn in answered_turns(path):
        if "target" in rubric.fields and turn.target is None:
            continue
        material = {
            "question": turn.question,
            "answer": turn.answer,
            "target": turn.target or "",
            "conversation": turn.before,
        }
        yield Case(turn.id, material, turn.group)


class AnsweredTurn(NamedTuple):
    """One answered turn: its id ``CONVERSATION/REPEAT/TURN``, its conversation's row, and the texts.

    ``before`` is the conversation before the question, ``questions_before`` only the user's part of it.
    """

    id: str
    row: str
    group: str
    question: str
    answer: str
    target: str | None
    before: str
    questions_before: str


def answered_turns(
    path: Path, *, system: bool = True, positions: Collection[int] | None = None
) -> Iterator[AnsweredTurn]:
    """Every answered turn of a run, or of its conversations at these positions, with the conversation before it.

    ``system`` False: without its system prompt.
    """
    only = ("", ()) if positions is None else (_ONLY, (json.dumps(list(positions)),))
    with store.reading(path) as connection:
        golden = store.run_info(connection)["settings"]["history"] == "golden"
        rows = connection.execute(_TURNS.format(only[0]), only[1])
        for (name, row, _, repeat), turns in itertools.groupby(rows, lambda row: row[:4]):
            conversation = parse_row(orjson.loads(row))
            if not system:
                conversation = conversation.with_system(None)
                row = conversation.canonical.decode()
            before, questions = _Transcript(conversation), _Transcript(conversation)
            for *_, number, status, text, refusal, calls, exchange in turns:
                turn = conversation.turns[number - 1]
                question = _shown(turn)
                answer = _answer(text, refusal, calls)
                if status == "answered":
                    yield AnsweredTurn(
                        f"{name}/{repeat}/{number}", row, conversation.group or name, question, answer,
                        _target(turn.target, turn.assistant), before.text, questions.text,
                    )  # fmt: skip
                before.add("user", question)
                before.add_exchange(None if golden else exchange)
                before.add("assistant", (turn.assistant or "") if golden else answer)
                questions.add("user", question)


class _Transcript:
    """The conversation so far, as a judge reads it."""

    def __init__(self, conversation: Conversation) -> None:
        self._lines = [_line(message) for message in conversation.opening()]

    @property
    def text(self) -> str:
        return "\n".join(self._lines) or NOTHING_BEFORE

    def add(self, role: str, text: str) -> None:
        self._lines.append(f"{role}: {text}")

    def add_exchange(self, exchange: str | None) -> None:
        """Add the results of tools; the calls are part of the answer."""
        for message in json.loads(exchange) if exchange else ():
            if message["role"] == "tool":
                self.add("tool", message["content"] or "")


def _line(message: Message) -> str:
    return f"{message.role}: {_shown(message)}"


def _shown(of: Turn | Message) -> str:
    """The text of a message, with a note for each part that is not text."""
    text = of.user if isinstance(of, Turn) else of.content
    return shown(list(of.parts)) if of.parts else text or ""


def _answer(text: str | None, refusal: str | None, calls: str | None) -> str:
    """An answer as a judge reads it: without its think block, and with the functions that the model called."""
    functions = [call["function"] for call in json.loads(calls)] if calls else []
    called = [f"(calls {function['name']} with {function['arguments']})" for function in functions]
    return "\n".join([part for part in (without_think_block(text or refusal or "").strip(), *called) if part])


def _target(target: Any, golden: str | None) -> str | None:
    if target is None:
        return golden
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)


def position_of(case: str) -> tuple[str, int, int]:
    """Conversation, repeat and turn of a case's id."""
    conversation, repeat, turn = case.rsplit("/", 2)
    return conversation, int(repeat), int(turn)
