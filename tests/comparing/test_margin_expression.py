import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.comparing.margin_expression import METRICS, parse
from evalkit.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "left", "amount", "relative"),
    [
        ("accuracy -2%", "accuracy", 0.02, False),
        ("accuracy-2%", "accuracy", 0.02, False),
        (" accuracy  - 0.02 ", "accuracy", 0.02, False),
        ("accuracy −2 points", "accuracy", 0.02, False),
        ("accuracy -1 point", "accuracy", 0.01, False),
        ("accuracy_all -2.5pp", "accuracy_all", 0.025, False),
        ("accuracy[2] -5%", "accuracy[2]", 0.05, False),
        ("accuracy[tag=long sums] -5%", "accuracy[tag=long sums]", 0.05, False),
        ("accuracy[tag=*] -5%", "accuracy[tag=*]", 0.05, False),
        ("errors +1%", "errors", 0.01, False),
        ("ttft_p95 +10%", "ttft_p95", 0.1, True),
        ("latency_p50 +50ms", "latency_p50", 50.0, False),
        ("latency_p99[1] +0.5 s", "latency_p99[1]", 500.0, False),
        ("cost +5%", "cost", 0.05, True),
        ("cost +150%", "cost", 1.5, True),
    ],
)
def test_a_margin_in_every_form(text, left, amount, relative):
    margin = parse(text)
    assert (margin.left, margin.amount, margin.relative) == (left, pytest.approx(amount), relative)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "character 1: there is no metric"),
        ("acuracy -2%", "character 1: no margin is possible for 'acuracy' (did you mean accuracy?)"),
        ("turns_per_s -2%", "no margin is possible for 'turns_per_s'"),
        ("accuracy", "after 'accuracy' there is no sign: write how much worse it may be, as in 'accuracy -2%'"),
        ("accuracy>=0.8", "there is no sign"),
        ("accuracy 2%", "there is no sign"),
        ("accuracy +2%", "character 10: accuracy is worse when it is lower: write 'accuracy -2%'"),
        ("ttft_p95 -10%", "ttft_p95 is worse when it is higher: write 'ttft_p95 +10%'"),
        ("accuracy -2", "the margin must be below 100 points: write 2% or 0.02 for two points"),
        ("accuracy -0%", "with a margin of 0 no number of conversations"),
        ("accuracy -2ms", "the unit 'ms' does not fit"),
        ("ttft_p95 +10", "character 13: a unit is missing: write 10% (of the baseline) or 50ms"),
        ("cost +5ms", "the unit 'ms' does not fit"),
        ("accuracy -", "is not a number"),
        ("accuracy -2% -3%", "is not a number"),
        ("accuracy[0] -2%", "turns are counted from 1"),
        ("accuracy[tag=] -2%", "there is no sign"),
        (f"cost +{'9' * 400}%", "the number is too large"),
    ],
)
def test_what_is_no_margin_is_refused_with_its_place(text, says):
    with pytest.raises(SettingsError) as refused:
        parse(text)
    assert says in str(refused.value)


@given(st.sampled_from(sorted(METRICS)), st.integers(1, 99), st.sampled_from(["", " ", "  "]))
def test_every_metric_has_a_margin_in_percent(name, percent, blank):
    sign = "+" if METRICS[name].sign > 0 else "-"
    margin = parse(f"{name}{blank}{sign}{blank}{percent}{blank}%")
    assert (margin.metric, margin.amount) == (name, pytest.approx(percent / 100))


@given(st.text(max_size=30))
def test_any_other_text_is_refused_and_never_crashes(text):
    try:
        margin = parse(text)
    except SettingsError:
        return
    assert margin.metric in METRICS
    assert margin.amount > 0
