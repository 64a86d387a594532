"""The letter that an answer chooses: ``B``, ``(B)``, ``B) Paris``, "the answer is (b)"; not the article of "A dog"."""

from __future__ import annotations

import re
import string
from functools import lru_cache

from evalkit.scorers.reading.answer_marks import lowered, marked
from evalkit.scorers.reading.numbers import LONGEST_TEXT

ALPHABET = string.ascii_uppercase

_DRESS = r"""(?:[\s*_"'`(\[{$:]|\\(?:text|textbf|mathbf|mathrm)\{|\b(?:option|choice|letter)\b)*+"""
# "A dog" and "I think" begin with a word, "A because" and "A or B" with a letter
_NO_WORD = r"(?<![AI](?=\s+(?!(?:because|since|as|for|and|or|is|was)\b)[a-z]))(?<!I(?=['’\s]))"
_WORD = "a-zA-Z0-9_\u00c0-\u058f"  # of scripts whose words a letter could be part of
_ENDS = rf"(?![{_WORD}'’]|[-.][{_WORD}]){_NO_WORD}"
_JOINS = r"\s*[*_)\]]*\s*(?:,\s*(?:or|and|nor)?|/|&|\bor\b|\band\b|\bnor\b|[、，和与或及])"
# before, or after, letters that are denied
DENYING = re.compile(
    r"(?:(?:\b(?:not|cannot|never|neither|nor|rather than|instead of|eliminate|exclude|rul(?:es?|ed|ing) out)|n['’]t)"
    r"\s+(?:(?:be|choose|pick|select|go with|an?|the|options?|choices?|letters?|either|both)\s+)*"
    r"|(?:排除了?|不是|不选|不能选|并非)(?:选项|答案)?\s*)[*_\"'`(\[]*\Z",
    re.IGNORECASE,
)
_WRONG = r"(?:incorrect|wrong|false|ruled\s+out|eliminated|excluded|out)"
_DENIED = re.compile(
    r"[)\]*_\"'`]*(?:\s+(?:(?:is|was|are|were|can|could|do|does)(?:n['’]t\b|\s*not\b(?!\s+(?:incorrect|wrong|false)\b)|['’]t\b)"
    rf"|(?:is|was|are|were|can|could|must)\s+(?:(?:the|an?|also|both|all|clearly|therefore|thus|be)\s+)*{_WRONG}\b)"
    r"|\s*(?:选项|项|选项的说法)?\s*(?:都|均|也|是|全|就)*(?:错误|错|不对|不正确|不符|排除))",
    re.IGNORECASE,
)
# "the answer is" in other scripts
_SAID = (
    r"答案(?:应该|应当)?(?:是|为|選|选)?|(?:选项|選項|选择|選擇|选|選)(?:的是|为|是)?|】"
    r"|(?:正解|答え|解答|回答)(?:は|:)|(?:정답|답)(?:은|:)"
    r"|(?:الإجابة|الجواب|الاجابة)(?:\s+(?:الصحيحة|الصحيح))?(?:\s+(?:هي|هو))?|उत्तर|উত্তর|[Оо]твет|[Вв]ідповідь|[Δδ]ιάντηση"
)
_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), 0xFF08, 0xFF09, 0xFF0E)}
_FULL_WIDTH[0xFF1A] = ord(":")
_ARABIC = {"أ": "A", "ا": "A", "إ": "A", "ب": "B", "ج": "C", "د": "D", "هـ": "E"}
_ARABIC_ALONE = re.compile(r"(?<![\u0600-\u06ff])(?:هـ|[أاإبجد])(?![\u0600-\u06ff])")
_LOOK = 40  # characters before a letter that may deny it

# a quick test: without any of these words the slow search finds nothing
_VERDICTS = ("correct", "right", "choose", "chose", "pick", "select", "go with", "true")


