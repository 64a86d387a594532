"""The command that sends one conversation and stores nothing: ``ask``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint
    from evalkit.record import Attempt, TurnRecord


_WITH_CURL = ("help", "curl", "wait_ready", "json")


def add_ask(commands: Any) -> None:
    """Add ``evalkit ask``."""
    parser = shared_flags.add_command(
        commands, "ask", ask,
        "Send one conversation, turn by turn, and print the answers with their times. Stores nothing.",
        "evalkit ask 'What is the sum of 12 + 23?' 'And the product of the two?'",
    )  # fmt: skip
    parser.add_argument("messages", nargs="*", metavar="MESSAGE", help="user messages, one per turn")
    parser.add_argument(
        "--curl", metavar="FILE",
        help="send the request of a cURL command in this file instead; - is standard input. Nothing of it is executed",
    )  # fmt: skip
    parser.add_argument(
        "--system", metavar="TEXT|@FILE", help="system prompt, or a file that holds it; '' sends none (default: none)"
    )
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    shared_flags.add_json(parser)
    parser.set_defaults(not_with_curl=[action for action in parser._actions if action.dest not in _WITH_CURL])


def ask(parsed: argparse.Namespace) -> int:
    """Run ``evalkit ask``."""
    from evalkit.console.terminal import print_json, print_message, stdout_console
    from evalkit.conversation import Conversation, Turn
    from evalkit.engine.stopping.giving_up import LASTING
    from evalkit.evaluation import converse
    from evalkit.replaying.pasted_curl import from_curl
    from evalkit.settings import Settings

    _check_question(parsed)
    named: Endpoint | None = None
    stream = not parsed.no_stream
    if parsed.curl is not None:
        request = from_curl(_pasted(parsed.curl))
        conversation, stream, named = request.conversation, request.stream, request.endpoint
        if request.sends:
            print_message(f"sent to {urlsplit(request.url).netloc}: {', '.join(request.sends)}")
    else:
        settings = Settings(system=shared_flags.text_or_file("--system", parsed.system))  # refuses what a run refuses
        asked = tuple(Turn(text) for text in parsed.messages)
        conversation = Conversation("ask", asked).with_system(settings.system)
    code, turns = 0, []
    with shared_flags.endpoint(parsed) if named is None else nullcontext(named) as endpoint:
        console = stdout_console()
        for record in converse(conversation, endpoint, stream=stream, wait_ready=parsed.wait_ready):
            turns.append(_row(conversation.turns[record.turn - 1].user, record, endpoint))
            if not parsed.json:
                for text, style in _lines(record, endpoint):
                    # print() would wrap it, which takes long for a megabyte on one line
                    console.out(text, style=style, highlight=False)
            if record.failure is not None:
                print_message(f"{record.failure.kind}: {record.failure.message}")
                code = max(code, 3 if record.failure.kind in LASTING else 1)
        if parsed.json:
            print_json({"model": endpoint.model, "base_url": endpoint.base_url, "turns": turns})
    return code


def _check_question(parsed: argparse.Namespace) -> None:
    """Check that there are either messages or a cURL command, which has everything else too."""
    if parsed.curl is None:
        if not parsed.messages:
            raise SettingsError("there is nothing to send: give a MESSAGE, or a cURL command with --curl FILE")
        return
    for action in parsed.not_with_curl:
        value = getattr(parsed, action.dest)
        if value is not action.default and value != []:  # a default stays the same object, a given value is another
            name = (*action.option_strings, action.dest)[0]
            raise SettingsError(f"--curl and {name} exclude each other: change the cURL command instead")


def _pasted(name: str) -> str:
    """The text of a file, or of standard input."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        problem = "is not UTF-8 text" if isinstance(error, UnicodeError) else "cannot be read"
        raise SettingsError(f"--curl: the file {name!r} {problem}: name a text file, or - for standard input") from None


