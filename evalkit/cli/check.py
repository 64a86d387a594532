"""The command that finds out what an endpoint really does: ``check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.checkup.checkup import Checkup
    from evalkit.endpoint import Endpoint

_MARKDOWN = (".md", ".markdown")
_OF_ENDPOINTS = (
    *("base_url", "model", "api_key_env", "header", "header_env", "client_cert_env", "client_key_env", "ca_env"),
    *("wait_ready", "against", "against_model", "against_api_key_env"),
)


def add_check(commands: Any) -> None:
    """Add ``evalkit check``."""
    parser = shared_flags.add_command(
        commands, "check", check,
        "Find out what an endpoint really does. About 55 short calls, of about 7,000 tokens, are compared with the "
        "chat-completions reference: what conforms, differs, is refused, or is accepted and ignored.",
        "evalkit check --base-url http://127.0.0.1:8000/v1 --model m",
    )  # fmt: skip
    shared_flags.add_address(parser, "endpoint (flags override the environment)").add_argument(
        "--model", metavar="M", help="model name or assistant id"
    )
    parser.add_argument(
        "--of", type=Path, metavar="RUN", help="print the checkup that a run file keeps, and send nothing"
    )
    group = parser.add_argument_group("a second endpoint, side by side")
    group.add_argument("--against", metavar="URL", help="address of a second endpoint to check")
    group.add_argument("--against-model", metavar="M", help="its model (default: that of the first)")
    group.add_argument(
        "--against-api-key-env",
        metavar="NAME",
        help="environment variable that holds its API key (default: no key is sent)",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    shared_flags.add_out(
        group, "FILE", "also write the result: Markdown if the name ends in .md, else JSON", streamed=True
    )
    shared_flags.add_overwrite(parser)
    shared_flags.add_json(parser)
    # a probe sets what its calls send
    parser.set_defaults(timeout=300.0, ttft_timeout=None, no_stream=False, param=[], temperature=None, max_tokens=None)


def check(parsed: argparse.Namespace) -> int:
    """Run ``evalkit check``."""
    from evalkit.checkup.checkup import kept_in
    from evalkit.engine.asking import readiness
    from evalkit.runfile import output_files

    shared_flags.refuse_two_outputs(parsed)
    _refuse_beside_of(parsed)
    if parsed.json and parsed.markdown:
        raise SettingsError("--json and --markdown both write to standard output: omit one")
    if parsed.against is None and (parsed.against_model or parsed.against_api_key_env):
        raise SettingsError(
            "--against-model and --against-api-key-env are of a second endpoint: name it with --against"
        )
    kept = None if parsed.of is None else kept_in(parsed.of)
    if parsed.out is not None:
        inputs = () if parsed.of is None else (parsed.of,)
        output_files.check(parsed.out, _kind(parsed.out), inputs, overwrite=parsed.overwrite)
    if kept is not None:
        checks = [kept]
    else:
        with shared_flags.endpoint(parsed) as endpoint:
            other = _other(parsed, endpoint)
            readiness.wait_until_ready(endpoint, parsed.wait_ready)
            checks = [_checked(each) for each in (endpoint, other) if each is not None]
    _print(parsed, checks)
    if parsed.out is not None:
        _write(parsed, checks)
    return 0


def _refuse_beside_of(parsed: argparse.Namespace) -> None:
    """Refuse flags about an endpoint next to ``--of``, which would ignore them."""
    given = [f"--{name.replace('_', '-')}" for name in _OF_ENDPOINTS if getattr(parsed, name) not in (None, [])]
    if parsed.of is not None and given:
        raise SettingsError(f"--of prints what a run file keeps, and sends nothing: leave out {', '.join(given)}")


def _other(parsed: argparse.Namespace, first: Endpoint) -> Endpoint | None:
    from evalkit.endpoint import Endpoint

    if parsed.against is None:
        return None
    return Endpoint(parsed.against, parsed.against_model or first.model, parsed.against_api_key_env, source="--against")


def _checked(endpoint: Endpoint) -> Checkup:
    from evalkit.checkup.endpoint_check import budget, check_endpoint
    from evalkit.console.check import calls_line
    from evalkit.console.terminal import print_message

    calls, tokens = budget()
    print_message(f"checking {endpoint.model} at {endpoint.base_url}: up to {calls} calls, about {tokens:,} tokens")
    with calls_line() as watch:
        return check_endpoint(endpoint, watch=watch)


def _print(parsed: argparse.Namespace, checks: list[Checkup]) -> None:
    from evalkit.console.check import show_checkup, show_two
    from evalkit.console.terminal import print_json, stdout_console
    from evalkit.report.checkup_markdown import checkup_markdown

    if parsed.json:
        print_json(_object(checks))
    elif parsed.markdown:
        stdout_console().out(checkup_markdown(checks), end="", highlight=False)
    elif parsed.out == shared_flags.STANDARD_OUTPUT:
        pass  # written there afterwards
    elif len(checks) == 1:
        show_checkup(stdout_console(), checks[0])
    else:
        show_two(stdout_console(), *checks)


def _object(checks: list[Checkup]) -> dict[str, Any]:
    from evalkit.checkup.checkup import side_by_side

    return checks[0].to_json() if len(checks) == 1 else side_by_side(checks)


def _kind(path: Path) -> Any:
    from evalkit.runfile import output_files

    return output_files.REPORT if path.suffix in _MARKDOWN else output_files.CHECKUP


def _write(parsed: argparse.Namespace, checks: list[Checkup]) -> None:
    import json

    from evalkit.console.terminal import print_message
    from evalkit.report.checkup_markdown import checkup_markdown
    from evalkit.runfile import output_files

    path, kind = parsed.out, _kind(parsed.out)
    text = checkup_markdown(checks) if kind is output_files.REPORT else json.dumps(_object(checks), indent=1) + "\n"
    with output_files.writing(path, kind, overwrite=parsed.overwrite) as draft:
        draft.write_text(text, encoding="utf-8")
    if path != shared_flags.STANDARD_OUTPUT:
        print_message(f"written: {path}")
