"""Scorers of text: exact, includes, regex."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from evalkit.record import Answer
from evalkit.scorers.reading.characters import UNSPACED
from evalkit.scorers.reading.numbers import DECIMAL_MARKS
from evalkit.scorers.registry import Problem, Verdict, cut, is_number, register, shown
from evalkit.scorers.safe_regex import HINT, matches, pattern_problem, search

_QUOTES = str.maketrans("‘’‚“”„", "'''\"\"\"")
_DECIMAL = re.compile(r"\d[.,]\d")
_ENDS = " .,;:!?\"'`*_()[]"
_GROUP = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-‐‑](?=[^\W\d_])")
_VARIES = re.compile(r"\d{4}|\d,\d|[-‐‑−]")
_LOOK = 24  # characters before a text that may deny it
_DENIED = re.compile(
    r"""(?: \b(?:is|are|was|were|be|but|and)\ not | \b(?:is|are|was|were)n't | '(?:s|re)\ not | [,(;]\ ?not )
        \ (?:(?:the|an?|in)\ )?["'*_`]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_UNSPACED = re.compile(f"[{UNSPACED}]")


def folded(text: str, case_sensitive: bool = False) -> str:
    """Text as scorers compare it: NFKC, plain quotes, single spaces, and one case unless ``case_sensitive``."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = " ".join(text.split())
    return text if case_sensitive else text.casefold()


def text_target(target: Any, **_options: Any) -> Problem | None:
    """Check that a target is text, a number, or a list of these."""
    if isinstance(target, str) and target.strip():
        return None
    parts = target if isinstance(target, list) else [target]
    if parts and all(is_number(part) or (isinstance(part, str) and part.strip()) for part in parts):
        return None
    return Problem("target", f"the target is {shown(target)}: this scorer compares with text, or with a list of texts")


@register("exact", check=text_target)
def exact(answer: Answer, target: Any, *, case_sensitive: bool = False, punctuation: bool = False) -> Verdict:
    """The whole answer is the target, or one of a list; by default, case and punctuation at its ends are ignored."""
    text = _bare(answer.text, case_sensitive, punctuation)
    if any(text == _bare(one, case_sensitive, punctuation) for one in texts_of(target)):
        return Verdict(1, extracted=cut(answer.text.strip()))
    return Verdict(0, f"the answer is not {_choice_of(target)}", cut(answer.text.strip()))


def _includes_check(target: Any, *, all: bool, none: bool, **_options: bool) -> Problem | None:
    if all and none:
        return Problem("scorer", "the options all and none of the scorer includes exclude each other")
    return text_target(target)


@register("includes", check=_includes_check, version=2)
def includes(
    answer: Answer,
    target: Any,
    *,
    all: bool = False,
    none: bool = False,
    case_sensitive: bool = False,
    whole_words: bool = True,
) -> Verdict:
    """The answer contains the target as whole words; any one of a list, with ``all`` every one, with ``none`` none.

    A hyphen between letters counts as a space and 1,234 as 1234, but 5 is not in -5. A target that the answer denies
    each time ("it is not Paris") is not found, except with ``none``.
    """
    text = folded(answer.text, case_sensitive)
    parts = texts_of(target)
    found = [part for part in parts if _found(folded(part, case_sensitive), text, whole_words, not none)]
    extracted = found if isinstance(target, list) else next(iter(found), None)
    if none:
        unwanted = ", ".join(map(repr, found))
        return Verdict(0, f"in the answer, and should not be: {unwanted}", extracted) if found else Verdict(1)
    if all and len(found) < len(parts):
        missing = ", ".join(repr(part) for part in parts if part not in found)
        return Verdict(0, f"not in the answer: {missing}", extracted)
    return Verdict(1, extracted=extracted) if found else Verdict(0, f"{_choice_of(target)} is not in the answer")


def _regex_check(target: Any, *, pattern: str) -> Problem | None:
    field = "scorer" if pattern else "target"
    if pattern:
        problem = text_target(target)
        if problem:
            return problem
    elif not isinstance(target, str) or not target:
        return Problem(
            "target", f"the target is {shown(target)}: the scorer regex needs a pattern, here or as its option"
        )
    problem_text = pattern_problem(pattern or target)
    if problem_text is not None:
        return Problem(field, f"the pattern {pattern or target!r} cannot be used: {problem_text} ({HINT})")
    return None


@register("regex", check=_regex_check, version=3)
def regex(answer: Answer, target: Any, *, pattern: str = "") -> Verdict:
    """The target, a pattern, matches in the answer; or what the option ``pattern`` captures is the target.

    Patterns are in RE2 syntax: matching takes time in proportion to the text, whatever the pattern. The pattern
    captures the first group that took part in a match, or the whole first match if it has no groups. The captured text
    is compared as in ``exact``.
    """
    found = search(pattern or target, answer.text)
    if found is None:
        if not matches(pattern or target, answer.text):
            return Verdict(0, "the pattern does not match the answer")
        return Verdict(0, "the pattern matches, but none of its groups took part") if pattern else Verdict(1)
    if not pattern or any(_bare(found) == _bare(text) for text in texts_of(target)):
        return Verdict(1, extracted=cut(found))
    return Verdict(0, f"the pattern captured {cut(found)!r}, not {_choice_of(target)}", cut(found))


def texts_of(target: Any) -> list[str]:
    """The texts of a target: one, or those of a list."""
    return [str(part) for part in (target if isinstance(target, list) else [target])]


def _choice_of(target: Any) -> str:
    return " or ".join(repr(text) for text in texts_of(target))


def _bare(text: str, case_sensitive: bool = False, punctuation: bool = False) -> str:
    text = folded(text, case_sensitive)
    return text if punctuation else text.strip(_ENDS) or text


def _found(part: str, text: str, whole_words: bool, asserted: bool) -> bool:
    """Whether a text contains a part, also where hyphens or the groups of a number are written in another way."""
    if _occurs(part, text, whole_words, asserted):
        return True
    if not whole_words or not (_VARIES.search(part) or "-" in text):
        return False
    plainer, other = _plainer(part), _plainer(text)
    return (plainer, other) != (part, text) and _occurs(plainer, other, whole_words, asserted)


def _plainer(text: str) -> str:
    """A text with one minus sign, without commas in numbers and hyphens in words."""
    return _HYPHEN.sub(" ", _GROUP.sub("", text.replace("−", "-")))


def _occurs(part: str, text: str, whole_words: bool, asserted: bool) -> bool:
    """Whether a text contains a part; as whole words, "5" is neither in "25" nor in "5.5" nor in "-5"."""
    at = text.find(part)
    if at < 0 or not whole_words:
        return at >= 0
    begins = None
    while _splits(text, at) or _splits(text, at + len(part)) or _signed(text, at) or (asserted and _denied(text, at)):
        begins = begins or _beginning(part)
        found = begins.search(text, at + 1)
        if found is None:
            return False
        at = found.start()
    return True


def _denied(text: str, at: int) -> bool:
    """Whether a text denies what starts here."""
    before = text[max(0, at - _LOOK) : at].lower()
    return ("not " in before or "n't " in before) and _DENIED.search(text, max(0, at - _LOOK), at) is not None


def _signed(text: str, at: int) -> bool:
    """Whether a number starts here whose sign is before it, or a sign that joins two numbers."""
    first = text[at : at + 1]
    if first.isdigit():
        before = text[max(0, at - 2) : at]
        return before[-1:] in ("-", "−") and not (len(before) == 2 and (before[0].isalnum() or before[0] in ")]%-"))
    return first in ("-", "−") and text[at + 1 : at + 2].isdigit() and text[max(0, at - 1) : at].isalnum()


@lru_cache(maxsize=256)
def _beginning(part: str) -> re.Pattern[str]:
    """A pattern for a part at the start of a word, so that matches inside long words need no check."""
    boundary = rf"(?<![^\W_{UNSPACED}])" if part[0].isalnum() and not _UNSPACED.match(part) else ""
    return re.compile(boundary + re.escape(part))


def _splits(text: str, at: int) -> bool:
    """Whether this position is inside a word or a number."""
    left, right = text[max(0, at - 1) : at], text[at : at + 1]
    if left.isalnum() and right.isalnum():
        return not (_UNSPACED.match(left) or _UNSPACED.match(right))
    if right in DECIMAL_MARKS:
        return at > 0 and _DECIMAL.match(text, at - 1) is not None
    return left in DECIMAL_MARKS and at > 1 and _DECIMAL.match(text, at - 2) is not None
