"""Counts the pictures of each cell: nbval compares no pixels, and nothing at all where a cell ignores its output.

A cell must show as many pictures as are committed, each of about the committed size.
"""

import base64
import struct
import warnings

import pytest

TOLERANCE = 0.25  # of width and height: labels change with the numbers in them


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
