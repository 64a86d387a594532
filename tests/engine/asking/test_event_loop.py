"""A coroutine in a thread of its own: its result, its errors, and an interrupt at any moment."""

import asyncio
import signal
import threading

import pytest

from evalkit.engine.asking import event_loop

NAME = "evalkit-test"


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also where whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_result_is_returned_inside_a_running_loop_too():
    async def work():
        return threading.current_thread().name

    async def notebook():
        return event_loop.run_in_thread(work, NAME)

    assert asyncio.run(notebook()) == NAME


def test_an_error_is_raised():
    async def work():
        raise ValueError("seven")

    with pytest.raises(ValueError, match="seven"):
        event_loop.run_in_thread(work, NAME)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_the_work_and_waits_for_its_end():
    ended = []

    async def work():
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        event_loop.run_in_thread(work, NAME)
    assert ended == [True]
    assert NAME not in {thread.name for thread in threading.enumerate()}


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_before_the_work_has_begun_prevents_it(monkeypatch):
    begun = []
    run = event_loop.run

    def late(work):
        signal.raise_signal(signal.SIGINT)
        threading.Event().wait(0.3)
        return run(work)

    async def work():
        begun.append(True)

    monkeypatch.setattr(event_loop, "run", late)
    with pytest.raises(KeyboardInterrupt):
        event_loop.run_in_thread(work, NAME)
    assert not begun
    assert NAME not in {thread.name for thread in threading.enumerate()}
