"""The command that asks one conversation and keeps nothing: ``ask``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evalkit import flags

if TYPE_CHECKING:
    from evalkit.record import Attempt, TurnRecord


def add_ask(commands: Any) -> None:
    """``evalkit ask``."""
    parser = flags.command(
        commands, "ask", ask, "Ask one conversation, turn by turn, and print answers and timings.",
        "evalkit ask 'What is the sum of 12 + 23?' 'And the product of the two?'",
    )  # fmt: skip
    parser.add_argument("messages", nargs="+", metavar="MESSAGE", help="one user message a turn")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    flags.add_endpoint(parser)
    flags.add_sampling(parser)
    flags.add_json(parser)


def ask(parsed: argparse.Namespace) -> int:
    """``evalkit ask``."""
    from evalkit.console import output, say, tell
    from evalkit.conversation import Conversation, Turn
    from evalkit.evaluation import converse
    from evalkit.surrender import LASTING

    conversation = Conversation("ask", tuple(Turn(text) for text in parsed.messages), system=parsed.system)
    code, told = 0, []
    with flags.endpoint(parsed) as endpoint:
        console = output()
        for record in converse(conversation, endpoint, stream=not parsed.no_stream):
            told.append(_row(parsed.messages[record.turn - 1], record))
            if not parsed.json:
                for text, style in _lines(record):
                    # a mebibyte on one line would be measured word by word to be wrapped
                    console.out(text, style=style, highlight=False)
            if record.failure is not None:
                say(f"{record.failure.kind}: {record.failure.message}")
                code = max(code, 3 if record.failure.kind in LASTING else 1)
        if parsed.json:
            tell({"model": endpoint.model, "base_url": endpoint.base_url, "turns": told})
    return code


def _lines(record: TurnRecord) -> Iterator[tuple[str, str | None]]:
    """What is printed of a turn, each with its style."""
    from evalkit.transcripts import plain

    if record.answer is not None and not record.answer.empty:
        yield plain(record.answer.text or record.answer.refusal or ""), None
        for call in record.answer.tool_calls:
            yield plain(f"{call.name}({call.arguments})"), None
    if record.failure is None and record.good is not None:
        yield _timing(record.good), "dim"


def _row(message: str, record: TurnRecord) -> dict[str, Any]:
    """A turn as ``--json`` prints it, with the keys of ``tables.transcript`` that it can have."""
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
    }


def _timing(attempt: Attempt) -> str:
    from evalkit import caveats, words

    ttft = "" if attempt.ttft_ns is None else f"first token after {attempt.ttft_ns / 1e6:.0f} ms, "
    whole = "" if attempt.latency_ns is None else f"all after {attempt.latency_ns / 1e6:.0f} ms"
    tokens = attempt.usage.output_tokens if attempt.usage else None
    counted = "" if tokens is None else f", {tokens} tokens"
    notes = (words.stream(attempt.flags), caveats.said_of(attempt.flags))
    return f"[{ttft}{whole}{counted}{''.join(f'; {note}' for note in notes if note)}]"
