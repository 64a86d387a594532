"""Units behind numbers, as words."""

import pytest

from evalkit.scorers.reading.units import has_unit, read_quantity, unit_after


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("12 kg", 12, "kg"),
        ("12kg", 12, "kg"),
        (" -5 °C ", -5, "°C"),
        ("1,234.5 square metres", 1234.5, "square metres"),
        ("3 m^2", 3, "m^2"),
        ("5 m2", 5, "m2"),
        ("2 1/2 cups", 2.5, "cups"),
        ("60 km/h", 60, "km/h"),
        ("3 million inhabitants", 3_000_000, "inhabitants"),
    ],
)
def test_a_number_with_a_unit_is_read(text, value, unit):
    number, read = read_quantity(text)
    assert (number.to_json(), read) == (value, unit)


@pytest.mark.parametrize(
    "text",
    ["12", "kg", "12 %", "about 12 kg", "12 kg, 13 g", "3 of 4", "12 is the right answer", "12 + 3 kg", "", "12 -"],
)
def test_anything_else_is_none(text):
    assert read_quantity(text) is None


def test_a_decimal_comma_is_told():
    assert read_quantity("1.234 kg", ",")[0].to_json() == 1234


@pytest.mark.parametrize(
    ("after", "unit"),
    [(" boxes", "box"), (" box", "boxes"), (" lenses", "lens"), (" glass", "glass"), ("** lbs.", "lb"), ("gas", "gas")],
)
def test_singular_and_plural_are_the_same_unit(after, unit):
    assert has_unit(f"12{after}", 2, unit)


@pytest.mark.parametrize(
    ("after", "unit"),
    [
        (" boxers", "box"),
        (" kgf", "kg"),
        (" m-s", "m"),
        (" N·m", "N"),
        (" N⋅m", "N"),
        (" N*m", "N"),
        (", kg", "kg"),
        (" k g", "kg"),
    ],
)
def test_what_only_begins_alike_is_another_unit(after, unit):
    assert not has_unit(f"12{after}", 2, unit)


def test_a_unit_of_nothing_but_marks_is_not_taken_for_a_pattern():
    assert has_unit("12 m^2", 2, "m^2")
    assert not has_unit("12 mm2", 2, "m^2")


def test_the_word_behind_a_number_is_told():
    assert unit_after(r"12\,\text{kg}", 2) == "kg"
    assert unit_after("12, kg", 2) == ""
