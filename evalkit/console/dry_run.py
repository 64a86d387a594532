"""The output of ``evalkit run --dry-run``: what would be sent, and about how many tokens that is."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from evalkit.console.terminal import LONGEST, one_line, plain_table, printable
from evalkit.datasets.dry_run import BYTES_PER_TOKEN, DryRun
from evalkit.wording.numbers import counted, money


def show_dry_run(console: Console, planned: DryRun) -> None:
    """Print what a run would send."""
    against = "the embedded model" if planned.model is None else f"{planned.model} ({planned.base_url})"
    console.print(printable(f"{planned.data} against {against}: a dry run, nothing is sent"), soft_wrap=True)
    table = plain_table("", "")
    table.show_header = False
    for name, value in _facts(planned):
        table.add_row(Text(name, style="bold"), one_line(value, LONGEST))
    console.print(table)


def _facts(planned: DryRun) -> Iterator[tuple[str, str]]:
    yield "conversations", f"{planned.conversations:,}"
    repeats = f" × {counted(planned.repeats, 'repeat')}" if planned.repeats > 1 else ""
    more = "; retries add more" if not planned.tools else "; retries and tool calls add more"
    yield "requests", f"{planned.requests:,}: {counted(planned.turns, 'turn')}{repeats}{more}"
    yield "prompt tokens", "; ".join(_prompt_tokens(planned))
    output = planned.output_tokens_most
    yield "output tokens", "without a limit: add --max-tokens" if output is None else f"at most {output:,}"
    if planned.cost_most is not None:
        yield "cost", f"at most about {money(planned.cost_most)}, by the price file"
    elif planned.model is None:
        yield "cost", "none: the model runs on this machine"
    elif output is None:
        yield "cost", "unknown: the output tokens have no limit"
    else:
        yield "cost", "unknown: the price file has no price of this model"


def _prompt_tokens(planned: DryRun) -> Iterator[str]:
    least, most = planned.prompt_tokens, planned.prompt_tokens_most
    if most is None:
        yield f"about {least:,}, and more the longer the model's earlier answers are"
    elif most <= least:
        yield f"about {least:,}"
    else:
        yield f"about {least:,} to {most:,}, by the length of the model's earlier answers"
    yield f"estimated at {BYTES_PER_TOKEN} bytes per token"
    if planned.parts:
        yield f"images and other parts of {counted(planned.parts, 'conversation')} not counted"
