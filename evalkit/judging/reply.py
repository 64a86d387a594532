"""The choice in a judge's reply, read strictly: exactly one whole choice, or none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from evalkit.scorers.reading.think_block import without_think_block

_DECORATION = " \t\r*_`'\"“”()[]>#"
_LABEL = re.compile(
    r"""(?:my |the |final |overall )*(?:(?P<scale>rating|score|grade)|choice|verdict|decision)"""
    r"""[ \t*_`"]*[:=](?P<what>.*)""",
    re.IGNORECASE | re.ASCII,
)
_DOUBLE_BRACKETS = re.compile(r"\[\[([^\[\]\n]{1,40})\]\]")
_OUT_OF = re.compile(r"(\d+)[ \t]*(?:/|out of)[ \t]*(\d+)", re.IGNORECASE | re.ASCII)
_NAMED = re.compile(
    r"(?:assistant|response|model|option)[ \t]+(?P<one>[\w-]+)"
    r"(?:[ \t]+(?:is|was)[ \t]+(?:the[ \t]+)?(?:better|best|winner)"
    r"(?:[ \t]+(?:one|answer|response|than[ \t]+(?:assistant|response|model|option)[ \t]+[\w-]+))?|[ \t]+wins)?",
    re.IGNORECASE | re.ASCII,
)
_NOT = re.compile(r"(?:\bnot|n['’]t)\s*[*_\"'(]*\Z", re.IGNORECASE)
_EMPTY_BOX = re.compile(r"\[\s*\]")
_UNFINISHED = {"length": "was cut off at the token limit", "content_filter": "was cut off by a content filter"}


class JudgeReply(NamedTuple):
    """A judge's choice and its reason; without a choice, ``reason`` says why there is none."""

    choice: str | None
    reason: str | None


def read_reply(text: str, choices: Iterable[str], finish_reason: str | None = None) -> JudgeReply:
    """Read a judge's reply.

    A JSON object, alone or at the end, has the choice in its field ``choice``. Otherwise the last line has it, if it is
    ``CHOICE: X`` or a choice and nothing else, or ends with ``[[X]]``. Other words for it (rating, score, verdict) and
    ``Assistant A`` count too, and ``Score: 8/10`` if 10 is the highest choice. The choice must be whole: INCORRECT is
    not read as CORRECT, and "not CORRECT" is not a choice. If earlier lines state another choice in this form, the
    reply has none.

    Parameters
    ----------
    text : str
        A leading ``<think>…</think>`` block is ignored.
    choices : iterable of str
        Compared without regard to case.
    finish_reason : str, optional
        A reply that was cut off has no choice.
    """
    if finish_reason in _UNFINISHED:
        return JudgeReply(None, f"the judge's answer {_UNFINISHED[finish_reason]}")
    known = {choice.lower(): choice for choice in choices}
    text = without_think_block(text).strip()
    if not text:
        return JudgeReply(None, "the judge's answer is empty")
    before, found = _object_at_end(text)
    lines = [line for line in before.split("\n") if line.strip(_DECORATION)]
    stated = [choice for choice in (_stated(line, known) for line in lines) if choice is not None]
    if found is not None:
        last, reason = _chosen(found, known), found.get("reason")
        reason = reason if isinstance(reason, str) else None
    else:
        last, reason = _stated(lines[-1], known) if lines else None, "\n".join(lines[:-1]).strip() or None
    if last is None:
        return JudgeReply(None, "the judge's answer does not end with one of its choices")
    if set(stated) - {last}:
        return JudgeReply(None, "the judge's answer has two different choices")
    return JudgeReply(last, reason)


def _chosen(found: dict[str, Any], known: dict[str, str]) -> str | None:
    value = found.get("choice")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return known.get(value.strip().lower()) if isinstance(value, str) else None


def _stated(line: str, known: dict[str, str]) -> str | None:
    """The choice that a line states and nothing else; the items of a checklist state none."""
    if _EMPTY_BOX.search(line):
        return None
    if line.lstrip().startswith("{"):
        found = _object(line)
        return None if found is None else _chosen(found, known)
    if "[[" in line:
        return _bracketed(line, known)
    line = line.strip(_DECORATION)
    label = _LABEL.fullmatch(line)
    return _whole(label["what"] if label else line, known, of_scale=bool(label and label["scale"]))


def _bracketed(line: str, known: dict[str, str]) -> str | None:
    """The choice in double brackets at the end of a line, if it has no other."""
    found = list(_DOUBLE_BRACKETS.finditer(line))
    if not found or line[found[-1].end() :].strip(_DECORATION + ".") or _NOT.search(line, 0, found[-1].start()):
        return None
    choices = set()
    for each in found:
        label = _LABEL.fullmatch(each[1].strip())
        choices.add(_whole(label["what"] if label else each[1], known, of_scale=True))
    return choices.pop() if len(choices) == 1 else None


def _whole(text: str, known: dict[str, str], *, of_scale: bool) -> str | None:
    """The choice that a text is, and nothing else."""
    word = text.strip(_DECORATION).removesuffix(".").strip(_DECORATION)
    if (choice := known.get(word.lower())) is not None:
        return choice
    if of_scale and (share := _OUT_OF.fullmatch(word)) and share[2] == _highest(known):
        return known.get(share[1])
    named = _NAMED.fullmatch(word)
    return known.get(named["one"].lower()) if named else None


def _highest(known: dict[str, str]) -> str | None:
    """The highest choice of a scale of numbers."""
    return max(known, key=int) if all(map(str.isdecimal, known)) else None


def _object_at_end(text: str) -> tuple[str, dict[str, Any] | None]:
    """The text before a JSON object at its end, and the object; the whole text and None if there is none."""
    before, body = "", text
    if text.endswith("```") and (opened := text.rfind("```", 0, -3)) >= 0:
        before, body = text[:opened], text[opened:-3].partition("\n")[2]
    for start in sorted({len(body) - len(body.lstrip()), body.rfind("\n{") + 1}):
        if body.startswith("{", start) and (found := _object(body[start:])) is not None:
            return before + body[:start], found
    return text, None


def _object(text: str) -> dict[str, Any] | None:
    try:
        # a line break inside a string is a harmless error
        found = json.loads(text, object_pairs_hook=_without_double_choice, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _without_double_choice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its pairs, without ``choice`` if that occurs twice with different values."""
    found = dict(pairs)
    if len(found) < len(pairs) and len({repr(value) for key, value in pairs if key == "choice"}) > 1:
        found.pop("choice")
    return found
