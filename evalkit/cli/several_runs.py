"""``evalkit run`` with several ``--model`` or ``--base-url``: a run for each, then their comparison."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import DatasetError, EvalkitError, SettingsError

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison

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
    """The command line once for each endpoint that it names, each with a run file of its own if ``--out`` is given.

    Raises
    ------
    SettingsError
        The flags cannot be combined, or name one endpoint twice.
    """
    given = {name: getattr(parsed, _ALL.format(name), []) for name in _FLAGS}
    most = max(1, *map(len, given.values()))
    if most == 1:
        return [parsed]
    for name, values in given.items():
        if len(values) not in (0, 1, most):
            other = next(_FLAGS[each] for each in given if len(given[each]) == most)
            raise SettingsError(
                f"{_FLAGS[name]} is given {len(values)} times and {other} {most} times: give both equally often, "
                "first with first, or one of them once, for all"
            )
    if most > MOST:
        raise SettingsError(f"{most} endpoints are too many for one command: name at most {MOST}")
    if parsed.junit is not None:
        raise SettingsError("--junit is the file of one run, and several endpoints are named: run them one by one")
    named = [
        {name: values[place] if len(values) == most else getattr(parsed, name) for name, values in given.items()}
        for place in range(most)
    ]
    if len({(each["base_url"], each["model"]) for each in named}) < most:
        raise SettingsError("one endpoint is named twice: to run the dataset several times, use --repeats")
    outs = _run_files(parsed, named)
    return [argparse.Namespace(**{**vars(parsed), **each, "out": out}) for each, out in zip(named, outs, strict=True)]


def run_each(
    parsed: argparse.Namespace, lines: Sequence[argparse.Namespace], run: Callable[[argparse.Namespace], int]
) -> int:
    """Run one command line after another, print the comparison, and return the highest exit code.

    An endpoint that cannot be used does not keep the others from being run.
    """
    from evalkit.console.compare import show_comparison
    from evalkit.console.terminal import print_json, print_message, stdout_console

    for line in lines:
        with shared_flags.endpoint(line):  # errors that can be found now are reported before a request is sent
            pass
    highest, runs = 0, []
    for line in lines:
        line.finished = finished = {"model": line.model, "base_url": line.base_url, "file": None, "error": None}
        try:
            code = run(line)
        except DatasetError:
            raise
        except EvalkitError as error:
            print_message(f"error: {error}")
            code, finished["error"] = error.exit_code, str(error)
        finished["exit_code"] = code
        highest = max(highest, code)
        runs.append(finished)
    comparison = _comparison([each["file"] for each in runs if each["file"] is not None and each["error"] is None])
    if parsed.json:
        print_json({"runs": runs, "comparison": None if comparison is None else comparison.to_json()})
    elif comparison is not None:
        console = stdout_console()
        console.print()
        show_comparison(console, comparison)
    return highest


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


def _run_files(parsed: argparse.Namespace, named: Sequence[dict[str, Any]]) -> list[Path | None]:
    """A run file for each endpoint: in the folder that ``--out`` names, or named after its file and the model."""
    out: Path | None = parsed.out
    if out is None:
        return [None] * len(named)
    from evalkit.runfile.file_names import SUFFIX, plain

    labels = [plain(each["model"] or "") for each in named]
    counts = Counter(labels)
    labels = [
        label if counts[label] == 1 else plain(f"{label}-{each['base_url'].partition('://')[2]}")
        for label, each in zip(labels, named, strict=True)
    ]
    if out.is_dir():
        return [out / f"{plain(parsed.data.stem)}-{label}{SUFFIX}" for label in labels]
    return [out.with_name(f"{out.stem}-{label}{out.suffix}") for label in labels]
