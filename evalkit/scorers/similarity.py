"""Scorers of similarity: f1, rouge_l, chrf, edit. Each gives 0 to 1, for several targets the highest.

With the option ``least`` above 0 the value is 1 from that similarity up and 0 below it.
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

MOST_PAIRS = 10**9  # answer length × target length, which is compared in about a tenth of a second
MOST_CHARACTERS = 100_000  # of an answer or a target for chrf
# rouge-score's words, in any script; in scripts without spaces every character is a word
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")

Similarity = Callable[[str, list[str]], float]


class _TooLong(Exception):
    """Answer and target are too long to compare in time."""


def _check(target: Any, *, least: float) -> Problem | None:
    if least > 1:
        return Problem("scorer", f"the option least is {shown(least)}: a similarity is between 0 and 1")
    return text_target(target)


def _word_check(target: Any, *, least: float) -> Problem | None:
    problem = _check(target, least=least)
    if problem is None and not all(_WORD.search(text) for text in texts_of(target)):
        return Problem("target", f"the target is {shown(target)}: this scorer compares words, and it has none")
    return problem


@register("f1", check=_word_check)
def f1(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """The share of words that answer and target have in common, as SQuAD counts it: without punctuation and articles.

    The harmonic mean of precision and recall over words (Rajpurkar et al. 2016). Without any word but articles, an
    answer equals only a target without any.
    """
    return _verdict("F1", answer, target, least, _token_f1)


@register("rouge_l", check=_word_check, requires="rapidfuzz")
def rouge_l(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """The longest sequence of words that answer and target share, in order but with gaps: the F of ROUGE-L.

    2·P·R / (P + R), with the longest common subsequence over the words of the answer (P) and of the target (R), in
    lower case, not stemmed (Lin 2004).
    """
    return _verdict("ROUGE-L", answer, target, least, _rouge_l)


@register("chrf", check=_check, requires="sacrebleu")
def chrf(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """The share of character n-grams, n from 1 to 6, in common with the target: chrF, as sacrebleu computes it.

    chrF2 (Popović 2015), in which recall counts twice; spaces are ignored, case is not. Divided by 100.
    """
    return _verdict("chrF", answer, target, least, _chrf)


@register("edit", check=_check, requires="rapidfuzz")
def edit(answer: Answer, target: Any, *, least: float = 0.0) -> Verdict:
    """The edit similarity of answer and target: 1 − Levenshtein distance / the longer length.

    Case and repeated spaces are ignored.
    """
    return _verdict("edit similarity", answer, target, least, _edit)


def _verdict(name: str, answer: Answer, target: Any, least: float, similarity: Similarity) -> Verdict:
    try:
        value = min(1.0, max(0.0, similarity(answer.text, texts_of(target))))
    except _TooLong as error:
        return Verdict(None, str(error))
    rounded = round(value, 4)
    if least:
        reason = None if value >= least else f"{name} {rounded:g} is less than {least:g}"
        return Verdict(value >= least, reason, rounded)
    return Verdict(value, None if value == 1 else f"{name} {rounded:g}", rounded)


def _token_f1(answer: str, targets: list[str]) -> float:
    answer_units = Counter(_tokens(answer))
    return max(_f1_of(answer_units, Counter(_tokens(text))) for text in targets)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_ARTICLES.sub(" ", folded(text).translate(_NO_PUNCTUATION)))


def _f1_of(answer_units: Counter[str], target_units: Counter[str]) -> float:
    if not answer_units or not target_units:
        return float(answer_units == target_units)
    return 2 * (answer_units & target_units).total() / (answer_units.total() + target_units.total())


def _rouge_l(answer: str, targets: list[str]) -> float:
    from rapidfuzz.distance import LCSseq

    answer_units = _WORD.findall(folded(answer))
    best = 0.0
    for target_units in (_WORD.findall(folded(text)) for text in targets):
        _check_length("rouge_l", len(answer_units), len(target_units), "words")
        best = max(best, 2 * LCSseq.similarity(answer_units, target_units) / (len(answer_units) + len(target_units)))
    return best


def _edit(answer: str, targets: list[str]) -> float:
    from rapidfuzz.distance import Levenshtein

    answer_units = folded(answer)
    best = 0.0
    for target_units in map(folded, targets):
        _check_length("edit", len(answer_units), len(target_units), "characters")
        best = max(best, Levenshtein.normalized_similarity(answer_units, target_units))
    return best


def _chrf(answer: str, targets: list[str]) -> float:
    from sacrebleu.metrics.chrf import CHRF

    longest = max(map(len, (answer, *targets)))
    if longest > MOST_CHARACTERS:
        raise _TooLong(f"{longest:,} characters are more than the {MOST_CHARACTERS:,} that chrf compares")
    return float(CHRF().sentence_score(answer, targets).score) / 100


def _check_length(name: str, answer_units: int, target_units: int, unit: str) -> None:
    if answer_units * target_units > MOST_PAIRS:
        raise _TooLong(
            f"an answer of {answer_units:,} {unit} and a target of {target_units:,} are too long for {name} to compare"
        )
