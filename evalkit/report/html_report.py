"""One file that shows a run, or several beside each other: the finding, the numbers, the charts, every transcript."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson

from evalkit import __version__
from evalkit.analysis import caveats
from evalkit.analysis.measures import snapshot
from evalkit.errors import SettingsError
from evalkit.report import transcript_data
from evalkit.report.charts import add_charts
from evalkit.report.comparison import comparison
from evalkit.report.html_elements import add, plain
from evalkit.report.markdown_report import markdown
from evalkit.report.run_contents import (
    MOST_REASONS,
    Part,
    all_well,
    commands,
    compared_runs,
    ended,
    read,
    scores,
    warnings,
)
from evalkit.runfile import output_files
from evalkit.static_files import static_file
from evalkit.wording import numbers, run_results
from evalkit.wording.glossary import DEFINITIONS

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison

_STATUSES = (("r", "right"), ("p", "partly right"), ("w", "wrong"), ("e", "failed"), ("u", "not scored"))
_HEADINGS = (
    ("order", "conversation"), ("", "turn"), ("score", "verdict"), ("latency", "latency"), ("ttft", "first token"),
    ("", "question"), ("", "answer"),
)  # fmt: skip


def report(runs: Sequence[Path | str], path: Path | str, *, overwrite: bool = True) -> int:
    """Write a report: HTML, or Markdown for a pull request if the name ends in ``.md``.

    Parameters
    ----------
    runs : sequence of path-like
        Run files; they may still be growing.
    path : path-like
    overwrite : bool
        An earlier output of evalkit is written over. Any other file that is there is refused.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    SettingsError
        No run is named, or the report cannot be written: see ``outputs.check``.
    MissingExtra
        matplotlib is not installed.
    """
    path = Path(path)
    if not runs:
        raise SettingsError("a report needs a run file")
    output_files.check(path, output_files.REPORT, runs, overwrite=overwrite)
    most = transcript_data.MOST_TURNS // len(runs)
    in_words = path.suffix == ".md"
    with snapshot(*runs):
        parts = [read(Path(run), most_turns=0 if in_words else most, drawn=not in_words) for run in runs]
        compared = compared_runs(parts)
    text = f"{markdown(parts, compared)}{output_files.MARKDOWN_MARK}\n" if in_words else html(parts, compared)
    taken = output_files.read_for(runs, [part.info for part in parts])
    with output_files.writing(path, output_files.REPORT, taken, overwrite=overwrite) as draft:
        return draft.write_bytes(text.encode())


def html(parts: Sequence[Part], compared: Comparison | str | None = None) -> str:
    """The report as one HTML page that loads nothing.

    Text becomes markup nowhere: the page is built as elements, its data are compressed, and the policy in its head
    lets no script run but its own.
    """
    page, body = _page(parts)
    main = SubElement(body, "main")
    if compared is not None:
        comparison(main, compared)
    for part in parts:
        _run(main, part, level=1 if compared is None else 2)
    _browser(main, parts)
    return _finished(page, body, parts)


def browser(runs: Sequence[Path | str]) -> str:
    """The transcripts of runs as one HTML page for a frame, with the policy and the script of a report.

    Its root takes ``data-theme`` light or dark; without one it follows the reader's system.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """
    most = transcript_data.MOST_TURNS // len(runs)
    parts = [read(Path(run), most_turns=most, drawn=False) for run in runs]
    page, body = _page(parts, more_style=static_file("report", "in_a_frame.css"))
    _browser(SubElement(body, "main"), parts)
    return _finished(page, body, parts)


def _page(parts: Sequence[Part], more_style: str = "") -> tuple[Element, Element]:
    """A page and its body."""
    script, style = static_file("report", "report.js"), static_file("report", "report.css") + more_style
    page = Element("html", lang="en")
    head = SubElement(page, "head")
    SubElement(head, "meta", charset="utf-8")
    policy = "; ".join((
        "default-src 'none'", "img-src data:", f"style-src {_hash(style)}", f"script-src {_hash(script)}",
        "base-uri 'none'", "form-action 'none'",
    ))  # fmt: skip
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    SubElement(head, "title").text = plain("evalkit: " + ", ".join(part.measures.name for part in parts))
    SubElement(head, "style").text = style
    return page, SubElement(page, "body")


