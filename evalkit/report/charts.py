"""Charts in a report: images embedded in the page, each with its finding and its numbers as alt text."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from evalkit.report.html_elements import add, plain

if TYPE_CHECKING:
    from evalkit.charts.chart import Chart

_WIDTH = 5.8  # inches: two columns on a desktop, and letters that can be read on a phone


def add_charts(section: Element, charts: Mapping[str, Chart]) -> None:
    """Add the charts that can be drawn, and say why others cannot."""
    box = SubElement(section, "div", {"class": "charts"})
    missing = []
    for name, chart in charts.items():
        if chart.missing is None:
            SubElement(SubElement(box, "figure"), "img", src=_data_url(chart), alt=plain(chart.alt))
        else:
            missing.append(f"{name}: {chart.missing}")
    if missing:
        add(section, "p", f"Not drawn: {'; '.join(missing)}", class_="faint")


def _data_url(chart: Chart) -> str:
    """Return a chart as the data URL of an image, so that its styles do not affect the page."""
    return f"data:image/svg+xml;base64,{base64.b64encode(chart.svg(_WIDTH)).decode()}"
