"""Flags that several commands share, and their values as the library needs them."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.parser import HelpFormatter
from evalkit.errors import SettingsError
from evalkit.inputs import addresses
from evalkit.inputs.bounds import check_json

STANDARD_OUTPUT = Path("/dev/stdout")
NULL = "null"  # a parameter with this value is left out
_WEIGHT = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint
    from evalkit.gates.gate_expression import Gate

EXIT_CODES = """\
exit codes:
  0  done
  1  done, but some turns failed or a gate was missed (--fail-under)
  2  wrong usage or bad input
  3  the endpoint cannot be used
  70 a bug in evalkit itself
  130, 143  stopped by Ctrl-C, by SIGTERM: the answers so far are kept, 'evalkit resume' continues

environment:
  SERVICE_HOST, TASKINGAI_API_KEY, ASSISTANT_ID      or
  OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL
  With none of these set, and no --base-url, the embedded model is used: no key, no network.
"""


def add_command(commands: Any, name: str, function: Any, text: str, example: str) -> argparse.ArgumentParser:
    """Add a command, with its example and the exit codes below its flags; the list shows the first sentence of text."""
    first = text.partition(". ")[0]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=first[0].lower() + first[1:].rstrip("."),
        description=text,
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def add_endpoint(parser: argparse.ArgumentParser, each: type[argparse.Action] | None = None) -> None:
    """Add the endpoint and its time limits; ``each``: keeps the values of flags that may be repeated."""
    repeated = {} if each is None else {"action": each}
    title = "endpoint (flags override the environment)"
    if each is not None:
        title += "; repeat --model, --base-url or both for a run against each, and their comparison"
    group = add_address(parser, title, **repeated)
    group.add_argument("--model", metavar="M", help="model name or assistant id", **repeated)
    group.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds for one request (default: 300)"
    )
    group.add_argument(
        "--ttft-timeout", type=float, metavar="S", help="seconds to the first token of a stream (default: no limit)"
    )


def add_address(parser: argparse.ArgumentParser, title: str, **repeated: Any) -> Any:
    """Add where requests go, and the key that goes with them."""
    group = parser.add_argument_group(title)
    group.add_argument(
        "--wait-ready", type=float, metavar="S",
        help="before the first request, wait up to S seconds until the endpoint is reachable and has loaded its model",
    )  # fmt: skip
    group.add_argument(
        "--base-url", metavar="URL",
        help="address of the endpoint, or of its route: /v1 is added to a host without a path", **repeated,
    )  # fmt: skip
    group.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the API key", **repeated)
    group.add_argument(
        "--header", action="append", default=[], metavar="NAME=VALUE",
        help="header of every request, without secrets: it is stored",
    )  # fmt: skip
    group.add_argument(
        "--header-env", action="append", default=[], metavar="NAME=VARIABLE",
        help="secret header: environment variable that holds its value; next to a header that holds a key, "
        "such as api-key, the key of the environment is sent only if --api-key-env names it",
    )  # fmt: skip
    group.add_argument(
        "--client-cert-env",
        metavar="NAME",
        help="environment variable that holds the path of a client certificate, PEM",
    )
    group.add_argument(
        "--client-key-env", metavar="NAME",
        help="environment variable that holds the path of its private key (default: in the certificate's file)",
    )  # fmt: skip
    group.add_argument(
        "--ca-env", metavar="NAME",
        help="environment variable that holds the path of the authorities to trust, PEM (default: this machine's)",
    )  # fmt: skip
    return group


def reached_by(parsed: argparse.Namespace) -> dict[str, Any]:
    """The headers and the variables of certificates, as ``Endpoint`` accepts them; only those that are given."""
    from evalkit.endpoint import CERTIFICATES
    from evalkit.inputs.request_headers import parse_headers

    given: dict[str, Any] = {
        "headers": parse_headers("--header", parsed.header),
        "headers_env": parse_headers("--header-env", parsed.header_env),
        **{name: getattr(parsed, name) for name in CERTIFICATES},
    }
    return {name: value for name, value in given.items() if value}


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add what every request holds besides the messages."""
    group = parser.add_argument_group("request")
    group.add_argument(
        "--no-stream", action="store_true", help="request whole answers; they have no time to first token"
    )
    add_request_parameters(group)


def add_request_parameters(group: Any) -> None:
    """Add the flags that ``params`` reads."""
    group.add_argument(
        "--temperature", type=_temperature, metavar="T", help="sampling temperature; null: the endpoint's own"
    )
    group.add_argument("--max-tokens", type=int, metavar="N", help="at most N tokens per answer")
    group.add_argument(
        "--param", action="append", default=[], metavar="KEY=JSON",
        help="another request parameter: --param seed=7; null leaves it out",
    )  # fmt: skip


def _temperature(text: str) -> float | str:
    """A temperature; ``null`` stays text, since None says that the flag was not given."""
    try:
        return text if text == NULL else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor null") from None


