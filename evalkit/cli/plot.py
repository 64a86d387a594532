"""The command that draws the charts of runs into files: ``plot``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import RunFileError, SettingsError

if TYPE_CHECKING:
    from evalkit.charts.chart import Chart

FORMATS = ("png", "svg")


def add_plot(commands: Any) -> None:
    """Add ``evalkit plot``."""
    parser = shared_flags.add_command(
        commands, "plot", plot,
        "Draw the charts of one or more runs into files. Several runs are also compared with the first. A chart that "
        "cannot be drawn is listed with the reason.",
        "evalkit plot runs/demo.evalkit -o charts",
    )  # fmt: skip
    parser.add_argument("files", nargs="+", type=Path, metavar="RUN.evalkit", help="run files")
    shared_flags.add_out(parser, "FOLDER", "folder, created if needed", required=True)
    parser.add_argument("--format", choices=FORMATS, default="png", help="format of the files (default: png)")
    shared_flags.add_overwrite(parser)
    shared_flags.add_json(parser)


def plot(parsed: argparse.Namespace) -> int:
    """Run ``evalkit plot``."""
    from evalkit.analysis.measures import snapshot

    with snapshot(*parsed.files):
        return _plot(parsed)


def _plot(parsed: argparse.Namespace) -> int:
    from evalkit.runfile import output_files

    drawn, missing = [], []
    if not parsed.overwrite:
        _check_folders(parsed)
    for folder, run, name, chart in _charts(parsed.files):
        if isinstance(chart, str) or chart.missing is not None:
            reason = chart if isinstance(chart, str) else chart.missing
            missing.append({"run": run, "chart": name, "reason": reason})
            continue
        file = parsed.out / folder / f"{name}.{parsed.format}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{file} cannot be written: {error.strerror or error}. Choose another folder") from None
        with output_files.writing(file, output_files.CHART, overwrite=parsed.overwrite) as draft:
            chart.save(draft)
        drawn.append({"run": run, "chart": name, "file": str(file), "finding": chart.finding, "alt": chart.alt})
    if parsed.json:
        from evalkit.console.terminal import print_json

        print_json({"folder": str(parsed.out), "drawn": drawn, "missing": missing})
    else:
        _show(drawn, missing)
    return 0


def _check_folders(parsed: argparse.Namespace) -> None:
    from evalkit.runfile import output_files

    """Refuse earlier charts before anything is drawn, so that no folder mixes new and old charts."""
    for folder in dict.fromkeys(("", *_folders(parsed.files))):
        for file in sorted((parsed.out / folder).glob(f"*.{parsed.format}")):
            if output_files.is_earlier(file, output_files.CHART):
                raise SettingsError(f"{file} is a chart from before: add --overwrite, or choose another folder")


def _charts(files: Sequence[Path]) -> Iterator[tuple[str, str | None, str, Chart | str]]:
    """Folder, run file, name and chart, or the reason why it cannot be drawn; one run is read at a time."""
    from evalkit.charts import catalogue

    folders = _folders(files)
    for file, folder in zip(files, folders, strict=True):
        for name, chart in catalogue.charts(file).items():
            yield folder, str(file), name, chart
    if len(files) < 2:
        return
    yield "", None, "accuracy-latency", catalogue.models_chart(files)
    try:
        from evalkit.comparing.comparison import compare

        contrasts = compare(*files).contrasts
    except RunFileError as error:
        yield "", None, "comparison", str(error)
        return
    for folder, contrast in zip(folders[1:], contrasts, strict=True):
        for name, chart in catalogue.contrast_charts(contrast).items():
            yield folder, str(contrast.second.path), name, chart


def _folders(files: Sequence[Path]) -> list[str]:
    """A folder for each run, none for a single run: the run's name, with a number where two runs share it."""
    if len(files) == 1:
        return [""]
    names = [file.stem.strip(".") or "run" for file in files]
    several = {name for name, times in Counter(map(str.casefold, names)).items() if times > 1}
    used = {name.casefold() for name in names} - several
    folders = []
    for place, name in enumerate(names, start=1):
        folder = name
        if name.casefold() in several:
            numbered = (f"{name}-{number}" for number in count(place))
            folder = next(each for each in numbered if each.casefold() not in used)
            used.add(folder.casefold())
        folders.append(folder)
    return folders


def _show(drawn: Sequence[dict[str, Any]], missing: Sequence[dict[str, Any]]) -> None:
    from rich.text import Text

    from evalkit.console.terminal import printable, stdout_console

    console = stdout_console()
    for each in drawn:
        console.print(printable(f"{each['file']}: {'; '.join(each['finding'].splitlines())}"), soft_wrap=True)
    for each in missing:
        of = "" if each["run"] is None else f" of {each['run']}"
        console.print(
            Text("not drawn: ", style="yellow") + printable(f"{each['chart']}{of}: {each['reason']}"), soft_wrap=True
        )
