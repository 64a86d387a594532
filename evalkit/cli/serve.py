"""The command that serves an endpoint on this machine: the embedded model, or a recording of one."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import LocalError, SettingsError
from evalkit.runfile.plain_text import plain

if TYPE_CHECKING:
    from evalkit.local.server import LocalServer
    from evalkit.recorded.player import PlayingServer
    from evalkit.recorded.recorder import RecordingServer

_LOOK_S = 0.5  # a signal that arrives while a wait begins is handled at its end


def add_serve(commands: Any) -> None:
    """Add ``evalkit serve``."""
    parser = shared_flags.add_command(
        commands, "serve", serve,
        "Serve the embedded model on this machine until interrupted, record what it answers, or serve a recording.",
        "evalkit serve --port 8080",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--key", metavar="KEY_VARIABLE",
        help="environment variable with the API key that the server requires (default: a new random key)",
    )  # fmt: skip
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--from", type=Path, dest="recording", metavar="FILE",
        help="without a model: answer with what FILE recorded, a recording of --record or a run file",
    )  # fmt: skip
    kinds.add_argument(
        "--record", type=Path, metavar="FILE", help="write every request and its answer to FILE, for --from",
    )  # fmt: skip
    parser.add_argument(
        "--timings", choices=("recorded", "none"),
        help="with --from: answers come as fast as they were recorded, or without a wait; times measured then say "
        "nothing (default: recorded)",
    )  # fmt: skip
    shared_flags.add_overwrite(parser)
    shared_flags.add_json(parser)


def serve(parsed: argparse.Namespace) -> int:
    """Run ``evalkit serve``."""
    if parsed.timings and not parsed.recording:
        raise SettingsError("--timings belongs to --from FILE: add it, or leave --timings out")
    if parsed.overwrite and not parsed.record:
        raise SettingsError("--overwrite belongs to --record FILE: add it, or leave --overwrite out")
    if parsed.recording:
        return _serve_recording(parsed)
    if parsed.record:
        from evalkit.recorded import recorder

        with recorder.recording(
            parsed.record, port=parsed.port, key_env=parsed.key, overwrite=parsed.overwrite
        ) as recording:
            return _until_it_ends(recording, parsed, f"recording to {parsed.record}, ")
    from evalkit.local import server as local_server

    with local_server.serve(port=parsed.port, key_env=parsed.key) as server:
        return _until_it_ends(server, parsed)


def _serve_recording(parsed: argparse.Namespace) -> int:
    from evalkit.recorded import player

    timings = parsed.timings or player.RECORDED
    with player.playing(parsed.recording, timings=timings, port=parsed.port, key_env=parsed.key) as server:
        requests = f"{server.count} recorded request{'' if server.count == 1 else 's'}"
        _announce(server, parsed, f"{requests} of {parsed.recording}, ")
        while True:  # until interrupted
            time.sleep(_LOOK_S)


def _until_it_ends(server: LocalServer | RecordingServer, parsed: argparse.Namespace, what: str = "") -> int:
    _announce(server, parsed, what)
    code = server.wait()
    raise LocalError(f"the embedded endpoint stopped by itself, with exit code {code}")


def _announce(server: LocalServer | RecordingServer | PlayingServer, parsed: argparse.Namespace, what: str) -> None:
    """Print address and model, and the key if it was made for this server: the owner of a variable has its key."""
    if parsed.json:
        from evalkit.console.terminal import print_json

        key = None if parsed.key else os.environ[server.key_env]
        print_json({"base_url": server.base_url, "model": server.model, "key_env": parsed.key, "api_key": key})
    else:
        _print_exports(server, f'"${parsed.key}"' if parsed.key else os.environ[server.key_env], what)


def _print_exports(server: LocalServer | RecordingServer | PlayingServer, key: str, what: str) -> None:
    host = server.base_url.removesuffix("/v1")
    model = shlex.quote(server.model)  # of a recording that a stranger may have written
    # a shell reads these lines: what begins as a comment must end as one
    about = " ".join(plain(f"{server.model} at {server.base_url}, {what}until interrupted (Ctrl-C)").split())
    print(f"# {about}")
    print(f"export SERVICE_HOST={host} TASKINGAI_API_KEY={key} ASSISTANT_ID={model}")
    print(f"export OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY={key} OPENAI_MODEL={model}", flush=True)
