"""The clients that are compared: each requests one whole answer, or one stream with the time of its first token."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter_ns

import orjson

MESSAGES = [{"role": "user", "content": "What is the sum of 12 + 23?"}]


@dataclass
class Streamed:
    """What a client says of one stream: two stamps, in ns, and the text."""

    sent: int
    first: int
    text: str


def body_for(model: str, *, stream: bool) -> bytes:
    return orjson.dumps({"model": model, "messages": MESSAGES, "stream": stream})


class Fold:
    """The least that makes text of a stream: enough for this server, not for others."""

    def __init__(self) -> None:
        self.rest, self.first, self.text = b"", 0, []

    def feed(self, data: bytes, at: int) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            if event != b"data: [DONE]":
                text = orjson.loads(event[6:])["choices"][0]["delta"].get("content")
                if text:
                    self.first = self.first or at
                    self.text.append(text)

    def streamed(self, sent: int) -> Streamed:
        return Streamed(sent, self.first, "".join(self.text))


class Bare(asyncio.Protocol):
    """The limit: one protocol with nothing around it, stamped in ``data_received``, decoded on the spot."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        import httptools

        self.transport, self.parser = transport, httptools.HttpResponseParser(self)

    def ask(self, request: bytes, fold: Fold | WireFold | None) -> asyncio.Future[None]:
        self.fold, self.parts, self.done = fold, [], asyncio.get_running_loop().create_future()
        self.sent = perf_counter_ns()
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.at = perf_counter_ns()
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self.fold is not None:
            self.fold.feed(body, self.at)
        else:
            self.parts.append(body)

    def on_message_complete(self) -> None:
        self.done.set_result(None)


class BareClient:
    def __init__(self, port: int) -> None:
        self.port, self.idle = port, []

    async def __aenter__(self) -> BareClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        for protocol in self.idle:
            protocol.transport.abort()

    async def _ask(self, body: bytes, fold: Fold | WireFold | None) -> Bare:
        if self.idle:
            protocol = self.idle.pop()
        else:
            _, protocol = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", self.port)
        request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        await protocol.ask(request, fold)
        self.idle.append(protocol)
        return protocol

    async def whole(self, body: bytes) -> str:
        protocol = await self._ask(body, None)
        return orjson.loads(b"".join(protocol.parts))["choices"][0]["message"]["content"]

    async def stream(self, body: bytes) -> Streamed:
        fold = Fold()
        protocol = await self._ask(body, fold)
        return fold.streamed(protocol.sent)


class WireFold:
    """A fold that is evalkit's own reader, with all its checks."""

    def __init__(self, stream: bool) -> None:
        from evalkit.client.answer_reader import AnswerReader

        kind = "text/event-stream" if stream else "application/json"
        self.reader = AnswerReader(200, kind, stream_requested=stream)
        self.feed = self.reader.feed

    def text(self) -> str:
        self.reader.finish(complete=True)
        return self.reader.answer.text


class BareWireClient(BareClient):
    """The limit for evalkit: nothing around the socket, but answers read as evalkit reads them."""

    async def whole(self, body: bytes) -> str:
        fold = WireFold(stream=False)
        await self._ask(body, fold)
        return fold.text()

    async def stream(self, body: bytes) -> Streamed:
        fold = WireFold(stream=True)
        protocol = await self._ask(body, fold)
        text = fold.text()
        return Streamed(protocol.sent, fold.reader.arrivals[0], text)


class EvalkitClient:
    """evalkit's transport, with everything it does: limits, whole ``wire`` decoding, an ``Attempt`` each."""

    def __init__(self, port: int) -> None:
        from evalkit.client.transport import Transport
        from evalkit.endpoint import Endpoint

        self.transport = Transport(Endpoint(f"http://127.0.0.1:{port}/v1", "known"))

    async def __aenter__(self) -> EvalkitClient:
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.transport.__aexit__(None, None, None)

    async def _send(self, body: bytes, *, stream: bool):
        now = perf_counter_ns()
        attempt = await self.transport.send(body, stream=stream, due=now, slot=now)
        if attempt.failure is not None:
            raise RuntimeError(attempt.failure.message)
        return attempt

    async def whole(self, body: bytes) -> str:
        return (await self._send(body, stream=False)).answer.text

    async def stream(self, body: bytes) -> Streamed:
        attempt = await self._send(body, stream=True)
        return Streamed(attempt.timing.sent, attempt.timing.arrivals[0], attempt.answer.text)


