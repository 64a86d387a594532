"""The commands for one recorded request: ``curl`` prints it as code, ``replay`` sends it again."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags

if TYPE_CHECKING:
    from evalkit.replaying.recorded_turn import RecordedTurn


def add_curl(commands: Any) -> None:
    """Add ``evalkit curl``."""
    parser = shared_flags.add_command(
        commands, "curl", curl,
        "Print the request of a turn as a cURL command that sends the same bytes. The key is only named, by its "
        "variable. Sends nothing.",
        "evalkit curl runs/demo.evalkit guide-001 2 | sh",
    )  # fmt: skip
    _add_turn(parser)
    parser.add_argument(
        "--python", action="store_true", help="a Python program for the official client, instead of cURL"
    )
    parser.add_argument(
        "--base-url", metavar="URL",
        help="address in place of the run's; of a run of the embedded model: $SERVICE_HOST, as 'evalkit serve' prints",
    )  # fmt: skip
    parser.add_argument(
        "--api-key-env", metavar="NAME",
        help="variable of the key in the command (default: that of the environment for this address, else API_KEY)",
    )  # fmt: skip
    shared_flags.add_json(parser)


def add_replay(commands: Any) -> None:
    """Add ``evalkit replay``."""
    parser = shared_flags.add_command(
        commands, "replay", replay_turn,
        "Send the request of a turn again, once, and show how the answer differs from the recorded one. The run file "
        "is not changed. A different answer is no error: the exit code is 0.",
        "evalkit replay runs/demo.evalkit guide-001 2",
    )  # fmt: skip
    _add_turn(parser)
    shared_flags.add_address(
        parser, "endpoint: that of the run; name it again, unless the environment does or it is on this machine and "
        "needs no key",
    )  # fmt: skip
    shared_flags.add_json(parser)


def _add_turn(parser: argparse.ArgumentParser) -> None:
    shared_flags.add_run_file(parser)
    parser.add_argument("conversation", metavar="ID", help="id of the conversation, as 'evalkit export' lists them")
    parser.add_argument("turn", type=int, metavar="TURN", help="number of the turn, from 1")
    parser.add_argument("--repeat", type=int, default=1, metavar="R", help="which repeat (default: 1)")


def curl(parsed: argparse.Namespace) -> int:
    """Run ``evalkit curl``."""
    from evalkit.client.request_as_code import KEY_VARIABLE
    from evalkit.console.terminal import print_json
    from evalkit.inputs.addresses import normalise_base_url, route_of
    from evalkit.replaying.recorded_turn import recorded_turn
    from evalkit.runfile import trusted_endpoint

    recorded = recorded_turn(parsed.file, parsed.conversation, parsed.turn, parsed.repeat)
    _note(recorded)
    request = recorded.request
    if parsed.base_url is not None:
        base_url = normalise_base_url(parsed.base_url)
        variable = trusted_endpoint.key_variable_of(base_url) or KEY_VARIABLE  # that of another address stays there
        key_env = None if request.key_env is None else variable
        request = replace(request, url=route_of(base_url), key_env=key_env, host_env=None)
    if parsed.api_key_env is not None:
        request = replace(request, key_env=parsed.api_key_env)
    code = request.python() if parsed.python else request.curl()
    if parsed.json:
        print_json({
            "file": str(parsed.file), "conversation": parsed.conversation, "repeat": parsed.repeat, "turn": parsed.turn,
            "url": request.url, "key_env": request.key_env, "body": request.body.decode(),
            "python" if parsed.python else "curl": code,
        })  # fmt: skip
    else:
        _print_code(code)
    return 0


def _print_code(code: str) -> None:
    """Print code in UTF-8, whatever the terminal's encoding is: its bytes are those of the request."""
    sys.stdout.flush()
    if (binary := getattr(sys.stdout, "buffer", None)) is None:
        print(code)
    else:
        binary.write(f"{code}\n".encode())
        binary.flush()


def replay_turn(parsed: argparse.Namespace) -> int:
    """Run ``evalkit replay``."""
    from evalkit.console.replay import show_replay
    from evalkit.console.terminal import print_result
    from evalkit.engine.asking import readiness
    from evalkit.engine.stopping.giving_up import LASTING
    from evalkit.replaying.recorded_turn import recorded_turn
    from evalkit.replaying.replay import replay
    from evalkit.runfile import trusted_endpoint

    recorded = recorded_turn(parsed.file, parsed.conversation, parsed.turn, parsed.repeat)
    _note(recorded)
    repeat = () if parsed.repeat == 1 else ("--repeat", str(parsed.repeat))
    place = (str(parsed.file), parsed.conversation, str(parsed.turn), *repeat)
    with trusted_endpoint.opened(
        parsed.file,
        base_url=parsed.base_url,
        key_env=parsed.api_key_env,
        reached_by=shared_flags.reached_by(parsed),
        command=("evalkit", "replay", *place),
    ) as endpoint:
        readiness.wait_until_ready(endpoint, parsed.wait_ready)
        result = replay(parsed.file, recorded, endpoint, parsed.conversation, parsed.repeat)
    print_result(result, show_replay, as_json=parsed.json)
    if result.error_kind is None:
        return 0
    return 3 if result.error_kind in LASTING else 1


def _note(recorded: RecordedTurn) -> None:
    from evalkit.console.terminal import print_message

    if recorded.rounds:
        print_message(
            f"the turn has {recorded.rounds + 1} requests: this is the last one, with the calls and their results"
        )
    if not recorded.order_known:
        print_message(
            "the dataset of the run is gone or was changed: keys inside of tools, parameters and parts may be in "
            "another order than they were sent in"
        )
