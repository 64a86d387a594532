"""The command that shows a folder of runs in a browser: ``view``."""

from __future__ import annotations

import argparse
import threading
import time
import webbrowser
from typing import Any

from evalkit.cli import shared_flags


def add_view(commands: Any) -> None:
    """Add ``evalkit view``."""
    parser = shared_flags.add_command(
        commands, "view", view,
        "Show the runs in a folder as a page in your browser, until interrupted: a list of runs, their turns with "
        "filters, and conversations side by side. The page is on this machine only, at an address with a random path.",
        "evalkit view runs --open",
    )  # fmt: skip
    shared_flags.add_runs_folder(parser)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--open", action="store_true", help="open the page in your browser")
    shared_flags.add_json(parser)


def view(parsed: argparse.Namespace) -> int:
    """Run ``evalkit view``."""
    from evalkit.viewer.server import serving

    with serving(parsed.folder, port=parsed.port) as server:
        if parsed.json:
            from evalkit.console.terminal import print_json

            print_json({"folder": str(parsed.folder), "address": server.address})
        else:
            from evalkit.console.terminal import print_message

            print(server.address, flush=True)
            print_message(f"the runs of {parsed.folder}, until interrupted (Ctrl-C)")
        if parsed.open:
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()  # it may wait
        while True:  # a wait without limit would not notice a signal that arrives just before it begins
            time.sleep(0.5)
