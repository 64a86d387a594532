"""A judge's temperature: evalkit sets it to 0, unless the user sets another or the endpoint refuses it."""

import io

import pytest
from judges import Bench, fair, refusing, run_of
from rich.console import Console

import evalkit as ek
from evalkit.console.judge import show_judging
from evalkit.scripted.profile_openai import ApiError


def without_temperature(judge, message, param=None):
    """The same judge on an endpoint that refuses requests with a temperature in these words."""

    def answer(body):
        if "temperature" in body:
            raise ApiError(400, message, "invalid_request_error", param)
        return judge(body)

    return answer


def shown(done):
    text = io.StringIO()
    show_judging(Console(file=text, width=400), done)
    return text.getvalue()


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
        "invalid temperature: only 1 is allowed for this model",
        "The model returned the following errors: temperature is deprecated for this model.",
        "Input validation error: `temperature` must be strictly positive",
        "Bad request",
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_refused_temperature_of_0_is_left_out_after_one_try(tmp_path, message, stream):
    path = run_of(tmp_path)
    with Bench(without_temperature(fair, message)) as bench:
        done = ek.judge(path, bench.endpoint(), stream=stream)
        asked = len(bench.asked)
        again = ek.judge(path, bench.endpoint(), stream=stream)
        assert len(bench.asked) == asked  # found again, nothing is sent twice
    assert (done.judged, done.failed, done.judge["temperature_refused"]) == (3, 0, True)
    assert again.judge == done.judge
    assert "it refuses temperature 0 and ran at its own" in shown(done)


def test_temperature_and_answer_format_may_both_be_refused(tmp_path):
    path = run_of(tmp_path)
    judge = without_temperature(refusing(fair), "temperature is not supported")
    with Bench(judge) as bench:
        done = ek.judge(path, bench.endpoint())
    assert (done.failed, done.judge["form"], done.judge["temperature_refused"]) == (0, "plain", True)


def test_a_temperature_that_the_user_sets_is_never_left_out(tmp_path):
    path = run_of(tmp_path)
    with (
        Bench(without_temperature(fair, "temperature is not supported")) as bench,
        pytest.raises(ek.EndpointError, match="--param temperature=null"),
    ):
        ek.judge(path, bench.endpoint(params={"temperature": 0.5}))


def test_a_judge_at_its_own_temperature_by_the_users_will(tmp_path):
    path = run_of(tmp_path)
    with Bench(fair) as bench:
        done = ek.judge(path, bench.endpoint(params={"temperature": None}))
        assert not any("temperature" in body for body in bench.asked)
    assert "temperature_refused" not in done.judge
    assert "temperature" not in shown(done)


def test_a_judge_that_accepts_temperature_0_gets_it(tmp_path):
    path = run_of(tmp_path)
    with Bench(fair) as bench:
        done = ek.judge(path, bench.endpoint())
        assert {body["temperature"] for body in bench.asked} == {0}
    assert "temperature_refused" not in done.judge
