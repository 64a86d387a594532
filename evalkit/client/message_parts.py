"""Text, reasoning and refusal of a message or a delta, in every form in which endpoints send them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.record import REASONING_TEXTS

# Fields beside the content. A summary of the reasoning stands for it where it is all that is sent.
_REASONING = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "reasoning_details",
    "thinking",
    "thinking_blocks",
    "thinking_content",
    "reasoning_summary",
    "thought",
    "thoughts",
)
REASONING_FIELDS = frozenset(_REASONING) | {"extra_content"}
_TEXTS = frozenset(REASONING_TEXTS) | {"content"}
_REASONING_TYPE = re.compile(r"think|thought|reason|analysis", re.IGNORECASE)
# where a part of a list, or an object in place of a text, has its text; the first that has one
_TEXT_KEYS = ("text", "thinking", "reasoning", "reasoning_text", "content", "summary", "value", "parts", "thought")
_DEEPEST = 8  # lists and objects in each other


def only_text(message: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the only text of a message, if it has nothing else besides empty values and its role.

    Reasoning may stand under a second name too. Both are empty if the message has no text, or anything else.
    """
    only = twin = ""
    for name, value in message.items():
        if value is None or name == "role" or (not value and value != 0):
            continue
        if type(value) is not str or name not in _TEXTS:
            return "", ""
        if not only:
            only = name
        elif twin or "content" in (only, name) or value != message[only]:
            return "", ""
        else:
            twin = name
    return only, twin


def text_in(value: Any, depth: int = 0) -> str:
    """The text of a value that is a text, an object with a text, or a list of these; empty: it has none."""
    if isinstance(value, str):
        return value
    if depth == _DEEPEST:
        return ""
    if isinstance(value, list):
        return "".join([text_in(part, depth + 1) for part in value])
    if isinstance(value, dict):
        return next((text for key in _TEXT_KEYS if (text := text_in(value.get(key), depth + 1))), "")
    return ""


def content_parts(content: Any) -> tuple[str, str, str]:
    """Text, reasoning and refusal of a content that is a list of typed parts, or one such part."""
    found: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for kind, text in _typed(content, 0):
        found[kind].append(text)
    text, reasoning, refusal = ("".join(pieces) for pieces in found.values())
    return text, reasoning, refusal


def reasoning_beside(message: Mapping[str, Any], known: str = "") -> str:
    """The reasoning in the fields beside the content, added to ``known``; a text that several fields carry is one."""
    for name in _REASONING:
        if value := message.get(name):
            known = _with(known, text_in(value))
    return known


def joined(pieces: list[str]) -> str:
    """The pieces as one text; surrogate pairs split between pieces are joined, unpaired surrogates replaced."""
    text = "".join(pieces)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_thought(message: Mapping[str, Any]) -> bool:
    """Whether the content itself is marked as a thought, as Gemini's compatible route does."""
    extra = message.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return isinstance(google, dict) and google.get("thought") is True


def message_without_choice(event: dict[str, Any]) -> dict[str, Any] | None:
    """The message in an event of Ollama's own form, which has no choices."""
    message = event.get("message")
    if isinstance(message, dict):
        return message
    if isinstance(text := event.get("response"), str) and "done" in event:
        return {"content": text, "thinking": event.get("thinking")}
    return None


def _typed(content: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield "text", content
    elif isinstance(content, list) and depth < _DEEPEST:
        for part in content:
            yield from _typed(part, depth + 1)
    elif isinstance(content, dict):
        named = content.get("type")
        kind = named if isinstance(named, str) else ""
        if _REASONING_TYPE.search(kind) or content.get("thought") is True:
            yield "reasoning", text_in(content)
        elif isinstance(refusal := content.get("refusal"), str):
            yield "refusal", refusal
        elif isinstance(nested := content.get("content") or content.get("parts"), list) and depth < _DEEPEST:
            yield from _typed(nested, depth + 1)
        elif not isinstance(named, str) or "text" in content:
            if not kind and (reasoning := reasoning_beside(content)):
                yield "reasoning", reasoning
            yield "text", text_in(content.get("text") or content.get("content"))


def _with(known: str, text: str) -> str:
    if not known or known in text:
        return text or known
    return known if text in known else known + text