def chosen_letters(text: str, letters: str = ALPHABET) -> list[str]:
    r"""The letters that an answer chooses, in upper case.

    The first of these that finds any decides: text marked as the answer (``answer_marks.marked``), a letter that the
    text starts with or consists of, the last "choose B" or "B is correct", letters that stand alone anywhere. Letters
    that are denied, as in "not B" or "A and C are wrong", are skipped. Full-width and Arabic letters count as theirs.

    Parameters
    ----------
    text : str
        Its beginning and its last 20,000 characters are read.
    letters : str
        The possible letters, in upper case.

    Returns
    -------
    list of str
        Empty if none is chosen; more than one if the answer does not decide.
    """
    find = _patterns(letters)
    head, text = text, text[-LONGEST_TEXT:]
    if not text.isascii():
        head, text = latin(head[:LONGEST_TEXT]), latin(text)
        for said in reversed(list(find["said"].finditer(text))):
            group = find["group"].match(text, said.start("first"))
            if group is not None and not _is_denied(text, group):
                return _distinct(find["letter"].findall(group[0]))
    for piece in marked(text):
        if match := find["led"].match(piece):
            return _distinct(find["letter"].findall(match["first"] + (match["more"] or "")))
    if (match := find["start"].match(head)) and len(find["line"].findall(text)) <= 1:
        group = find["group"].match(head, match.start("first"))
        if group is None or group[1] is None or not _DENIED.match(head, group.end()):
            return _distinct([match["first"]])
    low = lowered(text)
    if any(word in low for word in _VERDICTS) and (verdicts := _verdicts(find["verdict"], text)):
        return _distinct(verdicts[-1:])
    groups = [group[0] for group in find["group"].finditer(text) if not _is_denied(text, group)]
    return _distinct(find["letter"].findall(" ".join(groups)))


def latin(text: str) -> str:
    """A text with full-width letters and marks as ASCII, and Arabic letters that stand alone as their Latin ones."""
    if text.isascii():
        return text
    return _ARABIC_ALONE.sub(lambda match: _ARABIC[match[0]], text.translate(_FULL_WIDTH))


def _verdicts(pattern: re.Pattern[str], text: str) -> list[str]:
    """The letters that a pattern finds, without those that the text denies."""
    found = (match for match in pattern.finditer(text) if not _is_denied(text, match))
    return [next(filter(None, match.groups())) for match in found]


def _is_denied(text: str, found: re.Match[str]) -> bool:
    """Whether the text denies the letters found in it, all of a group such as "A, B and C"."""
    before = DENYING.search(text, max(0, found.start() - _LOOK), found.start())
    return before is not None or _DENIED.match(text, found.end()) is not None


def _distinct(found: list[str]) -> list[str]:
    return list(dict.fromkeys(letter.upper() for letter in found))


@lru_cache(maxsize=32)
def _patterns(letters: str) -> dict[str, re.Pattern[str]]:
    upper, lower = f"[{re.escape(letters)}]", f"[{re.escape(letters.lower())}]"
    either = rf"(?:{upper}{_ENDS}|{lower}(?=\s*$|[)\].,:*_\"'`}}]))"
    alone = rf"(?:(?<![{_WORD}'’.-]){upper}{_ENDS}|\({lower}\))"
    return {
        "led": re.compile(rf"{_DRESS}(?P<first>{either})(?P<more>(?:{_JOINS}{_DRESS}{either})+)?"),
        "letter": re.compile(rf"(?<![{_WORD}])(?:{upper}|{lower})(?![{_WORD}])"),
        "start": re.compile(
            rf"{_DRESS}(?P<first>{upper}(?=\s*$|[*_\"'`]*[)\].:,](?!\w)|[*_\"'`]+\s|\s*\n)|{lower}(?=\W*$|\)))"
        ),
        "line": re.compile(rf"^[ \t*_(\[]*{upper}[)\].:]", re.MULTILINE),
        "verdict": re.compile(
            rf"\b(?i:choose|chose|pick|select|go with|correct(?: (?:one|option|choice))? is)\b{_DRESS}({upper}){_ENDS}"
            rf"|(?<![{_WORD}])({upper})\b[)\]*_\"'`]*\s+is\s+(?:the\s+)?(?:correct|right|true)\b"
        ),
        "said": re.compile(rf"(?:{_SAID}){_DRESS}(?P<first>{either})"),
        "group": re.compile(rf"{alone}((?:{_JOINS}{_DRESS}{alone})+)?"),
    }
