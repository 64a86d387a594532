"""Flags that several commands share, and what is made of them."""

import pytest

from evalkit import flags
from evalkit.errors import SettingsError


@pytest.mark.parametrize(
    ("texts", "scorer"),
    [
        ([], None),
        (["number"], "number"),
        (["number=2"], "number"),
        (["number=2", "exact"], [{"name": "number", "weight": 2.0}, "exact"]),
    ],
)
def test_scorers_with_their_weights(texts, scorer):
    assert flags.scorer(texts) == scorer


@pytest.mark.parametrize("weight", ["much", "0", "nan", "-1", ""])
def test_a_weight_that_is_none_is_told_also_of_one_scorer_alone(weight):
    with pytest.raises(SettingsError) as caught:
        flags.scorer([f"number={weight}"])
    assert str(caught.value) == f"--scorer number={weight}: {weight!r} is no weight above 0; write it as NAME=2"


def test_a_function_that_is_not_there_is_told():
    with pytest.raises(SettingsError, match=r"^--scorer own_nowhere:f: the module own_nowhere is not there$"):
        flags.scorer(["own_nowhere:f=2"])