def _finished(page: Element, body: Element, parts: Sequence[Part]) -> str:
    """The page as text, once the data and the script are in it."""
    _dialog(body)
    for part in parts:
        _data(body, part)
    SubElement(body, "script").text = static_file("report", "report.js")
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# -- one run


def _run(main: Element, part: Part, *, level: int) -> None:
    section = SubElement(main, "section")
    add(section, f"h{level}", f"{part.measures.name}: {part.model}")
    add(section, "p", run_results.verdict(part.result, part.model), class_="verdict")
    for told in (scores(part), ended(part)):
        if told is not None:
            add(section, "p", told)
    for warning in warnings(part):
        add(section, "p", warning, class_="warning")
    _table(section, part)
    add(section, f"h{level + 1}", "Charts")
    add_charts(section, part.charts)
    _reasons(section, part, f"h{level + 1}")
    _repeat(section, part, f"h{level + 1}")


def _table(section: Element, part: Part) -> None:
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
        _term(add(head, "th", scope="col"), run_results.marked(heading, part.result["trust"], " (client-bound)"))
    body = SubElement(table, "tbody")
    for row in [*part.result["by_turn"], {**part.result, "turn": "all"}]:
        line = SubElement(body, "tr")
        add(line, "th", str(row["turn"]), scope="row")
        ttft, tpot, latency = row["ttft_ms"], row["tpot_ms"], row["latency_ms"]
        times = (ttft["p50"], ttft["p95"], tpot["p50"], latency["p50"], latency["p95"])
        counts = f"{row['answered']:,} of {row['turns']:,}", f"{sum(row['errors'].values()):,}"
        cells = (*counts, run_results.rate(row["accuracy"]), *map(numbers.number, times))
        for cell in cells:
            add(line, "td", cell)
    if part.result["answered"]:
        line = SubElement(section, "p")
        _term(line, "turn time")
        line[-1].tail = run_results.turn_time(part.result).removeprefix("turn time")
    add(section, "p", run_results.accuracy_all(part.result))
    if part.result["arrivals"] is not None:
        add(section, "p", run_results.arrivals(part.result["arrivals"]))
    if part.result["interrupted"]:
        add(section, "p", run_results.interrupted(part.result["interrupted"]))
    for sentence in caveats.sentences(part.result["caveats"]):
        add(section, "p", f"{sentence}.")
    talks = part.result["conversations"]
    if len(part.result["by_turn"]) > 1 and talks["n"] + talks["incomplete"]:
        add(section, "p", run_results.conversations(talks))
    if part.result["repeats"] is not None:
        add(section, "p", run_results.repeats(part.result["repeats"]))
    if part.result["cost"] is not None:
        add(section, "p", run_results.cost(part.result["cost"]))
    line = SubElement(section, "p")
    trust, _ = run_results.trust(part.result["trust"], part.info["settings"]["concurrency"])
    _term(line, "trust")
    line[-1].tail = trust.removeprefix("trust")


def _term(parent: Element, text: str) -> None:
    """A word with its definition, for a pointer, a keyboard and a screen reader."""
    meanings = [DEFINITIONS[name] for name in DEFINITIONS if name in text.split(" ") or name == text]
    term = SubElement(parent, "span", {"class": "term", "tabindex": "0"})
    term.text = text
    add(term, "span", " ".join(meanings), class_="meaning", role="tooltip")


def _reasons(section: Element, part: Part, heading: str) -> None:
    add(section, heading, "What failed and why")
    if not (part.failed or part.wrong):
        add(section, "p", all_well(part))
        return
    table = SubElement(SubElement(section, "div", {"class": "wide"}), "table", {"class": "words-table"})
    add(table, "caption", f"the most frequent reasons, {MOST_REASONS} of each kind at most")
    head = SubElement(SubElement(table, "thead"), "tr")
    for column in ("kind", "turns", "reason"):
        add(head, "th", column, scope="col")
    body = SubElement(table, "tbody")
    rows = [(f"error: {kind}", count, message) for kind, message, count in part.failed]
    rows += [(what, count, f"such as: {reason}") for what, reason, count in part.wrong]
    for kind, count, reason in rows:
        line = SubElement(body, "tr")
        add(line, "th", kind, scope="row")
        add(line, "td", f"{count:,}")
        add(line, "td", reason, dir="auto")


