r"""Where an answer says "this is my answer": ``\boxed{…}``, ``####``, "the answer is"."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?boxed\s*\{")
_HASHES = re.compile(r"####[ \t]*+([^\n]++)")
_ANSWER = re.compile(
    r"""\banswer\b [*_`"']*+
    (?: \s+ (?:to|for|of) \b (?: [^.:=?!\n] | \.(?=\d) ){0,80}? )?     # the answer to 1.5 + 2 …
    \s*+ (?: \b(?:is|equals|would\ be|will\ be|must\ be|should\ be)\b | [:=] )
    [*_`\s:=]*+ (?! (?:not|n't|neither)\b )                          # … is not 4: says nothing of what it is
    (?= ([^\n]{1,300}) )""",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def marked(text: str) -> list[str]:
    r"""Pieces of a text that are marked as its answer, the surest first.

    ``\boxed{…}`` goes before ``####``, that before the words "answer is" or "answer:"; of each kind the later one
    goes first, for a text that corrects itself means its last word. A piece of the last kind ends with its sentence.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Empty when nothing is marked.
    """
    answer = lowered(text).find("answer")  # most texts have no such word: that is soon seen
    says = _ANSWER.finditer(text, answer) if answer >= 0 else ()
    said = [_SENTENCE_END.split(match[1], maxsplit=1)[0] for match in says]
    hashes = [match[1] for match in _HASHES.finditer(text)] if "####" in text else []
    return [*reversed(_boxed(text)), *reversed(hashes), *reversed(said)]


def lowered(text: str) -> str:
    """A text in lower case, every letter at its old place, for patterns that are written in lower case.

    They find in it what they would find in the text itself by ``re.IGNORECASE``, and are quicker.

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


def _boxed(text: str) -> list[str]:
    """Contents of every box that closes; braces inside may nest."""
    if "boxed" not in text:
        return []
    found = []
    for match in _BOX.finditer(text):
        depth = 1
        # an answer is short: an unclosed box must not make this quadratic
        for at in range(match.end(), min(len(text), match.end() + 500)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                found.append(text[match.end() : at])
                break
    return found
