"""Output and error files of the OpenAI batch API; other services write the same form.

A line has the ``custom_id`` of a request and its ``response`` or ``error``, in any order. The requests, so the
questions, are in another file: the batch's input file, which is a dataset, or a dataset of your own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from evalkit.client import error_answers
from evalkit.datasets.field_checks import label_in, object_in, within
from evalkit.errors import DatasetError, Failure
from evalkit.importing import chat_messages
from evalkit.importing.imported_answer import ImportedAnswer, Source
from evalkit.importing.json_lines import at_line, objects
from evalkit.record import Answer, Usage

_KINDS = {"batch_expired": "timeout", "batch_cancelled": "cancelled"}  # else ``server``


def read(path: Path) -> Source:
    """An output file of a batch."""
    model = next((_model(value) for _, value in objects(path) if _model(value)), None)
    source = Source("openai-batch", lambda: iter(()), model=model)
    source.answers = lambda: _answers(path, source)
    return source


def _model(value: Mapping[str, Any]) -> str | None:
    """The model that answered, as the first answer names it."""
    response = value.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else None


def _answers(path: Path, source: Source) -> Iterator[ImportedAnswer]:
    for line, value in objects(path):
        try:
            yield _answer(value, source, line)
        except DatasetError as error:
            raise at_line(error, line) from None


def _answer(value: Mapping[str, Any], source: Source, line: int) -> ImportedAnswer:
    try:
        name = label_in(value.get("custom_id"))
    except DatasetError as error:
        raise within("custom_id", error) from None
    response = value.get("response")
    if response is None:
        return ImportedAnswer(name, None, None, _failure(value.get("error")), line=line)
    try:
        status = object_in(response).get("status_code", 200)
        if type(status) is not int or not 100 <= status <= 599:
            raise DatasetError("must be the HTTP status, a whole number", field="status_code")
        if status != 200:  # some services put the error next to an empty response
            text = orjson.dumps(response.get("body") or {"error": value.get("error")})
            failure = error_answers.failure_of(status, {}, text)
            return ImportedAnswer(name, None, None, failure, http_status=status, line=line)
        body = object_in(response.get("body"))
        answer = _choice(body, source)
    except DatasetError as fault:
        raise within("response", fault) from None
    return ImportedAnswer(name, None, answer, usage=_usage(body.get("usage")), http_status=status, line=line)


def _failure(error: Any) -> Failure:
    """The failure of a request that has no response: it expired, or the batch was cancelled."""
    found = error if isinstance(error, dict) else {}
    code, message = found.get("code"), found.get("message")
    text = message if isinstance(message, str) and message else "the batch has neither a response nor an error for it"
    code = code if isinstance(code, str) else None
    return Failure(_KINDS.get(code or "", "server"), text, code=code)


def _choice(body: Mapping[str, Any], source: Source) -> Answer:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise DatasetError("is missing: only answers of /v1/chat/completions can be imported", field="body.choices")
    if len(choices) > 1:
        source.notes["requests have several answers: only the first is stored"] += 1
    choice = object_in(choices[0])
    reason = choice.get("finish_reason")
    try:
        return chat_messages.answer_of(object_in(choice.get("message")), reason if isinstance(reason, str) else None)
    except DatasetError as error:
        raise within("body.choices[0].message", error) from None


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    return Usage(
        _count(value, "prompt_tokens"),
        _count(value, "completion_tokens"),
        _count(value.get("completion_tokens_details"), "reasoning_tokens"),
        _count(value.get("prompt_tokens_details"), "cached_tokens"),
    )


def _count(of: Any, name: str) -> int | None:
    found = of.get(name) if isinstance(of, dict) else None
    return found if type(found) is int and 0 <= found < 2**53 else None
