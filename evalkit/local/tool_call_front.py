"""The front of the embedded server: relays HTTP both ways and makes required function calls possible.

SmolLM2's own chat template ignores tools, and the model never starts a call by itself. ``CHAT_TEMPLATE`` adds the
tools. If a request requires a call, the front adds the opening of a call to the end of its messages, as if the model
had started it; the server's grammar does the rest, and the call in the answer is the model's. A request that leaves the
choice to the model is passed on unchanged.
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

# Without tools its result is, byte for byte, that of the template in the model file.
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
class ErrorReply:
    """An error answer by the front itself, in OpenAI's form."""

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
        Its port on loopback.
    key : str
        The API key it requires.
    model : str
        The one model name it serves.
    opens_calls : bool
        Whether required calls need an opening, as they do with ``CHAT_TEMPLATE``.
    """

    port: int
    key: str
    model: str
    opens_calls: bool

    def __repr__(self) -> str:
        return f"Upstream(port={self.port}, model={self.model!r}, opens_calls={self.opens_calls})"

    def prepare(self, request: dict[str, Any]) -> dict[str, Any] | ErrorReply:
        """The request to pass on: the same one, unless it requires a call or is refused."""
        name = request.get("model")
        # the server behind accepts any name, so a mistyped one would seem to exist
        if isinstance(name, str) and name not in ("", self.model):
            message = f"The model {name!r} does not exist here. This server has {self.model!r}."
            return ErrorReply(404, message, "model", "model_not_found")
        return with_opening(request) if self.opens_calls else request


def with_opening(request: dict[str, Any]) -> dict[str, Any] | ErrorReply:
    """The request with the opening of its required call; the same request if it requires none."""
    tools, choice, messages = request.get("tools"), request.get("tool_choice"), request.get("messages")
    if not (tools and isinstance(tools, list) and isinstance(messages, list)):
        return request
    if isinstance(choice, dict):
        named = _function_name(choice)
        tools = [tool for tool in tools if _function_name(tool) == named]
        if not tools:
            return ErrorReply(
                400, f"tool_choice names {named!r}, which is none of the tools.", "tool_choice", "invalid_value"
            )
    elif choice != "required":
        return request
    opening = {"role": "assistant", "content": _OPENING}
    request = {**request, "tools": tools, "tool_choice": "required", "messages": [*messages, opening]}
    if request.get("parallel_tool_calls") is not True:
        # Otherwise the model repeats its call: within the block, which this flag prevents, and in further blocks,
        # which the stop text prevents.
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
    return await asyncio.get_running_loop().create_server(lambda: _ClientConnection(upstream), sock=socket)


class _ClientConnection(asyncio.Protocol):
    """One client's connection, paired with a connection to the server behind.

    Answers are not parsed: each read is passed on in the same iteration of the loop.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: list[bytes] = []
        self._upstream_transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(
                lambda: _UpstreamConnection(self._transport), "127.0.0.1", self._upstream.port
            )
        except OSError:
            self._transport.abort()
            return
        if self._transport.is_closing():
            transport.abort()
            return
        self._upstream_transport = transport
        transport.writelines(self._waiting)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer(ErrorReply(400, f"This is not an HTTP request: {error}.", "", "bad_request"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._upstream_transport is not None:
            self._upstream_transport.abort()  # stops the server from writing an answer that is not read

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
        # a request without the key is passed on: the server behind answers 401
        request = _json_object(self._body) if self._authorised() else None
        if request is None:
            self._pass_on(self._body)
            return
        prepared = self._upstream.prepare(request)
        if isinstance(prepared, ErrorReply):
            self._answer(prepared)
            return
        # The server closes the connection after every stream although it promises to keep it; requested, it says so.
        body = self._body if prepared is request else orjson.dumps(prepared)
        self._pass_on(body, close=request.get("stream") is True)

    def _authorised(self) -> bool:
        expected = f"Bearer {self._upstream.key}".encode()
        return any(
            name.lower() == b"authorization" and hmac.compare_digest(value, expected) for name, value in self._headers
        )

    def _pass_on(self, body: bytes, close: bool = False) -> None:
        data = self._head(len(body), close) + body
        if self._upstream_transport is None:
            self._waiting.append(data)
        else:
            self._upstream_transport.write(data)

    def _head(self, length: int, close: bool) -> bytes:
        """The request's head as received, except for its framing."""
        method = self._parser.get_method()
        lines = [b"%s %s HTTP/%s" % (method, self._url, self._parser.get_http_version().encode())]
        replaced = {b"content-length", b"transfer-encoding", b"expect"} | ({b"connection"} if close else set())
        lines += [b"%s: %s" % header for header in self._headers if header[0].lower() not in replaced]
        if length or method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"Content-Length: %d" % length)
        if close:
            lines.append(b"Connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _answer(self, reply: ErrorReply) -> None:
        self._transport.write(reply.to_bytes())
        self._transport.close()


class _UpstreamConnection(asyncio.Protocol):
    """A connection to the server behind the front."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()
