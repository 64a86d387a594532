"""A run, or several, as Markdown for a pull request: the finding, the table, what failed, how to repeat it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evalkit.analysis import caveats
from evalkit.report.run_contents import Part, commands, ended, scores, warnings
from evalkit.wording import numbers, run_results
from evalkit.wording.comparison import left_out, time_rows

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


def markdown(parts: Sequence[Part], compared: Comparison | str | None = None) -> str:
    """The report in Markdown; what a stranger wrote stands in code, where it links, names and loads nothing."""
    lines = [] if compared is None else list(_compared(compared))
    return "\n".join([*lines, *(line for part in parts for line in _lines(part))]) + "\n"


def code(text: str) -> str:
    """A text as inline code, on one line."""
    text = " ".join(text.split())
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    blank = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{blank}{text or ' '}{blank}{fence}"


def _cell(text: str) -> str:
    """The same in a table, whose cells a bar would end, also in code."""
    return code(text).replace("|", "\\|")


def _compared(compared: Comparison | str) -> Iterator[str]:
    if isinstance(compared, str):
        yield f"> **Not compared:** {code(compared)}"
        yield ""
        return
    for contrast in compared.contrasts:
        first, second = contrast.first, contrast.second
        yield f"**{second.label} {code(second.name)}, {first.label} {code(first.name)}: {contrast.all.words}**"
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


def _lines(part: Part) -> Iterator[str]:
    result = part.result
    yield f"## {code(part.measures.name)}"
    yield ""
    yield run_results.verdict(result, code(part.model))
    yield ""
    for told in (scores(part, code), ended(part)):
        if told is not None:
            yield told
            yield ""
    for warning in warnings(part, code):
        yield f"> **{warning}**"
        yield ""
    headings = (run_results.marked(heading, result["trust"], " (client-bound)") for heading in _HEADINGS)
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
            run_results.rate(row["accuracy"]),
            *times,
        )
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    trust, _ = run_results.trust(result["trust"], part.info["settings"]["concurrency"])
    due = f" {run_results.arrivals(result['arrivals'])}." if result["arrivals"] is not None else ""
    cut = f" {run_results.interrupted(result['interrupted'])}." if result["interrupted"] else ""
    known = "".join(f" {sentence}." for sentence in caveats.sentences(result["caveats"]))
    yield f"Times in ms. {run_results.turn_time(result)}. {run_results.accuracy_all(result)}.{due}{cut}{known} {trust}."
    yield ""
    yield from _reasons(part)
    yield "<details><summary>How to repeat it</summary>"
    yield ""
    for line in commands(part):
        yield code(line)
        yield ""
    digest = part.info["dataset"].get("hash")
    if digest:
        yield f"Dataset SHA-256 {code(digest)}, evalkit {code(part.versions.get('evalkit', '?'))}."
        yield ""
    yield "</details>"
    yield ""


def _reasons(part: Part) -> Iterator[str]:
    rows = [(f"error: {kind}", count, message) for kind, message, count in part.failed]
    rows += [(what, count, f"such as: {reason}") for what, reason, count in part.wrong]
    if not rows:
        return
    yield "| kind | turns | reason |"
    yield "|---|---:|---|"
    for kind, count, reason in rows:
        yield f"| {_cell(kind)} | {count:,} | {_cell(reason)} |"
    yield ""
