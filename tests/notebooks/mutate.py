"""Break the notebooks of the course, one fault at a time, and count the faults that their tests see.

    python tests/notebooks/mutate.py                 # all notebooks: an hour or two
    python tests/notebooks/mutate.py --notebook 06   # one of them
    python tests/notebooks/mutate.py --list          # the faults, without running anything

The course is copied to a temporary folder. Each fault (``tests/support/mutations.py``) goes into one cell of a copy of
its notebook, which ``pytest --nbval`` runs until the first red cell. Cells of exercises and asserts are not changed.
The exit code is 0 when at least ``--least`` of the faults are seen. Not a test that pytest collects.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from mutations import Mutation, mutations  # noqa: E402

UNCHANGED = {"exercise", "assert", "parameters", "solution"}
RED = re.compile(r"^FAILED \S+::Cell (\d+)", re.MULTILINE)
LONGEST_S = 1200


@dataclass(frozen=True)
class Fault:
    """A fault in one code cell of a notebook; cells are counted as nbval counts them, code cells from 0."""

    notebook: Path
    cell: int
    mutation: Mutation


def faults(path, most):
    """The faults to try in a notebook, as different in kind and cell as they can be."""
    found = []
    for number, cell in enumerate(code_cells(nbformat.read(path, as_version=4))):
        if not UNCHANGED & set(cell.metadata.get("tags", [])):
            found += [Fault(path, number, mutation) for mutation in mutations(cell.source)]
    chosen, cells, kinds = [], Counter(), Counter()
    while found and len(chosen) < most:
        rule = [(fault.mutation.kind, fault.mutation.what.split()[0]) for fault in found]
        at = min(range(len(found)), key=lambda at: (cells[found[at].cell] + kinds[rule[at]], kinds[rule[at]], at))
        chosen.append(found.pop(at))
        cells[chosen[-1].cell] += 1
        kinds[rule[at]] += 1
    return sorted(chosen, key=lambda fault: fault.cell)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(course, path):
    """The first red cell of a notebook, or None; and the end of what pytest printed."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=300", "--exitfirst", "--tb=line"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        ran = subprocess.run(
            [*command, "-p", "no:cacheprovider", path.name],
            cwd=course / "notebooks", env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "no end", ""
    report = re.sub(r"\x1b\[[\d;]+m", "", ran.stdout)
    found = RED.search(report)
    if found is None:
        return (None if ran.returncode == 0 else f"exit {ran.returncode}"), report[-1500:] + ran.stderr[-1500:]
    return f"cell {found[1]}", ""


def run_with(course, number, fault):
    """As ``run``, for a copy of the notebook that has the fault."""
    notebook = nbformat.read(fault.notebook, as_version=4)
    code_cells(notebook)[fault.cell].source = fault.mutation.source
    path = course / "notebooks" / f"fault_{number}.ipynb"
    nbformat.write(notebook, path)
    try:
        return run(course, path)
    finally:
        path.unlink()


def main(argv):
    """Print a table of all faults, and the share that was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebook", action="append", metavar="NN", help="this one only; may be repeated")
    parser.add_argument("--most", type=int, default=7, metavar="N", help="faults in each notebook (default: 7)")
    parser.add_argument("--least", type=float, default=0.9, metavar="S", help="share that must be seen (default: 0.9)")
    parser.add_argument("--list", action="store_true", help="list the faults and run nothing")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2), help="notebooks in parallel (default: 2)")
    options = parser.parse_args(argv)
    paths = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
    if options.notebook:
        paths = [path for path in paths if path.name[:2] in options.notebook]
    chosen = [fault for path in paths for fault in faults(path, options.most)]
    if options.list:
        for fault in chosen:
            print(row(fault, ""))
        print(f"{len(chosen)} faults in {len(paths)} notebooks")
        return 0
    with TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        course = copy_of_the_course(Path(folder))
        for path, (red, report) in zip(paths, pool.map(lambda path: run(course, path), paths), strict=True):
            if red is not None:
                print(f"{path.name} is red without any fault ({red}): its faults are left out\n{report}")
                chosen = [fault for fault in chosen if fault.notebook != path]
        return tried(course, chosen, pool, options.least)


def tried(course, chosen, pool, least):
    """Run every fault and print it as soon as it has been run."""
    started, seen = time.monotonic(), Counter()
    print(row(None, "seen in"))
    for fault, (red, _) in zip(chosen, pool.map(lambda job: run_with(course, *job), enumerate(chosen)), strict=True):
        seen[red is not None] += 1
        print(row(fault, f"red, {red}" if red else "GREEN"), flush=True)
    share = seen[True] / max(seen.total(), 1)
    print(f"{seen[True]} of {seen.total()} faults are red: {share:.0%}; {(time.monotonic() - started) / 60:.0f} min")
    return 0 if share >= least else 1


def row(fault, result):
    """One line of the table."""
    if fault is None:
        return f"{'notebook':24} {'cell':4}  {'kind':6}  {result:14} fault"
    words = f"{fault.mutation.kind:6}  {result:14} {fault.mutation.what}"
    return f"{fault.notebook.stem[:24]:24} {fault.cell:4}  {words}"


def copy_of_the_course(folder):
    """Copy what the notebooks use: themselves, their helpers and the data."""
    for name in ("notebooks", "data"):
        skipped = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".progress.json")
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
