"""The page of ``evalkit view``: its frame, its script and its style. What it shows it fetches."""

from __future__ import annotations

from functools import cache
from xml.etree.ElementTree import Element, SubElement, tostring

from evalkit.report import transcript_browser
from evalkit.report.html_elements import add
from evalkit.static_files import static_file

_RUN_HEADINGS = (
    "side by side", "run", "accuracy (95 %)", "n", "latency p50", "TTFT p50", "dataset", "model", "started", "outcome",
)  # fmt: skip


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """The files of the page by their names, each with its media type; the page itself has no name."""
    script = transcript_browser.shared_script() + static_file("viewer", "view.js")
    style = transcript_browser.style() + static_file("viewer", "view.css")
    return {
        "": (_page().encode(), "text/html"),
        "view.js": (script.encode(), "text/javascript"),
        "view.css": (style.encode(), "text/css"),
    }


def _page() -> str:
    page = Element("html", lang="en")
    head = SubElement(page, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "title", "evalkit: runs")
    SubElement(head, "link", rel="stylesheet", href="view.css")
    SubElement(head, "script", src="view.js", defer="defer").text = ""
    body = SubElement(page, "body")
    main = SubElement(body, "main")
    _add_runs(main)
    _add_turns(main)
    transcript_browser.add_dialog(body)
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _add_runs(main: Element) -> None:
    section = SubElement(main, "section", {"id": "folder", "aria-busy": "true"})
    add(section, "h1", "Runs", id="foldername")
    controls = SubElement(section, "form", {"class": "controls", "id": "runcontrols"})
    add(_label(controls, "find runs"), "input", type="search", id="runsearch", placeholder="run, dataset, model")
    add(_label(controls, "dataset"), "select", id="dataset")
    add(section, "p", id="runcount", role="status", class_="faint")
    add(section, "p", id="failure", role="alert", class_="warning", hidden="hidden")
    box = SubElement(section, "div", {"class": "wide runs", "tabindex": "0", "role": "region", "aria-label": "Runs"})
    table = SubElement(box, "table", {"id": "runtable"})
    row = SubElement(SubElement(table, "thead"), "tr")
    for heading in _RUN_HEADINGS:
        add(row, "th", heading, scope="col")
    SubElement(table, "tbody", {"id": "runrows"})
    add(section, "noscript", "This page needs JavaScript; it loads nothing but from this machine.")


def _add_turns(main: Element) -> None:
    section = SubElement(main, "section", {"id": "turns", "hidden": "hidden"})
    add(section, "h2", "Turns", id="listed")
    controls = SubElement(section, "form", {"class": "controls", "id": "controls"})
    transcript_browser.add_filters(controls)
    label = SubElement(controls, "label", {"id": "flippedlabel", "hidden": "hidden"})
    SubElement(label, "input", type="checkbox", id="flipped").tail = " different score in the next run"
    transcript_browser.add_grid(section)


def _label(parent: Element, text: str) -> Element:
    label = SubElement(parent, "label")
    label.text = text
    return label
