import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import SettingsError
from evalkit.loadtest.slo import METRICS, Slo, duration_ms

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "min": 60_000.0}


@pytest.mark.parametrize(
    ("text", "ms"), [("200ms", 200), ("1.5s", 1500), (".5s", 500), ("2min", 120_000), ("50us", 0.05), ("007ms", 7)]
)
def test_a_duration_is_a_number_and_its_unit(text, ms):
    assert duration_ms(text, "x") == pytest.approx(ms)


@given(st.decimals(min_value="0.001", max_value="999999", places=3), st.sampled_from(sorted(UNITS)))
def test_every_number_with_a_unit_is_read_as_its_product(number, unit):
    assert duration_ms(f"{number:f}{unit}", "x") == pytest.approx(float(number) * UNITS[unit])


@given(st.text(max_size=12))
def test_any_other_text_is_refused_with_what_to_write(text):
    if re.fullmatch(r"([0-9]+(\.[0-9]+)?|\.[0-9]+)(us|ms|s|min)", text) and re.search("[1-9]", text):
        assert duration_ms(text, "x") > 0
    else:
        with pytest.raises(SettingsError, match=r"^x is "):
            duration_ms(text, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ttft=200", "slo ttft is '200': write a number and its unit (us, ms, s, min), such as 200ms or 1.5s"),
        ("ttft=0ms", "slo ttft is '0ms': it must be above 0 and finite"),
        ("ttft=-1s", "slo ttft is '-1s': write a number and its unit (us, ms, s, min), such as 200ms or 1.5s"),
        ("ttft=2 s", "slo ttft is '2 s': write a number and its unit (us, ms, s, min), such as 200ms or 1.5s"),
        ("ttft", "slo 'ttft': write METRIC=DURATION separated by commas, such as ttft=200ms,latency=2s"),
        ("ttft=1s,", "slo '': write METRIC=DURATION separated by commas, such as ttft=200ms,latency=2s"),
        ("e2e=1s", "slo 'e2e' is not a known metric: write ttft, tpot or latency"),
        ("ttft=1s,ttft=2s", "slo names ttft twice: give it one limit"),
    ],
)
def test_objectives_that_cannot_be_read_say_what_to_write(text, message):
    with pytest.raises(SettingsError) as caught:
        Slo.of(text)
    assert str(caught.value) == message


def test_a_number_without_a_unit_is_refused_in_python_too():
    with pytest.raises(SettingsError, match="slo ttft is 200: write it as text with its unit, such as '200ms'"):
        Slo.of({"ttft": 200})


@given(st.dictionaries(st.sampled_from(METRICS), st.integers(1, 10**6), min_size=1))
def test_text_and_mapping_say_the_same(limits):
    durations = {name: f"{ms}ms" for name, ms in limits.items()}
    text = ", ".join(f"{name}={duration}" for name, duration in durations.items())
    assert Slo.of(text) == Slo.of(durations) == Slo.of(Slo.of(durations))


def test_a_turn_meets_its_objectives_only_if_every_named_time_is_known_and_within():
    slo = Slo.of("ttft=100ms,tpot=10ms")
    answered = np.array([True, True, True, True, False])
    times = {
        "ttft": np.array([100.0, 101.0, 50.0, np.nan, 50.0]),
        "tpot": np.array([10.0, 5.0, np.nan, 5.0, 5.0]),
        "latency": np.full(5, 1e9),
    }
    assert slo.met(answered, times).tolist() == [True, False, False, False, False]
    assert slo.missing(answered, times) == {"ttft": 1, "tpot": 1}


def test_no_objectives():
    assert not Slo.of(None)
    assert not Slo.of({})
    assert str(Slo.of("ttft=200ms,latency=2s")) == "ttft ≤ 200 ms, latency ≤ 2000 ms"
