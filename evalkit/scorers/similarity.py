"""Scorers of likeness: f1, rouge_l, chrf, edit. Each gives 0 to 1, of several targets the best.

With the option ``least`` above 0 the value is 1 from that likeness up and 0 below it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

from evalkit.record import Answer
from evalkit.scorers.reading.characters import UNSPACED
from evalkit.scorers.registry import Problem, Verdict, register, shown
from evalkit.scorers.text import folded, text_target, texts_of

MOST_PAIRS = 10**9  # answer length × target length: comparing them in full takes about a tenth of a second
MOST_CHARACTERS = 100_000  # of an answer or a target that chrf counts all pieces of
# rouge-score's words, in any script; where no blanks part the words, every character is one
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")

Likeness = Callable[[str, list[str]], float]


class _TooLong(Exception):
    """Comparing them would take too long."""


def _check(target: Any, *, least: float) -> Problem | None:
    if least > 1:
        return Problem("scorer", f"the option least is {shown(least)}: a likeness is between 0 and 1")
    return text_target(target)


def _word_check(target: Any, *, least: float) -> Problem | None:
    problem = _check(target, least=least)
    if problem is None and not all(_WORD.search(text) for text in texts_of(target)):
        return Problem("target", f"the target is {shown(target)}: this scorer compares words, and there is none")
    return problem


@register("f1", check=_word_check)
def f1(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """The share of words that answer and target have in common, as SQuAD counts it: without punctuation and articles.

    The harmonic mean of precision and recall over words (Rajpurkar et al. 2016). An answer or target without any word
    but articles is like another such one alone.
    """
    return _verdict("F1", answer, target, least, _token_f1)


@register("rouge_l", check=_word_check, requires="rapidfuzz")
def rouge_l(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """How long a row of words answer and target share, in order but with gaps: the F of ROUGE-L.

    2·P·R / (P + R), with the longest common subsequence over the words of the answer (P) and of the target (R), in
    small letters, not stemmed (Lin 2004).
    """
    return _verdict("ROUGE-L", answer, target, least, _rouge_l)


@register("chrf", check=_check, requires="sacrebleu")
def chrf(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """How many pieces of 1 to 6 characters answer and target share: chrF, as sacrebleu counts it.

    chrF2 (Popović 2015), in which recall counts twice; blanks do not count, case does. Divided by 100.
    """
    return _verdict("chrF", answer, target, least, _chrf)


@register("edit", check=_check, requires="rapidfuzz")
def edit(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """How little must be changed to make the target of the answer: 1 − Levenshtein distance / the longer length.

    Case and blanks in a row do not count.
    """
    return _verdict("edit likeness", answer, target, least, _edit)


def _verdict(name: str, answer: Answer, target: Any, least: float, likeness: Likeness) -> Verdict:
    try:
        value = min(1.0, max(0.0, likeness(answer.text, texts_of(target))))
    except _TooLong as error:
        return Verdict(None, str(error))
    told = round(value, 4)
    if least:
        return Verdict(value >= least, None if value >= least else f"{name} {told:g} is less than {least:g}", told)
    return Verdict(value, None if value == 1 else f"{name} {told:g}", told)


def _token_f1(said: str, wanted: list[str]) -> float:
    mine = Counter(_tokens(said))
    return max(_f1_of(mine, Counter(_tokens(text))) for text in wanted)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_ARTICLES.sub(" ", folded(text).translate(_NO_PUNCTUATION)))


def _f1_of(mine: Counter[str], other: Counter[str]) -> float:
    if not mine or not other:
        return float(mine == other)
    return 2 * (mine & other).total() / (mine.total() + other.total())


def _rouge_l(said: str, wanted: list[str]) -> float:
    from rapidfuzz.distance import LCSseq

    mine = _WORD.findall(folded(said))
    best = 0.0
    for other in (_WORD.findall(folded(text)) for text in wanted):
        _see_to_length("rouge_l", len(mine), len(other), "words")
        best = max(best, 2 * LCSseq.similarity(mine, other) / (len(mine) + len(other)))
    return best


def _edit(said: str, wanted: list[str]) -> float:
    from rapidfuzz.distance import Levenshtein

    mine = folded(said)
    best = 0.0
    for other in map(folded, wanted):
        _see_to_length("edit", len(mine), len(other), "characters")
        best = max(best, Levenshtein.normalized_similarity(mine, other))
    return best


def _chrf(said: str, wanted: list[str]) -> float:
    from sacrebleu.metrics.chrf import CHRF

    longest = max(map(len, (said, *wanted)))
    if longest > MOST_CHARACTERS:
        raise _TooLong(f"{longest:,} characters are more than the {MOST_CHARACTERS:,} that chrf compares")
    return float(CHRF().sentence_score(said, wanted).score) / 100


def _see_to_length(name: str, mine: int, other: int, unit: str) -> None:
    if mine * other > MOST_PAIRS:
        raise _TooLong(f"an answer of {mine:,} {unit} and a target of {other:,} are too long for {name} to compare")
