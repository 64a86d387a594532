"""The asking process: starts the event loop, waits for the task, and runs its session."""

from __future__ import annotations

import asyncio
import socket
import sys

from evalkit.engine.asking import event_loop
from evalkit.engine.asking.parent_link import ParentLink
from evalkit.engine.asking.session import Session
from evalkit.engine.asking.shared_session import SharedSession


def main() -> None:
    """Run the task received from the parent; the arguments are the socket's descriptor and the parent's process id."""
    event_loop.run(_run(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))


async def _run(connection: socket.socket, parent: int) -> None:
    link = ParentLink()
    connection.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=connection)
    watcher = asyncio.create_task(link.watch_parent(parent))
    task = await link.task()
    await (Session if task.data is not None else SharedSession)(task, link).run()
    watcher.cancel()
