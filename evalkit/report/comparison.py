"""The section of a report that compares its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from evalkit.charts import catalogue
from evalkit.report.charts import add_charts
from evalkit.report.html_elements import add
from evalkit.wording.comparison import condition_values, left_out, lower_bounds, time_rows
from evalkit.wording.numbers import MISSING, counted, p_value, points

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison, Contrast
    from evalkit.comparing.effects import Effect

MOST_TAGS = 20
_HEADINGS = (
    "turns",
    "pairs",
    "difference (95 % interval)",
    "p",
    "corrected p",
    "only the first right",
    "only the second",
)


def comparison(main: Element, compared: Comparison | str) -> None:
    """Add the comparison, or the reason why there is none."""
    section = SubElement(main, "section")
    add(section, "h1", "Runs compared")
    if isinstance(compared, str):
        add(section, "p", f"These runs are shown side by side, and not compared: {compared}", class_="warning")
        return
    for contrast in compared.contrasts:
        _contrast(section, contrast)


def _contrast(section: Element, contrast: Contrast) -> None:
    first, second = contrast.first, contrast.second
    add(section, "h2", f"{second.label}, {second.name}, and {first.label}, {first.name}")
    add(section, "p", contrast.all.words, class_="verdict")
    for warning in contrast.warnings:
        add(section, "p", warning, class_="warning")
    if contrast.differs:
        differences = "; ".join(f"{each.what}: {' and '.join(condition_values(each))}" for each in contrast.differs)
        add(section, "p", f"What differs between {first.label} and {second.label}: {differences}")
    if line := left_out(contrast.left_out, first.label, second.label):
        add(section, "p", line)
    table = SubElement(SubElement(section, "div", {"class": "wide"}), "table")
    add(table, "caption", f"{second.label} − {first.label} in points, over turns answered and scored in both")
    head = SubElement(SubElement(table, "thead"), "tr")
    for heading in _HEADINGS:
        add(head, "th", heading, scope="col")
    body = SubElement(table, "tbody")
    _row(body, "all", contrast.all)
    if contrast.left_out.failed:
        _row(body, "all, failed turns as not right", contrast.with_failures)
    for effect in contrast.by_turn:
        _row(body, f"turn {effect.label}", effect)
    for effect in contrast.by_tag[:MOST_TAGS]:
        _row(body, f"tag {effect.label}", effect)
    _times(section, contrast)
    add_charts(section, catalogue.contrast_charts(contrast))
    more = len(contrast.by_tag[MOST_TAGS:]) + contrast.tags_left_out
    if more:
        add(section, "p", f"For {counted(more, 'more tag')} see 'evalkit compare --json'.", class_="faint")


def _times(section: Element, contrast: Contrast) -> None:
    first, second, times = contrast.first.label, contrast.second.label, contrast.times[0]
    if not any(times.pairs.values()):
        return
    table = SubElement(SubElement(section, "div", {"class": "wide"}), "table")
    add(table, "caption", "times in ms, over turns that both runs have")
    head = SubElement(SubElement(table, "thead"), "tr")
    for heading in ("time", "pairs", first, second, f"{second} − {first} (95 % interval)"):
        add(head, "th", heading, scope="col")
    body = SubElement(table, "tbody")
    for name, cells in time_rows(times):
        line = SubElement(body, "tr")
        add(line, "th", name, scope="row")
        for cell in cells:
            add(line, "td", cell)
    if note := lower_bounds(times, first, second):
        add(section, "p", note, class_="faint")


def _row(body: Element, name: str, effect: Effect) -> None:
    line = SubElement(body, "tr")
    add(line, "th", name, scope="row")
    difference = effect.difference
    shown = MISSING if difference.value is None else points(difference.value)
    if difference.low is not None and difference.high is not None:
        shown += f" ({points(difference.low)} to {points(difference.high)})"
    p_values = map(p_value, (effect.p, effect.corrected_p))
    for cell in (f"{effect.pairs:,}", shown, *p_values, f"{effect.only_first:,}", f"{effect.only_second:,}"):
        add(line, "td", cell)
