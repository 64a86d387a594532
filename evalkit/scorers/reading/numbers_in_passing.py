"""Numbers mentioned in passing: operands, list numbers, ordinals, parts of names, and those in a question.

All functions read text in lower case (``answer_marks.lowered``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

CURRENCY = "$€£¥₹"
_LOOK = 24  # characters before a number that decide its part in the sentence
_ASKED = 200  # characters from a number to the question mark of its sentence


def _mirrored(words: str) -> str:
    return "|".join(word[::-1].replace(" ", r"\ ") for word in words.split("|"))


_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_PLACES = _mirrored("step|question|exercise|example|problem|part|figure|equation|chapter|page|line|footnote")
_THEIR = _mirrored("the|all|his|her|their|its|these|those|our|my|your|original|initial|total|remaining")
_STEMS, _ENDINGS = _mirrored("add|subtract|multipl|divid"), _mirrored("e|s|y|ed|es|ied|ies|ing|ying")

# The context of a number that is not the answer. The text before it is read from right to left, in a mirrored text, so
# that a match can start at one position only, and not at every character.
_SYMBOL = r"[+×÷·]|\\(?:times|cdot|div)\b|\b(?:plus|times|(?:multiplied|divided)\ by)\b"
_LOBMYS = rf"[+×÷·]|\b(?:{_mirrored('times|cdot|div')})\\|\b(?:{_mirrored('plus|times|multiplied by|divided by')})\b"
_DENIAL = (
    rf"[{CURRENCY}(*_]* [ ]+ (?:(?:{_mirrored('be|equal|equal to|exactly')})[ ]+)?"
    rf"(?:(?:{_mirrored('not|cannot')})\b | t['’]n)"
)
_DENIED = re.compile(_DENIAL, re.VERBOSE)
_BEFORE = re.compile(
    rf"""\n? (?: [-_]? [a-z]+ \b(?!\\) | \{{? [_^] (?=[\w)}}])                                    # GPT-4, log_2
      | [({CURRENCY}]* [ \t]* (?:{_LOBMYS})                                                  # 12 + …
      | [({CURRENCY}]* [ \t]* (?:[-−–/^x]|\*\*?|\b(?:{_mirrored("minus|over|of")})\b) [ \t]* [\d)}}%]   # 20 % of …
      | [{CURRENCY}]* [ ] fo [ ] (?:{_mirrored("percent|half|third|quarter")})\b
      | [*_({CURRENCY}]* [ ]+ (?: (?:{_THEIR})\b [ ]+ )+ fo\b                                   # 8 of the 20
      | [{CURRENCY}]* [ ]+ fo [ ] tuo\b
      | (?: [ ] ,? (?:ht|ts|dr|dn)? \d{{1,2}} )? [ ] (?:{_mirrored(_MONTHS)})\b                       # May 3, 2021
      | \#? [ ]? (?:{_PLACES})\b
      | [{CURRENCY}]* [ ]+ (?:{_mirrored("than|instead of|by|from")})\b
      | {_DENIAL}
      | [{CURRENCY}]* [ ]+ (?:{_ENDINGS})? (?:{_STEMS})\b )""",
    re.VERBOSE,
)
# the words next to a number in these contexts: after any other, the search above finds nothing
_NEXT_WORDS = frozenset(
    [
        *("x", "plus", "times", "by", "minus", "over", "of", "than", "from", "not", "cannot"),
        *("be", "equal", "to", "exactly"),
        *_MONTHS.split("|"),
        *(word[::-1] for word in f"{_PLACES}|{_THEIR}".split("|")),
        *(f"{stem}{ending}"[::-1] for ending in _STEMS.split("|") for stem in ("", *_ENDINGS.split("|"))),
    ]
)
_AFTER = re.compile(
    rf"""[)]*[ \t]* (?:{_SYMBOL}|[-−–/x]|\*\*?|\bminus\b|\bover\b) [ \t]* [({CURRENCY}]* [-−]? \d      # … + 23
      | (?:st|nd|rd|th)\b
      | [ ]? [ap](?:m\b|\.m\.)                                                                  # 5 pm
      | [ ] (?:{_MONTHS}) [ ,]{{1,2}} \d{{4}}\b""",
    re.VERBOSE,
)
_OF_ANOTHER = re.compile(rf"[)]*[ \t]*\bof\b[ \t]*[({CURRENCY}]*[-−]?\d")
_PART = re.compile(r"[%٪/.]|cent")
_QUESTION = re.compile(rf"(?: [^.!?\n] | \.(?=\d) ){{0,{_ASKED}}} \?", re.VERBOSE)

_LIST_MARK = re.compile(r"^[ \t]*(\d{1,3})[.)][ \t]+(?=\S)", re.MULTILINE)
_LIST_MARK_BEFORE, _LIST_MARK_REST = re.compile(r"[ \t]*\d{0,2}"), re.compile(r"\d{1,3}[.)][ \t]")

_SIGNS = rf"[-−{CURRENCY}]"
_OPERAND = rf"{_SIGNS}*\d(?:[\d.,]*\d)?"
_JOINT = r"(?:,?\ ?\b(?:and|from|to|by|with)\b|,)\ ?"
_OPERATION = re.compile(
    rf"""\b(?: sum | product | difference | quotient | total | average | mean | ratio | range | add(?:ing|ed|s)?
          | multipl(?:y|ying|ied|ies|ication) | subtract(?:ing|ed|s|ion)? | divi(?:de|ding|ded|des|sion) )\b
    (?: \s+ (?:of|between|the|these|two|three|numbers?|up|together|both|by)\b )*+
    \s+ {_OPERAND} (?: {_JOINT} {_OPERAND} )+""",
    re.VERBOSE,
)
# Every operand has a joint before it (mirrored) or after it: a check of both saves most texts the search above.
_OPERAND_BEFORE = re.compile(
    rf"{_SIGNS}{{{_LOOK}}}|{_SIGNS}*(?:[\d.,]|\ ?(?:,|\b(?:{_mirrored('and|from|to|by|with')})\b\ ?,?)\d)"
)
_OPERAND_BEHIND = re.compile(rf"{_SIGNS}*[\d.,]*{_JOINT}{_SIGNS}*\d")
_JOINT_WORDS = frozenset(["and", "from", "to", "by", "with"])


def word_before(text: str, start: int) -> str:
    """The word, or the word with ``=`` or ``:``, that one space separates from a number; empty for anything else.

    It decides most questions about the context of a number without a search.
    """
    if text[start - 1 : start] != " ":
        return ""
    word = text[max(0, start - _LOOK) : start - 1].rpartition(" ")[2]
    return word if word.isalpha() or word[-1:] in "=:" else ""


def stands_for_itself(text: str, start: int, end: int, word: str | None = None) -> bool:
    """Whether a number is the answer by its context, and not an operand, an ordinal, a part of a name or in a question.

    Parameters
    ----------
    text : str
        In lower case.
    start, end : int
        Position of the number.
    word : str, optional
        ``word_before`` the number, if the caller has it.

    Returns
    -------
    bool
    """
    if word is None:
        word = word_before(text, start)
    if start and (not word or word in _NEXT_WORDS) and _BEFORE.match(text[max(0, start - _LOOK) : start][::-1]):
        return False
    if _AFTER.match(text, end):
        return False
    if (
        "of" in text[end : end + 8] and _OF_ANOTHER.match(text, end) and _PART.search(text, start, end)
    ):  # 20 % of 50, but not 8 of 20
        return False
    return text.find("?", end, end + _ASKED + 1) < 0 or not _QUESTION.match(text, end)


def part_of_time(text: str, start: int, end: int) -> bool:
    """Whether a number is a part of a clock time or a ratio: ``3:30``, ``4:1``.

    Parameters
    ----------
    text : str
    start, end : int
        Position of the number.

    Returns
    -------
    bool
    """
    return (text[end : end + 1] == ":" and text[end + 1 : end + 2].isdigit()) or (
        text[start - 1 : start] == ":" and text[start - 2 : start - 1].isdigit()
    )


def denied(text: str, start: int) -> bool:
    """Whether the text denies the number that starts here: "it is not 35", "that can't be 35".

    Parameters
    ----------
    text : str
        In lower case.
    start : int
        Start of the number.

    Returns
    -------
    bool
    """
    return _DENIED.match(text[max(0, start - _LOOK) : start][::-1]) is not None


class Asides:
    """The positions of list numbers and of operands in words ("the sum of 12 and 23") in a text.

    Parameters
    ----------
    text : str
        In lower case.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def hold(self, start: int, word: str | None = None) -> bool:
        """Whether the number that starts here is one of these; ``word`` as for ``stands_for_itself``."""
        if word is None:
            word = word_before(self._text, start)
        near = _OPERAND_BEHIND.match(self._text, start) is not None
        if not near and start and (not word or word in _JOINT_WORDS):
            near = _OPERAND_BEFORE.match(self._text[max(0, start - _LOOK) : start][::-1]) is not None
        if near or (not word and _LIST_MARK_REST.match(self._text, start) and self._starts_a_line(start)):
            return any(first <= start < end for first, end in self._spans)
        return False

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [*_list_marks(self._text), *(match.span() for match in _OPERATION.finditer(self._text))]

    def _starts_a_line(self, start: int) -> bool:
        return _LIST_MARK_BEFORE.fullmatch(self._text, self._text.rfind("\n", 0, start) + 1, start) is not None


def _list_marks(text: str) -> Iterator[tuple[int, int]]:
    """Positions of list numbers: at the start of a line, with a neighbour one lower or one higher."""
    marks = {int(match[1]): match.span(1) for match in _LIST_MARK.finditer(text)}
    return (span for number, span in marks.items() if number - 1 in marks or number + 1 in marks)
