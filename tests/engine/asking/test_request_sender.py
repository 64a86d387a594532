"""A request with its pacing: over real HTTP against the scripted server."""

import asyncio

import pytest

from evalkit.client.transport import Transport
from evalkit.conversation import Message
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.pacing.pause import Pause
from evalkit.engine.pacing.rate_limits import RateLimiter
from evalkit.engine.pacing.slots import Slots
from evalkit.scripted.server import Script, serve


@pytest.mark.parametrize("why", ["permit", "pause"])
def test_a_waiting_request_holds_no_slot(why):
    async def main(base_url, model):
        endpoint, slots, pause = Endpoint(base_url, model), Slots(2), Pause()
        async with Transport(endpoint) as transport:
            rate_limiter = RateLimiter(rpm=1) if why == "permit" else RateLimiter()
            sender = RequestSender(transport, endpoint, slots=slots, rate_limiter=rate_limiter, pause=pause)
            await sender.send_with_retries([Message("user", "Hello")], due=0)
            if why == "pause":
                pause.hold(60)
            waiting = [
                asyncio.create_task(sender.send_with_retries([Message("user", "Hello")], due=0)) for _ in range(5)
            ]
            await asyncio.sleep(0.3)
            inside = slots.in_use
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return inside, slots.in_use

    with serve(Script()) as server:
        assert asyncio.run(main(server.base_url, server.model)) == (0, 0)
        assert server.stats()["requests"] == 1
