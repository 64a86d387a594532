"""``evalkit run`` with several datasets, ``--model`` or ``--base-url``: a run for each, then the comparisons."""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import CheckupWarning, DatasetError, EvalkitError, SettingsError

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison
    from evalkit.datasets.dry_run import DryRun
    from evalkit.endpoint import Endpoint

MOST = 26  # runs that a comparison has letters for
_FLAGS = {"base_url": "--base-url", "model": "--model", "api_key_env": "--api-key-env"}
_ALL = "each_{}"  # attribute of all values of a flag


class Each(argparse.Action):
    """Keeps every value of a flag, in order; the flag's own attribute is the last one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add a value."""
        name = _ALL.format(self.dest)
        setattr(namespace, name, [*getattr(namespace, name, ()), values])
        setattr(namespace, self.dest, values)


def command_lines(parsed: argparse.Namespace) -> list[argparse.Namespace]:
    """The command line once for each dataset and endpoint that it names, those of one endpoint one after another.

    Each has one dataset, a run file of its own if ``--out`` is given, and the number of its endpoint as ``place``.

    Raises
    ------
    SettingsError
        The flags cannot be combined, or name one endpoint or dataset twice.
    """
    named = _endpoints(parsed)
    data: Sequence[Path] = parsed.data
    if len({path.resolve() for path in data}) < len(data):
        raise SettingsError("one dataset is named twice: to run it several times, use --repeats")
    if parsed.junit is not None and len(named) * len(data) > 1:
        what = "endpoints" if len(named) > 1 else "datasets"
        raise SettingsError(f"--junit is the file of one run, and several {what} are named: run them one by one")
    outs = _run_files(parsed, data, named)
    return [
        argparse.Namespace(**{**vars(parsed), **each, "place": place, "data": path, "out": outs[place, path]})
        for place, each in enumerate(named)
        for path in data
    ]


def _endpoints(parsed: argparse.Namespace) -> list[dict[str, Any]]:
    """The flags of each endpoint that the command line names."""
    given = {name: getattr(parsed, _ALL.format(name), []) for name in _FLAGS}
    most = max(1, *map(len, given.values()))
    for name, values in given.items():
        if len(values) not in (0, 1, most):
            other = next(_FLAGS[each] for each in given if len(given[each]) == most)
            raise SettingsError(
                f"{_FLAGS[name]} is given {len(values)} times and {other} {most} times: give both equally often, "
                "first with first, or one of them once, for all"
            )
    if most > MOST:
        raise SettingsError(f"{most} endpoints are too many for one command: name at most {MOST}")
    named = [
        {name: values[place] if len(values) == most else getattr(parsed, name) for name, values in given.items()}
        for place in range(most)
    ]
    if len({(each["base_url"], each["model"]) for each in named}) < most:
        raise SettingsError("one endpoint is named twice: to run the dataset several times, use --repeats")
    return named


def dry_run_each(
    lines: Sequence[argparse.Namespace], plan: Callable[[argparse.Namespace], DryRun], *, as_json: bool
) -> int:
    """Print what each run would send; return the exit code."""
    from evalkit.console.dry_run import show_dry_run
    from evalkit.console.terminal import print_json, stdout_console

    planned = [plan(line) for line in lines]
    if as_json:
        print_json(planned[0].to_json() if len(planned) == 1 else {"runs": [each.to_json() for each in planned]})
        return 0
    for number, each in enumerate(planned):
        if number:
            stdout_console().print()
        show_dry_run(stdout_console(), each)
    return 0


def run_each(
    parsed: argparse.Namespace,
    lines: Sequence[argparse.Namespace],
    run: Callable[[argparse.Namespace, Endpoint], int],
) -> int:
    """Run one command line after another, print the comparisons, and return the highest exit code.

    An endpoint that cannot be used does not keep the others from being run.
    """
    for line in lines:
        shared_flags.named_endpoint(line)  # errors that can be found now are reported before a request is sent
    runs: list[dict[str, Any]] = []
    try:
        for _, of_endpoint in groupby(lines, key=lambda line: line.place):
            runs += _run_on_endpoint(list(of_endpoint), partial(_run_named, lines, run))
    except KeyboardInterrupt as stop:
        if missing := len(lines) - sum(hasattr(line, "finished") for line in lines):
            stop.add_note(f"{missing} further run{'s were' if missing > 1 else ' was'} not started")
        raise
    _print_comparisons(parsed, runs)
    highest: int = max(each["exit_code"] for each in runs)
    return highest


def _run_named(
    lines: Sequence[argparse.Namespace],
    run: Callable[[argparse.Namespace, Endpoint], int],
    line: argparse.Namespace,
    endpoint: Endpoint,
) -> int:
    """Run one command line; what a checkup found begins with what tells its run from those of the other lines."""
    models = {each.place: each.model for each in lines}
    name = endpoint.model
    if len({*models.values()}) < len(models):
        name += f" at {endpoint.base_url}"
    if len({each.data for each in lines}) > 1:
        name += f", {line.data}"
    with warnings.catch_warnings():  # it also lets a text that was shown for another run through
        warnings.showwarning = _with_name(name, warnings.showwarning)
        return run(line, endpoint)


