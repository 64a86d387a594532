"""The command that draws every chart of runs into files: ``plot``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import flags
from evalkit.errors import RunFileError, SettingsError

if TYPE_CHECKING:
    from evalkit.style import Chart

FORMATS = ("png", "svg")


def add_plot(commands: Any) -> None:
    """``evalkit plot``."""
    parser = flags.command(
        commands, "plot", plot,
        "Draw every chart of a run into files, and of several runs how they compare; say what cannot be drawn and why.",
        "evalkit plot runs/demo.evalkit -o charts",
    )  # fmt: skip
    parser.add_argument("files", nargs="+", type=Path, metavar="RUN.evalkit", help="run files")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="written over")
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the files (default: png)")
    flags.add_json(parser)


def plot(parsed: argparse.Namespace) -> int:
    """``evalkit plot``."""
    drawn, missing = [], []
    for folder, run, name, chart in _charts(parsed.files):
        if isinstance(chart, str) or chart.missing is not None:
            reason = chart if isinstance(chart, str) else chart.missing
            missing.append({"run": run, "chart": name, "reason": reason})
            continue
        file = parsed.output / folder / f"{name}.{parsed.format}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            chart.save(file)
        except OSError as error:
            raise SettingsError(f"{file} cannot be written: {error.strerror or error}. Choose another folder") from None
        drawn.append({"run": run, "chart": name, "file": str(file), "finding": chart.finding, "alt": chart.alt})
    if parsed.json:
        from evalkit.console import tell

        tell({"folder": str(parsed.output), "drawn": drawn, "missing": missing})
    else:
        _show(drawn, missing)
    return 0


def _charts(files: Sequence[Path]) -> Iterator[tuple[str, str | None, str, Chart | str]]:
    """Folder, run file, name and chart, or why there is none; a run's charts are measured as their turn comes."""
    from evalkit import plots

    folders = _folders(files)
    for file, folder in zip(files, folders, strict=True):
        for name, chart in plots.charts(file).items():
            yield folder, str(file), name, chart
    if len(files) < 2:
        return
    yield "", None, "accuracy-latency", plots.models_chart(files)
    try:
        from evalkit.comparison import compare

        contrasts = compare(*files).contrasts
    except RunFileError as error:
        yield "", None, "comparison", str(error)
        return
    for folder, contrast in zip(folders[1:], contrasts, strict=True):
        for name, chart in plots.contrast_charts(contrast).items():
            yield folder, str(contrast.second.path), name, chart


def _folders(files: Sequence[Path]) -> list[str]:
    """A folder for each run, none where there is one run: its name, numbered where two have one name."""
    if len(files) == 1:
        return [""]
    taken = Counter(file.stem for file in files)
    return [file.stem if taken[file.stem] == 1 else f"{file.stem}-{place}" for place, file in enumerate(files, start=1)]


def _show(drawn: Sequence[dict[str, Any]], missing: Sequence[dict[str, Any]]) -> None:
    from rich.text import Text

    from evalkit.console import output, printable

    console = output()
    for each in drawn:
        console.print(printable(f"{each['file']}: {'; '.join(each['finding'].splitlines())}"), soft_wrap=True)
    for each in missing:
        of = "" if each["run"] is None else f" of {each['run']}"
        console.print(
            Text("not drawn: ", style="yellow") + printable(f"{each['chart']}{of}: {each['reason']}"), soft_wrap=True
        )
