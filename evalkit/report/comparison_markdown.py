"""A comparison as Markdown for a pull request: the verdicts first, then the differences and what was left out."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.comparing.comparison import Comparison
from evalkit.comparing.ranks import Ranks
from evalkit.comparing.verdicts import Verdicts
from evalkit.report.markdown_report import cell, compared
from evalkit.wording import verdicts as wording
from evalkit.wording.numbers import percent


def comparison_markdown(comparison: Comparison, verdicts: Verdicts | None = None, fail_on: str = "worse") -> str:
    """Return the comparison in Markdown. Untrusted text is inline code, where it cannot link or load anything."""
    lines = [] if verdicts is None else list(_verdicts(verdicts, fail_on))
    ranks = [] if comparison.ranks is None else list(_ranks(comparison.ranks))
    return "\n".join([*lines, *ranks, *compared(comparison)]).rstrip("\n") + "\n"


def _verdicts(verdicts: Verdicts, fail_on: str) -> Iterator[str]:
    yield f"### {wording.headline([(each.second, each.result) for each in verdicts.verdicts])}"
    yield ""
    yield f"| run | margin | baseline | run's | change ({wording.level(verdicts.confidence)}) | verdict |"
    yield "|---|---|---:|---:|---:|---|"
    for each in verdicts.verdicts:
        first, second = (wording.value(each.margin, value) for value in (each.change.first, each.change.second))
        mark = "**" if each.fails(fail_on) else ""
        change = wording.change(each.margin, each.change.change)
        result = f"{mark}{each.result}{mark}"
        yield f"| {each.second} | {cell(each.margin.text_of_tag)} | {first} | {second} | {change} | {result} |"
    yield ""
    undecided = [each for each in verdicts.verdicts if each.result == "cannot tell"]
    for each in undecided:
        reason = wording.would_tell(each.more, each.noun, each.change.change.reason)
        yield f"- {each.second} {cell(each.margin.left)}: {reason}"
    if undecided:
        yield ""
    for sentence in (verdicts.base, *verdicts.notes):
        yield f"{sentence[0].upper()}{sentence[1:]}."
        yield ""


def _ranks(ranks: Ranks) -> Iterator[str]:
    if not ranks.runs:
        return
    yield "| rank | run | groups | accuracy |"
    yield "|---|---|---|---:|"
    for run in ranks.runs:
        rank, label = wording.ranked(run.rank, run.worst_rank, run.label)
        yield f"| {rank} | {label} | {run.groups} | {percent(run.accuracy)} |"
    yield ""
    sentence = wording.groups(ranks.turns, ranks.tests)
    yield f"{sentence[0].upper()}{sentence[1:]}."
    yield ""
