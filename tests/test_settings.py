"""Settings: what is refused, with the whole message, and what the run file stores."""

import json
import math

import pytest

from evalkit.errors import SettingsError
from evalkit.settings import Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history": "both"}, "history is 'both': it must be 'own' or 'golden'"),
        ({"repeats": 0}, "repeats is 0: it must be a whole number, 1 or more"),
        ({"concurrency": 0}, "concurrency is 0: it must be a whole number, 1 or more, or 'auto'"),
        ({"retries": -1}, "retries is -1: it must be a whole number, 0 or more"),
        ({"limit": 0}, "limit is 0: it must be a whole number, 1 or more"),
        ({"concurrency": 2.5}, "concurrency is 2.5: it must be a whole number, 1 or more, or 'auto'"),
        ({"concurrency": "many"}, "concurrency is 'many': it must be a whole number, 1 or more, or 'auto'"),
        (
            {"concurrency": "auto", "rate": 5.0},
            "concurrency 'auto' and a rate cannot be combined: the rate decides when to start",
        ),
        ({"rpm": 0}, "rpm is 0: it must be above 0"),
        ({"rate": -1.0}, "rate is -1.0: it must be above 0"),
        ({"arrivals": "bursts"}, "arrivals is 'bursts': it must be 'constant' or 'poisson'"),
        ({"max_tokens_total": 0}, "max_tokens_total is 0: it must be a whole number, 1 or more"),
        ({"max_time_s": 0}, "max_time_s is 0: it must be above 0"),
        (
            {"until_ci": 0.5},
            "until_ci is 0.5: it must be between 0 and 0.5, such as 0.03 for ± 3 points",
        ),
        (
            {"until_ci": 0.03, "repeats": 2},
            "until_ci and repeats cannot be combined: a repeated conversation says nothing about other "
            "conversations. Use more conversations instead",
        ),
        ({"system": 3}, "system is 3: it must be the text of a system prompt"),
        ({"system": "\ud800"}, "system has half of a surrogate pair: it is not text that can be sent"),
        ({"scorer": []}, "scorer: is empty: name at least one scorer"),
        ({"scorer": 3}, "scorer: must be text, not a number"),
        ({"scorer": "./score.py"}, "scorer: './score.py' is not the name of a scorer"),
        (
            {"scorer": ["exact", {"name": "number", "weight": -1}]},
            "scorer[1].weight: must be a number above 0, at most a million",
        ),
        (
            {"scorer": ["exact", {"name": "length"}, {"name": "length", "min": "x"}]},
            'the option min of the scorer length is "x": it must be a number, 0 or more',
        ),
        (
            {"scorer": "os:system"},
            "the scorer 'os:system' is a Python function, and datasets and run files cannot run code: "
            "pass the function itself in Python, scorer=…, or name it with --scorer os:system",
        ),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(SettingsError) as caught:
        Settings(**settings)
    assert str(caught.value) == message


NUMBERS = ("rate", "rpm", "tpm", "max_time_s", "max_cost")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, 10**400, "7", True])
def test_numbers_that_are_no_limit_are_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=f"^{name} is "):
        Settings(**{"price": (1.0, 1.0), name: value})


@pytest.mark.parametrize(
    "value", [(math.nan, 1), (1, math.inf), (-1, 1), (1, 2, 3, 4, 5), (1,), 5, "ab", ("1", "2"), (1e300, 1), (True, 1)]
)
def test_prices_are_two_to_four_numbers_from_0_up(value):
    with pytest.raises(SettingsError, match=r"^price"):
        Settings(price=value, max_cost=1)
    assert Settings(price=[0, 0.5]).price == (0, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.1", True])
def test_a_goal_that_is_no_number_is_refused(value):
    with pytest.raises(SettingsError, match=r"^until_ci is "):
        Settings(until_ci=value)


@pytest.mark.parametrize("name", ["repeats", "retries", "max_tool_rounds", "limit", "max_tokens_total"])
def test_counts_that_no_counter_holds_are_refused(name):
    with pytest.raises(SettingsError, match=f"^{name} is {10**30}: it must be 1,000,000,000,000 at most"):
        Settings(**{name: 10**30})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("of", [lambda spec: spec, lambda spec: ["exact", spec]])
def test_options_of_scorers_that_json_has_no_word_for_are_refused(value, of):
    with pytest.raises(SettingsError, match=r"abs_tol is (nan|inf)"):
        Settings(scorer=of({"name": "number", "abs_tol": value}))


def test_concurrency_defaults_to_4_and_to_1000_with_a_rate():
    assert Settings().concurrency == 4
    assert Settings(rate=2.0).concurrency == 1_000
    assert Settings(rate=2.0, concurrency=7).concurrency == 7


def test_stored_settings_are_equal_when_read_again():
    settings = Settings(
        scorer=["exact", {"name": "number", "weight": 2}],
        history="golden",
        rate=2.5,
        arrivals="poisson",
        max_time_s=60.0,
    )
    assert Settings(**json.loads(json.dumps(settings.to_json()))) == settings
