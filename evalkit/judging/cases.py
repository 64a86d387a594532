"""What is judged: the answered turns of a run, each as a case for a rubric."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import Conversation, Message
from evalkit.datasets.native_rows import parse_row
from evalkit.judging.rubric import Rubric
from evalkit.runfile import store
from evalkit.scorers.reading.think_block import without_think_block

NOTHING_BEFORE = "(nothing)"
_TURNS = """
    SELECT c.id, c.row, c.position, t.repeat, t.turn, t.status, t.answer, t.refusal, t.tool_calls, t.exchange
    FROM turn t JOIN conversation c ON c.position = t.conversation ORDER BY t.conversation, t.repeat, t.turn"""


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


def answered_turns(path: Path) -> Iterator[AnsweredTurn]:
    """Every answered turn of a run, with the conversation before it."""
    with store.reading(path) as connection:
        golden = store.run_info(connection)["settings"]["history"] == "golden"
        for (name, row, _, repeat), turns in itertools.groupby(connection.execute(_TURNS), lambda row: row[:4]):
            conversation = parse_row(orjson.loads(row))
            before, questions = _Transcript(conversation), _Transcript(conversation)
            for *_, number, status, text, refusal, calls, exchange in turns:
                turn = conversation.turns[number - 1]
                answer = _answer(text, refusal, calls)
                if status == "answered":
                    yield AnsweredTurn(
                        f"{name}/{repeat}/{number}", row, conversation.group or name, turn.user, answer,
                        _target(turn.target, turn.assistant), before.text, questions.text,
                    )  # fmt: skip
                before.add("user", turn.user)
                before.add_exchange(None if golden else exchange)
                before.add("assistant", (turn.assistant or "") if golden else answer)
                questions.add("user", turn.user)


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
    return f"{message.role}: {message.content or ''}"


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
