"""Counts the pictures of each cell: nbval compares no pixels, and nothing at all where a cell ignores its output.

A cell must show as many pictures as are committed, each of about the committed size. With ``NOTEBOOKS_RECORDED`` set, a
recording answers each notebook, without a model, and every output is compared but those of the set-up cell.
"""

import base64
import os
import struct
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest

RECORDED = Path(__file__).parents[1] / "tests/notebooks/recorded"
SET_UP = "endpoint.about()"  # in the cell that prints address and versions
TOLERANCE = 0.25  # of width and height: labels change with the numbers in them


class Player:
    """Serves the recording of the notebook that runs: its kernel finds the address in the environment."""

    def __init__(self):
        self.stack = ExitStack()
        self.path = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        if item.path == self.path or not hasattr(item, "cell"):
            return
        from evalkit.recorded import player

        self.stack.close()
        self.path = item.path
        server = self.stack.enter_context(player.playing(RECORDED / f"{item.path.stem}.jsonl", timings="none"))
        os.environ["SERVICE_HOST"] = server.base_url.removesuffix("/v1")
        os.environ["ASSISTANT_ID"] = server.model
        os.environ["TASKINGAI_API_KEY"] = os.environ[server.key_env]

    def pytest_collection_modifyitems(self, items):
        for item in items:
            if hasattr(item, "cell"):
                item.options["check"] = SET_UP not in item.cell.source

    def pytest_unconfigure(self):
        self.stack.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Compare the pictures of a notebook's cell after it has run."""
    result = yield
    cell = getattr(item, "cell", None)
    if cell is None or cell.execution_count is None:
        return result
    expected, found = pictures(cell.outputs), pictures(item.test_outputs or [])
    problem = difference(expected, found)
    if problem is not None:
        item.raise_cell_error(f"{problem}: the cell must show {expected or 'none'}, and shows {found or 'none'}")
    return result


def pytest_configure(config):
    """Let the packages of the notebooks' own kernels warn; what a cell prints to standard error is still compared."""
    warnings.simplefilter("default")
    config.addinivalue_line("filterwarnings", "default")
    if os.environ.get("NOTEBOOKS_RECORDED"):
        config.pluginmanager.register(Player())


def pictures(outputs):
    """Width and height of each picture in a cell's outputs, in pixels."""
    data = [output.get("data", {}).get("image/png") for output in outputs]
    return [size(base64.b64decode(picture)) for picture in data if picture]


def size(png):
    """Width and height of a PNG, from its header."""
    return struct.unpack(">II", png[16:24])


def difference(expected, found):
    """What is wrong with the pictures found, or None."""
    if len(expected) != len(found):
        return "Another number of pictures"
    for wanted, had in zip(expected, found, strict=True):
        if any(abs(a - b) > TOLERANCE * a for a, b in zip(wanted, had, strict=True)):
            return "A picture of another size"
    return None
