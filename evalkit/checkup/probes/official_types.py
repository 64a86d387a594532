"""Checks answers against the types of the official client, or its main fields where that is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from evalkit.checkup.probes.reply import first, mapping

_MAIN = {"id": str, "object": str, "created": int, "model": str, "choices": list}


@cache
def _official(streamed: bool) -> Any:
    try:
        from openai.types.chat import ChatCompletion, ChatCompletionChunk
    except ImportError:
        return None
    return ChatCompletionChunk if streamed else ChatCompletion


def source() -> str:
    """What answers are checked against, in words."""
    if _official(False) is None:
        return "main fields; install openai for all of them"
    from openai import __version__

    return f"types of openai {__version__}"


def faults(value: Any, *, streamed: bool) -> list[str]:
    """What is wrong with the types of an answer, or of an event of a stream.

    Parameters
    ----------
    value : object
        Parsed JSON.
    streamed : bool
        Whether it is an event of a stream.
    """
    official = _official(streamed)
    if official is None:
        return list(_main_faults(value, "delta" if streamed else "message"))
    from pydantic import ValidationError

    try:
        official.model_validate(value, strict=True)
    except ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)]
    return []


def _main_faults(value: Any, message: str) -> Iterator[str]:
    found = mapping(value)
    for name, kind in _MAIN.items():
        if not isinstance(found.get(name), kind):
            yield f"{name}: {'a list' if kind is list else kind.__name__} was expected"
    if found.get("choices"):
        choice = first(found["choices"])
        if not isinstance(choice.get("index"), int):
            yield "choices.0.index: int was expected"
        if not isinstance(choice.get(message), dict):
            yield f"choices.0.{message}: an object was expected"
