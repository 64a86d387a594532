from collections.abc import Iterator

import matplotlib as mpl
import pytest

mpl.use("agg")

from matplotlib import pyplot


@pytest.fixture(autouse=True)
def closing_figures() -> Iterator[None]:
    yield
    pyplot.close("all")
