"""Both event loops: asyncio's own and uvloop. A test that takes ``run`` is run on each."""

import asyncio
import gc

import uvloop

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on(new_loop):
    """What runs a coroutine on such a loop; whatever the loop would only log is an error."""

    def run(coroutine):
        logged = []
        _leave_out_what_is_there()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: logged.append(context))
            result = runner.run(asyncio.wait_for(coroutine, 30))
            gc.collect()
        # what a test's own server says of a client that hung up, in debug mode, is no fault of the client
        logged = [context for context in logged if "incoming connection" not in context["message"]]
        assert not logged, logged
        return result

    return run


def _leave_out_what_is_there():
    """Collecting is quick when only a test's own garbage is looked through. A run unfreezes the rest when it ends."""
    gc.collect(1)
    gc.freeze()


def pytest_generate_tests(metafunc):
    """To be imported by a test module."""
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", [on(new_loop) for new_loop in LOOPS.values()], ids=LOOPS)
