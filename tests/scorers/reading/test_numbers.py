"""Numbers in text: each row names the trap it is there for."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scorers.reading.final_number import final_number, number_at_end
from evalkit.scorers.reading.numbers import (
    Number,
    find_numbers,
    matches_from_end,
    number_matches,
    read_number,
    value_of,
)

# (trap, text, the number it gives as its answer)
FINAL = [
    ("plain", "35", 35),
    ("a full stop is no decimal mark", "The sum is 35.", 35),
    ("emphasis", "It is **35**.", 35),
    ("underlined", "It is __35__.", 35),
    ("mathematics marks", "It is $35$", 35),
    ("the 5 of 25", "25", 25),
    ("operands after the result", "The sum of 12 + 23 is 35, which is the product of 12 and 23.", 35),
    ("result before its operands", "35 is the sum of 12 and 23.", 35),
    ("result before the equation", "35 = 12 + 23", 35),
    ("operands in brackets", "276 (12*23)", 276),
    ("operands by words", "Adding 12 to 23 gives 35", 35),
    ("one operand and words", "20 - 5 = 15. It is like adding 1 to the next.", 15),
    ("what is divided by", "That is 36, which we divide by 6", 36),
    ("what is taken from", "12 are left, taken from 20", 12),
    ("grown by, and nothing else", "It grew by 35.", 35),
    ("operands in a list", "The average of 3, 4, and 5 is 4", 4),
    ("operands after", "It is 4, the average of 3, 4, and 5.", 4),
    ("emphasised operands", "the sum of **12** and **23** is **35**", 35),
    ("no operand: a sum of one thing", "That is a sum of 35 dollars", 35),
    ("letter x for times", "12 x 23 = 276", 276),
    ("letter x without blanks", "12x23=276", 276),
    ("stars for times", "12 * 23 = 276", 276),
    ("working shown", "12 + 23 = 35. Therefore the answer is 35. 10 + 20 = 30, 2 + 3 = 5.", 35),
    ("part of another", "10 is 20% of 50", 10),
    ("part first", "20% of 50 is 10", 10),
    ("compared with", "It is 36, more than 35", 36),
    ("said not to be", "It is 36, not 35.", 36),
    ("how much more", "35 is 12 more than 23", 12),
    ("a question follows", "I get 35. Shall we try 5 more?", 35),
    ("asked back, and nothing else", "35, right?", 35),
    ("list of steps", "1. Add the ones.\n2. The sum is 35.\n3. Done!", 35),
    ("looks like a list, but is none", "35. That is the sum.", 35),
    ("step names", "It is 35 by Step 2", 35),
    ("name with a number", "35, says GPT-4", 35),
    ("name and nothing else", "I am GPT-4", 4),
    ("index", "log_2 of it is 5", 5),
    ("ordinal", "35 comes on the 3rd line", 35),
    ("ordinal and nothing else", "the 3rd", 3),
    ("range", "5–10", 10),
    ("a date is no sum", "2024-05-01", 1),
    ("version", "1.2.3", 3),
    ("list without blanks", "1,2,3", 3),
    ("negative", "-5", -5),
    ("minus sign", "The result is −5", -5),
    ("dash for minus", "= –5", -5),
    ("minus by word", "it is minus 5", -5),
    ("negative by word", "negative 5", -5),
    ("minus between operands", "12 minus 5 is 7", 7),
    ("minus without blanks", "12-5=7", 7),
    ("minus with one blank", "12 -5", 5),
    ("list mark", "- 35 apples", 35),
    ("thousands", "1,234", 1234),
    ("thousands and decimals", "1,234.5", 1234.5),
    ("millions", "1,234,567.89", 1234567.89),
    ("blank for thousands", "1 234,5 km", 1234.5),
    ("narrow blank", "1\u202f234\u202f567", 1234567),
    ("apostrophe", "1’234.50 CHF", 1234.5),
    ("straight apostrophe", "1'000'000", 1000000),
    ("underscore", "1_000", 1000),
    ("point for thousands", "1.234,5", 1234.5),
    ("points for millions", "1.234.567", 1234567),
    ("one point is decimal", "1.234", 1.234),
    ("grouped as in India", "12,34,567.5", 1234567.5),
    ("decimal comma", "0,5", 0.5),
    ("decimal comma before three digits, after zero", "0,125", 0.125),
    ("decimal comma after four digits", "1234,567", 1234.567),
    ("no digit before the mark", ".5", 0.5),
    ("zeros behind", "35.0", 35),
    ("a group of two is none", "12 23", 23),
    ("percent", "35 %", 35),
    ("percent by word", "35 per cent", 35),
    ("dollars", "$35", 35),
    ("dollars owed", "-$5", -5),
    ("dollars owed, other order", "$-5", -5),
    ("euros behind", "1.234,50 €", 1234.5),
    ("unit without blank", "35cm²", 35),
    ("exponent", "1.2e3", 1200),
    ("negative exponent", "1.2E-3", 0.0012),
    ("power of ten", "1.2 × 10^3", 1200),
    ("raised power of ten", "6.02·10²³", 6.02e23),
    ("LaTeX power of ten", r"1.2 \times 10^{-3}", 0.0012),
    ("power alone", "10^6", 1000000),
    ("raised", "5²", 25),
    ("fraction", "3/4", 0.75),
    ("mixed fraction", "1 1/2", 1.5),
    ("fraction sign", "2½", 2.5),
    ("LaTeX fraction", r"\frac{3}{4}", 0.75),
    ("LaTeX mixed fraction", r"1\,\dfrac{1}{2}", 1.5),
    ("divided by nothing", "3/0", 0),
    ("LaTeX thousands", r"1{,}234", 1234),
    ("LaTeX thin blank", r"12\,345", 12345),
    ("LaTeX percent", r"35\%", 35),
    ("scale", "3 million", 3000000),
    ("boxed goes first", r"\boxed{35} and then 7", 35),
    ("boxed equation", r"\boxed{12 + 23 = 35}", 35),
    ("nested braces", r"\boxed{\text{sum } = {35}} 7", 35),
    ("hash marks", "7 nuts\n#### 35\nbye 9", 35),
    ("answer is", "The answer is 35 because of 3 tens and 5 ones.", 35),
    ("answer to", "The answer to 1.5 + 2 is 3.5. Next 7", 3.5),
    ("answer on its own line", "Answer:\n\n35\n\nThere are 2 of us.", 35),
    ("emphasised mark", "**Answer**: 35\n7", 35),
    ("the last answer counts", "The answer is 12. Wait, the answer is 13.", 13),
    ("answer is not", "The answer is not 4, it is 5", 5),
    ("denied alone", "It is not 35.", None),
    ("denied alone by a short form", "That can’t be 35", None),
    ("denied in bold", "It cannot be **35**", None),
    ("denied as the answer", "The answer is not 35.", None),
    ("denied at the end", "36, not 35", 36),
    ("denied at the begin", "not 35 but 36", 36),
    ("denied by not equal to", "This is not equal to 35", None),
    ("denied in operands", "There are not enough: 12 + 23", 23),
    ("said, then doubted", "35 is not far off", 35),
    ("answer is without number", "The answer is below.\n12 + 23 = 35", 35),
    ("words", "thirty-five", 35),
    ("words in a sentence", "Two hundred and six apples", 206),
    ("thousands in words", "one thousand, two hundred thirty four", 1234),
    ("minus in words", "It is minus five.", -5),
    ("zero", "Zero!", 0),
    ("one as a number", "The answer is one.", 1),
    ("one as a pronoun", "no one knows", None),
    ("one of several", "Mars is one of them", None),
    ("which one", "Which one? Another one!", None),
    ("one thing", "It has one proton.", 1),
    ("words do not count beside digits", "two apples, 35", 35),
    ("digits of other scripts", "١٢٣", 123),
    ("wide digits", "３５", 35),
    ("none", "I do not know.", None),
    ("empty", "", None),
    ("a name twenty times", " ".join(f"tok{i}" for i in range(20)), 19),
    ("a part of a name and a number", "tok1 7 tok2", 7),
    ("behind a word for times", "12 TIMES 3 IS 36", 36),
    ("minus in capitals", "IT IS MINUS 5", -5),
    ("a scale in capitals", "3 MILLION", 3000000),
    ("a scale in other letters", "3 mİllıon", 3000000),
    ("bold factor", "**2** × 10^3", 2),
    ("digits without end before a full stop", "1234567890123456.", 1234567890123456),
    ("too large for a float", "1e999", None),
    ("hundreds of digits", "9" * 500, None),
]


@pytest.mark.parametrize(("trap", "text", "number"), FINAL, ids=[row[0] for row in FINAL])
def test_the_final_number(trap, text, number):
    found = final_number(text)
    assert (None if found is None else found.to_json()) == number


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("1,234", ".", 1234),
        ("1.234", ".", 1.234),
        ("1,234", ",", 1.234),
        ("1.234", ",", 1234),
        ("1.234,5", ".", 1234.5),
    ],
)
def test_the_decimal_mark_decides_only_what_could_be_either(text, decimal, number):
    assert read_number(text, decimal).to_json() == number


@pytest.mark.parametrize("text", ["", "many", "35 apples", "1 2", "12-5", "3.", "thirty", "0x10", "--5", "1,2,3"])
def test_text_that_is_not_one_number_is_none(text):
    assert read_number(text) is None


def test_all_numbers_come_in_order():
    assert [number.to_json() for number in find_numbers("5 apples, -2.5 and 3/4; GPT-4")] == [5, -2.5, 0.75, 4]


@pytest.mark.parametrize(
    ("said", "target", "near"),
    [("35%", "35", True), ("35%", "0.35", True), ("0.35", "35%", True), ("35", "35%", True), ("0.35%", "35%", False)],
)
def test_a_percentage_is_also_its_hundredth(said, target, near):
    assert read_number(said).close_to(read_number(target)) is near


def test_tolerances_are_exact_and_the_larger_one_holds():
    target = Number(Fraction("0.3"))
    assert read_number("0.4").close_to(target, abs_tol=0.1)
    assert not read_number("0.4").close_to(target, abs_tol=0.09)
    assert read_number("110").close_to(Number(Fraction(100)), abs_tol=1, rel_tol=0.1)
    assert not read_number("0.30000001").close_to(target)


GROUPS = {",": ".", ".": ",", " ": ",", "\u00a0": ",", "\u202f": ".", "'": ".", "’": ".", "_": "."}


@settings(max_examples=200, deadline=None)
@given(
    whole=st.integers(0, 10**12),
    fraction=st.sampled_from(["", "5", "25", "1234"]) | st.from_regex(r"[0-9]{1,2}", fullmatch=True),
    mark=st.sampled_from(sorted(GROUPS)),
    sign=st.sampled_from(["", "-", "−"]),
    before=st.sampled_from(["", "It is ", "The answer is: ", "Total = $", "**", "("]),
    after=st.sampled_from(["", ".", " apples", "**", "%", " €, I think.", ")"]),
)
def test_a_number_in_any_style_inside_words_is_read(whole, fraction, mark, sign, before, after):
    written = f"{whole:,}".replace(",", mark) + (GROUPS[mark] + fraction if fraction else "")
    value = Fraction(f"{whole}.{fraction or 0}") * (-1 if sign else 1)
    # a lone point before three digits is the one case that needs telling
    found = final_number(before + sign + written + after, decimal="," if mark == "." else ".")
    assert found is not None
    assert found.value == value


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("0123456789 .,-+/%$^e×½one\\boxed{}#=?\n", max_size=60))
def test_no_text_breaks_the_reading(text):
    found = final_number(text)
    assert found is None or isinstance(found.to_json(), int | float)


# texts in which a number goes on across a word or a mark after which the search from the end may start
ACROSS = [
    *("5 x 10^3", "5 \\times 10^{3}", "5 \\cdot 10^3", "5 million €", "5 per cent 3", "$2m 35", "5k 35", "1 234 567"),
    *(
        "12**2",
        "5 ** 10",
        "is **35**",
        "5 **35",
        "x = -5",
        "is $35",
        "us $ -5",
        "12 - 5",
        "12 + 23 = 35",
        "5 / 3",
        "5e -3",
    ),
    *("2½", "5: 3", "1.2.3", "minus 5", "it is minus 5", "7 negative 5", "is .5", "is 3. 5", "a\n5", "3/4", "1 3/4"),
]


@pytest.mark.parametrize("text", ACROSS + [f"{'so 7 of 8. ' * 70}{text} and so on" for text in ACROSS])
def test_the_search_from_the_end_finds_what_the_search_from_the_start_finds(text):
    found = [match.span(match.lastgroup) for match in number_matches(text)]
    assert [match.span(match.lastgroup) for match in matches_from_end(text)] == found[::-1]
    assert found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*"0123456789 .,-+/%$€^ex×*=:½{}km", " is ", "** ", "\\times ", "million", "\n"])))
def test_any_text_has_the_same_numbers_from_its_end(parts):
    text = "".join(parts)
    found = [(match[match.lastgroup], value_of(match, ".")) for match in number_matches(text)]
    assert [(match[match.lastgroup], value_of(match, ".")) for match in matches_from_end(text)] == found[::-1]


@pytest.mark.parametrize("number", [*"½٣", "35", "3 %", "35٪", "5 €", "$5", "2^{10}", "5⁶", "5 × 10⁻", "five"])
@pytest.mark.parametrize("after", ["", " ", " +", ",", " = "])
def test_a_number_at_the_end_of_a_text_is_found_whatever_it_ends_with(number, after):
    found = number_at_end(f"It is {number}{after}")
    assert (found.start, found.end) == (6, 6 + len(number))


@pytest.mark.parametrize("text", ["35.", "35)", "35\n", "**35**", "35 or", "35?", "no", "", " ", "35 + +"])
def test_a_number_before_anything_else_is_not_at_the_end(text):
    assert number_at_end(text) is None
