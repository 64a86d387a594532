"""The letter an answer chooses: each row names the trap it is there for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scorers.reading import letters
from evalkit.scorers.reading.letters import chosen_letters

CHOSEN = [
    ("alone", "B", "B"),
    ("small", "b", "B"),
    ("in brackets", "(B)", "B"),
    ("full stop", "B.", "B"),
    ("bracket behind", "b)", "B"),
    ("emphasis", "**B**", "B"),
    ("code", "`B`", "B"),
    ("with its text", "B) Paris", "B"),
    ("with a colon", "B: Paris", "B"),
    ("with a dash", "B - Paris", "B"),
    ("emphasised with its text", "**B)** Paris", "B"),
    ("explained", "B\n\nBecause A is wrong.", "B"),
    ("answer", "Answer: B", "B"),
    ("answer is", "the answer is (b)", "B"),
    ("answer is, small and bare", "The answer is b", "B"),
    ("answer is option", "I think the answer is option B", "B"),
    ("answer in bold with text", "The answer is **B: Paris**.", "B"),
    ("answer A with a reason", "The answer is A because it is warm", "A"),
    ("not the others", "The answer is B, not C.", "B"),
    ("the last answer counts", "The answer is B. No, the answer is C.", "C"),
    ("boxed", r"\boxed{C}", "C"),
    ("boxed as text", r"so $\boxed{\text{C}}$, not D", "C"),
    ("chosen", "I would choose C because A is wrong", "C"),
    ("called correct", "Option A is wrong. Option B is right.", "B"),
    ("called the correct one", "A is not right. The correct option is D.", "D"),
    ("at the end", "I choose A.", "A"),
    ("in the middle", "I think it is B here", "B"),
    ("article", "A dog is a mammal", ""),
    ("article after answer", "Answer: A dog", ""),
    ("small article", "The answer is a dog.", ""),
    ("small a at the end", "The answer is a.", "A"),
    ("pronoun", "The answer is what I said", ""),
    ("I'm", "I'm not sure", ""),
    ("word with a letter", "T-shirt", ""),
    ("abbreviation", "U.S. cities", ""),
    ("none", "Paris", ""),
    ("empty", "", ""),
    ("two", "Both A and B", "AB"),
    ("or", "The answer is A or B", "AB"),
    ("and in brackets", "Answer: (A) and (C)", "AC"),
    ("the choices said again", "A) Paris\nB) London\nC) Rome", "ABC"),
    ("what it is not, then what it is", "The answer is not B but C", "C"),
    ("only what it is not", "It is not **B**.", ""),
    ("nor this one", "It isn't option B", ""),
    ("one that is not to be chosen", "I would not choose B", ""),
    ("one called wrong", "B is wrong", ""),
    ("one called not correct", "Option B is not correct; it must be D", "D"),
    ("one that is not wrong", "B is not wrong", "B"),
    ("none of two", "It is neither A nor B", ""),
    ("a word that only ends in not", "A knot: B", "B"),
]


@pytest.mark.parametrize(("trap", "text", "wanted"), CHOSEN, ids=[row[0] for row in CHOSEN])
def test_the_letter_chosen(trap, text, wanted):
    assert "".join(chosen_letters(text)) == wanted


def test_only_letters_there_are_to_choose_from_count():
    assert chosen_letters("Vitamin C, so B", "AB") == ["B"]
    assert chosen_letters("E", "ABCD") == []


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.text("ABI ab().:*answer is or,\n", max_size=60))
def test_no_text_breaks_the_reading(text):
    assert set(chosen_letters(text, "ABI")) <= set("ABI")


def test_boxes_without_end_are_soon_looked_through(monkeypatch):
    counted = []
    monkeypatch.setattr(letters, "marked", lambda text: counted.append(len(text)) or [])
    assert chosen_letters("B\n" + "\\boxed{" * 100_000) == ["B"]
    assert counted == [20_000]