def _lines(record: TurnRecord, endpoint: Endpoint) -> Iterator[tuple[str, str | None]]:
    """The printed lines of a turn, each with its style."""
    from evalkit.runfile.plain_text import plain
    from evalkit.scorers.reading.think_block import split

    answer = record.answer
    if answer is not None and not answer.empty:
        text, in_text = split(answer.text)
        text = text or answer.refusal or ""
        if (reasoning := answer.reasoning or in_text) and not (text.strip() or answer.tool_calls):
            text = f"(only reasoning) {reasoning}"
        elif in_text:
            yield plain(f"(reasoning) {in_text}"), "dim"
        yield plain(text.lstrip() if in_text else text), None
        for call in answer.tool_calls:
            yield plain(f"{call.name}({call.arguments})"), None
    if record.failure is None and record.good is not None:
        yield _timing(record.good), "dim"
        for line in _notes(record.good, endpoint):
            yield plain(line), "yellow"


def _notes(attempt: Attempt, endpoint: Endpoint) -> Iterator[str]:
    """Warnings about an answer: cut off, longer than requested, from another model, a fallback or a cache."""
    from evalkit.analysis import ignored_parameters
    from evalkit.client.model_names import names_another_model
    from evalkit.wording import run_results

    parameters = ignored_parameters.ignored_by_attempt(endpoint.params, attempt).to_json()
    yield from run_results.cut_off(parameters, alone=True)
    yield from run_results.ignored_parameters(parameters, alone=True)
    provenance = attempt.provenance or {}
    if "model" in provenance and names_another_model(endpoint.model, provenance["model"]):
        yield f"this answer names another model than {endpoint.model}: {provenance['model']}"
    if "fallback" in provenance:
        yield f"this answer came from a fallback ({provenance['fallback']})"
    if "cache" in provenance or "repeated_id" in provenance:
        why = provenance.get("cache") or f"same id and text as an earlier answer: {provenance['repeated_id']}"
        yield f"this answer came from a cache ({why})"


def _row(message: str, record: TurnRecord, endpoint: Endpoint) -> dict[str, Any]:
    """A turn as ``--json`` prints it, with those keys of ``tables.transcript`` that apply."""
    from evalkit.analysis import ignored_parameters
    from evalkit.scorers.reading.think_block import split

    answer, good, failure = record.answer, record.good, record.failure
    usage = good.usage if good else None
    text, in_text = split(answer.text) if answer else ("", "")
    return {
        "turn": record.turn,
        "user": message,
        "answer": ((text.lstrip() if in_text else text) or answer.refusal or "") if answer else None,
        "tool_calls": [call.to_json() for call in answer.tool_calls] if answer and answer.tool_calls else None,
        "finish_reason": answer.finish_reason if answer else None,
        "error": None if failure is None else f"{failure.kind}: {failure.message}",
        "ttft_ms": None if good is None or good.ttft_ns is None else good.ttft_ns / 1e6,
        "latency_ms": None if good is None or good.latency_ns is None else good.latency_ns / 1e6,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "flags": list(good.flags) if good else [],
        "refusal": answer.refusal if answer else None,
        "reasoning": (answer.reasoning or in_text or None) if answer else None,
        "ignored_parameters": ignored_parameters.ignored_by_attempt(endpoint.params, good).to_json() if good else None,
        "provenance": good.provenance if good else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else None,
        "cache_write_tokens": usage.cache_write_tokens if usage else None,
        "logprobs": answer.logprobs if answer else None,
    }


def _timing(attempt: Attempt) -> str:
    from evalkit.analysis import caveats
    from evalkit.wording import run_results

    ttft = "" if attempt.ttft_ns is None else f"first token after {attempt.ttft_ns / 1e6:.0f} ms, "
    latency = "" if attempt.latency_ns is None else f"complete after {attempt.latency_ns / 1e6:.0f} ms"
    tokens = attempt.usage.output_tokens if attempt.usage else None
    counted = "" if tokens is None else f", {tokens} tokens"
    notes = (run_results.first_token_warning(attempt.flags), caveats.answer_note(attempt.flags))
    return f"[{ttft}{latency}{counted}{''.join(f'; {note}' for note in notes if note)}]"
