r"""Marks of the final answer in a text: ``\boxed{…}``, ``####``, "the answer is"."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?boxed\s*\{")
_HASHES = re.compile(r"####[ \t]*+([^\n]++)")
_ANSWER = re.compile(
    r"""\banswer\b [*_`"']*+
    (?: \s+ (?:to|for|of) \b (?: [^.:=?!\n] | \.(?=\d) ){0,80}? )?     # the answer to 1.5 + 2 …
    \s*+ (?: \b(?:is|equals|would\ be|will\ be|must\ be|should\ be)\b | [:=] )
    [*_`\s:=]*+ (?! (?:not|n't|neither)\b )                          # … is not 4: not the answer
    (?= ([^\n]{1,300}) )""",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def marked(text: str, low: str | None = None) -> list[str]:
    r"""Pieces of a text that are marked as its answer, the most certain first.

    ``\boxed{…}`` comes before ``####``, and that before the words "answer is" or "answer:"; within a kind the later
    one comes first, because a text may correct itself. A piece of the last kind ends with its sentence.

    Parameters
    ----------
    text : str
    low : str, optional
        The text in lower case (``lowered``), if the caller has it.

    Returns
    -------
    list of str
        Empty if nothing is marked.
    """
    found = _said(text, lowered(text) if low is None else low)
    if "####" in text:
        found += [match[1] for match in _HASHES.finditer(text)]
    if "boxed" in text:
        found += _boxed(text)
    found.reverse()
    return found


def lowered(text: str) -> str:
    """A text in lower case with every letter at its old position, for patterns in lower case.

    They match as with ``re.IGNORECASE`` on the text itself, but faster.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Of the same length.
    """
    if not text.isascii():
        # Unicode's other forms of i and s; the lower case of the first would be two characters
        text = text.replace("İ", "i").replace("ı", "i").replace("ſ", "s")
    return text.lower()


def _said(text: str, low: str) -> list[str]:
    """The rests of the sentences after the words "answer is"."""
    found, at = [], low.find("answer")
    while at >= 0:
        match = _ANSWER.match(text, at)
        if match is not None:
            end = _SENTENCE_END.search(match[1])
            found.append(match[1] if end is None else match[1][: end.start()])
        at = low.find("answer", match.end() if match else at + 1)
    return found


def _boxed(text: str) -> list[str]:
    """The contents of every closed box; braces inside may nest."""
    found = []
    for match in _BOX.finditer(text):
        depth = 1
        # limited, so that unclosed boxes do not take quadratic time
        for at in range(match.end(), min(len(text), match.end() + 500)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                found.append(text[match.end() : at])
                break
    return found
