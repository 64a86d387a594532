"""A small endpoint that conforms, but for what a test changes in its answers; its HTTP is written byte by byte."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

WORDS = ("one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight.")
JSON = "application/json"
EVENTS = "text/event-stream"
IDS = iter(range(10**9))


def usage(completion=8, **more):
    return {"prompt_tokens": 20, "completion_tokens": completion, "total_tokens": 20 + completion, **more}


def completion(message=None, finish="stop", counts=None, **more):
    """A whole answer."""
    message = {"role": "assistant", "content": "".join(WORDS), **(message or {})}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    body = {"id": f"c{next(IDS)}", "object": "chat.completion", "created": int(time.time()), "model": "m"}
    return {**body, "choices": [choice], "usage": usage() if counts is None else counts, **more}


def chunk(delta, finish=None, **more):
    """An event of a stream; ``choice``: more keys of its choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more.pop("choice", {})}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [choice],
        **more,
    }


def chunks(*deltas, finish="stop", counts=None):
    """The events of a stream with these deltas."""
    pieces = [chunk(delta) for delta in deltas or [{"content": word} for word in WORDS]]
    end = {**chunk({}), "choices": [], "usage": usage() if counts is None else counts}
    return [chunk({"role": "assistant", "content": ""}), *pieces, chunk({}, finish), end]


def events(bodies, done=True):
    """The bytes of a stream."""
    data = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    return data + b"data: [DONE]\n\n" * done


def reply(body, status=200, kind=JSON, **headers):
    """A whole HTTP message."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"content-type": kind, "content-length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def stream(bodies, done=True):
    return reply(events(bodies, done), kind=EVENTS)


def error(message="no", status=400, **more):
    return reply({"error": {"message": message, "type": "t", "param": None, "code": None, **more}}, status)


def conforming(request):
    """The answer to a chat-completion request that no test has changed."""
    return stream(chunks()) if request.get("stream") else reply(completion())


@contextmanager
def behaving(answer=lambda request: None, get=lambda path: None):
    """The base URL of an endpoint, and the requests that it was sent.

    ``answer`` accepts the parsed body of a request, or its bytes if that is not JSON, and returns HTTP, a function that
    is called with the writing file, or None for an answer that conforms; ``get`` the same of a path.
    """
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            try:
                request = json.loads(raw)
            except ValueError:
                request = {"raw": raw}
            requests.append((dict(self.headers), request))
            self._send(answer(request) or conforming(request))

        def do_GET(self):
            self._send(get(self.path) or reply({"object": "list", "data": [{"id": "m", "object": "model"}]}))

        def _send(self, sent):
            if callable(sent):
                sent(self.wfile)
                self.close_connection = True
            else:
                self.wfile.write(sent)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
