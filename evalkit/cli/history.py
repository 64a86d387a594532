"""The command that shows how the runs of one dataset developed: ``history``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.comparing.history import History

_SUFFIXES = (".png", ".svg")


def add_history(commands: Any) -> None:
    """Add ``evalkit history``."""
    parser = shared_flags.add_command(
        commands, "history", history,
        "Show accuracy and latency over the runs of one dataset, and which steps from run to run are real. Each run "
        "is compared with the one before it, turn by turn; the tests are corrected for their number.",
        "evalkit history data/primary_math.jsonl -o history.png",
    )  # fmt: skip
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET|FOLDER",
        help="the dataset: its runs are those with a dataset file of this name; or a folder with runs of one dataset",
    )  # fmt: skip
    shared_flags.add_runs_folder(parser)
    shared_flags.add_out(parser, "CHART", "also draw a chart: .png or .svg")
    shared_flags.add_overwrite(parser)
    shared_flags.add_json(parser)


def history(parsed: argparse.Namespace) -> int:
    """Run ``evalkit history``."""
    from evalkit.comparing import history as histories
    from evalkit.console.history import show_history
    from evalkit.console.terminal import print_message, print_result
    from evalkit.runfile import output_files
    from evalkit.runfile.file_names import RUNS_FOLDER

    if (chart := parsed.out) is not None and chart.suffix.lower() not in _SUFFIXES:
        raise SettingsError(f"{chart}: a chart is drawn as .png or .svg: give it a name that ends like that")
    if parsed.dataset.is_dir() and parsed.folder != RUNS_FOLDER:
        raise SettingsError(
            f"{parsed.dataset} is a folder of runs, and so is {parsed.folder}: name one folder, or a dataset first"
        )
    found = histories.history(parsed.dataset, parsed.folder)
    if chart is not None:
        output_files.check(chart, output_files.CHART, overwrite=parsed.overwrite)
    print_result(found, show_history, as_json=parsed.json)
    if chart is not None:
        _draw(found, chart, overwrite=parsed.overwrite)
        if not parsed.json:
            print_message(f"chart: {chart}")
    return 0


def _draw(found: History, chart: Path, *, overwrite: bool) -> None:
    from evalkit.charts.history import RunHistory
    from evalkit.runfile import output_files

    runs = [run.path for run in found.runs]
    with output_files.writing(chart, output_files.CHART, runs, overwrite=overwrite) as draft:
        RunHistory(found).save(draft)
