"""Rows with a question, and perhaps its answer, under plain keys: questions, prompts, inputs and instructions.

A target is what a scorer compares the answer with; a completion, a response or an output is an example of an answer,
and becomes the golden one. A text that is nothing but a number is a number. Choices become lines of the question, and
the answer the letter of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from evalkit.datasets.answers import ANSWERS, RIGHT_CHOICE, read_answer
from evalkit.datasets.anthropic_rows import plain_request
from evalkit.datasets.chat_messages import answer_of, last_question, read_messages
from evalkit.datasets.chat_rows import with_known_calls
from evalkit.datasets.choices import Choices, listed_apart, read_choices, right_letter, with_choices
from evalkit.datasets.field_checks import list_in, text_in, words_in
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import SCORED_LAST, Row, RowFormat, objects_listed, read_as, texts_listed
from evalkit.errors import DatasetError

_CHOICES = ("choices", "options", "endings")
GOLDEN = ("completion", "response", "output", "outputs", "solution", "chosen", "assistant", "reference")


def _reader(*keys: str) -> Callable[[Row], Row]:
    """A reader of rows whose question has one of these keys."""

    def read(row: Row) -> Row:
        row = plain_request(row)
        key = next((key for key in keys if _asks(row.get(key))), keys[0])
        asked = row.pop(key, None)
        if isinstance(asked, dict) and "stem" in asked:  # as in the files of ARC
            row |= {"choices": asked.get("choices"), **row}
            asked = asked["stem"]
        earlier = _earlier(row)
        if objects_listed(asked) and "role" in asked[0]:
            native = last_question(read_messages(asked, key), key)
        else:
            native = {"turns": [{"user": asked if isinstance(asked, list) else read_as(words_in, asked, key)}]}
        (turn,) = native["turns"]
        native["turns"] = [*earlier, turn]
        _add_target(turn, row)
        _add_golden(turn, row)
        return with_known_calls(with_rest(native, row, others=_expected_keys(turn)))

    return read


def _asks(value: Any) -> bool:
    """Whether a value is a question: text, messages, or content parts."""
    if isinstance(value, dict):
        return isinstance(value.get("stem"), str)
    return isinstance(value, str) or (objects_listed(value) and not {"role", "type", "image"}.isdisjoint(value[0]))


def _earlier(row: Row) -> list[Row]:
    """The turns of a history, which has pairs of question and answer."""
    turns: list[Row] = []
    for at, pair in enumerate(read_as(list_in, row.pop("history", None) or [], "history")):
        user, golden = _pair(pair, f"history[{at}]")
        turns.append({"user": user, "assistant": golden})
    return turns


def _expected_keys(turn: Row) -> tuple[str, ...]:
    """Keys that a mistyped one may stand for: none if the row has a target."""
    return () if "target" in turn else ("answer", "ideal", "choices")


def _add_target(turn: Row, row: Row) -> None:
    choices, place = _choices(row)
    names = (*ANSWERS, *RIGHT_CHOICE) if choices else ANSWERS
    name = next((key for key in names if row.get(key) not in (None, "", [])), None)
    answer = None if name is None else row.pop(name)
    if choices:
        if not isinstance(turn["user"], str):
            raise DatasetError("can only be added to a question that is text", field=place)
        turn["user"] = with_choices(turn["user"], choices)
        if name is not None:
            turn |= {"target": right_letter(answer, choices, name), "scorer": "choice"}
    elif isinstance(answer, str) and row.get("tools") and (calls := _calls(answer)):
        turn |= {"target": calls, "scorer": "tool_call"}
    elif (target := read_answer(answer)) is not None:
        turn["target"] = target


def _choices(row: Row) -> tuple[Choices | None, str]:
    """The choices of a row, taken out of it, and the key that has them."""
    if (place := next((key for key in _CHOICES if row.get(key)), None)) is not None:
        return read_choices(row.pop(place), place), place
    apart = listed_apart(row)
    listed = {label: row.pop(key) for label, (key, _) in apart.items()}
    return (read_choices(listed, "choices"), next(iter(apart.values()))[0]) if listed else (None, "")


def _calls(text: str) -> Any:
    """The calls in an answer that is their text, as in collections of calls; None if it is something else."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    calls = value if isinstance(value, list) else [value]
    return value if objects_listed(calls) and all(map(_is_call, calls)) else None


