"""The last run of the same dataset before this one: another run file in the same folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from evalkit.analysis import run_list
from evalkit.comparing.comparison import Contrast, compare
from evalkit.errors import EvalkitError
from evalkit.runfile import reader
from evalkit.wording.comparison import differing, left_out, median_latency
from evalkit.wording.numbers import counted

_MOST_FILES = 500  # of the folder, those changed last
_MOST_TRIES = 3  # an earlier run may have no turn in common with this one


def since_previous_run(path: Path, info: Mapping[str, Any]) -> Contrast | None:
    """Compare a run with the last one before it of the same dataset; None: there is none in its folder.

    Parameters
    ----------
    path : Path
    info : mapping
        From ``store.run_info``.
    """
    if info["dataset"].get("hash") is None:
        return None
    for _, earlier in sorted(_earlier(path, info), reverse=True)[:_MOST_TRIES]:
        try:
            return compare(earlier, path).contrasts[0]
        except EvalkitError:
            continue
    return None


def _earlier(path: Path, info: Mapping[str, Any]) -> Iterator[tuple[int, Path]]:
    """When each earlier run of the same dataset was started, and its file."""
    for other in _newest_files(path.parent):
        if other.resolve() == path.resolve():
            continue
        try:
            with closing(reader.open_to_read(other)) as connection:
                about = reader.run_info(connection)
        except (EvalkitError, OSError):
            continue
        if about["dataset"].get("hash") == info["dataset"]["hash"] and about["created_ns"] < info["created_ns"]:
            yield about["created_ns"], other


def _newest_files(folder: Path) -> list[Path]:
    files = []
    for path in run_list.run_files(folder):
        try:
            files.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue
    return [path for _, path in sorted(files, reverse=True)[:_MOST_FILES]]


def sentences(contrast: Contrast, quoted: Callable[[str], str] = str) -> Iterator[str]:
    """What has changed, in sentences; ``quoted`` makes untrusted names safe."""
    first, second = contrast.first.label, contrast.second.label
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(contrast.first.about["created_ns"] / 1e9))
    yield (
        f"{first} is the run {quoted(contrast.first.path.name)} of {when}, with "
        f"{quoted(str(contrast.first.about['endpoint'].get('model')))}; {second} is this run."
    )
    yield f"Accuracy: {contrast.all.words}."
    if (faster := median_latency(contrast)) is not None:
        yield faster
    right, wrong = contrast.all.only_second, contrast.all.only_first
    yield (
        f"{counted(right, 'turn')} right now and not before, {counted(wrong, 'turn')} right before and not now, of "
        f"{contrast.all.pairs:,} answered and scored in both."
    )
    yield f"{differing(first, second, contrast.differs, quoted)}."
    if line := left_out(contrast.left_out, first, second):
        yield f"{line[0].upper()}{line[1:]}."
