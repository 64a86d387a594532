"""The transcript browser: a list of turns to filter, search and sort, and a dialog with whole conversations.

Its script is in ``static``; the data are embedded in the page, compressed.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import orjson

from evalkit.report import transcript_data
from evalkit.report.html_elements import add, plain
from evalkit.report.html_page import new_page, page_text
from evalkit.report.leaderboard import labels
from evalkit.report.run_contents import RunContents, read_run
from evalkit.static_files import static_file

_SHARED_SCRIPTS = ("elements.js", "readable_text.js", "conversation.js", "turn_grid.js")
_STYLES = ("readable_text.css", "transcripts.css")
_STATUSES = (("r", "right"), ("p", "partly right"), ("w", "wrong"), ("e", "failed"), ("u", "not scored"))
_HEADINGS = (
    ("order", "conversation"), ("", "turn"), ("score", "verdict"), ("latency", "latency"), ("ttft", "first token"),
    ("", "question"), ("", "answer"),
)  # fmt: skip


def script() -> str:
    """Return the script of the browser."""
    return shared_script() + static_file("report", "transcript_browser.js")


def shared_script() -> str:
    """Return the script of the list of turns and of the dialog, for a page that gets the turns in its own way."""
    return "".join(static_file("report", name) for name in _SHARED_SCRIPTS)


def style() -> str:
    """Return the style of a page with the browser."""
    return static_file("report", "report.css") + "".join(static_file("report", name) for name in _STYLES)


def browser_page(paths: Sequence[Path | str]) -> str:
    """Return the transcripts of run files as one HTML page for a frame, with the policy and the script of a report.

    Its root accepts ``data-theme`` light or dark; without it, the page follows the reader's system.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file.
    """
    most = transcript_data.MOST_TURNS // len(paths)
    runs = [read_run(Path(path), most_turns=most, drawn=False) for path in paths]
    page, body = new_page(title(runs), style=style() + static_file("report", "in_a_frame.css"), script=script())
    add_browser(SubElement(body, "main"), runs)
    add_dialog_and_data(body, runs)
    return page_text(page, body, script())


def title(runs: Sequence[RunContents]) -> str:
    """Return the title of a page that shows these runs."""
    return "evalkit: " + ", ".join(run.measures.name for run in runs)


def add_browser(main: Element, runs: Sequence[RunContents]) -> None:
    """Add the list of turns, with its filters."""
    section = SubElement(main, "section", {"id": "browser", "aria-busy": "true"})
    add(section, "h2", "Transcripts")
    for run in runs:
        shown = run.transcripts
        if shown.turns < shown.total:
            add(
                section, "p", f"{run.measures.name}: {shown.turns:,} of {shown.total:,} turns are shown here, a random "
                "sample of whole conversations, up to a quarter of it for conversations with a failed turn. The run "
                "file has all turns.",
                class_="warning",
            )  # fmt: skip
    controls = SubElement(section, "form", {"class": "controls", "id": "controls"})
    select = add(_label(controls, "run"), "select", id="run")
    for number, name in enumerate(_names(runs)):
        add(select, "option", name, value=str(number))
    add_filters(controls)
    if len(runs) > 1:
        label = SubElement(controls, "label")
        SubElement(label, "input", type="checkbox", id="flipped").tail = " different score in the other run"
    add_grid(section)
    add(section, "noscript", "The transcripts need JavaScript; the page loads nothing from the network.")


def add_filters(controls: Element) -> None:
    """Add the filters of turns to a form."""
    add(_label(controls, "search"), "input", type="search", id="search", placeholder="question, answer, reason, id")
    for name in ("tag", "turn"):
        add(_label(controls, name), "select", id=name)
    fieldset = SubElement(controls, "fieldset", {"id": "statuses"})
    add(fieldset, "legend", "only")
    for letter, name in _STATUSES:
        label = SubElement(fieldset, "label")
        SubElement(label, "input", type="checkbox", value=letter).tail = f" {name} "


def add_dialog(body: Element) -> None:
    """Add the dialog that shows a conversation."""
    dialog = SubElement(body, "dialog", {"id": "conversation", "aria-labelledby": "title"})
    header = SubElement(dialog, "header")
    add(header, "h2", id="title")
    add(header, "button", id="difference", type="button", hidden="hidden")
    add(header, "button", "close", type="button", id="close")
    SubElement(dialog, "div", {"class": "dialogues", "id": "dialogues"})


def add_dialog_and_data(body: Element, runs: Sequence[RunContents]) -> None:
    """Add the dialog that shows a conversation, and the data of all runs, compressed."""
    add_dialog(body)
    for run, name in zip(runs, _names(runs), strict=True):
        packed = gzip.compress(orjson.dumps(run.transcripts.by_conversation()), compresslevel=6, mtime=0)
        data = SubElement(body, "script", {"type": "application/gzip", "data-name": plain(name)})
        data.text = base64.b64encode(packed).decode()


def _names(runs: Sequence[RunContents]) -> list[str]:
    """The names of the runs; of several, with their labels."""
    names = [run.measures.name for run in runs]
    return names if len(runs) == 1 else [f"{label}: {name}" for label, name in zip(labels(runs), names, strict=True)]


def _label(parent: Element, text: str) -> Element:
    label = SubElement(parent, "label")
    label.text = text
    return label


def add_grid(section: Element) -> None:
    """Add the list of turns, and how many there are."""
    add(section, "p", id="count", role="status", class_="faint")
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
    add(section, "p", "No turn matches: remove a filter.", id="nothing", hidden="hidden")
