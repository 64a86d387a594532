"""A server that keeps the bytes of every request, and answers each with the same chat completion."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class RecordingServer:
    """Where it listens, and what it received.

    ``answers``: the text of each answer, or keys of its message; the last one again and again. ``refuse``: a function
    of the bytes of a body that gives status and text of a refusal, or None.
    """

    base_url: str
    received: list[Received] = field(default_factory=list)
    answers: list[str | dict] = field(default_factory=lambda: ["It is 35."])
    refuse: Callable[[bytes], tuple[int, str] | None] = lambda body: None

    def answer(self) -> dict:
        """The message of the answer to the request that came last."""
        answer = self.answers[min(len(self.received), len(self.answers)) - 1]
        return answer if isinstance(answer, dict) else {"content": answer}


@contextmanager
def recording() -> Iterator[RecordingServer]:
    """Serve while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if (refusal := server.refuse(body)) is not None:
                status, text = refusal
                return self._send(status, "application/json", json.dumps({"error": {"message": text}}).encode())
            server.received.append(Received(self.path, dict(self.headers), body))
            message, asked = server.answer(), json.loads(body)
            usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
            if asked.get("stream"):
                delta = {"index": 0, "delta": message, "finish_reason": "stop"}
                event = json.dumps({"model": asked["model"], "choices": [delta], "usage": usage})
                return self._send(200, "text/event-stream", f"data: {event}\n\ndata: [DONE]\n\n".encode())
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
            whole = {"model": asked["model"], "choices": [choice], "usage": usage}
            return self._send(200, "application/json", json.dumps(whole).encode())

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = RecordingServer(f"http://127.0.0.1:{listening.server_port}/v1")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            listening.shutdown()
