"""The command that finds servers on this machine: ``find``."""

from __future__ import annotations

import argparse
from typing import Any

from evalkit.cli import shared_flags


def add_find(commands: Any) -> None:
    """Add ``evalkit find``."""
    parser = shared_flags.add_command(
        commands, "find", find,
        "List the OpenAI-compatible servers that listen on this machine. The usual ports of Ollama, LM Studio, "
        "llama.cpp, vLLM and others are asked for their models, without a key.",
        "evalkit find",
    )  # fmt: skip
    shared_flags.add_json(parser)


def find(parsed: argparse.Namespace) -> int:
    """Run ``evalkit find``."""
    from evalkit.checkup import local_servers
    from evalkit.console.check import show_servers
    from evalkit.console.terminal import print_json, stdout_console

    servers = local_servers.find_servers(local_servers.PORTS)
    if parsed.json:
        print_json({"servers": [server.to_json() for server in servers]})
    else:
        show_servers(stdout_console(), servers)
    return 0
