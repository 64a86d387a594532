"""Removes the API key from everything that is stored or shown."""

from __future__ import annotations

import string
from dataclasses import replace

from evalkit.process.api_keys import Key
from evalkit.record import LASTING_CODES, Answer, Failure

_MIN_PART = 5  # consecutive characters of a key that reveal something about it
_MIN_KEY = 8  # shorter keys are placeholders ("none", "ollama"), which as words of an answer must stay
_MARK = "***"
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def redact_failure(failure: Failure, key: str, public: str) -> Failure:
    """The failure without the key or any part of it: endpoints repeat parts of a key that they refuse.

    Text written by evalkit stays, even if the key occurs in it.

    Parameters
    ----------
    public : str
        Text that is not secret (model, base URL): a part of the key that also occurs in it stays.
    """
    code, text = failure.code, failure.message
    if code is not None and code not in LASTING_CODES:
        code = _without_parts(code, key, public)
    pieces: list[str] = []
    at = 0
    for begin, end in ((0, len(text)),) if failure.sent is None else failure.sent:
        pieces += text[at:begin], _without_parts(text[begin:end], key, public)
        at = end
    return replace(failure, message="".join(pieces) + text[at:], code=code, sent=())


def redact_answer(answer: Answer, key: str) -> Answer:
    """The answer without the whole key; parts of the key stay, since they may be words of the answer."""
    calls = answer.tool_calls
    texts = [answer.text, answer.reasoning, answer.refusal, answer.finish_reason]
    texts += [text for call in calls for text in (call.name, call.arguments, call.id)]
    if len(key) < _MIN_KEY or not any(text and key in text for text in texts):
        return answer
    return Answer(
        text=answer.text.replace(key, _MARK),
        reasoning=answer.reasoning.replace(key, _MARK),
        refusal=answer.refusal and answer.refusal.replace(key, _MARK),
        tool_calls=tuple(
            call._replace(
                name=call.name.replace(key, _MARK),
                arguments=call.arguments.replace(key, _MARK),
                id=call.id and call.id.replace(key, _MARK),
            )
            for call in calls
        ),
        finish_reason=answer.finish_reason and answer.finish_reason.replace(key, _MARK),
    )


def redact_provenance(provenance: dict[str, str], key: str) -> dict[str, str]:
    """The provenance of an answer without the whole key."""
    return provenance if len(key) < _MIN_KEY else {name: text.replace(key, _MARK) for name, text in provenance.items()}


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
