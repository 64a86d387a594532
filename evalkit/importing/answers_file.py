"""Plain answers: one JSON object a line, written by a script of your own.

A line has ``id`` and ``answer``, and with them the question (``question`` or ``messages``) unless the dataset is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.conversation import Message
from evalkit.datasets.field_checks import label_in, read_fields, text_in, within, words_in
from evalkit.errors import DatasetError, Failure
from evalkit.importing import chat_messages
from evalkit.importing.imported_answer import ImportedAnswer, Source, score_of
from evalkit.importing.json_lines import at_line, objects
from evalkit.record import Answer, Usage

_OF_ROW = ("system", "context", "tags", "group", "meta")
_OF_TURN = ("target", "scorer")
_OF_ANSWER = ("answer", "reasoning", "finish_reason", "score")  # not of a failed request
_MOST = 1_000_000


def _whole(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _MOST:
        raise DatasetError(f"must be a whole number from 1 to {_MOST:,}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise DatasetError("must be a whole number of 0 or more")
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DatasetError("must be a number from 0 to 1, or true or false")
    return float(value)


def _same(value: Any) -> Any:
    return value


FIELDS = {
    "id": label_in,
    "question": _same,
    "messages": _same,
    "answer": text_in,
    "reasoning": text_in,
    "finish_reason": text_in,
    "error": words_in,
    "repeat": _whole,
    "turn": _whole,
    "score": _share,
    "prompt_tokens": _count,
    "output_tokens": _count,
    **dict.fromkeys((*_OF_ROW, *_OF_TURN), _same),
}


def read(path: Path) -> Source:
    """A file of plain answers."""
    source = Source("answers", lambda: iter(()))
    source.answers = lambda: _answers(path, source)
    return source


def _answers(path: Path, source: Source) -> Iterator[ImportedAnswer]:
    for line, value in objects(path):
        try:
            found = _answer(value, line)
        except DatasetError as error:
            raise at_line(error, line) from None
        if found.score is not None:
            source.scorer = found.score.scorer
            source.scorers[found.score.scorer] += 1
        yield found


def _answer(value: Mapping[str, Any], line: int) -> ImportedAnswer:
    fields = read_fields(value, FIELDS)
    name = fields.get("id") or f"row-{line:06d}"
    failure = Failure("server", fields["error"]) if "error" in fields else None
    if failure is None and "answer" not in fields:
        raise DatasetError('is missing: a line has an answer, or "error" if there is none', field="answer")
    if failure is not None and (extra := next((key for key in _OF_ANSWER if key in fields), None)) is not None:
        raise DatasetError(f"is given next to an error, but a failed request has no {extra}: keep one", field=extra)
    tokens = Usage(fields.get("prompt_tokens"), fields.get("output_tokens"))
    return ImportedAnswer(
        id=name,
        row=_row(name, fields),
        answer=None
        if failure
        else Answer(fields["answer"], fields.get("reasoning", ""), finish_reason=fields.get("finish_reason")),
        failure=failure,
        repeat=fields.get("repeat", 1),
        turn=fields.get("turn", 1),
        exchange=() if failure else _exchange(fields),
        usage=tokens if tokens != Usage() else None,
        score=score_of("imported", fields["score"]) if "score" in fields else None,
        line=line,
    )


def _exchange(fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The tool rounds between the question and the answer, which may be the last of the messages too."""
    messages = fields.get("messages")
    if not messages:
        return ()
    last = messages[-1]
    if last.get("role") == "assistant" and (last.get("tool_calls") or last.get("content") != fields["answer"]):
        raise DatasetError("end with an answer that is not the one of this line: omit it", field="messages")
    try:
        return chat_messages.exchange_of(messages)
    except DatasetError as error:
        raise within("messages", error) from None


def _row(name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The conversation as a native row; None: the line has no question."""
    if "messages" in fields:
        messages = fields["messages"]
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise DatasetError("must be a list of objects with role and content", field="messages")
        if "question" in fields:
            raise DatasetError("conflicts with messages: keep one of them", field="question")
        try:
            row = chat_messages.row_of(name, messages)
        except DatasetError as error:
            raise DatasetError(error.problem, field="messages") from None
    elif "question" in fields:
        row = {"id": name, "turns": [{"user": fields["question"]}]}
    else:
        return None
    row.update((key, fields[key]) for key in _OF_ROW if key in fields)
    row["turns"][0].update((key, fields[key]) for key in _OF_TURN if key in fields)
    return row
