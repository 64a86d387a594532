"""The scorer of choices."""

from __future__ import annotations

from typing import Any

from evalkit.record import Answer
from evalkit.scorers.reading.letters import ALPHABET, chosen_letters
from evalkit.scorers.reading.option_texts import named_options, option_letter, options_of
from evalkit.scorers.registry import Problem, Verdict, register, shown


def _choice_check(target: Any, *, letters: str) -> Problem | None:
    if len(letters) < 2 or len(set(letters)) < len(letters) or not set(letters) <= set(ALPHABET):
        return Problem("scorer", f"the option letters of the scorer choice is {letters!r}: write it like 'ABCD'")
    if not isinstance(target, str) or len(target) != 1 or target.upper() not in letters:
        return Problem("target", f"the target is {shown(target)}: the scorer choice needs one of the letters {letters}")
    return None


@register("choice", check=_choice_check, version=2)
def choice(answer: Answer, target: Any, question: str = "", *, letters: str = ALPHABET) -> Verdict:
    """The letter that the answer chooses is the target; an answer that chooses several is not scored.

    The text of an option stands for its letter, if the question lists the options in lines such as ``A) Rome`` and the
    answer is nothing else, or chooses no letter.
    """
    options = options_of(question)
    chosen = option_letter(answer.text, options) or chosen_letters(answer.text, letters)
    chosen = chosen or named_options(answer.text, options)
    if not chosen:
        return Verdict(0, "no letter is chosen in the answer")
    if len(chosen) > 1:
        return Verdict(None, f"the answer names several letters: {', '.join(chosen)}", chosen)
    right = chosen[0] == target.upper()
    return Verdict(right, None if right else f"the answer chooses {chosen[0]}, not {target.upper()}", chosen[0])