def add_arrivals(group: Any, seed: str = "") -> None:
    """Add the gaps between conversations that are started at a rate; ``seed``: what its flag does besides."""
    group.add_argument(
        "--arrivals", choices=("constant", "poisson"),
        help="with --rate: gaps between the starts (default: constant)",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=int, dest="arrivals_seed", metavar="N",
        help=f"{seed}with --arrivals poisson: the same seed gives the same gaps (default: a new seed for each run)",
    )  # fmt: skip


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add the dataset that a command runs."""
    parser.add_argument("data", type=Path, metavar="DATA", help="dataset: .jsonl, .json or .csv")


def add_questions(group: Any) -> None:
    """Add what decides which questions a dataset asks."""
    group.add_argument("--limit", type=int, metavar="N", help="only the first N conversations")
    group.add_argument(
        "--history", choices=("own", "golden"), default="own",
        help="what later turns see: the model's own answers or the dataset's (default: own)",
    )  # fmt: skip
    group.add_argument(
        "--system", metavar="TEXT|@FILE",
        help="system prompt of every conversation, or a file that holds it; '' sends none (default: the dataset's)",
    )  # fmt: skip
    group.add_argument(
        "--column", action="append", default=[], metavar="FIELD=KEY",
        help="the column, or the key or path of JSON rows, that has a field: --column user=prompt --column target=a.0",
    )  # fmt: skip


def questions(parsed: argparse.Namespace) -> dict[str, Any]:
    """The settings of ``add_questions``."""
    return {
        "limit": parsed.limit,
        "history": parsed.history,
        "system": text_or_file("--system", parsed.system),
        "columns": columns(parsed.column),
    }


def add_run_file(parser: argparse.ArgumentParser) -> None:
    """Add the run file that a command reads."""
    parser.add_argument("file", type=Path, metavar="FILE.evalkit", help="run file")


def add_runs_folder(parser: argparse.ArgumentParser) -> None:
    """Add the folder of run files that a command reads."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        default=Path("runs"),
        help="folder of run files (default: runs)",
    )


def add_out(
    group: Any, metavar: str, text: str, *, default: Path | None = None, required: bool = False, streamed: bool = False
) -> None:
    """Add ``-o``, spelled ``--out`` or ``--output`` too: what a command writes; ``streamed``: - is standard output."""
    group.add_argument(
        "-o", "--out", "--output", type=output_path if streamed else _stored, metavar=metavar, default=default,
        required=required, help=f"{text}; - is standard output" if streamed else text,
    )  # fmt: skip


def output_path(text: str) -> Path:
    """What a command writes; - is standard output."""
    return STANDARD_OUTPUT if text == "-" else Path(text)


def _stored(text: str) -> Path:
    if text == "-":
        raise argparse.ArgumentTypeError("run files and charts cannot be written to standard output: name a place")
    return Path(text)


PATHS = (Path, output_path, _stored)  # the types of arguments that are files or folders


def refuse_two_outputs(parsed: argparse.Namespace) -> None:
    """Refuse ``--json`` next to a file on standard output."""
    if parsed.json and parsed.out == STANDARD_OUTPUT:
        raise SettingsError("--json and -o - both write to standard output: omit one")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, for programs that read the result."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``, for an earlier output."""
    parser.add_argument(
        "--overwrite", action="store_true",
        help="replace an earlier output of evalkit; never a run file, a dataset or another program's file",
    )  # fmt: skip


def add_gates(parser: argparse.ArgumentParser) -> None:
    """Add the gates of a run, and the file in which a build server finds their results."""
    group = parser.add_argument_group("continuous integration")
    group.add_argument(
        "--fail-under", nargs="+", action="extend", type=_gate, default=[], metavar="GATE",
        help="exit with code 1 unless every gate is met: 'accuracy>=0.8' 'accuracy.low>=0.75' 'ttft_p95<=400ms' "
        "'errors<=1%%' (how many turns may fail) 'complete>=100%%' (all planned turns have ended)",
    )  # fmt: skip
    add_gates_file(group, "also the gates of this file, under [run]")
    group.add_argument(
        "--junit", type=Path, metavar="OUT.xml",
        help="write a JUnit file with a test case per turn; replaces an earlier JUnit file of evalkit, no other file",
    )  # fmt: skip
    group.add_argument(
        "--junit-turns", action="store_true", help="with --junit: wrong answers are failures too, not only missed gates"
    )


def add_gates_file(group: Any, text: str) -> None:
    """Add the file with all limits of a project."""
    group.add_argument("--gates", type=Path, metavar="FILE.toml", help=text)


