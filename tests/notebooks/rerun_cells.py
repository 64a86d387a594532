"""Run all cells of a notebook, then each of them again by itself: ``python tests/notebooks/rerun_cells.py [NN …]``.

A reader goes back and runs a cell again. No cell may fail for that: one that consumes what an earlier one made, or that
overwrites a name it reads, is found here. Takes a few minutes.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[2]
LONGEST_S = 240


def failures(path):
    """The code cells that fail when they are run again, as their numbers and errors."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=LONGEST_S, resources={"metadata": {"path": str(path.parent)}})
    found = []
    with client.setup_kernel():
        for again in (False, True):
            for number, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or "skip-execution" in cell.metadata.get("tags", ()):
                    continue
                try:
                    client.execute_cell(cell, number)
                except CellExecutionError as error:
                    found.append(f"cell {number}, {'again' if again else 'run all'}: {error.ename}: {error.evalue}")
    return found


def main(chosen):
    problems = 0
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        for part in ("notebooks", "data"):
            shutil.copytree(ROOT / part, Path(folder, part))
        for path in sorted(Path(folder, "notebooks").glob("*.ipynb")):
            if chosen and path.name[:2] not in chosen:
                continue
            found = failures(path)
            problems += len(found)
            print(f"{path.name}: {'; '.join(found) or 'each cell ran twice'}", flush=True)
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
