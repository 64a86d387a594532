"""One or more runs as Markdown for a pull request: the result, the table, what failed, how to repeat it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evalkit.analysis import caveats
from evalkit.report.repeat_commands import commands
from evalkit.report.run_contents import RunContents, early_end, scores, warnings
from evalkit.wording import numbers, run_results
from evalkit.wording.comparison import differing, left_out, time_rows

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison

_HEADINGS = (
    "turn",
    "answered",
    "errors",
    "accuracy (95 % interval)",
    "TTFT p50",
    "p95",
    "TPOT p50",
    "latency p50",
    "p95",
)


def markdown(runs: Sequence[RunContents], compared: Comparison | str | None = None) -> str:
    """Return the report in Markdown. Untrusted text is inline code, where it cannot link, mention or load anything."""
    lines = [] if compared is None else list(_compared_or_why(compared))
    return "\n".join([*lines, *(line for run in runs for line in _lines(run))]) + "\n"


def code(text: str) -> str:
    """Return text as inline code, on one line."""
    text = " ".join(text.split())
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    blank = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{blank}{text or ' '}{blank}{fence}"


def cell(text: str) -> str:
    """Return text as inline code for a table, where a bar would end the cell even in code."""
    return code(text).replace("|", "\\|")


def _compared_or_why(comparison: Comparison | str) -> Iterator[str]:
    if isinstance(comparison, str):
        yield f"> **Not compared:** {code(comparison)}"
        yield ""
        return
    yield from compared(comparison)


def compared(comparison: Comparison) -> Iterator[str]:
    """Return the lines on each run compared with the first."""
    for contrast in comparison.contrasts:
        first, second = contrast.first, contrast.second
        yield f"**{second.label} {code(second.name)}, {first.label} {code(first.name)}: {contrast.all.words}**"
        yield ""
        yield f"{differing(first.label, second.label, contrast.differs, _condition)}."
        yield ""
        for warning in contrast.warnings:
            yield f"> **{warning}**"
            yield ""
        if any(contrast.times[0].pairs.values()):
            yield f"| time in ms | pairs | {first.label} | {second.label} | {second.label} − {first.label} (95 %) |"
            yield "|---|---:|---:|---:|---:|"
            for name, cells in time_rows(contrast.times[0]):
                yield f"| {name} | {' | '.join(cells)} |"
            yield ""
        if line := left_out(contrast.left_out, first.label, second.label):
            failed = (
                f" With failed turns as not right: {contrast.with_failures.words}." if contrast.left_out.failed else ""
            )
            yield f"{line}.{failed}"
            yield ""


def _condition(value: str) -> str:
    """Return the value of a condition as code: a system prompt may be anything."""
    return "none" if value == "none" else code(value)


def _lines(run: RunContents) -> Iterator[str]:
    result = run.result
    yield f"## {code(run.measures.name)}"
    yield ""
    yield run_results.verdict(result, code(run.model))
    yield ""
    for sentence in (scores(run, code), early_end(run)):
        if sentence is not None:
            yield sentence
            yield ""
    for warning in warnings(run, code):
        yield f"> **{warning}**"
        yield ""
    headings = (run_results.marked_heading(heading, result["trust"], " (client-bound)") for heading in _HEADINGS)
    yield f"| {' | '.join(headings)} |"
    yield "|---|" + "---:|" * (len(_HEADINGS) - 1)
    for row in [*result["by_turn"], {**result, "turn": "all"}]:
        ttft, tpot, latency = row["ttft_ms"], row["tpot_ms"], row["latency_ms"]
        times = map(numbers.number, (ttft["p50"], ttft["p95"], tpot["p50"], latency["p50"], latency["p95"]))
        errors = sum(row["errors"].values())
        cells = (
            row["turn"],
            f"{row['answered']:,} of {row['turns']:,}",
            errors,
            run_results.accuracy_with_interval(row["accuracy"]),
            *times,
        )
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    turn_time = trust = ""
    if result["imported"] is None:
        turn_time = f"Times in ms. {run_results.turn_time(result)}. "
        trust = f" {run_results.trust(result['trust'], run.info['settings']['concurrency'])[0]}."
    arrivals = f" {run_results.arrivals(result['arrivals'])}." if result["arrivals"] is not None else ""
    cancelled = f" {run_results.cancelled_turns(result['interrupted'])}." if result["interrupted"] else ""
    notes = "".join(f" {sentence}." for sentence in caveats.sentences(result["caveats"]))
    accuracy = run_results.accuracy_all(result)
    yield f"{turn_time}{accuracy}.{arrivals}{cancelled}{notes}{trust}"
    yield ""
    yield from _reasons(run)
    yield "<details><summary>How to repeat this run</summary>"
    yield ""
    for line in commands(run):
        yield code(line)
        yield ""
    digest = run.info["dataset"].get("hash")
    if digest:
        yield f"Dataset SHA-256 {code(digest)}, evalkit {code(run.versions.get('evalkit', '?'))}."
        yield ""
    yield "</details>"
    yield ""


def _reasons(run: RunContents) -> Iterator[str]:
    rows = [(f"error: {kind}", count, message) for kind, message, count in run.failed]
    rows += [(what, count, f"for example: {reason}") for what, reason, count in run.wrong]
    if not rows:
        return
    yield "| kind | turns | reason |"
    yield "|---|---:|---|"
    for kind, count, reason in rows:
        yield f"| {cell(kind)} | {count:,} | {cell(reason)} |"
    yield ""
