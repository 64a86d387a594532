"""The spelling of the notebooks' prose, by codespell."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted([*FOLDER.glob("*.ipynb"), *FOLDER.glob("solutions/*.ipynb")])


def misspelled(folder, text):
    written = folder / "prose.md"
    written.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "codespell_lib", written], capture_output=True, text=True, check=False
    ).stdout.splitlines()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_word_of_it_is_misspelled(path, tmp_path):
    cells = nbformat.read(path, as_version=4).cells
    assert misspelled(tmp_path, "\n\n".join(cell.source for cell in cells)) == []


def test_a_misspelled_word_would_be_found(tmp_path):
    assert len(misspelled(tmp_path, "This is teh first recieved answer.")) == 2