def _repeat(section: Element, part: Part, heading: str) -> None:
    add(section, heading, "How to repeat it")
    add(section, "pre", "\n".join(commands(part)), tabindex="0")
    dataset, when = part.info["dataset"], time.gmtime(part.info["created_ns"] / 1e9)
    facts = [f"begun {time.strftime('%Y-%m-%d %H:%M', when)} UTC", f"run file {part.path.name}"]
    if dataset.get("hash"):
        facts.append(f"dataset SHA-256 {dataset['hash']}")
    facts += [f"{name} {version}" for name, version in part.versions.items()]
    facts.append(f"report by evalkit {__version__}")
    add(section, "p", "; ".join(facts), class_="faint")


# -- the transcripts


def _browser(main: Element, parts: Sequence[Part]) -> None:
    section = SubElement(main, "section", {"id": "browser", "aria-busy": "true"})
    add(section, "h2", "Transcripts")
    for part in parts:
        held = part.transcripts
        if held.turns < held.total:
            add(
                section, "p", f"Of {part.measures.name} {held.turns:,} of {held.total:,} turns are here: whole "
                "conversations drawn at random, up to a quarter for a failed turn in them. The run file has all.",
                class_="warning",
            )  # fmt: skip
    controls = SubElement(section, "form", {"class": "controls", "id": "controls"})
    runs = add(_label(controls, "run"), "select", id="run")
    for number, part in enumerate(parts):
        add(runs, "option", part.measures.name, value=str(number))
    add(_label(controls, "search"), "input", type="search", id="search", placeholder="question, answer, reason, id")
    for name in ("tag", "turn"):
        add(_label(controls, name), "select", id=name)
    fieldset = SubElement(controls, "fieldset", {"id": "statuses"})
    add(fieldset, "legend", "only")
    for letter, name in _STATUSES:
        label = SubElement(fieldset, "label")
        SubElement(label, "input", type="checkbox", value=letter).tail = f" {name} "
    if len(parts) > 1:
        label = SubElement(controls, "label")
        SubElement(label, "input", type="checkbox", id="flipped").tail = " scored otherwise in the other run"
    add(section, "p", id="count", role="status", class_="faint")
    _grid(section)
    add(section, "p", "No turn is like that: take a filter away.", id="nothing", hidden="hidden")
    add(section, "noscript", "The transcripts need JavaScript; nothing is loaded from anywhere.")


def _label(parent: Element, text: str) -> Element:
    label = SubElement(parent, "label")
    label.text = text
    return label


def _grid(section: Element) -> None:
    grid = SubElement(section, "div", {"class": "grid", "id": "grid", "role": "grid", "tabindex": "0"})
    grid.set("aria-label", "Turns; arrow keys move, Enter opens the conversation")
    head = SubElement(grid, "div", {"class": "head", "id": "head", "role": "row", "aria-rowindex": "1"})
    for name, heading in _HEADINGS:
        cell = SubElement(head, "span", {"role": "columnheader"})
        if name:
            cell.set("aria-sort", "ascending" if name == "order" else "none")
            add(cell, "button", heading, type="button", data_sort=name)
        else:
            cell.text = heading
    SubElement(grid, "div", {"class": "space", "id": "space", "role": "rowgroup"})


def _dialog(body: Element) -> None:
    dialog = SubElement(body, "dialog", {"id": "conversation", "aria-labelledby": "title"})
    header = SubElement(dialog, "header")
    add(header, "h2", id="title")
    add(header, "button", "close", type="button", id="close")
    SubElement(dialog, "div", {"class": "dialogues", "id": "dialogues"})


def _data(body: Element, part: Part) -> None:
    packed = gzip.compress(orjson.dumps(part.transcripts.data), compresslevel=9, mtime=0)
    script = SubElement(body, "script", {"type": "application/gzip", "data-name": plain(part.measures.name)})
    script.text = base64.b64encode(packed).decode()
