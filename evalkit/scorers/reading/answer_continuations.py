"""What models write after their answer: a correction of it, a check of it, the next question.

All functions read text in lower case (``answer_marks.lowered``).
"""

from __future__ import annotations

import re

_CORRECTION = re.compile(
    r"""\b(?: wait | hold\ on | hmm | actually | correction | oops | sorry | on\ second\ thoughts?
          | (?:i|i['’]ve)\ (?:have\ )?made\ (?:a|an)\ (?:\w+\ )?(?:mistake|error)
          | let\ me\ (?:re-?(?:do|calculate|compute|think|consider|read|check)|correct|fix)
          | (?:that|this|it)(?:['’]s|\ is|\ was)\ (?:wrong|incorrect|not\ right)
          | (?<=,\ )no(?=,) | (?<=\.\ )no(?=[,:]) )\b""",
    re.VERBOSE,
)
_ERROR = re.compile(
    r"\b(?:wrong|mistake|error|incorrect|not right|oops|sorry|forgot|correction|should (?:be|have)|no[,:])"
)
_CHECKING = re.compile(r"\b(?:check|verif|confirm|make sure|sanity)")
_CHECK = re.compile(
    r"""(?: ^[ \t*_\#>-]*(?:check|checking|verification|verify|proof|test)\b[ \t*_]*:
          | \b(?:to|let['’]s|let\ me|we\ can|i\ can)\ (?:double-?\ ?)?(?:check|verify|confirm)\b
          | (?<=[.!]\ )(?:check|checking|verification|proof)\b[ \t*_]*: )""",
    re.VERBOSE | re.MULTILINE,
)
_NEXT_QUESTION = re.compile(
    r"\n[ \t]*(?:[*_#>]+[ \t]*)*"
    r"(?:(?:question|problem|exercise|q)[ \t]*\d{0,3}[ \t]*[*_]*[:.)]|(?:human|user|instruction)[ \t]*[*_]*:)"
)


def correction(text: str, begin: int) -> int | None:
    """The place after the words that take an answer back ("wait", "that's wrong"), searched from a position on.

    Returns
    -------
    int or None
        None if there are none, or if what follows them is only a check that finds no error.
    """
    # quick tests: nearly no text has any of these words
    if not (
        "wait" in text
        or "no" in text
        or "actually" in text
        or "correct" in text
        or "mistake" in text
        or "error" in text
        or "wrong" in text
        or "sorry" in text
        or "oops" in text
        or "hmm" in text
        or "second thought" in text
        or "let me re" in text
        or "hold on" in text
    ):
        return None
    found = _CORRECTION.search(text, begin)
    if found is None or (_CHECKING.search(text, found.start()) and not _ERROR.search(text, found.start())):
        return None
    return found.end()


def check_start(text: str) -> int | None:
    """The place at which a check of the answer begins; None if there is none, or if it finds an error."""
    if not ("check" in text or "verif" in text or "proof" in text or "confirm" in text or "test:" in text):
        return None
    found = _CHECK.search(text)
    return None if found is None or _ERROR.search(text, found.end()) else found.start()


def next_question_start(text: str) -> int | None:
    """The place at which a model goes on to a question of its own; None if it does not.

    A question before the first digit is the one that is answered.
    """
    if "\n" not in text or not (
        "q" in text
        or "problem" in text
        or "exercise" in text
        or "human" in text
        or "user" in text
        or "instruction" in text
    ):
        return None
    for found in _NEXT_QUESTION.finditer(text):
        if any(map(str.isdigit, text[: found.start()])):
            return found.start()
    return None