def _gate(text: str) -> Gate:
    from evalkit.gates.gate_expression import parse

    try:
        return parse(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@contextmanager
def endpoint(parsed: argparse.Namespace) -> Iterator[Endpoint]:
    """The endpoint of the flags or the environment; with neither, the embedded one, which a message announces."""
    from evalkit.console.terminal import print_message
    from evalkit.endpoint import local_endpoint

    if (named := named_endpoint(parsed)) is not None:
        if parsed.base_url and (note := addresses.path_note(parsed.base_url)):
            print_message(note)
        yield named
        return
    print_message("no endpoint is named: using the embedded model, on this machine")
    with local_endpoint(**_limits(parsed)) as embedded:
        yield embedded


def named_endpoint(parsed: argparse.Namespace) -> Endpoint | None:
    """The endpoint of the flags or the environment; None if neither names one."""
    from evalkit.endpoint import Endpoint, environment_names_endpoint

    _check_timeouts(parsed)
    limits, reach = _limits(parsed), reached_by(parsed)
    if parsed.base_url or parsed.model or parsed.api_key_env or reach or environment_names_endpoint():
        return Endpoint.from_env(
            base_url=parsed.base_url, model=parsed.model, key_env=parsed.api_key_env, **limits, **reach
        )
    return None


def _limits(parsed: argparse.Namespace) -> dict[str, Any]:
    return {"timeout_s": parsed.timeout, "ttft_timeout_s": parsed.ttft_timeout, "params": params(parsed)}


def _check_timeouts(parsed: argparse.Namespace) -> None:
    if parsed.ttft_timeout is None:
        return
    if parsed.no_stream:
        raise SettingsError(
            "--ttft-timeout and --no-stream exclude each other: only a stream has a first token. Give one of them"
        )
    if parsed.ttft_timeout > parsed.timeout:
        raise SettingsError(
            f"--ttft-timeout {parsed.ttft_timeout:g} is longer than --timeout {parsed.timeout:g}, which ends the "
            "request first: lower --ttft-timeout or raise --timeout"
        )


def text_or_file(flag: str, text: str | None) -> str | None:
    """The text of a flag; with ``@FILE``, that of a file.

    The text of a file is without its byte-order mark and the line end at its end, and Windows line ends are line feeds.
    """
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8-sig").removesuffix("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        problem = "is not UTF-8 text" if isinstance(error, UnicodeError) else f"cannot be read: {reason}"
        raise SettingsError(
            f"{flag}: the file {text[1:]!r} {problem}. A text that begins with @ must itself be in a file"
        ) from None


def arrivals(parsed: argparse.Namespace) -> str:
    """The gaps between conversations that are started at a rate; without a rate there are none to choose."""
    if parsed.arrivals is not None and parsed.rate is None:
        raise SettingsError("--arrivals sets the gaps between conversations started at a rate: add --rate, or omit it")
    return parsed.arrivals or "constant"


def columns(texts: Sequence[str]) -> dict[str, str] | None:
    """The columns or keys that hold fields, from ``--column FIELD=KEY``; None if it was not given."""
    pairs = [text.partition("=") for text in texts]
    for field, equals, heading in pairs:
        if not (field and equals and heading):
            raise SettingsError(f"--column {field + equals + heading!r}: write it as FIELD=KEY")
    counts = Counter(field for field, _, _ in pairs)
    if (twice := next((field for field, count in counts.items() if count > 1), None)) is not None:
        raise SettingsError(f"--column names {twice} twice: a field has one column")
    return {field: heading for field, _, heading in pairs} or None


def add_scorer(group: Any, text: str) -> None:
    """Add the scorers of turns that name none."""
    group.add_argument("--scorer", action="append", default=[], metavar="NAME[=WEIGHT]", help=text)


def scorer(texts: Sequence[str]) -> Any:
    """The scorers of ``--scorer``, in the form of the settings of a run; None if it was not given.

    A name of the form ``module:function`` is imported: only the command line may cause that.
    """
    from evalkit.scorers import own_functions
    from evalkit.scorers.registry import is_function

    named = []
    for text in texts:
        name, equals, weight = text.partition("=")
        if is_function(name):
            own_functions.load(name)
        if equals and not (_WEIGHT.fullmatch(weight) and float(weight)):
            raise SettingsError(f"--scorer {text}: {weight!r} is not a weight above 0; write it as NAME=2")
        named.append({"name": name, "weight": float(weight)} if equals else name)
    return named if len(named) > 1 else next((part if isinstance(part, str) else part["name"] for part in named), None)


def params(parsed: argparse.Namespace) -> dict[str, Any]:
    """The request parameters of ``--param``, ``--temperature`` and ``--max-tokens``."""
    given: dict[str, Any] = {}
    for text in parsed.param:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"--param {text!r}: write it as KEY=JSON, for example --param seed=7")
        if key in given:
            raise SettingsError(f"--param names {key} twice: give it once")
        try:
            given[key] = json.loads(value)
        except RecursionError:
            raise SettingsError(f"--param {key}: the value is nested too deeply to be sent") from None
        except ValueError:
            raise SettingsError(
                f"--param {key}: {value!r} is not JSON; a string needs quotes: --param '{key}=\"{value}\"'"
            ) from None
    for key in ("temperature", "max_tokens"):
        if getattr(parsed, key) is not None:
            if key in given:
                flag = f"--{key.replace('_', '-')}"
                raise SettingsError(f"{flag} and --param {key}= both set {key}: give one of them")
            value = getattr(parsed, key)
            given[key] = None if value == NULL else value
    check_json("the parameter", given)
    return given
