"""The output of ``evalkit replay``: the answer of a turn that was sent again, beside the recorded one."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from evalkit.console.terminal import LONGEST, one_line, plain_table, printable
from evalkit.replaying.replay import FACTS, TIMES, Outcome, Replay
from evalkit.wording.numbers import number

_LABELS = {
    "finish_reason": "finish reason", "error": "error", "model": "model", "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens", "reasoning_tokens": "reasoning tokens", "cached_tokens": "cached tokens",
    "ttft_ms": "TTFT", "latency_ms": "latency",
}  # fmt: skip
_STYLES = {"-": "red", "+": "green", "@": "dim"}


def show_replay(console: Console, replay: Replay) -> None:
    """Print both results of a turn, and the difference of their answers."""
    console.print(printable(f"turn {replay.turn} of {replay.conversation}, repeat {replay.repeat}"), style="bold")
    table = plain_table("", "recorded", "now")
    for name in (*FACTS, *TIMES):
        was, now = (_value(outcome, name) for outcome in (replay.recorded, replay.replayed))
        if was.plain or now.plain:
            mark = "yellow" if name in replay.differing else ""
            table.add_row(_LABELS[name], was, now, style=mark)
    console.print(table)
    console.print(printable(_verdict(replay)), style="bold")
    if replay.same_answer:
        _print_text(console, replay.replayed.text)
    for line in replay.diff() if not replay.same_answer else ():
        console.print(printable(line), style=_STYLES.get(line[:1], ""), soft_wrap=True)


def _print_text(console: Console, text: str) -> None:
    for line in text.splitlines():
        console.print(printable(f"  {line}"), soft_wrap=True)


def _value(outcome: Outcome, name: str) -> Text:
    value = getattr(outcome, name)
    if value is None:
        return Text("")
    return Text(number(value, " ms")) if name in TIMES else one_line(str(value), LONGEST)


def _verdict(replay: Replay) -> str:
    if replay.replayed.error is not None:
        return "the request failed again" if replay.recorded.error is not None else "the request failed this time"
    if replay.recorded.error is not None:
        return "the turn had failed, and now it is answered"
    return "the answer is the same" if replay.same_answer else "the answer is different: - recorded, + now"