class DecodedInReads(EvalkitClient):
    """The same, but decoded in ``data_received``."""

    def __init__(self, port: int) -> None:
        from evalkit.client import connection

        super().__init__(port)
        connection._BACKLOG = 0


class DecodedPerPass(EvalkitClient):
    """The same, but all that a pass of the loop has read is decoded in one go."""

    def __init__(self, port: int) -> None:
        from evalkit.client import connection

        super().__init__(port)
        connection._SLICE_NS = 10**12


class AiohttpClient:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self.headers = {"Content-Type": "application/json"}

    async def __aenter__(self) -> AiohttpClient:
        import aiohttp

        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()

    async def whole(self, body: bytes) -> str:
        async with self.session.post(self.url, data=body, headers=self.headers) as response:
            return orjson.loads(await response.read())["choices"][0]["message"]["content"]

    async def stream(self, body: bytes) -> Streamed:
        fold = Fold()
        sent = perf_counter_ns()
        async with self.session.post(self.url, data=body, headers=self.headers) as response:
            async for data in response.content.iter_any():
                fold.feed(data, perf_counter_ns())
        return fold.streamed(sent)


class PyreqwestClient:
    """With its read buffer off: the default of 64 KiB reads the first token when the whole stream is there."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def __aenter__(self) -> PyreqwestClient:
        from pyreqwest.client import ClientBuilder

        self.stack = AsyncExitStack()
        self.client = await self.stack.enter_async_context(ClientBuilder().no_proxy().build())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stack.aclose()

    def _post(self, body: bytes):
        return self.client.post(self.url).header("Content-Type", "application/json").body_bytes(body)

    async def whole(self, body: bytes) -> str:
        response = await self._post(body).build().send()
        return orjson.loads(bytes(await response.bytes()))["choices"][0]["message"]["content"]

    async def stream(self, body: bytes) -> Streamed:
        fold = Fold()
        sent = perf_counter_ns()
        async with self._post(body).streamed_read_buffer_limit(0).build_streamed() as response:
            while (data := await response.body_reader.read_chunk()) is not None:
                fold.feed(bytes(data), perf_counter_ns())
        return fold.streamed(sent)


class OpenAIClient:
    """The official client, as the notebooks use it; it never retries here."""

    def __init__(self, port: int) -> None:
        import httpx2
        from openai import AsyncOpenAI

        limits = httpx2.Limits(max_connections=None)
        self.client = AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key="no-key",
            max_retries=0,
            http_client=httpx2.AsyncClient(limits=limits, timeout=60),
        )

    async def __aenter__(self) -> OpenAIClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.close()

    async def whole(self, body: bytes) -> str:
        request = orjson.loads(body)
        answer = await self.client.chat.completions.create(model=request["model"], messages=MESSAGES)
        return answer.choices[0].message.content

    async def stream(self, body: bytes) -> Streamed:
        model, first, text = orjson.loads(body)["model"], 0, []
        sent = perf_counter_ns()
        async for chunk in await self.client.chat.completions.create(model=model, messages=MESSAGES, stream=True):
            if chunk.choices[0].delta.content:
                first = first or perf_counter_ns()
                text.append(chunk.choices[0].delta.content)
        return Streamed(sent, first, "".join(text))


CLIENTS = {
    "bare": BareClient,
    "bare-wire": BareWireClient,
    "evalkit": EvalkitClient,
    "in-reads": DecodedInReads,
    "per-pass": DecodedPerPass,
    "pyreqwest": PyreqwestClient,
    "aiohttp": AiohttpClient,
    "openai": OpenAIClient,
}
