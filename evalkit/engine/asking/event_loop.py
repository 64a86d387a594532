"""Runs a coroutine on the event loop that is used for requests."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop of its own, uvloop's where that exists, and return its result."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as loop:
        return loop.run(work)


def run_in_thread(work: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """Run it on a loop in a thread of its own, as a notebook needs, which has a running loop; return its result.

    An interrupt while it runs cancels it, waits for its end, and is raised.

    Parameters
    ----------
    name : str
        Of the thread.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    interrupted, ended = threading.Event(), threading.Event()

    async def interruptible() -> T:
        task = asyncio.current_task()
        assert task is not None
        tasks.append((asyncio.get_running_loop(), task))
        if interrupted.is_set():
            raise asyncio.CancelledError
        return await work()

    def in_thread() -> None:
        try:
            results.append(run(interruptible()))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=in_thread, name=name, daemon=True)
    try:
        thread.start()
        while not ended.wait(_POLL_S):  # an interrupt is raised here
            pass
    except BaseException:
        interrupted.set()
        for loop, task in tasks:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
        if thread.is_alive():
            thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
