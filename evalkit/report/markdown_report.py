"""One or more runs as Markdown for a pull request: the result, the table, what failed, how to repeat it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from evalkit.report import previous_run, run_facts
from evalkit.report.leaderboard import Leaderboard, labels, leaderboard
from evalkit.report.repeat_commands import commands
from evalkit.report.run_contents import RunContents, scores
from evalkit.report.run_facts import incomplete_in_several
from evalkit.wording import run_results, run_sentences, turn_table
from evalkit.wording.comparison import differing, left_out, time_rows

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison


def markdown(runs: Sequence[RunContents], compared: Comparison | str | None = None) -> str:
    """Return the report in Markdown. Untrusted text is inline code, where it cannot link, mention or load anything."""
    lines = []
    if compared is not None:
        lines += [*_leaderboard(leaderboard(runs, compared, cell)), *_contrasts(compared)]
        lines += [f"{line}\n" for line in incomplete_in_several(runs, labels(runs))]
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


def _leaderboard(board: Leaderboard) -> Iterator[str]:
    yield f"**{board.finding}**"
    yield ""
    yield from table(board.headings, board.rows)
    for note in board.notes:
        yield run_results.sentence(note)
        yield ""


def _contrasts(comparison: Comparison | str) -> Iterator[str]:
    if not isinstance(comparison, str):
        yield from compared(comparison)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table; its cells must be safe already."""
    yield f"| {' | '.join(headings)} |"
    yield "|---|" + "---:|" * (len(headings) - 1)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


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
    yield f"## {code(run.model)} on {code(run_facts.dataset(run))}"
    yield ""
    yield run_facts.finding(run, code)
    yield ""
    if (scored := scores(run, code)) is not None:
        yield scored
        yield ""
    yield "; ".join(f"{name}: {code(value)}" for name, value in run_facts.facts(run)) + "."
    yield ""
    for sentence, is_warning in run_facts.reliability(run, code):
        yield f"> **{sentence}**" if is_warning else f"- {sentence}"
        yield ""
    columns = turn_table.columns(run.result, run_facts.BOUND)
    yield from table([column.heading for column in columns], turn_table.rows(columns))
    bound = run.result["trust"]["client_bound_metrics"]
    yield run_results.sentence(f"{turn_table.NOTE}{run_facts.BOUND_NOTE if bound else ''}")
    for note in run_sentences.notes(run.result):
        yield run_results.sentence(note)
    yield ""
    if rows := run_facts.reasons(run):
        yield from table(("kind", "turns", "reason"), [(cell(kind), count, cell(why)) for kind, count, why in rows])
    if run.previous is not None:
        yield "**What changed since the last run of this dataset**"
        yield ""
        for sentence in previous_run.sentences(run.previous, code):
            yield f"- {sentence}"
        yield ""
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
