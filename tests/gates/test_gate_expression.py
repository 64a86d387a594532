"""How a gate is written, and what the message says when it is not one."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalkit.errors import SettingsError
from evalkit.gates.gate_expression import OPERATORS, Gate, parse
from evalkit.gates.metrics import METRICS

KNOWN = (
    "accuracy, accuracy_all, errors, all_right, pass@k, pass^k, worst_turn, complete, "
    "ttft_p50, ttft_p95, ttft_p99, latency_p50, latency_p95, latency_p99, "
    "tpot_p50, tpot_p95, tpot_p99, schedule_latency_p50, schedule_latency_p95, schedule_latency_p99, turns_per_s, cost"
)


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("accuracy>=0.8", ("accuracy", None, None, ">=", 0.8)),
        (" accuracy.low >= 80 % ", ("accuracy", None, "low", ">=", 0.8)),
        ("errors<=1%", ("errors", None, None, "<=", 0.01)),
        ("errors<.07", ("errors", None, None, "<", 0.07)),
        ("errors<=14.5%", ("errors", None, None, "<=", 29 / 200)),  # and not 0.14500000000000002
        ("ttft_p95.high<=400ms", ("ttft_p95", None, "high", "<=", 400.0)),
        ("latency_p99<1.5s", ("latency_p99", None, None, "<", 1500.0)),
        ("tpot_p50<=900us", ("tpot_p50", None, None, "<=", 0.9)),
        ("schedule_latency_p50<2min", ("schedule_latency_p50", None, None, "<", 120_000.0)),
        ("accuracy_all[2]>0.5", ("accuracy_all", 2, None, ">", 0.5)),
        ("ttft_p50[12].low>1ms", ("ttft_p50", 12, "low", ">", 1.0)),
        ("turns_per_s>=20", ("turns_per_s", None, None, ">=", 20.0)),
        ("cost<=0.05", ("cost", None, None, "<=", 0.05)),
    ],
)
def test_a_gate_is_a_metric_an_operator_and_a_limit_with_its_unit(text, gate):
    assert parse(text) == Gate(text.strip(), *gate)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy", "character 9: there is no comparison (>=, <=, >, <), as in accuracy>=0.8, accuracy.low>=0.75, "
                     "ttft_p95<=400ms, errors<=1%; quote a gate in a shell"),
        ("accuracy=0.8", "character 9: there is no comparison (>=, <=, >, <), as in accuracy>=0.8, accuracy.low>=0.75, "
                         "ttft_p95<=400ms, errors<=1%; quote a gate in a shell"),
        ("acuracy>=0.8", f"character 1: there is no metric 'acuracy' (did you mean accuracy?); there are: {KNOWN}"),
        ("ttft>=0.8", f"character 1: there is no metric 'ttft' (did you mean ttft_p99?); there are: {KNOWN}"),
        (">=0.8", f"character 1: there is no metric before '>'; there are: {KNOWN}"),
        ("accuracy=>0.8", "character 9: '=' is not understood: write accuracy, accuracy[TURN], accuracy.low or "
                          "accuracy[TURN].low, then >=, <=, >, <"),
        ("accuracy[x]>=0.8", "character 9: '[x]' is not understood: write accuracy, accuracy[TURN], accuracy.low or "
                             "accuracy[TURN].low, then >=, <=, >, <"),
        ("accuracy.low[3]>=5%", "character 13: '[3]' is not understood: write accuracy, accuracy[TURN], accuracy.low "
                                "or accuracy[TURN].low, then >=, <=, >, <"),
        ("accuracy[0]>=0.8", "character 10: turns are counted from 1"),
        ("cost[1]<1", "character 6: cost is measured for the whole run only: omit [1]"),
        ("accuracy.middle>=0.8", "character 10: 'middle' is not a limit of an interval: write low or high"),
        ("errors.high<=1%", "character 8: errors has no interval: omit .high"),
        ("accuracy>=", "character 11: '' is not a number with its unit, such as 0.8 or 80%"),
        ("accuracy>=0,8", "character 11: '0,8' is not a number with its unit, such as 0.8 or 80%"),
        ("accuracy>=-1", "character 11: '-1' is not a number with its unit, such as 0.8 or 80%"),
        ("accuracy>=0.8 errors<=1%", "character 11: '0.8 errors<=1%' is not a number with its unit, such as 0.8 or "
                                     "80%"),
        ("accuracy>=80", "character 11: accuracy is at most 1 (100%): write 0.8 or 80%"),
        ("accuracy>=5ms", "character 12: the unit 'ms' does not fit: limit accuracy by 0.8 or 80%"),
        ("ttft_p95<=400", "character 14: a time needs a unit: limit ttft_p95 by 400ms (units: us, ms, s, min)"),
        ("ttft_p95<=4%", "character 12: the unit '%' does not fit: limit ttft_p95 by 400ms (units: us, ms, s, "
                         "min)"),
        ("cost<=4€", "character 8: the unit '€' does not fit: limit cost by a plain number, such as 0.5"),
        ("cost<=" + "9" * 400, "character 7: the number is too large"),
    ],
)  # fmt: skip
def test_the_message_of_an_invalid_gate_names_position_and_problem(text, message):
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value) == f"gate {text!r}, {message}"


UNITS = {"share": ("", "%"), "time": ("us", "ms", "s", "min"), "number": ("",)}


blanks = st.sampled_from(["", " ", "  "])


@given(
    st.sampled_from(sorted(METRICS)), st.none() | st.integers(1, 10**9 - 1), st.sampled_from([None, "low", "high"]),
    st.sampled_from(sorted(OPERATORS)), st.decimals(0, 1, places=4), st.data(), blanks, blanks,
)  # fmt: skip
def test_every_valid_gate_is_parsed(name, turn, bound, operator, number, data, before, after):
    metric = METRICS[name]
    turn, bound = turn if metric.by_turn else None, bound if metric.interval else None
    unit = data.draw(st.sampled_from(UNITS[metric.kind]))
    left = name + ("" if turn is None else f"[{turn}]") + ("" if bound is None else f".{bound}")
    gate = parse(f"{before}{left}{before}{operator}{after}{number:f}{before}{unit}{after}")
    scale = {"": 1, "%": 0.01, "us": 0.001, "ms": 1, "s": 1000, "min": 60_000}[unit]
    assert (gate.metric, gate.turn, gate.bound, gate.operator, gate.left) == (name, turn, bound, operator, left)
    assert gate.limit == pytest.approx(float(number) * scale, rel=1e-12, abs=1e-12)
    assert parse(gate.text) == gate


@settings(max_examples=60)
@given(st.text() | st.from_regex(r"\A[a-z_]{0,9}[\[\].0-9]{0,6}\s?[<>=]{0,3}\s?[0-9.e+-]{0,6}[a-z%]{0,3}\Z"))
@example("accuracy[" + "9" * 5000 + "]>=0.8")
@example("accuracy>=٠.٨")  # digits, but not ASCII
@example("errors<=1%\n")
def test_any_text_is_parsed_or_refused_with_a_message(text):
    try:
        gate = parse(text)
    except SettingsError as error:
        where, _, problem = str(error).removeprefix(f"gate {text!r}, character ").partition(": ")
        assert 1 <= int(where) <= len(text) + 1
        assert problem
    else:
        assert 0 <= gate.limit < float("inf")


@pytest.mark.parametrize(
    ("text", "limits"),
    [("errors<=5%", True), ("errors<1", True), ("errors>=0", False), ("errors[1]<=5%", False), ("accuracy>=0", False)],
)
def test_which_gates_limit_errors(text, limits):
    assert parse(text).limits_errors is limits
