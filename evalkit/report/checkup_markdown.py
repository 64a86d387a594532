"""Checks of endpoints as Markdown: a table with the verdict of each probe, for one endpoint or several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evalkit.report.markdown_report import cell, code
from evalkit.runfile.output_files import MARKDOWN_MARK
from evalkit.wording.probe_verdicts import IN_WORDS, counts_in_words

if TYPE_CHECKING:
    from evalkit.checkup.checkup import Checkup

_MARKS = {
    "conforms": "✅", "differs": "⚠️", "unsupported": "➖", "ignored": "❌", "not_judged": "·", "failed": "💥",
}  # fmt: skip


def checkup_markdown(checks: Sequence[Checkup]) -> str:
    """Return the table. What an endpoint sent is inline code, where it cannot link, mention or load anything."""
    return "\n".join(_lines(checks)) + "\n"


def _lines(checks: Sequence[Checkup]) -> Iterator[str]:
    for check in checks:
        yield f"**{code(check.model)}** at {code(check.base_url)}: {counts_in_words(check.counts)}"
        yield ""
    headings = [f"{cell(check.model)}" for check in checks] if len(checks) > 1 else ["verdict"]
    yield f"| probe | {' | '.join(headings)} | what came |"
    yield "|---|" + "---|" * (len(headings) + 1)
    for finding in checks[0].findings:
        each = [check[finding.name] for check in checks]
        verdicts = [f"{_MARKS[one.verdict]} {IN_WORDS[one.verdict]}" for one in each]
        came = "<br>".join(cell(one.came) for one in each)
        yield f"| {finding.name} | {' | '.join(verdicts)} | {came} |"
    yield ""
    yield MARKDOWN_MARK
