"""The command that serves the embedded model: ``serve``."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import LocalError

if TYPE_CHECKING:
    from evalkit.local.server import LocalServer


def add_serve(commands: Any) -> None:
    """Add ``evalkit serve``."""
    parser = shared_flags.add_command(
        commands, "serve", serve, "Serve the embedded model on this machine until interrupted.",
        "evalkit serve --port 8080",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--key", metavar="KEY_VARIABLE",
        help="environment variable with the API key that the server requires (default: a new random key)",
    )  # fmt: skip
    shared_flags.add_json(parser)


def serve(parsed: argparse.Namespace) -> int:
    """Run ``evalkit serve``."""
    from evalkit.local import server as local_server

    with local_server.serve(port=parsed.port, key_env=parsed.key) as server:
        if parsed.json:
            from evalkit.console.terminal import print_json

            # only a key made for this server is printed: the owner of a variable has its key
            key = None if parsed.key else os.environ[server.key_env]
            print_json({"base_url": server.base_url, "model": server.model, "key_env": parsed.key, "api_key": key})
        else:
            _print_exports(server, f'"${parsed.key}"' if parsed.key else os.environ[server.key_env])
        code = server.wait()
    raise LocalError(f"the embedded endpoint stopped by itself, with exit code {code}")


def _print_exports(server: LocalServer, key: str) -> None:
    host = server.base_url.removesuffix("/v1")
    print(f"# {server.model} at {server.base_url}, until interrupted (Ctrl-C)")
    print(f"export SERVICE_HOST={host} TASKINGAI_API_KEY={key} ASSISTANT_ID={server.model}")
    print(f"export OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY={key} OPENAI_MODEL={server.model}", flush=True)
