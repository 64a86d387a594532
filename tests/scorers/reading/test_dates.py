"""Dates in text: each row names the trap it is there for."""

import pytest

from evalkit.scorers.reading.dates import final_date, find_dates, read_iso

# (trap, text, the readings of the date it gives)
FINAL = [
    ("ISO", "2024-05-03", ["2024-05-03"]),
    ("ISO with a time", "2024-05-03T10:00", ["2024-05-03"]),
    ("the year first, otherwise marked", "2024/5/3", ["2024-05-03"]),
    ("day first in words", "on 3 May 2024.", ["2024-05-03"]),
    ("ordinal", "the 3rd of May, 2024", ["2024-05-03"]),
    ("month first", "May 3rd, 2024", ["2024-05-03"]),
    ("no comma", "May 3 2024", ["2024-05-03"]),
    ("blanks that do not break", "May\u00a03,\u00a02024", ["2024-05-03"]),
    ("two blanks", "3  May 2024", ["2024-05-03"]),
    ("short month", "Sept. 3, 2024", ["2024-09-03"]),
    ("hyphens", "3-MAY-2024", ["2024-05-03"]),
    ("weekday and emphasis", "**Friday, 3 May 2024**", ["2024-05-03"]),
    ("day or month first", "03/05/2024", ["2024-05-03", "2024-03-05"]),
    ("only the day can be 13", "13/05/2024", ["2024-05-13"]),
    ("only the day can be 13, month first", "05/13/2024", ["2024-05-13"]),
    ("the same both ways", "5.5.2024", ["2024-05-05"]),
    ("leap day", "29 February 2024", ["2024-02-29"]),
    ("no leap day", "29 February 2023", []),
    ("no such day", "2024-02-30", []),
    ("the last of several", "1 May 2024, then 3 May 2024", ["2024-05-03"]),
    ("the marked one", "Not 1 May 2023. The answer is 3 May 2024. I was made on 1 January 2020.", ["2024-05-03"]),
    ("a box", r"\boxed{2024-05-03}, not 2020-01-01", ["2024-05-03"]),
    ("the first of what is marked", "Answer: 3 May 2024, a week before 10 May 2024", ["2024-05-03"]),
]


@pytest.mark.parametrize(("trap", "text", "readings"), FINAL, ids=[row[0] for row in FINAL])
def test_final_date(trap, text, readings):
    assert [reading.isoformat() for reading in final_date(text).readings] == readings


NONE = [
    "12", "May 2024", "3 May", "May", "20241503", "2024-05", "03/05/24", "1.2.3.2024", "123 May 2024", "3 May 20245",
    "Mayor 3, 2024", "dismay 3, 2024", "2024-05-031", "3/5-2024", "192.168.10.2024", "", "٣ May ٢٠٢٤",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_date(text):
    assert final_date(text) is None


def test_the_order_is_told():
    assert [str(day) for found in find_dates("03/05/2024 or 13/05/2024", "mdy") for day in found.readings] == [
        "2024-03-05"
    ]
    assert [str(day) for found in find_dates("03/05/2024 or 2024-03-05", "dmy") for day in found.readings] == [
        "2024-05-03",
        "2024-03-05",
    ]


@pytest.mark.parametrize(
    "text", ["2024-5-3", "2024-02-30", "20240503", "2024-W18-5", " 2024-05-03", "2024-05-03\n", "x"]
)
def test_a_target_is_an_iso_date_and_nothing_else(text):
    assert read_iso(text) is None


def test_a_target_is_read():
    assert read_iso("2024-05-03").isoformat() == "2024-05-03"


@pytest.mark.parametrize("text", ["fırst of May 2024", "FİRST of May 2024", "the thırd of May 2024"])
def test_letters_that_only_fold_to_those_of_an_ordinal_are_none_of_it(text):
    assert final_date(text) is None
