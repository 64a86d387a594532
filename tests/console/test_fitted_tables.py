"""Tables that are too wide for a terminal: nothing in them is cut off."""

import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from evalkit.console.fitted_tables import FittingConsole
from evalkit.console.terminal import plain_table

WORDS = st.text("abcdefgh世界 ", min_size=1, max_size=30).map(lambda text: " ".join(text.split()) or "x")


def printed(table, width):
    written = io.StringIO()
    FittingConsole(file=written, width=width, highlight=False, markup=False).print(table)
    return written.getvalue()


def table_of(headings, rows, right=()):
    table = plain_table(*headings, right=right)
    for row in rows:
        table.add_row(*row)
    return table


@given(
    st.integers(1, 9).flatmap(
        lambda columns: st.lists(st.lists(WORDS, min_size=columns, max_size=columns), min_size=2, max_size=5)
    ),
    st.integers(40, 100),
)
@settings(max_examples=60, deadline=None)
def test_every_line_fits_and_every_cell_is_there(rows, width):
    headings, *rows = rows
    text = printed(table_of(headings, rows), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    cells = [*headings, *(cell for row in rows for cell in row)]
    assert Counter("".join(text.split())) >= Counter("".join("".join(cells).split()))


def test_a_table_that_fits_is_printed_as_it_is():
    text = printed(table_of(("name", "value"), [("a", "1"), ("b", "22")]), 60)
    assert text.split("\n") == ["name  value", "a     1    ", "b     22   ", ""]


def test_headings_are_wrapped_before_columns_are_moved():
    table = table_of(("turn",), [("1", "7,217", "17,744")], right=("latency p50", "latency p95"))
    assert len(printed(table, 30).splitlines()) == 2
    assert [line.rstrip() for line in printed(table, 22).splitlines()] == [
        "      latency  latency", "turn      p50      p95", "1       7,217   17,744",
    ]  # fmt: skip


def test_columns_that_do_not_fit_make_a_table_with_the_labels():
    table = table_of(("turn",), [("1", "42.5% (28.7% to 57.5%)", "50.7% (38.4% to 62.8%)")], right=("A", "B"))
    assert [line.split("  ")[0] for line in printed(table, 40).splitlines()] == ["turn", "1", "turn", "1"]


@pytest.mark.parametrize("headings", [("", "number"), ("goal", "repeats")])
def test_two_columns_are_the_labels_where_one_does_not_name_a_row(headings):
    rows = [("same", str(n), "x" * 20, "y" * 20) for n in range(2)]
    lines = printed(table_of((*headings, "first", "second"), rows), 40).splitlines()
    assert [line.split()[:2] for line in lines if line.strip().startswith("same")] == [["same", "0"], ["same", "1"]] * 2


def test_a_long_text_beside_its_label_is_wrapped_between_words():
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    table = table_of(("", ""), [("tags", " ".join(words))])
    table.show_header = False
    lines = printed(table, 30).splitlines()
    assert max(map(len, lines)) <= 30
    assert " ".join(lines).split() == ["tags", *words]
    assert len(lines) > 1
