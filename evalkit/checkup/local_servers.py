"""Finds OpenAI-compatible servers that listen on the usual ports of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.checkup.probes.client import ProbeClient
from evalkit.checkup.probes.reply import Reply, mapping
from evalkit.endpoint import Endpoint
from evalkit.engine.asking import event_loop

# the usual port of a server, and the path of its OpenAI-compatible routes
PORTS = (
    (11434, "Ollama", "/v1"),
    (1234, "LM Studio", "/v1"),
    (8080, "llama.cpp, llamafile, LocalAI, MLX or TGI", "/v1"),
    (8000, "vLLM", "/v1"),
    (30000, "SGLang", "/v1"),
    (3000, "TGI", "/v1"),
    (1337, "Jan", "/v1"),
    (4000, "LiteLLM", "/v1"),
    (4891, "GPT4All", "/v1"),
    (5000, "text-generation-webui", "/v1"),
    (5001, "KoboldCpp", "/v1"),
    (9997, "Xinference", "/v1"),
    (12434, "Docker Model Runner", "/engines/v1"),
    (23333, "LMDeploy", "/v1"),
)
_LIMIT_S = 2.0
_MOST_MODELS, _LONGEST_NAME = 50, 200


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A server that was found.

    Parameters
    ----------
    base_url : str
    usual : str
        What usually listens on its port; it may be another server.
    models : tuple of str
        The names of its models, at most 50; names with characters that cannot be printed are left out.
    needs_key : bool
        It refused a request without a key, so that its models are not known.
    """

    base_url: str
    usual: str
    models: tuple[str, ...]
    needs_key: bool = False

    def to_json(self) -> dict[str, Any]:
        """One of ``servers`` of ``--json``."""
        return {
            "base_url": self.base_url,
            "usual": self.usual,
            "models": list(self.models),
            "needs_key": self.needs_key,
        }


def find_servers(ports: Sequence[tuple[int, str, str]] = PORTS) -> list[LocalServer]:
    """Ask each port of 127.0.0.1 for its list of models, without a key; takes 2 seconds at most.

    Parameters
    ----------
    ports : sequence of (int, str, str)
        Port, what usually listens there, and the path of the routes.
    """
    found = event_loop.run_in_thread(lambda: _all(ports), "evalkit-find")
    return [server for server in found if server is not None]


async def _all(ports: Sequence[tuple[int, str, str]]) -> list[LocalServer | None]:
    return await asyncio.gather(*(_in_time(*port) for port in ports))


async def _in_time(port: int, usual: str, path: str) -> LocalServer | None:
    try:
        async with asyncio.timeout(_LIMIT_S):
            return await _server(port, usual, path)
    except TimeoutError:
        return None


async def _server(port: int, usual: str, path: str) -> LocalServer | None:
    endpoint = Endpoint(f"http://127.0.0.1:{port}{path}", "any", connect_timeout_s=_LIMIT_S / 2)
    async with ProbeClient(endpoint, _LIMIT_S / 2) as client:
        reply = await client.send(b"", url=f"{endpoint.base_url}/models", method="GET")
    if reply.status == 401:
        return LocalServer(endpoint.base_url, usual, (), needs_key=True)
    models = _models(reply)
    return None if models is None else LocalServer(endpoint.base_url, usual, models)


def _models(reply: Reply) -> tuple[str, ...] | None:
    """The names of the models; None: the answer is no list of models."""
    listed = mapping(reply.json).get("data")
    if not reply.ok or not isinstance(listed, list):
        return None
    names = [mapping(entry).get("id") for entry in listed[:_MOST_MODELS]]
    return tuple(name for name in names if isinstance(name, str) and _usable(name))


def _usable(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name.strip() == name
