"""The mark of what was extracted, and the part of a number that is wrong, in the units of a browser."""

import pytest

from evalkit.report.extracted_mark import extracted_mark


def parts(answer, extracted, target, *, wrong=True):
    mark = extracted_mark(answer, extracted, target, wrong=wrong)
    if mark is None:
        return None
    units = answer.encode("utf-16-le")
    start, first, last, end = (2 * at for at in mark)
    return tuple(units[a:b].decode("utf-16-le") for a, b in ((start, first), (first, last), (last, end)))


@pytest.mark.parametrize(
    ("answer", "extracted", "target", "found"),
    [
        ("It is 266.", 266, 276, ("2", "6", "6")),
        ("It is 27.6.", 27.6, 276, ("27", ".", "6")),
        ("It is 2761.", 2761, 276, ("276", "1", "")),
        ("It is 26.", 26, 276, ("", "26", "")),  # a digit is missing: nothing of it is right
        ("It is 9.", 9, 276, ("", "9", "")),
        ("It is 1,276.", 1276, 1376, ("1", ",2", "76")),
        ("It is Oslo.", "Oslo", "Rome", ("", "Oslo", "")),
        ("It is 266.", 266, [276], ("", "266", "")),
        ("\U0001f600\U0001f600 266", 266, 276, ("2", "6", "6")),
        ("nothing", 266, 276, None),
        (None, 266, 276, None),
        ("", 266, 276, None),
    ],
)
def test_the_wrong_part_lies_between_what_is_right(answer, extracted, target, found):
    assert parts(answer, extracted, target) == found


def test_a_right_answer_has_no_wrong_part():
    assert parts("It is 1,276.", 1276, 1276, wrong=False) == ("", "", "1,276")
