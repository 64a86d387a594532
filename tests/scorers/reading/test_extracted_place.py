"""Where an answer has what a scorer extracted: the marked part of each text, or none."""

import re
from fractions import Fraction

import pytest

from evalkit.conversation import Turn
from evalkit.record import Answer
from evalkit.scorers.reading.extracted_place import extracted_place
from evalkit.scorers.scoring import score

CASES = [
    ("The sum is [35].", 35),
    ("12 + 23 = 35, and 35 it is: [35]", 35),
    (r"\boxed{[42]} is not 41, and 42 comes later", 42),
    ("The answer is [266]. Check: 266 / 2 = 133.", 266),
    ("It is 12 and 23. The answer is 12 * 23 = [266], or 266.", 266),
    ("The answer: 5. No, it is 7: [7]", 7),
    ("It is [1,234.5].", 1234.5),
    ("Es sind [1.234,5].", 1234.5),
    ("minus: [-5]", -5),
    ("It costs [$5].", 5),
    ("The capital is [Rome].", "Rome"),
    ("The capital is [rome].", "Rome"),
    ("Romeo went to [Rome]", "Rome"),
    ("(B) is wrong. The answer is [C].", "C"),
    ("A dog. Answer: [A]", "A"),
    ("It was on [May 3, 2024].", "2024-05-03"),
    ("It was on [2024-05-03].", "2024-05-03"),
    ("It is [5] kilometres.", "5 km"),
    ("\U0001f600 \U0001f600 [35]", 35),
    ("no number", 35),
    ("Rome", None),
    ("true", True),
    ("", 35),
    ("x", ""),
    ("[]", []),
    ("Romeo", "Rome"),
    ("135", 35),
    ("inf", float("inf")),
]


@pytest.mark.parametrize(("text", "extracted"), CASES)
def test_the_place_is_found(text, extracted):
    found = re.search(r"\[(.+)\]", text)
    plain = text if not found else text[: found.start()] + found[1] + text[found.end() :]
    place = extracted_place(plain, extracted)
    assert (place and plain[slice(*place)]) == (found and found[1])
    if found:
        assert place == (found.start(), found.start() + len(found[1]))


@pytest.mark.parametrize("number", [0, 7, -3, 12.5, 1_000, 1_234_567, Fraction(1, 4)])
@pytest.mark.parametrize("form", ["It is {}.", "The answer is **{}**.", "{}", "17 and 4 make {}", "#### {}"])
def test_what_the_number_scorer_extracts_has_a_place(number, form):
    text = form.format(float(number) if isinstance(number, Fraction) else number)
    extracted = score(Turn("q", 99), Answer(text)).extracted
    first, last = extracted_place(text, extracted)
    assert float(text[first:last].replace("_", "")) == float(number)


def test_a_long_answer_is_searched_at_its_end_only():
    assert extracted_place("35 " + "x" * 30_000, 35) is None
    assert extracted_place("x" * 30_000 + " 35", 35) == (30_001, 30_003)
