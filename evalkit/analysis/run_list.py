"""The runs in a folder, each in one line: what was run, when, how right, how fast, and how it ended.

A line comes from a few queries that read each turn once, so that a folder of a thousand runs can be listed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis.accuracy.by_turn import Accuracy
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import query_arrays, reader, schema
from evalkit.runfile.file_names import RUNS_FOLDER, SUFFIX
from evalkit.runfile.reader import ReadConnection
from evalkit.stats import proportions, quantiles
from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.clusters import ClusterSums

if TYPE_CHECKING:
    import pandas as pd

_TURNS = f"""
    SELECT {{cluster}}, t.error_kind NOT NULL, s.value, t.ttft_ns, t.latency_ns, t.censored_ns
    FROM turn t {{more}} {schema.JOIN_SCORE}"""  # noqa: S608 - SQL of our own
_BY_CONVERSATION = {"cluster": "t.conversation", "more": ""}
_BY_GROUP = {
    "cluster": "c.number",
    "more": "CROSS JOIN (SELECT position, dense_rank() OVER (ORDER BY coalesce(cluster, position)) AS number "
    "FROM conversation) c ON c.position = t.conversation",
}
# how the last session ended, and whether conversations are grouped
_ABOUT = """
    SELECT (SELECT outcome FROM session ORDER BY id DESC LIMIT 1),
      EXISTS (SELECT 1 FROM conversation WHERE cluster NOT NULL)"""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in one line.

    Parameters
    ----------
    path : Path
    run, dataset, model : str
        The names of the run, of its dataset's file and of the requested model; empty: not stored.
    started_ns : int
        When the run file was created: wall clock, ns since 1970.
    turns, answered : int
        As in ``measures.Measures``.
    planned : int or None
        Number of turns of the complete run; None: not known.
    accuracy : Accuracy
        Over answered and scored turns.
    ttft_ms, latency_ms : float or None
        Medians; None: missing.
    outcome : str or None
        How its last session ended, a ``SessionOutcome``; None: it is in progress or was killed.
    """

    path: Path
    run: str
    dataset: str
    model: str
    started_ns: int
    turns: int
    answered: int
    planned: int | None
    accuracy: Accuracy
    ttft_ms: float | None
    latency_ms: float | None
    outcome: str | None

    @property
    def started(self) -> datetime:
        """When the run file was created, in UTC."""
        return datetime.fromtimestamp(self.started_ns / 1e9, UTC)

    def to_json(self) -> dict[str, Any]:
        """As ``evalkit list --json`` prints it."""
        return {
            "file": str(self.path),
            "run": self.run,
            "dataset": self.dataset,
            "model": self.model,
            "started": self.started.isoformat(timespec="seconds"),
            "turns": self.turns,
            "answered": self.answered,
            "planned": self.planned,
            "accuracy": self.accuracy.to_json(),
            "ttft_ms": {"p50": self.ttft_ms},
            "latency_ms": {"p50": self.latency_ms},
            "outcome": self.outcome,
        }


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file of the folder that cannot be read as a run file, and why."""

    path: Path
    error: str

    def to_json(self) -> dict[str, Any]:
        """As ``evalkit list --json`` prints it."""
        return {"file": str(self.path), "error": self.error}


@dataclass(frozen=True, slots=True)
class RunList:
    """The runs in a folder.

    Parameters
    ----------
    folder : Path
    runs : tuple of ListedRun
        In the order in which they were started.
    unreadable : tuple of UnreadableFile
        By name.
    """

    folder: Path
    runs: tuple[ListedRun, ...]
    unreadable: tuple[UnreadableFile, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit list --json`` prints."""
        return {
            "folder": str(self.folder),
            "runs": [run.to_json() for run in self.runs],
            "unreadable": [file.to_json() for file in self.unreadable],
        }

    def table(self) -> pd.DataFrame:
        """See ``runs``."""
        import pandas as pd

        rows = [_row(run) for run in self.runs]
        rows += [{"file": str(file.path), "error": file.error} for file in self.unreadable]
        frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
        frame["started"] = pd.to_datetime(frame["started"], utc=True)
        texts = ("file", "run", "dataset", "model", "outcome", "error", "started")
        return frame.astype({name: "float64" for name in _COLUMNS if name not in texts})


_COLUMNS = (
    "file", "run", "dataset", "model", "started", "turns", "answered", "planned", "accuracy", "low", "high", "n",
    "ttft_p50_ms", "latency_p50_ms", "outcome", "error",
)  # fmt: skip


def runs(folder: Path | str = RUNS_FOLDER) -> pd.DataFrame:
    """The runs in a folder, one row each, in the order in which they were started.

    Parameters
    ----------
    folder : path-like
        Its files that end in ``.evalkit``, and others that are run files. Those in its own folders are not listed.

    Returns
    -------
    DataFrame
        Columns ``file, run, dataset, model, started`` (UTC), ``turns, answered, planned``, ``accuracy`` over answered
        and scored turns with its 95 % limits ``low`` and ``high`` and its ``n``, ``ttft_p50_ms``, ``latency_p50_ms``,
        ``outcome`` (None: in progress or killed) and ``error``: why a file cannot be read; such rows are last and have
        no other values. Missing numbers are NaN.

    Raises
    ------
    SettingsError
        There is no such folder.
    """
    return list_runs(folder).table()


