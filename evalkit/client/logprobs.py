"""Log probabilities of an answer's tokens, in the forms that endpoints send, as one form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NUMBER = (int, float)
_COST = 200  # bytes of a token in memory besides its text


class Logprobs:
    """Collects the log probabilities of an answer's tokens.

    Attributes
    ----------
    tokens : dict
        ``content``, ``refusal`` or another kind of text to its tokens, each with ``token``, ``logprob``, which is None
        if it is no finite number, ``top_logprobs`` if alternatives were sent, and ``bytes`` if these are not the UTF-8
        of the token: parts of a character.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, list[dict[str, Any]]] = {}

    def add(self, choice: Mapping[str, Any], part: str) -> int:
        """Add those of an event's choice, or of a whole answer's, and return the memory that they need, in bytes."""
        message = choice.get(part)
        message = message if isinstance(message, dict) else {}
        sent = choice.get("logprobs")
        if sent is None:
            sent = message.get("logprobs")
        if sent is None:
            return 0
        if isinstance(sent, dict) and isinstance(sent.get("tokens"), list):  # the form of text completions
            kinds = {"content": _of_completion(sent)}
        elif isinstance(sent, dict):
            kinds = {name: _listed(tokens) for name, tokens in sent.items() if isinstance(tokens, list)}
        elif isinstance(sent, list):
            kinds = {"content": _listed(sent)}
        else:  # a number: that of the token in the event's text
            text = message.get("content")
            kinds = {"content": [_token(text, sent)] if isinstance(text, str) and text else []}
        size = 0
        for name, tokens in kinds.items():
            if tokens:
                self.tokens.setdefault(name, []).extend(tokens)
                size += _COST * sum(1 + len(token.get("top_logprobs", ())) for token in tokens)
        return size


def _listed(tokens: list[Any]) -> list[dict[str, Any]]:
    """Tokens of chat completions; what is not a token is left out."""
    return [_object(token) for token in tokens if isinstance(token, dict) and isinstance(token.get("token"), str)]


def _object(sent: Mapping[str, Any]) -> dict[str, Any]:
    token = _token(sent["token"], sent.get("logprob"))
    bytes_ = sent.get("bytes")
    if isinstance(bytes_, list) and all(type(byte) is int for byte in bytes_) and bytes_ != list(_utf8(token["token"])):
        token["bytes"] = bytes_
    top = sent.get("top_logprobs")
    if isinstance(top, dict):
        top = [{"token": text, "logprob": logprob} for text, logprob in top.items()]
    if isinstance(top, list) and top and (alternatives := _listed(top)):
        token["top_logprobs"] = alternatives
    return token


def _of_completion(sent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists of tokens, of their log probabilities and of their alternatives, side by side."""
    texts = sent["tokens"]
    values, tops = (_list(sent.get(name)) for name in ("token_logprobs", "top_logprobs"))
    tokens = []
    for number, text in enumerate(texts):
        if isinstance(text, str):
            top = tops[number] if number < len(tops) else None
            value = values[number] if number < len(values) else None
            tokens.append(_object({"token": text, "logprob": value, "top_logprobs": top}))
    return tokens


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _token(text: str, logprob: Any) -> dict[str, Any]:
    finite = isinstance(logprob, _NUMBER) and not isinstance(logprob, bool) and math.isfinite(logprob)
    return {"token": _utf8(text).decode(), "logprob": logprob if finite else None}


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