def _with_name(name: str, show: Callable[..., None]) -> Callable[..., None]:
    """What shows a warning, that of a checkup with the name of its run."""

    def show_named(message: Warning | str, category: type[Warning], *place: Any) -> None:
        show(f"{name}: {message}" if category is CheckupWarning else message, category, *place)

    return show_named


def _run_on_endpoint(
    lines: Sequence[argparse.Namespace], run: Callable[[argparse.Namespace, Endpoint], int]
) -> list[dict[str, Any]]:
    """Run the command lines of one endpoint; return what ``--json`` prints of each."""
    from evalkit.console.terminal import print_message

    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        endpoint: Endpoint | None = None
        for line in lines:
            line.finished = finished = {
                "model": line.model, "base_url": line.base_url, "data": str(line.data), "file": None, "error": None,
            }  # fmt: skip
            runs.append(finished)
            try:
                if endpoint is None:
                    endpoint = stack.enter_context(shared_flags.endpoint(line))
                finished["exit_code"] = run(line, endpoint)
            except EvalkitError as error:
                if isinstance(error, DatasetError) and len(lines) == 1:
                    raise  # the other endpoints have the same dataset
                print_message(f"error: {error}")
                finished |= {"error": str(error), "exit_code": error.exit_code}
    return runs


def _print_comparisons(parsed: argparse.Namespace, runs: Sequence[dict[str, Any]]) -> None:
    """Print the runs of each dataset compared with each other; with ``--json`` the runs too."""
    from evalkit.console.compare import show_comparison
    from evalkit.console.terminal import print_json, stdout_console

    of_data: dict[str, list[str]] = {each["data"]: [] for each in runs}
    for each in runs:
        if each["file"] is not None and each["error"] is None:
            of_data[each["data"]].append(each["file"])
    several = len(of_data) < len(runs)  # endpoints; else there is nothing to compare
    found = {data: _comparison(files) for data, files in of_data.items()} if several else {}
    if parsed.json:
        as_json = {data: None if each is None else each.to_json() for data, each in found.items()}
        if len(of_data) == 1:
            print_json({"runs": runs, "comparison": next(iter(as_json.values()))})
        else:
            comparisons = [{"data": data, "comparison": each} for data, each in as_json.items()]
            print_json({"runs": runs, "comparisons": comparisons})
        return
    console = stdout_console()
    for comparison in found.values():
        if comparison is not None:
            console.print()
            show_comparison(console, comparison)


def _comparison(files: Sequence[str]) -> Comparison | None:
    """The comparison of the runs; None, with a message, if there is nothing to compare."""
    from evalkit.analysis.measures import snapshot
    from evalkit.comparing import comparison
    from evalkit.console.terminal import print_message

    if len(files) < 2:
        print_message("no comparison: it needs two runs")
        return None
    try:
        with snapshot(*files):
            return comparison.compare(*files)
    except EvalkitError as error:
        print_message(f"no comparison: {error}")
        return None


def _run_files(
    parsed: argparse.Namespace, data: Sequence[Path], named: Sequence[dict[str, Any]]
) -> dict[tuple[int, Path], Path | None]:
    """A run file for each endpoint and dataset: in the folder that ``--out`` names, or named after its file.

    The names of datasets and models are added where there are several.
    """
    from evalkit.runfile.file_names import SUFFIX, plain

    out: Path | None = parsed.out
    if out is None or len(named) * len(data) == 1:
        return {(place, path): out for place in range(len(named)) for path in data}
    into_folder = out.is_dir()
    files: dict[tuple[int, Path], Path | None] = {}
    for place, model in enumerate(_labels(named)):
        for path, name in zip(data, _data_labels(data), strict=True):
            parts = [name] * (into_folder or len(data) > 1) + [model] * (len(named) > 1)
            if into_folder:
                files[place, path] = out / f"{'-'.join(parts)}{SUFFIX}"
            else:
                files[place, path] = out.with_name("-".join([out.stem, *map(plain, parts)]) + out.suffix)
    return files


def _labels(named: Sequence[dict[str, Any]]) -> list[str]:
    """The model of each endpoint, with the address where two endpoints have the same."""
    from evalkit.runfile.file_names import plain

    labels = [plain(each["model"] or "") for each in named]
    counts = Counter(labels)
    return [
        label if counts[label] == 1 else plain(f"{label}-{each['base_url'].partition('://')[2]}")
        for label, each in zip(labels, named, strict=True)
    ]


def _data_labels(data: Sequence[Path]) -> list[str]:
    """The name of each dataset, with its folders where two datasets have the same."""
    from evalkit.runfile.file_names import plain

    labels = [plain(path.stem) for path in data]
    counts = Counter(labels)
    return [
        label if counts[label] == 1 else plain(str(path.with_suffix("")))
        for label, path in zip(labels, data, strict=True)
    ]
