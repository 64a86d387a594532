"""Reports without the drawing of their charts, which takes a second each."""

import pytest

from evalkit.report import charts

EMPTY = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="  # <svg xmlns="…"/>


@pytest.fixture
def drawn_charts():
    """The reports of this test have their charts."""


@pytest.fixture(autouse=True)
def _empty_charts(request, monkeypatch):
    if "drawn_charts" not in request.fixturenames:
        monkeypatch.setattr(charts, "_data_url", lambda chart: EMPTY)
