"""The user's Python functions that a model may call: they run in the user's process, each call on its own thread."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from evalkit.errors import SettingsError
from evalkit.scorers.function_version import code_version

MAX_PARALLEL = 128  # calls; further calls wait, and their wait is measured separately

AsyncFunction = Callable[
    [str], Awaitable[str]
]  # from the arguments as the model wrote them to the result as it reads it


def check(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse functions that cannot be called for a model.

    Raises
    ------
    SettingsError
    """
    for name, function in functions.items():
        if not isinstance(name, str) or not callable(function):
            raise SettingsError(f"functions: {name!r} is {function!r}: map each name to a Python function")
        called = function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise SettingsError(f"functions: {name} is a generator, and a model reads one value: return a list")


def versions(functions: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
    """Names and versions of functions, as a run stores them."""
    return {name: code_version(function) for name, function in functions.items()}


def call_function(function: Callable[..., Any], arguments: str) -> str:
    """Call a Python function as the model requested; an error is returned as the result, as an API would do.

    An ``async def`` runs to its end. ``sys.exit`` is an error like any other.
    """
    try:
        result = function(**(json.loads(arguments.strip() or "{}") or {}))
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
        return as_text(result)
    except BaseException as error:  # wrong arguments, an error in it, or an attempt to end Python
        return as_text({"error": f"{type(error).__name__}: {error}"})


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def as_text(result: Any) -> str:
    """A function's result as the model reads it: text unchanged, anything else as JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str, allow_nan=False)
    return text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be sent


class FunctionThreads:
    """Calls functions, each on a daemon thread: one that never returns prevents neither a run nor Python from ending.

    Parameters
    ----------
    functions : mapping
        Name to Python function.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._functions = functions
        self._slots = threading.Semaphore(MAX_PARALLEL)
        self._waits_ns: list[int] = []

    def call(self, name: str, arguments: str, then: Callable[[str], None]) -> None:
        """Call one; its result is passed to ``then``, on that thread."""
        requested = time.perf_counter_ns()
        function = self._functions[name]

        def work() -> None:
            with self._slots:
                self._waits_ns.append(time.perf_counter_ns() - requested)
                result = call_function(function, arguments)
            then(result)

        threading.Thread(target=work, name=f"evalkit-function-{name}", daemon=True).start()

    def wait_times(self) -> dict[str, Any] | None:
        """How long calls waited for a free thread, in ms, with their number and the limit; None: there was no call."""
        if not self._waits_ns:
            return None
        waits = sorted(self._waits_ns)
        p50, p99, longest = (waits[min(int(share * len(waits)), len(waits) - 1)] / 1e6 for share in (0.5, 0.99, 1))
        return {
            "calls": len(self._waits_ns),
            "at_once": MAX_PARALLEL,
            "wait_ms": {"p50": p50, "p99": p99, "max": longest},
        }


def as_coroutines(functions: Mapping[str, Callable[..., Any]]) -> dict[str, AsyncFunction]:
    """The functions as a dialogue in this process calls them."""
    calls = FunctionThreads(functions)

    def coroutine(name: str) -> AsyncFunction:
        async def call(arguments: str) -> str:
            loop = asyncio.get_running_loop()
            result: asyncio.Future[str] = loop.create_future()

            def set_result(text: str) -> None:
                if not result.done():
                    result.set_result(text)

            def then(text: str) -> None:
                with suppress(RuntimeError):  # the loop may have ended
                    loop.call_soon_threadsafe(set_result, text)

            calls.call(name, arguments, then)
            return await result

        return call

    return {name: coroutine(name) for name in functions}
