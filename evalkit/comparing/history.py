"""How accuracy and latency developed over the runs of one dataset, and which steps from run to run are real.

A step is the difference between a run and the one before it, over the same turns, as ``compare`` measures it. Many
steps are tested, so their p are corrected together by Holm's method: those of accuracy, and those of latency.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.analysis import run_list
from evalkit.analysis.measures import opened
from evalkit.analysis.run_list import ListedRun, UnreadableFile
from evalkit.comparing import clusters_and_tags, conditions, effects, pairing, shared_conversations
from evalkit.comparing.conditions import ConditionDifference
from evalkit.comparing.effects import Effect, QuantileEffect
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile.file_names import RUNS_FOLDER
from evalkit.stats.multiple_tests import holm, p_of_interval
from evalkit.wording import comparison
from evalkit.wording.numbers import counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_NAMED = 10  # datasets in a message


@dataclass(frozen=True, slots=True)
class Step:
    """The difference between a run and the one before it; differences are this run − the one before.

    Parameters
    ----------
    first, second : Path
        The run before, and this run.
    accuracy : Effect or None
        Over turns that both answered and scored; None: the runs cannot be compared.
    latency : QuantileEffect or None
        The median latency of turns that both have, in ms.
    latency_p, corrected_latency_p : float or None
        p of its difference, from its interval; and after Holm's correction.
    differs : tuple of ConditionDifference
        Conditions in which the runs differ, such as the model.
    reason : str or None
        Why the runs cannot be compared.
    """

    first: Path
    second: Path
    accuracy: Effect | None
    latency: QuantileEffect | None
    latency_p: float | None = None
    corrected_latency_p: float | None = None
    differs: tuple[ConditionDifference, ...] = ()
    reason: str | None = None

    @property
    def accuracy_is_real(self) -> bool:
        """Whether the difference in accuracy remains after correction."""
        return self.accuracy is not None and _is_real(self.accuracy.corrected_p)

    @property
    def latency_is_real(self) -> bool:
        """Whether the difference in median latency remains after correction."""
        return _is_real(self.corrected_latency_p)

    def to_json(self) -> dict[str, Any]:
        """As ``evalkit history --json`` prints it; missing values are None."""
        return {
            "first": str(self.first),
            "second": str(self.second),
            "accuracy": None if self.accuracy is None else {**self.accuracy.to_json(), "real": self.accuracy_is_real},
            "latency_p50_ms": None if self.latency is None else self._latency_json(self.latency),
            "differs": [asdict(each) for each in self.differs],
            "reason": self.reason,
        }

    def _latency_json(self, latency: QuantileEffect) -> dict[str, Any]:
        difference = latency.difference
        return {
            "pairs": difference.n,
            "first": latency.first,
            "second": latency.second,
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "p": self.latency_p,
            "corrected_p": self.corrected_latency_p,
            "reason": difference.reason,
            "real": self.latency_is_real,
        }


@dataclass(frozen=True, slots=True)
class History:
    """The runs of one dataset in the order in which they were started, and the steps between them.

    Parameters
    ----------
    dataset : str
        The name of the dataset's file.
    folder : Path
    runs : tuple of ListedRun
    steps : tuple of Step
        One for each run after the first.
    unreadable : tuple of UnreadableFile
        Files of the folder that cannot be read.
    """

    dataset: str
    folder: Path
    runs: tuple[ListedRun, ...]
    steps: tuple[Step, ...]
    unreadable: tuple[UnreadableFile, ...]

    def __repr__(self) -> str:
        real = sum(step.accuracy_is_real for step in self.steps), sum(step.latency_is_real for step in self.steps)
        return (
            f"History({self.dataset!r}, {counted(len(self.runs), 'run')}; real steps: {real[0]} in accuracy, "
            f"{real[1]} in latency)"
        )

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit history --json`` prints."""
        return {
            "dataset": self.dataset,
            "folder": str(self.folder),
            "correction": "Holm",
            "runs": [run.to_json() for run in self.runs],
            "steps": [step.to_json() for step in self.steps],
            "unreadable": [file.to_json() for file in self.unreadable],
        }

    def table(self) -> pd.DataFrame:
        """One row per run: the columns of ``runs`` without ``error``, then the step from the run before.

        Returns
        -------
        DataFrame
            ``step`` in accuracy with its 95 % limits ``step_low``, ``step_high``, ``step_p`` after correction and
            ``step_is_real``; ``latency_step_ms`` of the median latency with ``latency_step_low_ms``,
            ``latency_step_high_ms``, ``latency_step_p`` and ``latency_step_is_real``; ``pairs``, the turns behind the
            step in accuracy. Missing, as in the first row: NaN, and False.
        """
        import pandas as pd

        frame = run_list.RunList(self.folder, self.runs, ()).table().drop(columns="error")
        steps = pd.DataFrame([{}, *map(_step_row, self.steps)][: len(frame)], columns=pd.Index(_STEP_COLUMNS))
        flags = [name for name in _STEP_COLUMNS if name.endswith("is_real")]
        steps = steps.astype({name: "float64" for name in _STEP_COLUMNS if name not in flags})
        for name in flags:
            steps[name] = steps[name].eq(True)
        return frame.join(steps)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy and median latency of the runs, with the real steps marked."""
        from evalkit.charts.history import RunHistory

        return RunHistory(self).draw(ax)


_STEP_COLUMNS = (
    "pairs", "step", "step_low", "step_high", "step_p", "step_is_real", "latency_step_ms", "latency_step_low_ms",
    "latency_step_high_ms", "latency_step_p", "latency_step_is_real",
)  # fmt: skip


def history(dataset: Path | str, folder: Path | str = RUNS_FOLDER) -> History:
    """How the runs of one dataset developed: accuracy, latency, and which steps from run to run are real.

    Each run is compared with the one before it, on the conversations that are equal in both, as ``compare`` does. The
    p of all steps in accuracy are corrected together by Holm's method, and so are those of the steps in the median
    latency, whose p are computed from their intervals. A step is real if its corrected p is below 0.05. What has caused
    it the numbers do not say: ``differs`` lists what else differs between the two runs.

    Parameters
    ----------
    dataset : path-like
        A dataset: its runs are those with a dataset file of this name. Or a folder whose runs are of one dataset.
    folder : path-like
        Where the runs of a dataset are.

    Returns
    -------
    History

    Raises
    ------
    SettingsError
        There is no such folder, or it has no run of the dataset, or runs of several datasets and none is named.
    """
    of_folder = Path(dataset).is_dir()
    listed = run_list.list_runs(dataset if of_folder else folder)
    name = _only_dataset(listed) if of_folder else Path(dataset).name
    runs = tuple(run for run in listed.runs if run.dataset == name)
    if not runs:
        raise SettingsError(f"no run in {listed.folder} is of the dataset {name}: {_datasets(listed.runs)}")
    steps = [_step(first.path, second.path) for first, second in pairwise(runs)]
    return History(name, listed.folder, runs, _corrected(steps), listed.unreadable)


def _only_dataset(listed: run_list.RunList) -> str:
    names = {run.dataset for run in listed.runs}
    if len(names) == 1:
        return names.pop()
    if not names:
        raise SettingsError(f"no run file in {listed.folder} can be read: 'evalkit list {listed.folder}' says why")
    raise SettingsError(
        f"{listed.folder} has runs of {len(names)} datasets: {_datasets(listed.runs)}. Name one of them: "
        f"evalkit history DATASET {listed.folder} (in Python history(dataset, folder))"
    )


def _datasets(runs: Iterable[ListedRun]) -> str:
    counts = Counter(run.dataset or "(no name)" for run in runs)
    named = [f"{name} ({counted(count, 'run')})" for name, count in counts.most_common(_MOST_NAMED)]
    more = [f"{len(counts) - len(named)} more"] if len(counts) > len(named) else []
    return f"there are {', '.join(named + more)}" if named else "it has no run that can be read"


def _step(first: Path, second: Path) -> Step:
    try:
        with opened(first) as one, opened(second) as other:
            before, after = (
                conditions.read_run(path.stem, path, connection) for path, connection in ((first, one), (second, other))
            )
            shared = shared_conversations.shared_conversations(one, other, (before.about, after.about), common=True)
            pairs = pairing.pair_turns(one, other, shared, averaged=before.repeats != after.repeats)
            clusters = clusters_and_tags.clusters(one, shared.first)
            accuracy, latency, timed = effects.measure_overall(pairs, clusters)
            differs = tuple(conditions.condition_differences(before, after))
    except RunFileError as error:
        return Step(first, second, None, None, reason=str(error))
    p = p_of_interval(latency.difference, effects.CONFIDENCE, timed) if timed > 1 else None
    return Step(first, second, accuracy, latency, p, differs=differs)


def _corrected(steps: Sequence[Step]) -> tuple[Step, ...]:
    ps = [None if step.accuracy is None else step.accuracy.p for step in steps]
    tested = sum(p is not None for p in ps)
    corrected, latency = holm(ps), holm([step.latency_p for step in steps])
    return tuple(
        replace(
            step,
            accuracy=None if step.accuracy is None else _worded(step, step.accuracy, p, tested),
            corrected_latency_p=latency_p,
        )
        for step, p, latency_p in zip(steps, corrected, latency, strict=True)
    )


def _worded(step: Step, effect: Effect, corrected_p: float | None, family: int) -> Effect:
    words = comparison.effect(
        (step.first.stem, step.second.stem),
        effect.difference,
        clusters=counted(effect.clusters, effect.noun),
        corrected_p=corrected_p,
        family=family,
        smallest=effect.smallest_decidable,
        differing=effect.differing if effect.p is None and effect.differing < effect.clusters else None,
        equal=effect.equal,
    )
    return replace(effect, corrected_p=corrected_p, words=words)


def _is_real(corrected_p: float | None) -> bool:
    return corrected_p is not None and corrected_p < comparison.LEVEL


def _step_row(step: Step) -> dict[str, Any]:
    row: dict[str, Any] = {"step_is_real": step.accuracy_is_real, "latency_step_is_real": step.latency_is_real}
    if step.accuracy is not None:
        difference = step.accuracy.difference
        row |= {"pairs": step.accuracy.pairs, "step": difference.value, "step_low": difference.low}
        row |= {"step_high": difference.high, "step_p": step.accuracy.corrected_p}
    if step.latency is not None:
        difference = step.latency.difference
        row |= {"latency_step_ms": difference.value, "latency_step_low_ms": difference.low}
        row |= {"latency_step_high_ms": difference.high, "latency_step_p": step.corrected_latency_p}
    return row
