"""What a judge decided, read strictly off what it said: a choice that stands there whole, once, or none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from evalkit.scorers.reading.think_block import without_scratch

_DECORATION = " \t\r*_`'\"“”()[]>#"
_LABEL = re.compile(r"""(?:my |the |final )*choice[ \t*_`"]*[:=](.*)""", re.IGNORECASE | re.ASCII)
_EMPTY_BOX = re.compile(r"\[\s*\]")
_UNFINISHED = {"length": "was cut off at the token limit", "content_filter": "was cut off by a content filter"}


class Ruling(NamedTuple):
    """A judge's choice and its reason; no choice: ``reason`` says why there is none."""

    choice: str | None
    reason: str | None


def read_ruling(text: str, choices: Iterable[str], finish_reason: str | None = None) -> Ruling:
    """Read a judge's answer.

    A JSON object, alone or at the end, gives the choice by its field ``choice``. Else the last line does, if it is
    ``CHOICE: X`` or a choice and nothing else. The choice must stand there whole: INCORRECT never holds CORRECT, and
    "not CORRECT" is no choice. When lines before say another choice in that way, there is none.

    Parameters
    ----------
    text : str
        A leading ``<think>…</think>`` block does not count.
    choices : iterable of str
        Compared without regard to upper and lower case.
    finish_reason : str, optional
        An answer that was cut off decides nothing.
    """
    if finish_reason in _UNFINISHED:
        return Ruling(None, f"the judge's answer {_UNFINISHED[finish_reason]}")
    known = {choice.lower(): choice for choice in choices}
    text = without_scratch(text).strip()
    if not text:
        return Ruling(None, "the judge's answer is empty")
    before, found = _object_at_end(text)
    lines = [line for line in before.split("\n") if line.strip(_DECORATION)]
    said = [choice for choice in (_stated(line, known) for line in lines) if choice is not None]
    if found is not None:
        last, reason = _chosen(found, known), found.get("reason")
        reason = reason if isinstance(reason, str) else None
    else:
        last, reason = _stated(lines[-1], known) if lines else None, "\n".join(lines[:-1]).strip() or None
    if last is None:
        return Ruling(None, "the judge's answer does not end with one of its choices")
    if set(said) - {last}:
        return Ruling(None, "the judge's answer holds two different choices")
    return Ruling(last, reason)


def _chosen(found: dict[str, Any], known: dict[str, str]) -> str | None:
    value = found.get("choice")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return known.get(value.strip().lower()) if isinstance(value, str) else None


def _stated(line: str, known: dict[str, str]) -> str | None:
    """The choice that a line states, and does nothing else; of a list to be ticked no line states one."""
    if _EMPTY_BOX.search(line):
        return None
    if line.lstrip().startswith("{"):
        found = _object(line)
        return None if found is None else _chosen(found, known)
    line = line.strip(_DECORATION)
    label = _LABEL.fullmatch(line)
    word = (label[1] if label else line).strip(_DECORATION).removesuffix(".").strip(_DECORATION)
    return known.get(word.lower())


def _object_at_end(text: str) -> tuple[str, dict[str, Any] | None]:
    """The text before a JSON object that ends it, and the object; all of it and None: there is none."""
    before, body = "", text
    if text.endswith("```") and (opened := text.rfind("```", 0, -3)) >= 0:
        before, body = text[:opened], text[opened:-3].partition("\n")[2]
    for start in sorted({len(body) - len(body.lstrip()), body.rfind("\n{") + 1}):
        if body.startswith("{", start) and (found := _object(body[start:])) is not None:
            return before + body[:start], found
    return text, None


def _object(text: str) -> dict[str, Any] | None:
    try:
        # a line break inside of a text is a slip that leaves no doubt
        found = json.loads(text, object_pairs_hook=_once, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields stand there once: of two choices none is taken."""
    found = dict(pairs)
    if len(found) < len(pairs) and len({repr(value) for key, value in pairs if key == "choice"}) > 1:
        found.pop("choice")
    return found
