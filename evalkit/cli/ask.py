"""The command that asks one conversation and keeps nothing: ``ask``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint
    from evalkit.record import Attempt, TurnRecord


def add_ask(commands: Any) -> None:
    """``evalkit ask``."""
    parser = shared_flags.command(
        commands, "ask", ask, "Ask one conversation, turn by turn, and print answers and timings.",
        "evalkit ask 'What is the sum of 12 + 23?' 'And the product of the two?'",
    )  # fmt: skip
    parser.add_argument("messages", nargs="+", metavar="MESSAGE", help="one user message a turn")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    shared_flags.add_json(parser)


def ask(parsed: argparse.Namespace) -> int:
    """``evalkit ask``."""
    from evalkit.console.terminal import output, say, tell
    from evalkit.conversation import Conversation, Turn
    from evalkit.engine.stopping.giving_up import LASTING
    from evalkit.evaluation import converse

    conversation = Conversation("ask", tuple(Turn(text) for text in parsed.messages), system=parsed.system)
    code, told = 0, []
    with shared_flags.endpoint(parsed) as endpoint:
        console = output()
        for record in converse(conversation, endpoint, stream=not parsed.no_stream):
            told.append(_row(parsed.messages[record.turn - 1], record, endpoint))
            if not parsed.json:
                for text, style in _lines(record, endpoint):
                    # a mebibyte on one line would be measured word by word to be wrapped
                    console.out(text, style=style, highlight=False)
            if record.failure is not None:
                say(f"{record.failure.kind}: {record.failure.message}")
                code = max(code, 3 if record.failure.kind in LASTING else 1)
        if parsed.json:
            tell({"model": endpoint.model, "base_url": endpoint.base_url, "turns": told})
    return code


def _lines(record: TurnRecord, endpoint: Endpoint) -> Iterator[tuple[str, str | None]]:
    """What is printed of a turn, each with its style."""
    from evalkit.runfile.plain_transcripts import plain

    answer = record.answer
    if answer is not None and not answer.empty:
        text = answer.text or answer.refusal or ""
        if answer.reasoning and not (text.strip() or answer.tool_calls):
            text = f"(only reasoning) {answer.reasoning}"
        yield plain(text), None
        for call in answer.tool_calls:
            yield plain(f"{call.name}({call.arguments})"), None
    if record.failure is None and record.good is not None:
        yield _timing(record.good), "dim"
        for line in _notes(record.good, endpoint):
            yield plain(line), "yellow"


def _notes(attempt: Attempt, endpoint: Endpoint) -> Iterator[str]:
    """What a reader has to know of an answer: that it was cut off, is too long, or came from elsewhere."""
    from evalkit.analysis import ignored_parameters
    from evalkit.client.model_names import is_another
    from evalkit.wording import run_results

    heeded = ignored_parameters.ignored_by_attempt(endpoint.params, attempt).to_json()
    yield from run_results.cut_off(heeded, alone=True)
    yield from run_results.ignored(heeded, alone=True)
    known = attempt.provenance or {}
    if "model" in known and is_another(endpoint.model, known["model"]):
        yield f"this answer names another model than {endpoint.model}: {known['model']}"
    if "fallback" in known:
        yield f"this answer came from a fallback ({known['fallback']})"
    if "cache" in known or "repeated_id" in known:
        why = known.get("cache") or f"it has id and text of an earlier one, {known['repeated_id']}"
        yield f"this answer came from a cache ({why})"


def _row(message: str, record: TurnRecord, endpoint: Endpoint) -> dict[str, Any]:
    """A turn as ``--json`` prints it, with the keys of ``tables.transcript`` that it can have."""
    from evalkit.analysis import ignored_parameters

    answer, good, failure = record.answer, record.good, record.failure
    usage = good.usage if good else None
    return {
        "turn": record.turn,
        "user": message,
        "answer": (answer.text or answer.refusal or "") if answer else None,
        "tool_calls": [call.to_json() for call in answer.tool_calls] if answer and answer.tool_calls else None,
        "finish_reason": answer.finish_reason if answer else None,
        "error": None if failure is None else f"{failure.kind}: {failure.message}",
        "ttft_ms": None if good is None or good.ttft_ns is None else good.ttft_ns / 1e6,
        "latency_ms": None if good is None or good.latency_ns is None else good.latency_ns / 1e6,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "flags": list(good.flags) if good else [],
        "refusal": answer.refusal if answer else None,
        "reasoning": (answer.reasoning or None) if answer else None,
        "ignored_parameters": ignored_parameters.ignored_by_attempt(endpoint.params, good).to_json() if good else None,
        "provenance": good.provenance if good else None,
    }


def _timing(attempt: Attempt) -> str:
    from evalkit.analysis import caveats
    from evalkit.wording import run_results

    ttft = "" if attempt.ttft_ns is None else f"first token after {attempt.ttft_ns / 1e6:.0f} ms, "
    whole = "" if attempt.latency_ns is None else f"all after {attempt.latency_ns / 1e6:.0f} ms"
    tokens = attempt.usage.output_tokens if attempt.usage else None
    counted = "" if tokens is None else f", {tokens} tokens"
    notes = (run_results.stream(attempt.flags), caveats.answer_note(attempt.flags))
    return f"[{ttft}{whole}{counted}{''.join(f'; {note}' for note in notes if note)}]"
