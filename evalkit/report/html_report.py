"""The report: one HTML file with the result, the numbers, the charts and all transcripts of one or more runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from evalkit import __version__
from evalkit.analysis import caveats
from evalkit.analysis.measures import snapshot
from evalkit.errors import SettingsError
from evalkit.report import transcript_browser, transcript_data
from evalkit.report.charts import add_charts
from evalkit.report.comparison import comparison
from evalkit.report.html_elements import add
from evalkit.report.html_page import new_page, page_text
from evalkit.report.markdown_report import markdown
from evalkit.report.repeat_commands import commands
from evalkit.report.run_contents import (
    MOST_REASONS,
    RunContents,
    compared_runs,
    early_end,
    nothing_failed,
    read_run,
    scores,
    warnings,
)
from evalkit.runfile import output_files
from evalkit.static_files import static_file
from evalkit.wording import numbers, run_results
from evalkit.wording.glossary import DEFINITIONS

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison


def report(runs: Sequence[Path | str], path: Path | str, *, overwrite: bool = True, form: str | None = None) -> int:
    """Write a report: HTML, or Markdown for a pull request if the name ends in ``.md``.

    Parameters
    ----------
    runs : sequence of path-like
        Run files; their runs may still be in progress.
    path : path-like
    overwrite : bool
        Replace an existing output of evalkit. Any other existing file is refused.
    form : str, optional
        ``html`` or ``md``, whatever the name ends in.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    SettingsError
        No run is given, or the report cannot be written: see ``output_files.check``.
    MissingExtra
        matplotlib is not installed.
    """
    path = Path(path)
    if not runs:
        raise SettingsError("a report needs a run file")
    output_files.check(path, output_files.REPORT, runs, overwrite=overwrite)
    most = transcript_data.MOST_TURNS // len(runs)
    as_markdown = (form or path.suffix) in ("md", ".md")
    with snapshot(*runs):
        contents = [read_run(Path(run), most_turns=0 if as_markdown else most, drawn=not as_markdown) for run in runs]
        compared = compared_runs(contents)
    text = f"{markdown(contents, compared)}{output_files.MARKDOWN_MARK}\n" if as_markdown else html(contents, compared)
    taken = output_files.input_files(runs, [run.info for run in contents])
    with output_files.writing(path, output_files.REPORT, taken, overwrite=overwrite) as draft:
        return draft.write_bytes(text.encode())


def html(contents: Sequence[RunContents], compared: Comparison | str | None = None) -> str:
    """Return the report as one HTML page that loads nothing.

    Text never becomes markup: the page is built from elements, its data are compressed, and its policy allows no
    script but its own.
    """
    page, body = new_page(
        transcript_browser.title(contents), style=static_file("report", "report.css"),
        script=transcript_browser.script(),
    )  # fmt: skip
    main = SubElement(body, "main")
    if compared is not None:
        comparison(main, compared)
    for run in contents:
        _add_run(main, run, level=1 if compared is None else 2)
    transcript_browser.add_browser(main, contents)
    transcript_browser.add_dialog_and_data(body, contents)
    return page_text(page, body, transcript_browser.script())


def _add_run(main: Element, run: RunContents, *, level: int) -> None:
    section = SubElement(main, "section")
    add(section, f"h{level}", f"{run.measures.name}: {run.model}")
    add(section, "p", run_results.verdict(run.result, run.model), class_="verdict")
    for sentence in (scores(run), early_end(run)):
        if sentence is not None:
            add(section, "p", sentence)
    for warning in warnings(run):
        add(section, "p", warning, class_="warning")
    _table(section, run)
    add(section, f"h{level + 1}", "Charts")
    add_charts(section, run.charts)
    _reasons(section, run, f"h{level + 1}")
    _repeat_commands(section, run, f"h{level + 1}")


def _table(section: Element, run: RunContents) -> None:
    table = SubElement(SubElement(section, "div", {"class": "wide"}), "table")
    add(table, "caption", "times in ms; – means missing: too little data, or nothing to measure")
    headings = (
        "turn",
        "answered",
        "errors",
        "accuracy",
        "TTFT p50",
        "TTFT p95",
        "TPOT p50",
        "latency p50",
        "latency p95",
    )
    head = SubElement(SubElement(table, "thead"), "tr")
    for heading in headings:
        _term(add(head, "th", scope="col"), run_results.marked_heading(heading, run.result["trust"], " (client-bound)"))
    body = SubElement(table, "tbody")
    for row in [*run.result["by_turn"], {**run.result, "turn": "all"}]:
        line = SubElement(body, "tr")
        add(line, "th", str(row["turn"]), scope="row")
        ttft, tpot, latency = row["ttft_ms"], row["tpot_ms"], row["latency_ms"]
        times = (ttft["p50"], ttft["p95"], tpot["p50"], latency["p50"], latency["p95"])
        counts = f"{row['answered']:,} of {row['turns']:,}", f"{sum(row['errors'].values()):,}"
        cells = (*counts, run_results.accuracy_with_interval(row["accuracy"]), *map(numbers.number, times))
        for cell in cells:
            add(line, "td", cell)
    imported = run.result["imported"] is not None
    if run.result["answered"] and not imported:
        line = SubElement(section, "p")
        _term(line, "turn time")
        line[-1].tail = run_results.turn_time(run.result).removeprefix("turn time")
    add(section, "p", run_results.accuracy_all(run.result))
    if run.result["arrivals"] is not None:
        add(section, "p", run_results.arrivals(run.result["arrivals"]))
    if run.result["interrupted"]:
        add(section, "p", run_results.cancelled_turns(run.result["interrupted"]))
    for sentence in caveats.sentences(run.result["caveats"]):
        add(section, "p", f"{sentence}.")
    conversations = run.result["conversations"]
    if len(run.result["by_turn"]) > 1 and conversations["n"] + conversations["incomplete"]:
        add(section, "p", run_results.conversations(conversations))
    if run.result["repeats"] is not None:
        add(section, "p", run_results.repeats(run.result["repeats"]))
    if run.result["cost"] is not None:
        add(section, "p", run_results.cost(run.result["cost"]))
    if not imported:
        line = SubElement(section, "p")
        trust, _ = run_results.trust(run.result["trust"], run.info["settings"]["concurrency"])
        _term(line, "trust")
        line[-1].tail = trust.removeprefix("trust")


def _term(parent: Element, text: str) -> None:
    """Add a term with its definition, for pointers, keyboards and screen readers."""
    meanings = [DEFINITIONS[name] for name in DEFINITIONS if name in text.split(" ") or name == text]
    term = SubElement(parent, "span", {"class": "term", "tabindex": "0"})
    term.text = text
    add(term, "span", " ".join(meanings), class_="meaning", role="tooltip")


def _reasons(section: Element, run: RunContents, heading: str) -> None:
    add(section, heading, "What failed and why")
    if not (run.failed or run.wrong):
        add(section, "p", nothing_failed(run))
        return
    table = SubElement(SubElement(section, "div", {"class": "wide"}), "table", {"class": "words-table"})
    add(table, "caption", f"the most frequent reasons, at most {MOST_REASONS} of each kind")
    head = SubElement(SubElement(table, "thead"), "tr")
    for column in ("kind", "turns", "reason"):
        add(head, "th", column, scope="col")
    body = SubElement(table, "tbody")
    rows = [(f"error: {kind}", count, message) for kind, message, count in run.failed]
    rows += [(what, count, f"for example: {reason}") for what, reason, count in run.wrong]
    for kind, count, reason in rows:
        line = SubElement(body, "tr")
        add(line, "th", kind, scope="row")
        add(line, "td", f"{count:,}")
        add(line, "td", reason, dir="auto")


def _repeat_commands(section: Element, run: RunContents, heading: str) -> None:
    add(section, heading, "How to repeat this run")
    add(section, "pre", "\n".join(commands(run)), tabindex="0")
    dataset, when = run.info["dataset"], time.gmtime(run.info["created_ns"] / 1e9)
    facts = [f"started {time.strftime('%Y-%m-%d %H:%M', when)} UTC", f"run file {run.path.name}"]
    if dataset.get("hash"):
        facts.append(f"dataset SHA-256 {dataset['hash']}")
    facts += [f"{name} {version}" for name, version in run.versions.items()]
    facts.append(f"report by evalkit {__version__}")
    add(section, "p", "; ".join(facts), class_="faint")
