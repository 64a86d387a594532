"""The asking process's link to its parent: an ended turn is in the spool before the next request goes out."""

import asyncio
import resource
import socket
from contextlib import asynccontextmanager, contextmanager

import pytest
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import answer, answers, completion, send, serving
from records import answered, conversation

from evalkit.engine.asking.parent_link import ParentLink
from evalkit.engine.saving.process_messages import End
from evalkit.errors import RunFileError
from evalkit.runfile.store import spool_files


@asynccontextmanager
async def connected(runfile, on_error=lambda error: None):
    """A link to a parent that only listens."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        link = ParentLink()
        link.on_error = on_error
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        link.begin(runfile)
        yield link
        theirs.shutdown(socket.SHUT_RDWR)
        await link.end(End(1, "done", {}))


@contextmanager
def full_at(size):
    """As a disk that is full: no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def put(link, text):
    record = answered(1, text)
    link.put(0, conversation(record.conversation), True, True, record)


def test_a_turn_is_in_the_spool_before_the_next_request_goes_out(run, tmp_path):
    runfile = tmp_path / "r.evalkit"
    spooled = []

    async def look(request, writer):
        spooled.append(spool_files(runfile)[0].read_text())
        writer.write(answer("200 OK", completion()))

    async def go():
        async with connected(runfile) as link, serving(look, transport={"before_sending": link.keep}) as (_, transport):
            await send(transport, stream=False)
            put(link, "the first answer")
            await send(transport, stream=False)

    run(go())
    before, after = spooled
    assert "the first answer" not in before
    assert "the first answer" in after


def test_a_turn_after_the_last_request_is_stored_too(run, tmp_path):
    runfile = tmp_path / "r.evalkit"

    async def go():
        async with connected(runfile) as link:
            put(link, "the last answer")
            await asyncio.sleep(0.001)
            return spool_files(runfile)[0].read_text()

    assert "the last answer" in run(go())


def test_a_turn_that_cannot_be_encoded_is_reported(run, tmp_path):
    told = []

    async def go():
        async with connected(tmp_path / "r.evalkit", told.append) as link:
            put(link, "half a pair: \ud83d")
            await asyncio.sleep(0.001)
            with pytest.raises(TypeError, match="surrogates"):
                link.keep()

    run(go())
    assert told


def test_when_nothing_can_be_stored_nothing_more_is_sent(run, tmp_path):
    told = []

    async def go():
        async with (
            connected(tmp_path / "r.evalkit", told.append) as link,
            serving(answers, transport={"before_sending": link.keep}) as (server, transport),
        ):
            await send(transport, stream=False)
            with full_at(100):
                put(link, "lost")
                for _ in range(2):
                    with pytest.raises(RunFileError, match=r"r.evalkit cannot be written: .*evalkit resume"):
                        await send(transport, stream=False)
            return len(server.requests)

    assert run(go()) == 1
    assert told
