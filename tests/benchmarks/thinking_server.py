"""A server of a reasoning model that thinks in one of many forms, and reports when it wrote what.

The model's name is the form. Four thoughts come 50 ms after the request and every 10 ms after that, then four pieces of
the answer; the last of them holds readings of the system-wide monotonic clock: ``r<request received>w<first thought
written>v<first piece of the answer written>``. Shares nothing with ``evalkit``.

    python thinking_server.py          prints its port, serves on loopback until its standard input is closed
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

FIRST_S, EVERY_S = 0.050, 0.010
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
THOUGHTS, ANSWER = ("is ", "it ", "34? ", "no"), ("The ", "sum ", "is 35. ")


def fields(make: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [make(thought) for thought in THOUGHTS]


def text(begin: str, end: str) -> list[dict[str, Any]]:
    thoughts = [begin + THOUGHTS[0], *THOUGHTS[1:-1], THOUGHTS[-1] + end]
    return [{"content": thought} for thought in thoughts]


PLAIN = "no reasoning"  # for comparison: the first piece is the answer's first
FORMS = {
    PLAIN: text("", ""),
    "reasoning_content": fields(lambda thought: {"reasoning_content": thought}),
    "reasoning": fields(lambda thought: {"reasoning": thought}),
    "reasoning_text": fields(lambda thought: {"reasoning_text": thought}),
    "reasoning_details": fields(lambda thought: {"reasoning_details": [{"type": "reasoning.text", "text": thought}]}),
    "thinking": fields(lambda thought: {"thinking": thought}),
    "thinking-object": fields(lambda thought: {"thinking": {"text": thought}}),
    "thinking_blocks": fields(lambda thought: {"thinking_blocks": [{"type": "thinking", "thinking": thought}]}),
    "two-fields": fields(lambda thought: {"reasoning_content": thought, "reasoning": thought}),
    "typed-parts": fields(
        lambda thought: {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]}
    ),
    "think-tags": text("<think>", "</think>\n"),
    "closing-tag-only": text("", "</think>\n"),
    "square-tags": text("[THINK]", "[/THINK]"),
    "channels": text("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "bare-channels": text("analysisSo ", "assistantfinal"),
}


def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    """One event as one HTTP chunk."""
    value = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    data = b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


EVENTS = {form: [event(delta) for delta in deltas] for form, deltas in FORMS.items()}
SHOWN = [event({"content": piece}) for piece in ANSWER]
END = event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
            await answer(json.loads(body)["model"], time.perf_counter_ns(), writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def answer(form: str, received: int, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + FIRST_S
    thought = shown = 0
    for number, piece in enumerate([HEAD + EVENTS[form][0], *EVENTS[form][1:], *SHOWN]):
        await asyncio.sleep(due + number * EVERY_S - loop.time())
        now = time.perf_counter_ns()
        thought = thought or now
        if number == (0 if form == PLAIN else len(THOUGHTS)):
            shown = now
        writer.write(piece)
    writer.write(event({"content": f"r{received}w{thought}v{shown} "}) + END)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
