"""The user's own Python functions that a model may call: called in the user's process, each on a thread of its own."""

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

MAX_PARALLEL = 128  # calls at a time; more wait, and their waiting is measured apart

AsyncFunction = Callable[[str], Awaitable[str]]  # arguments as the model wrote them, in; the result as it reads it, out


def check(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse what cannot be called for a model.

    Raises
    ------
    SettingsError
    """
    for name, function in functions.items():
        if not isinstance(name, str) or not callable(function):
            raise SettingsError(f"functions: {name!r} is {function!r}: give the name of each and a Python function")
        called = function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise SettingsError(f"functions: {name} yields values one by one, and a model reads one: return a list")


def versions(functions: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
    """What a run keeps of its functions: their names and versions."""
    return {name: code_version(function) for name, function in functions.items()}


def call_function(function: Callable[..., Any], arguments: str) -> str:
    """Call a Python function as a model asked for; what goes wrong is the result, as an API would tell it.

    An ``async def`` is run to its end. ``sys.exit`` is a failure like any other.
    """
    try:
        result = function(**json.loads(arguments or "{}"))
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
        return as_text(result)
    except BaseException as error:  # the model called it wrongly, or it failed, or wanted to end Python
        return as_text({"error": f"{type(error).__name__}: {error}"})


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def as_text(result: Any) -> str:
    """A function's result as the model reads it: text as it is, anything else as JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str, allow_nan=False)
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent


class FunctionThreads:
    """Calls functions, each on a daemon thread: one that never returns keeps neither a run nor Python from ending.

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
        """Call one; its result goes to ``then``, on that thread."""
        asked = time.perf_counter_ns()
        function = self._functions[name]

        def work() -> None:
            with self._slots:
                self._waits_ns.append(time.perf_counter_ns() - asked)
                result = call_function(function, arguments)
            then(result)

        threading.Thread(target=work, name=f"evalkit-function-{name}", daemon=True).start()

    def waits(self) -> dict[str, Any] | None:
        """How long calls waited for a thread: their number, the limit, and milliseconds; None: there was no call."""
        if not self._waits_ns:
            return None
        waits = sorted(self._waits_ns)
        p50, p99, longest = (waits[min(int(share * len(waits)), len(waits) - 1)] / 1e6 for share in (0.5, 0.99, 1))
        return {
            "calls": len(self._waits_ns),
            "at_once": MAX_PARALLEL,
            "wait_ms": {"p50": p50, "p99": p99, "max": longest},
        }


def in_threads(functions: Mapping[str, Callable[..., Any]]) -> dict[str, AsyncFunction]:
    """Functions for a dialogue of this process."""
    calls = FunctionThreads(functions)

    def awaitable(name: str) -> AsyncFunction:
        async def call(arguments: str) -> str:
            loop = asyncio.get_running_loop()
            result: asyncio.Future[str] = loop.create_future()

            def tell(text: str) -> None:
                if not result.done():
                    result.set_result(text)

            def then(text: str) -> None:
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    loop.call_soon_threadsafe(tell, text)

            calls.call(name, arguments, then)
            return await result

        return call

    return {name: awaitable(name) for name in functions}
