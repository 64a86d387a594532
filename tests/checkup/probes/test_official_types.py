"""Shapes of answers, checked with the types of the official client and without them."""

import pytest
from behaving import chunk, completion

from evalkit.checkup.probes import official_types

WRONG = [
    ({"id": 7}, "id"), ({"created": "now"}, "created"), ({"choices": None}, "choices"), ({"model": None}, "model"),
    ({"choices": [{"index": "0", "message": {}, "finish_reason": "stop"}]}, "choices.0.index"),
]  # fmt: skip


@pytest.fixture(params=["with openai", "without openai"])
def either(request, monkeypatch):
    if request.param == "without openai":
        monkeypatch.setattr(official_types, "_official", lambda streamed: None)


@pytest.mark.usefixtures("either")
def test_good_answers_have_no_faults():
    assert official_types.faults(completion(), streamed=False) == []
    assert official_types.faults(chunk({"content": "x"}), streamed=True) == []


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(("wrong", "place"), WRONG)
def test_a_field_of_another_type_is_named(wrong, place):
    assert place in " ".join(official_types.faults({**completion(), **wrong}, streamed=False))


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("value", [None, [], "text", {}])
def test_what_is_no_answer_has_faults(value):
    assert official_types.faults(value, streamed=False)
    assert official_types.faults(value, streamed=True)


def test_where_the_types_come_from_is_said(monkeypatch):
    assert official_types.source().startswith("types of openai ")
    monkeypatch.setattr(official_types, "_official", lambda streamed: None)
    assert "install openai" in official_types.source()
