"""The front of the embedded server: relays HTTP both ways and lets a required function call come about.

SmolLM2's own chat template leaves tools out, and the model never begins a call by itself. ``CHAT_TEMPLATE`` puts
them in. When a request requires a call, the front ends its messages with the opening of one, as if the model had
already begun it; the server's grammar does the rest, and the call that comes back is the model's. A request that
leaves the choice to the model goes through as it is.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson

_OPENING = "<tool_call>\n"
_CLOSING = "</tool_call>"

# Without tools it gives, byte for byte, what the template inside the model file gives.
CHAT_TEMPLATE = r"""
{%- if tools -%}
  {%- set tool_block -%}
    {{- '\n\nFunctions:\n<tools>\n' -}}
    {%- for tool in tools %}{{- (tool['function'] | tojson) + '\n' -}}{% endfor -%}
    {{- '</tools>\nPick the function that answers the question, and take its arguments from the question:\n' -}}
    {{- '<tool_call>\n{"name": <function name>, "arguments": <arguments as JSON>}\n</tool_call>' -}}
  {%- endset -%}
{%- else -%}
  {%- set tool_block = '' -%}
{%- endif -%}
{%- for message in messages -%}
  {%- if loop.first and message['role'] != 'system' -%}
    {{- '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face' -}}
    {{- tool_block + '<|im_end|>\n' -}}
  {%- endif -%}
  {%- if message['role'] == 'tool' -%}
    {{- '<|im_start|>user\n<tool_response>\n' + message['content'] + '\n</tool_response><|im_end|>\n' -}}
  {%- else -%}
    {{- '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') -}}
    {%- if loop.first and message['role'] == 'system' %}{{- tool_block -}}{% endif -%}
    {%- for call in message['tool_calls'] or [] -%}
      {{- '<tool_call>\n{"name": ' + (call['function']['name'] | tojson) -}}
      {{- ', "arguments": ' + (call['function']['arguments'] | tojson) + '}\n</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' -}}{% endif -%}
""".strip()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer the front gives itself, in OpenAI's form."""

    status: int
    message: str
    param: str
    code: str

    def to_bytes(self) -> bytes:
        """The whole HTTP answer; the connection ends after it."""
        error = {"message": self.message, "type": "invalid_request_error", "param": self.param, "code": self.code}
        body = orjson.dumps({"error": error})
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            "Content-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server behind the front.

    Parameters
    ----------
    port : int
        Where it listens on loopback.
    key : str
        The API key it wants.
    model : str
        The one model name it serves.
    leads : bool
        It runs on ``CHAT_TEMPLATE``, so that required calls need their opening.
    """

    port: int
    key: str
    model: str
    leads: bool

    def __repr__(self) -> str:
        return f"Upstream(port={self.port}, model={self.model!r}, leads={self.leads})"

    def prepare(self, request: dict[str, Any]) -> dict[str, Any] | Refusal:
        """The request to pass on for this one: itself, unless it requires a call."""
        asked = request.get("model")
        # the server itself takes any name, so that a misspelt one would seem to be served
        if isinstance(asked, str) and asked not in ("", self.model):
            message = f"The model {asked!r} does not exist here. This server has {self.model!r}."
            return Refusal(404, message, "model", "model_not_found")
        return with_opening(request) if self.leads else request


def with_opening(request: dict[str, Any]) -> dict[str, Any] | Refusal:
    """The request with its required call begun; itself when it requires none."""
    tools, choice, messages = request.get("tools"), request.get("tool_choice"), request.get("messages")
    if not (tools and isinstance(tools, list) and isinstance(messages, list)):
        return request
    if isinstance(choice, dict):
        named = _function_name(choice)
        tools = [tool for tool in tools if _function_name(tool) == named]
        if not tools:
            return Refusal(
                400, f"tool_choice names {named!r}, which is none of the tools.", "tool_choice", "invalid_value"
            )
    elif choice != "required":
        return request
    opening = {"role": "assistant", "content": _OPENING}
    request = {**request, "tools": tools, "tool_choice": "required", "messages": [*messages, opening]}
    if request.get("parallel_tool_calls") is not True:
        # Left alone, the model repeats its call: inside the block, which the flag forbids, and in further
        # blocks, which it does not.
        stop = request.get("stop") or []
        request["parallel_tool_calls"] = False
        if isinstance(stop, (str, list)):
            request["stop"] = [*([stop] if isinstance(stop, str) else stop), _CLOSING]
    return request


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _function_name(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


async def listen(socket: Any, upstream: Upstream) -> asyncio.Server:
    """Serve the bound socket as the front of ``upstream``."""
    return await asyncio.get_running_loop().create_server(lambda: _Client(upstream), sock=socket)


class _Client(asyncio.Protocol):
    """One connection of a client, tied to one of its own to the server behind.

    Answers are never parsed: each read of them goes out in the same turn of the loop.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: list[bytes] = []
        self._behind: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            behind, _ = await loop.create_connection(lambda: _Behind(self._transport), "127.0.0.1", self._upstream.port)
        except OSError:
            self._transport.abort()
            return
        if self._transport.is_closing():
            behind.abort()
            return
        self._behind = behind
        behind.writelines(self._waiting)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer(Refusal(400, f"This is no HTTP request: {error}.", "", "bad_request"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._behind is not None:
            self._behind.abort()  # the server stops writing an answer nobody reads

    def on_message_begin(self) -> None:
        self._url = self._body = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if any(name.lower() == b"expect" for name, _ in self._headers):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        # without the key the server behind has the word: it answers 401 to everything
        request = _json_object(self._body) if self._authorised() else None
        if request is None:
            self._pass_on(self._body)
            return
        prepared = self._upstream.prepare(request)
        if isinstance(prepared, Refusal):
            self._answer(prepared)
            return
        # It hangs up after every stream, though it promises to keep the connection: asked to, it says so.
        body = self._body if prepared is request else orjson.dumps(prepared)
        self._pass_on(body, hang_up=request.get("stream") is True)

    def _authorised(self) -> bool:
        expected = f"Bearer {self._upstream.key}".encode()
        return any(
            name.lower() == b"authorization" and hmac.compare_digest(value, expected) for name, value in self._headers
        )

    def _pass_on(self, body: bytes, hang_up: bool = False) -> None:
        data = self._head(len(body), hang_up) + body
        if self._behind is None:
            self._waiting.append(data)
        else:
            self._behind.write(data)

    def _head(self, length: int, hang_up: bool) -> bytes:
        """The request's head as it came, framed by its length."""
        method = self._parser.get_method()
        lines = [b"%s %s HTTP/%s" % (method, self._url, self._parser.get_http_version().encode())]
        replaced = {b"content-length", b"transfer-encoding", b"expect"} | ({b"connection"} if hang_up else set())
        lines += [b"%s: %s" % header for header in self._headers if header[0].lower() not in replaced]
        if length or method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"Content-Length: %d" % length)
        if hang_up:
            lines.append(b"Connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _answer(self, refusal: Refusal) -> None:
        self._transport.write(refusal.to_bytes())
        self._transport.close()


class _Behind(asyncio.Protocol):
    """The connection to the server behind."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()
