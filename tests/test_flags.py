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


def test_a_weight_that_is_no_number_is_told():
    with pytest.raises(SettingsError, match=r"^--scorer number=much: 'much' is no weight; write it as NAME=2$"):
        flags.scorer(["number=much", "exact"])


def test_a_function_that_is_not_there_is_told():
    with pytest.raises(SettingsError, match=r"^--scorer own_nowhere:f: the module own_nowhere is not there$"):
        flags.scorer(["own_nowhere:f=2"])