def list_runs(folder: Path | str = RUNS_FOLDER) -> RunList:
    """The runs in a folder; raises as ``runs``."""
    found: list[ListedRun] = []
    unreadable: list[UnreadableFile] = []
    for path in run_files(folder):  # threads are no faster: they wait for the interpreter's lock after each query
        try:
            found.append(read_line(path))
        except RunFileError as error:
            unreadable.append(UnreadableFile(path, str(error)))
    found.sort(key=lambda run: (run.started_ns, run.path.name))
    return RunList(Path(folder), tuple(found), tuple(unreadable))


def run_files(folder: Path | str) -> Iterator[Path]:
    """The run files of a folder by name; raises as ``runs``."""
    folder = Path(folder)
    try:
        if folder.is_dir():
            return iter(sorted(filter(is_listed, folder.iterdir())))
        if folder.exists():
            raise SettingsError(f"{folder} is a file, not a folder of runs: 'evalkit show {folder}' shows one run")
        raise SettingsError(f"there is no folder {folder}: 'evalkit run DATA' creates {RUNS_FOLDER}, or name another")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be read: {error.strerror or error}. Name another folder") from None


def is_listed(path: Path) -> bool:
    """Whether a path in a folder is listed as a run file, which may still prove to be unreadable."""
    try:
        return path.is_file() and (path.suffix == SUFFIX or reader.has_header(path))
    except OSError:  # of a file whose folder nobody may enter: its line says so
        return path.suffix == SUFFIX


def read_line(path: Path) -> ListedRun:
    """Read one run.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with reader.reading(path, check_values=False) as connection:
        return _line(path, connection)


def _line(path: Path, connection: ReadConnection) -> ListedRun:
    info = connection.info
    dataset, settings = info["dataset"], info["settings"]
    outcome, grouped = connection.execute(_ABOUT).fetchone()
    turns = _turns(connection, _BY_GROUP if grouped else _BY_CONVERSATION)
    planned = dataset.get("turns")
    return ListedRun(
        path=path,
        run=info["name"],
        dataset=Path(dataset.get("path") or "").name,
        model=info["endpoint"].get("model") or "",
        started_ns=info["created_ns"],
        turns=len(turns.failed),
        answered=len(turns.failed) - int(turns.failed.sum()),
        planned=None if planned is None else planned * int(settings.get("repeats", 1)),
        accuracy=turns.accuracy(),
        ttft_ms=turns.median_ms("ttft", bounded=bool(settings.get("stream", True))),
        latency_ms=turns.median_ms("latency", bounded=True),
        outcome=outcome,
    )


@dataclass(frozen=True, slots=True)
class _Turns:
    """What is read of the turns: times are in ns, NaN is missing."""

    cluster: Whole
    failed: Flags
    score: Floats
    ttft: Floats
    latency: Floats
    bound: Floats  # of failed turns that timed out or were interrupted

    def accuracy(self) -> Accuracy:
        """See ``by_turn``."""
        scored = ~(self.failed | np.isnan(self.score))
        scores, sums = self.score[scored], ClusterSums()
        labels = self.cluster[scored]
        if (labels[1:] < labels[:-1]).any():  # those of a group of conversations need not be consecutive
            order = np.argsort(labels, kind="stable")
            labels, scores = labels[order], scores[order]
        sums.add(labels, scores, last=True)
        mean = proportions.clustered_proportion(sums)
        answered = len(self.failed) - int(self.failed.sum())
        return Accuracy(mean, int((scores < 1).sum()), answered - mean.n)

    def median_ms(self, metric: str, *, bounded: bool) -> float | None:
        """See ``analysis.times.quantiles``; ``bounded``: a turn that timed out gives a lower bound.

        Raises
        ------
        ValueError
            A time is infinite, which a column of whole numbers cannot keep a stranger from writing.
        """
        times = self.ttft if metric == "ttft" else self.latency
        censored = self.failed & ~np.isnan(self.bound)
        if metric == "ttft":
            censored &= np.isnan(times)
        times = np.where(censored, self.bound if bounded else np.nan, times)
        if np.isinf(times).any():
            raise ValueError(f"a {metric} is infinite")
        known = ~np.isnan(times)
        median = quantiles.median(times[known], censored[known])
        return None if median is None else median / 1e6


def _turns(connection: sqlite3.Connection, clusters: Mapping[str, str]) -> _Turns:
    parts = list(
        query_arrays.groups(connection.execute(_TURNS.format(**clusters)), ("i8", "?", "f8", "f8", "f8", "f8"))
    )
    if not parts:
        none = np.empty(0)
        return _Turns(none.astype(np.int64), none.astype(bool), none, none, none, none)
    return _Turns(*(parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))))


def _row(run: ListedRun) -> dict[str, Any]:
    mean = run.accuracy.mean
    return {
        "file": str(run.path),
        **{name: getattr(run, name) for name in ("run", "dataset", "model", "started", "turns", "answered", "planned")},
        "accuracy": mean.value,
        "low": mean.low,
        "high": mean.high,
        "n": mean.n,
        "ttft_p50_ms": run.ttft_ms,
        "latency_p50_ms": run.latency_ms,
        "outcome": run.outcome,
    }
