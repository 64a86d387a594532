"""Rows of IFEval: a prompt, and instructions whose following a program can check.

An instruction is scored if a scorer checks what IFEval's own code checks; where that needs English text too, only the
case of its letters. Limits of length and one other scorer can be combined: the score is the share of instructions that
are followed. The names of the rest are in ``meta.unscored``, and the row has the tag ``partly-scored`` or ``unscored``.
The names of all instructions are tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from evalkit.datasets.field_checks import list_in, object_in, words_in
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import SCORED_LAST, Row, RowFormat, read_as, texts_listed
from evalkit.errors import DatasetError

_NONE: Mapping[str, Any] = {}
_MOST = 200  # times that a pattern repeats, so that it stays small


class _Check(NamedTuple):
    """A scorer, and its target if it needs one."""

    scorer: Any
    target: Any = None


def _ifeval(row: Row) -> Row:
    prompt = row.pop("prompt", None)
    names = read_as(list_in, row.pop("instruction_id_list", None), "instruction_id_list")
    given = read_as(list_in, row.pop("kwargs", None) or [], "kwargs")
    if given and len(given) != len(names):
        raise DatasetError(f"has {len(given)} entries for {len(names)} instructions", field="kwargs")
    checks, unscored = list[_Check](), list[str]()
    for at, name in enumerate(names):
        read_as(words_in, name, f"instruction_id_list[{at}]")
        options = read_as(object_in, given[at] or {}, f"kwargs[{at}]") if given else {}
        check = _check(name, options)
        if check is None or (check.target is not None and any(other.target is not None for other in checks)):
            unscored.append(name)
        else:
            checks.append(check)
    turn: Row = {"user": prompt}
    if checks:
        scorers = [check.scorer for check in checks]
        turn["scorer"] = scorers[0] if len(scorers) == 1 else scorers
        turn["target"] = next((check.target for check in checks if check.target is not None), None)
    marks = (["partly-scored"] if checks else ["unscored"]) if unscored else []
    native: Row = {"id": row.pop("key", None), "turns": [turn], "tags": list(dict.fromkeys([*names, *marks]))}
    if unscored:
        native["meta"] = {"unscored": unscored}
    own = ("group", "target", "scorer", "system", "context", "tools", "tool_results", "params")
    return with_rest(native, row, own)


def _check(name: str, options: Mapping[str, Any]) -> _Check | None:
    """The check of one instruction; None if no scorer has it, or its options are not as usual."""
    make = _CHECKS.get(name)
    try:
        return None if make is None else make({key: value for key, value in options.items() if value is not None})
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _pattern(text: str) -> _Check:
    return _Check("regex", text)


def _length(unit: str, number: str) -> Callable[[Mapping[str, Any]], _Check]:
    def make(options: Mapping[str, Any]) -> _Check:
        count = int(options[number])
        limit = {"min": count} if _at_least(options["relation"]) else {"max": count - 1}
        return _Check({"name": "length", "unit": unit, **limit})

    return make


def _at_least(relation: str) -> bool:
    return {"at least": True, "less than": False}[relation]


def _times(pattern: str, count: Any, flags: str = "is") -> _Check | None:
    """A pattern that matches at least so often."""
    return _pattern(f"(?{flags})(?:{pattern}.*?){{{int(count)}}}") if 0 < int(count) <= _MOST else None


def _frequency(options: Mapping[str, Any]) -> _Check | None:
    if not _at_least(options["relation"]):
        return None
    return _times(_quoted(options["keyword"]), options["frequency"])


def _letters(options: Mapping[str, Any]) -> _Check | None:
    letter, count = _quoted(options["letter"].strip()), int(options["let_frequency"])
    if len(options["letter"].strip()) != 1:
        return None
    if _at_least(options["let_relation"]):
        return _times(letter, count)
    other = f"[^{letter}]*"
    return _pattern(f"(?is)\\A{other}(?:{letter}{other}){{0,{count - 1}}}\\z") if 0 < count <= _MOST else None


def _existing(options: Mapping[str, Any]) -> _Check | None:
    words = options["keywords"]
    return _pattern(f"(?i){_quoted(words[0])}") if texts_listed(words) and len(words) == 1 else _all_of(words)


def _all_of(words: Any) -> _Check | None:
    whole = {"name": "includes", "all": True, "whole_words": False}
    return _Check(whole, words) if texts_listed(words) else None


def _forbidden(options: Mapping[str, Any]) -> _Check | None:
    words = options["forbidden_words"]
    return _Check({"name": "includes", "none": True}, words) if texts_listed(words) else None


def _quoted(text: str) -> str:
    """A text as a pattern of RE2, which allows a backslash before punctuation only."""
    return re.sub(r"[^\w\s]", lambda mark: re.escape(mark[0]), text)


_MARKERS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
_CHECKS: dict[str, Callable[[Mapping[str, Any]], _Check | None]] = {
    "punctuation:no_comma": lambda _: _pattern(r"\A[^,]*\z"),
    "length_constraints:number_words": _length("words", "num_words"),
    "length_constraints:number_sentences": _length("sentences", "num_sentences"),
    "keywords:existence": _existing,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda options: _Check("language", options["language"]),
    "detectable_format:json_format": lambda _: _Check("json", True),
    "detectable_format:title": lambda _: _pattern(r"<<[^\n]*[^\s<>][^\n]*>>"),
    "detectable_format:constrained_response": lambda _: _pattern(r"My answer is (?:yes|no|maybe)\."),
    "detectable_format:number_highlighted_sections": lambda options: _times(
        r"\*[^\n*]*[^\s*][^\n*]*\*", options["num_highlights"]
    ),
    "detectable_format:multiple_sections": lambda options: _times(
        rf"\s?{_quoted(options['section_spliter'])}\s?\d+", options["num_sections"], "s"
    ),
    "detectable_content:number_placeholders": lambda options: _times(r"\[.*?\]", options["num_placeholders"]),
    "detectable_content:postscript": lambda options: _pattern(
        f"(?i){_MARKERS.get(options['postscript_marker'], _quoted(options['postscript_marker']))}"
    ),
    "combination:repeat_prompt": lambda options: _pattern(rf"(?i)\A\s*{_quoted(options['prompt_to_repeat'].strip())}"),
    "startend:end_checker": lambda options: _pattern(rf'(?i){_quoted(options["end_phrase"].strip())}["\s]*\z'),
    "startend:quotation": lambda _: _pattern(r'(?s)\A\s*".*"\s*\z'),
    "change_case:english_lowercase": lambda _: _pattern(r"\A\P{Lu}*\p{Ll}\P{Lu}*\z"),
    "change_case:english_capital": lambda _: _pattern(r"\A\P{Ll}*\p{Lu}\P{Ll}*\z"),
}


IFEVAL = RowFormat(
    "ifeval",
    "IFEval",
    '{"key": 1000, "prompt": "Name a fruit, without commas.", "instruction_id_list": ["punctuation:no_comma"], '
    '"kwargs": [{}]}',
    ("prompt", "instruction_id_list"),
    lambda row: "prompt" in row and "instruction_id_list" in row,
    _ifeval,
    fields=(
        SCORED_LAST,
        (re.compile(r"^id$"), "key"),
        (re.compile(r"^turns\[0\]\.user"), "prompt"),
    ),
)
