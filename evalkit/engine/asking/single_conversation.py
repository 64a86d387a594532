"""One conversation in the user's own process: its turns, each as it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evalkit.client.transport import Transport
from evalkit.conversation import Conversation
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import event_loop, tool_functions
from evalkit.engine.asking.dialogue import Dialogue
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.record import TurnRecord


def records(
    conversation: Conversation,
    endpoint: Endpoint,
    *,
    stream: bool,
    functions: Mapping[str, Callable[..., Any]] | None,
    history: str,
) -> Iterator[TurnRecord]:
    """Run a conversation on a thread of its own from the first ``next`` on; the arguments are those of ``converse``."""
    ended: queue.SimpleQueue[TurnRecord | BaseException | None] = queue.SimpleQueue()
    closed = threading.Event()

    async def keep(record: TurnRecord) -> bool:
        ended.put(record)
        return not closed.is_set()

    async def ask() -> None:
        async with Transport(endpoint) as transport:
            asked = Dialogue(
                RequestSender(transport, endpoint, stream=stream),
                conversation,
                history=history,
                functions=tool_functions.as_coroutines(functions or {}),
            )
            await asked.run(keep)

    def work() -> None:
        try:
            event_loop.run(ask())
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=work, name="evalkit-converse", daemon=True).start()
    try:
        while (item := ended.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
