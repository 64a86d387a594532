"""The report: one HTML file with the result, the numbers, the charts and all transcripts of one or more runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from evalkit import __version__
from evalkit.analysis.measures import snapshot
from evalkit.errors import SettingsError
from evalkit.report import transcript_browser, transcript_data
from evalkit.report.charts import add_charts
from evalkit.report.comparison import add_previous, comparison
from evalkit.report.html_elements import add, add_facts, add_folded, add_headings, add_rows, add_table
from evalkit.report.html_page import new_page, page_text
from evalkit.report.leaderboard import labels
from evalkit.report.markdown_report import markdown
from evalkit.report.repeat_commands import commands
from evalkit.report.run_contents import MOST_REASONS, RunContents, compared_runs, nothing_failed, read_run, scores
from evalkit.report.run_facts import (
    BOUND,
    BOUND_NOTE,
    dataset,
    facts,
    finding,
    reasons,
    reliability,
)
from evalkit.runfile import output_files
from evalkit.wording import run_results, run_sentences, turn_table
from evalkit.wording.glossary import DEFINITIONS

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison

MOST_OPEN = 2  # runs whose sections are open at first


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
    most = transcript_data.MOST_TURNS // len(runs)
    as_markdown = (form or path.suffix) in ("md", ".md")
    with snapshot(*runs):
        output_files.check(path, output_files.REPORT, runs, overwrite=overwrite)
        drawn, alone = not as_markdown, len(runs) == 1
        contents = [read_run(Path(run), most_turns=most * drawn, drawn=drawn, since_previous=alone) for run in runs]
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
        transcript_browser.title(contents), style=transcript_browser.style(), script=transcript_browser.script()
    )
    main = SubElement(body, "main")
    if compared is None:
        _add_run(main, contents[0], f"{contents[0].model} on {dataset(contents[0])}", level=1)
    else:
        comparison(main, contents, compared)
        for label, run in zip(labels(contents), contents, strict=True):
            title = f"{label} {run.measures.name}: {run.model}"
            folded = add_folded(main, title, is_open=len(contents) <= MOST_OPEN)
            _add_run(folded, run, None, level=2)
    transcript_browser.add_browser(main, contents)
    transcript_browser.add_dialog_and_data(body, contents)
    return page_text(page, body, transcript_browser.script())


def _add_run(main: Element, run: RunContents, title: str | None, *, level: int) -> None:
    section, heading = SubElement(main, "section"), f"h{level + 1}"
    if title is not None:
        add(section, f"h{level}", title)
    add_facts(section, facts(run))
    add(section, "p", finding(run), class_="verdict")
    if (scored := scores(run)) is not None:
        add(section, "p", scored)
    _reliability(section, run, heading)
    _turn_table(section, run, heading)
    _reasons(section, run, heading)
    if run.previous is not None:
        add_previous(section, run.previous, heading)
    add(section, heading, "Charts")
    add_charts(section, run.charts)
    _repeat_commands(section, run, heading)


def _reliability(section: Element, run: RunContents, heading: str) -> None:
    title = add(section, heading, "How far to ")
    _term(title, "trust")
    title[-1].tail = " the numbers"
    for sentence, is_warning in reliability(run):
        add(section, "p", sentence, **({"class_": "warning"} if is_warning else {}))


def _turn_table(section: Element, run: RunContents, heading: str) -> None:
    add(section, heading, "By turn")
    bound = run.result["trust"]["client_bound_metrics"]
    table = add_table(section, f"{turn_table.NOTE}{BOUND_NOTE if bound else ''}")
    head = SubElement(SubElement(table, "thead"), "tr")
    columns = turn_table.columns(run.result, BOUND)
    for column in columns:
        _term(add(head, "th", scope="col"), column.heading)
    add_rows(table, turn_table.rows(columns))
    for line in run_sentences.notes(run.result):
        term = next((name for name in ("turn time",) if line.startswith(name)), None)
        paragraph = add(section, "p", "" if term else run_results.sentence(line))
        if term is not None:
            _term(paragraph, "Turn time")
            paragraph[-1].tail = run_results.sentence(line).removeprefix("Turn time")


def _term(parent: Element, text: str) -> None:
    """Add a term with its definition, for pointers, keyboards and screen readers."""
    known = text.lower().removesuffix(BOUND).split(" ")
    meanings = [meaning for name, meaning in DEFINITIONS.items() if name.lower() in (*known, text.lower())]
    term = SubElement(parent, "span", {"class": "term", "tabindex": "0"})
    term.text = text
    add(term, "span", " ".join(meanings), class_="meaning", role="tooltip")


def _reasons(section: Element, run: RunContents, heading: str) -> None:
    add(section, heading, "What failed and why")
    if not (run.failed or run.wrong):
        add(section, "p", nothing_failed(run))
        return
    table = add_table(section, f"the most frequent reasons, at most {MOST_REASONS} of each kind", class_="words-table")
    add_headings(table, ("kind", "turns", "reason"))
    add_rows(table, reasons(run), last_is_words=True)


def _repeat_commands(section: Element, run: RunContents, heading: str) -> None:
    add(section, heading, "How to repeat this run")
    add(section, "pre", "\n".join(commands(run)), tabindex="0")
    made = [f"run file {run.path.name}"]
    if digest := run.info["dataset"].get("hash"):
        made.append(f"SHA-256 of the conversations that it was run on {digest}")
    made += [f"{name} {version}" for name, version in run.versions.items()]
    if run.machine:
        made.append(f"client on {' '.join(str(run.machine.get(name)) for name in ('system', 'architecture'))}")
        made[-1] += f" with {run.machine.get('cores')} cores"
    made.append(f"report by evalkit {__version__}")
    add(section, "p", "; ".join(made), class_="faint")
