"""Removes the API key and the values of secret headers from everything that is stored or shown."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalkit.conversation import ToolCall
from evalkit.errors import LASTING_CODES, Failure
from evalkit.process.api_keys import Key
from evalkit.record import Answer

_MIN_PART = 5  # consecutive characters of a key that reveal something about it
_MIN_KEY = 8  # shorter keys are placeholders ("none", "ollama"), which as words of an answer must stay
_MARK = "***"
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def redact_failure(failure: Failure, keys: Sequence[str], public: str) -> Failure:
    """The failure without the keys or any part of them: endpoints repeat parts of a key that they refuse.

    Text written by evalkit stays, even if a key occurs in it.

    Parameters
    ----------
    public : str
        Text that is not secret (model, base URL, plain headers): a part of a key that also occurs in it stays.
    """
    code, text = failure.code, failure.message
    if code is not None and code not in LASTING_CODES:
        code = redact_text(code, keys, public)
    pieces: list[str] = []
    at = 0
    for begin, end in ((0, len(text)),) if failure.sent is None else failure.sent:
        pieces += text[at:begin], redact_text(text[begin:end], keys, public)
        at = end
    return replace(failure, message="".join(pieces) + text[at:], code=code, sent=())


def redact_answer(answer: Answer, key: str) -> Answer:
    """The answer without the whole key; parts of the key stay, since they may be words of the answer.

    The log probabilities are left out if the key is in the answer or in them: it may be spread over several tokens.
    """
    if len(key) < _MIN_KEY or not _holds(answer, key):
        return answer
    return answer._replace(
        text=answer.text.replace(key, _MARK),
        reasoning=answer.reasoning.replace(key, _MARK),
        refusal=_without(answer.refusal, key),
        tool_calls=tuple([ToolCall(*[_without(part, key) for part in call]) for call in answer.tool_calls]),
        finish_reason=_without(answer.finish_reason, key),
        extra=_without(answer.extra, key),
        logprobs=None,
    )


def _holds(answer: Answer, key: str) -> bool:
    """Whether the key is anywhere in an answer; nearly never, so nothing is copied to find out."""
    if key in answer.text or key in answer.reasoning:
        return True
    if (answer.refusal and key in answer.refusal) or (answer.finish_reason and key in answer.finish_reason):
        return True
    calls = any(_without(part, key) != part for call in answer.tool_calls for part in call)
    return calls or _without(answer.extra, key) != answer.extra or key in str(answer.logprobs or "")


def _without(value: Any, key: str) -> Any:
    """A JSON value without the whole key in its texts, names and numbers."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.replace(key, _MARK)
    if isinstance(value, Mapping):
        return {name.replace(key, _MARK): _without(part, key) for name, part in value.items()}
    if isinstance(value, list):
        return [_without(part, key) for part in value]
    return _MARK if key in str(value) else value


def redact_provenance(provenance: dict[str, str], key: str) -> dict[str, str]:
    """The provenance of an answer without the whole key."""
    return provenance if len(key) < _MIN_KEY else {name: text.replace(key, _MARK) for name, text in provenance.items()}


def redact_text(text: str, keys: Sequence[str], public: str) -> str:
    """A text of the endpoint without the keys or any part of them, as in ``redact_failure``."""
    for key in keys:
        text = _without_parts(text, key, public)
    return text


def _without_parts(text: str, key: str, public: str) -> str:
    """The text without parts of the key, ignoring case: headers are read in lower case."""
    lower, key, public = text.translate(_LOWER), Key(key.translate(_LOWER)), public.translate(_LOWER)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        end = at + _MIN_PART
        if end > len(text) or lower[at:end] not in key:
            pieces.append(text[at])
            at += 1
            continue
        while end < len(text) and lower[at : end + 1] in key:
            end += 1
        part = lower[at:end]
        pieces.append(text[at:end] if part in public and part != key else _MARK)
        at = end
    return "".join(pieces)