def _is_call(value: Row) -> bool:
    named, arguments = value.get("name"), value.get("arguments", {})
    return isinstance(named, str) and isinstance(arguments, dict) and value.keys() <= {"name", "arguments"}


def _add_golden(turn: Row, row: Row) -> None:
    name = next((key for key in GOLDEN if row.get(key)), None)
    if name is None or row.get("label") is False:  # of KTO: an answer that nobody should give
        return
    if objects_listed(row[name]):
        answer_of(read_messages(row.pop(name), name), turn)
    elif isinstance(row[name], str):
        turn["assistant"] = row.pop(name)


def _alpaca(row: Row) -> Row:
    turns = _earlier(row)
    asked = read_as(text_in, row.pop("instruction", None), "instruction")
    for key in ("input", "context"):
        if more := read_as(text_in, row.pop(key, None) or "", key).strip():
            asked = f"{asked.rstrip()}\n\n{more}".lstrip()
    turn: Row = {"user": read_as(words_in, asked, "instruction")}
    _add_target(turn, row)
    _add_golden(turn, row)
    return with_rest({"turns": [*turns, turn]}, row, others=_expected_keys(turn))


def _pair(value: Any, field: str) -> tuple[str, str]:
    if not texts_listed(value) or len(value) != 2:
        raise DatasetError("must be a pair of texts, the question and its answer", field=field)
    return value[0], value[1]


def _question_list(row: Row) -> Row:
    name = next((key for key in ("input", "inputs") if texts_listed(row.get(key))), "input")
    asked = read_as(list_in, row.pop(name, None), name)
    turns: list[Row] = [{"user": text} for text in asked]
    key = next((key for key in (*ANSWERS, "references") if row.get(key) is not None), None)
    answers = None if key is None else row.pop(key)
    if isinstance(answers, list):
        if len(answers) != len(asked):
            raise DatasetError(f"has {len(answers)} answers for {len(asked)} questions", field=key)
        for turn, answer in zip(turns, answers, strict=True):
            if (target := read_answer(answer)) is not None:
                turn["target"] = target
    elif (target := read_answer(answers)) is not None:
        turns[-1]["target"] = target
    return with_rest({"turns": turns}, row, others=() if key else ("ground_truth",))


def _format(name: str, title: str, example: str, *keys: str) -> RowFormat:
    fields = (
        SCORED_LAST,
        (re.compile(r"^turns\[\d+\]\.assistant"), "assistant"),
        (re.compile(r"^turns\[\d+\]\.user"), keys[0]),
    )
    fits = lambda row: any(_asks(row.get(key)) for key in keys)  # noqa: E731
    return RowFormat(name, title, example, keys[:1], fits, _reader(*keys), fields, keys[0])


FLAT = _format("flat", "one turn", '{"id": "a", "user": "2+2?", "target": 4}', "user")
QUESTION_ANSWER = _format(
    "question-answer",
    "question and answer",
    '{"question": "Capital of France?", "choices": ["Rome", "Paris"], "answer": "B"}',
    "question",
    "question_stem",
    "problem",
    "query",
)
INPUT_TARGET = _format(
    "input-target",
    "Inspect, OpenAI Evals",
    '{"input": "Capital of France?", "ideal": ["Paris", "Paris, France"]}',
    "input",
    "inputs",
)
PROMPT_COMPLETION = _format(
    "prompt-completion", "prompt and completion", '{"prompt": "2+2?", "completion": "4"}', "prompt"
)
ALPACA = RowFormat(
    "alpaca",
    "Alpaca",
    '{"instruction": "Add the numbers.", "input": "2 and 2", "output": "4"}',
    ("instruction",),
    lambda row: isinstance(row.get("instruction"), str),
    _alpaca,
    fields=(SCORED_LAST, (re.compile(r"^turns(\[\d+\])?(\.user)?$"), "instruction")),
)
QUESTION_LIST = RowFormat(
    "input-list",
    "list of inputs, Letta",
    '{"input": ["2+2?", "And twice that?"], "ground_truth": ["4", "8"]}',
    ("input", "ground_truth"),
    lambda row: texts_listed(row.get("input")) or texts_listed(row.get("inputs")),
    _question_list,
    fields=(SCORED_LAST, (re.compile(r"^turns(\[\d+\])\.user"), r"input\1")),
)
