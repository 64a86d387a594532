"""One HTTP exchange on a bare socket: what came, read by read, and how it ended."""

import json
import socket
import time
from dataclasses import dataclass, field

CHAT = "/v1/chat/completions"


@dataclass
class Heard:
    """``ending``: ``whole`` (the message is complete), ``eof``, ``reset`` or ``silence`` (nothing more in time)."""

    raw: bytes = b""
    ending: str = "whole"
    reads: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def head(self) -> list[str]:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")

    @property
    def status(self) -> int:
        return int(self.head[0].split()[1])

    @property
    def headers(self) -> dict[str, str]:
        """In their order, names as sent."""
        return dict(line.split(": ", 1) for line in self.head[1:])

    @property
    def body(self) -> bytes:
        body = self.raw.partition(b"\r\n\r\n")[2]
        return dechunk(body) if "chunked" in self.headers.get("Transfer-Encoding", "") else body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def data(self) -> list[str]:
        """What stands behind ``data:`` in each event."""
        return [part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part.startswith("data: ")]

    @property
    def events(self) -> list[dict]:
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def text(self) -> str:
        return "".join(e["choices"][0]["delta"].get("content") or "" for e in self.events if e.get("choices"))

    @property
    def complete(self) -> bool:
        if b"\r\n\r\n" not in self.raw:
            return False
        length = next((value for name, value in self.headers.items() if name.lower() == "content-length"), None)
        if length is None:
            return self.raw.endswith(b"\r\n0\r\n\r\n")
        return len(self.raw) >= self.raw.index(b"\r\n\r\n") + 4 + int(length)


def dechunk(data: bytes) -> bytes:
    """The content of a chunked body, as far as it has come."""
    parts, at = [], 0
    while (end := data.find(b"\r\n", at)) > 0:
        size = int(data[at:end], 16)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(parts)


def request(body, *, path=CHAT, method="POST", headers=None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "Host": "test",
        "Content-Type": "application/json",
        "Authorization": "Bearer x",
        "Content-Length": len(data),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data


def ask(port: int, body=b"", *, silence=2.0, **how) -> Heard:
    """One request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=silence) as connection:
        connection.sendall(request(body, **how))
        return listen(connection)


def listen(connection: socket.socket) -> Heard:
    """Read until the message is complete, the connection ends, or nothing comes any more."""
    heard = Heard()
    while not heard.complete:
        try:
            data = connection.recv(1 << 20)
        except TimeoutError:
            heard.ending = "silence"
            return heard
        except ConnectionResetError:
            heard.ending = "reset"
            return heard
        if not data:
            heard.ending = "eof"
            return heard
        heard.reads.append((time.perf_counter(), data))
        heard.raw += data
    return heard


def chat(text="What is the sum of 12 + 23?", model="scripted", **fields) -> dict:
    """A request body with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}
