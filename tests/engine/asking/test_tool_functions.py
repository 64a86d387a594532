"""Python functions that a model calls: results, errors, coroutines, waits for a thread."""

import json
import subprocess
import sys
import textwrap
import threading

import pytest

from evalkit.engine.asking import tool_functions
from evalkit.engine.asking.tool_functions import FunctionThreads, call_function
from evalkit.errors import SettingsError


async def later(city):
    return f"sunny in {city}"


def ends(city):
    sys.exit("no database")


def half(city):
    return "half a pair: \ud83d"


def loops(city):
    result = []
    result.append(result)
    return result


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        (lambda city: {"city": city}, '{"city": "Rome"}', '{"city": "Rome"}'),
        (lambda: "no arguments", "", "no arguments"),
        (later, '{"city": "Rome"}', "sunny in Rome"),
        (ends, '{"city": "Rome"}', '{"error": "SystemExit: no database"}'),
        (half, '{"city": "Rome"}', "half a pair: ?"),
    ],
)
def test_the_result_is_what_a_model_can_read(function, arguments, text):
    assert call_function(function, arguments) == text


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(loops, '{"city": "x"}'), (later, "[1]"), (later, "{"), (later, '{"town": "x"}'), (later, "[" * 5000)],
)
def test_errors_are_returned_to_the_model(function, arguments):
    assert list(json.loads(call_function(function, arguments))) == ["error"]


def _yields(city):
    yield city


async def _yields_later(city):
    yield city


@pytest.mark.parametrize("functions", [{"f": "text"}, {1: len}, {"f": _yields}, {"f": _yields_later}])
def test_what_cannot_be_called_for_a_model_is_refused(functions):
    with pytest.raises(SettingsError, match="functions: "):
        tool_functions.check(functions)


def test_calls_run_in_parallel_up_to_a_limit_and_their_waits_are_measured(monkeypatch):
    monkeypatch.setattr(tool_functions, "MAX_PARALLEL", 2)
    release, ended = threading.Event(), threading.Semaphore(0)
    inside = []

    def f():
        inside.append(1)
        release.wait(30)
        return "ok"

    calls = FunctionThreads({"f": f})
    assert calls.wait_times() is None
    for _ in range(3):
        calls.call("f", "{}", lambda text: ended.release())
    while len(inside) < 2:
        pass
    assert len(inside) == 2
    release.set()
    for _ in range(3):
        assert ended.acquire(timeout=30)
    waits = calls.wait_times()
    assert (waits["calls"], waits["at_once"]) == (3, 2)
    assert waits["wait_ms"]["max"] >= waits["wait_ms"]["p50"] >= 0


def test_a_function_that_never_returns_does_not_keep_python_from_ending():
    code = """
        import threading
        from evalkit.engine.asking.tool_functions import FunctionThreads
        FunctionThreads({"f": lambda: threading.Event().wait()}).call("f", "{}", print)
        print("the end")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "the end\n")
