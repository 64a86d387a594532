"""What request parameters make of an answer in the profile ``openai``: stop sequences, several choices, and more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_CHOICES = 128
_LOGPROB = -0.25  # of every token: there is no model
_OTHER = -1.75  # of each alternative


def before_stop(tokens: tuple[str, ...], stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The tokens before the first stop sequence; the token in which it begins is shortened."""
    sequences = [stop] if isinstance(stop, str) else [text for text in stop or () if text]
    text = "".join(tokens)
    end = min((at for sequence in sequences if (at := text.find(sequence)) >= 0), default=None)
    if end is None:
        return tokens
    kept: list[str] = []
    for token in tokens:
        if end <= 0:
            break
        kept.append(token[:end])
        end -= len(token)
    return tuple(kept)


def logprobs_of(tokens: Sequence[str], body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The log probabilities of a whole answer, if the request asks for them; always the same numbers."""
    if not body.get("logprobs"):
        return None
    others = range(body.get("top_logprobs") or 0)
    return {
        "content": [
            {
                **_entry(token, _LOGPROB),
                "top_logprobs": [_entry(f"{token}{i or ''}", _OTHER if i else _LOGPROB) for i in others],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def legacy_call(message: dict[str, Any], body: Mapping[str, Any]) -> bool:
    """Turn the first tool call of a message into the older form, if the request has functions and no tools."""
    if "tools" in body or not body.get("functions") or "tool_calls" not in message:
        return False
    message["function_call"] = message.pop("tool_calls")[0]["function"]
    return True
