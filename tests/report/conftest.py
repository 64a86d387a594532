"""Reports without the drawing of their charts, which takes a second each."""

import pytest
from pages import EMPTY_CHART

from evalkit.report import charts


@pytest.fixture
def drawn_charts():
    """The reports of this test have their charts."""


@pytest.fixture(autouse=True)
def _empty_charts(request, monkeypatch):
    if "drawn_charts" not in request.fixturenames:
        monkeypatch.setattr(charts, "_data_url", lambda chart: EMPTY_CHART)
