"""Flags that several commands share, and what is made of them."""

from argparse import Namespace

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


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '[1, {"a": NaN}]'])
def test_a_parameter_that_json_has_no_word_for_is_refused_by_name(value):
    parsed = Namespace(param=[f"top_p={value}"], temperature=None, max_tokens=None)
    with pytest.raises(SettingsError, match=r"^the parameter top_p[\w.]* is (nan|inf|-inf): JSON has no such number$"):
        flags.params(parsed)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_a_temperature_that_is_no_number_is_refused_by_name(value):
    parsed = Namespace(param=[], temperature=float(value), max_tokens=None)
    with pytest.raises(SettingsError, match=r"^the parameter temperature is (nan|inf): JSON has no such number$"):
        flags.params(parsed)
