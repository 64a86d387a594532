"""A run and its results, as tables, charts and text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.runfile import store
from evalkit.runfile.reader import invalid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from evalkit.analysis.accuracy.by_scoring import Rescored
    from evalkit.analysis.measures import RunMeasures


class Run:
    """A run file and its results.

    Parameters
    ----------
    path : path-like
        The run file; the run may still be going on.
    outcome : str or None
        How the session that has just run ended: ``done``, ``stopped`` or the setting that ended it, such as
        ``max_time_s`` or ``until_ci``; None: the file was only opened.

    Raises
    ------
    RunFileError
        Not a run file, of a newer version, or truncated.
    """

    def __init__(self, path: Path | str, outcome: str | None = None) -> None:
        self.path = Path(path)
        self.outcome = outcome
        from evalkit.analysis import measures

        with measures.opened(self.path) as connection:
            self.info: dict[str, Any] = store.run_info(connection)

    def __repr__(self) -> str:
        endpoint = self.info["endpoint"]
        return f"Run({str(self.path)!r}, model={endpoint['model']!r}, dataset={self.info['dataset']['path']!r})"

    def turns(self) -> pd.DataFrame:
        """One row per turn, with the columns of an export; missing values stay missing, never 0."""
        from evalkit.analysis import tables

        return tables.turns(self.path)

    def summary(self) -> pd.DataFrame:
        """One row per turn index and one for all: counts, accuracy with its 95 % interval, TTFT, TPOT, latency (ms)."""
        from evalkit.analysis import tables

        return tables.summary(self.path)

    def summary_json(self, k: int | None = None) -> dict[str, Any]:
        """The object that ``--json`` prints; missing values are None. ``k`` as for ``measures``."""
        from evalkit.analysis.summary_json import summary_json

        return summary_json(self.measures(k))

    def measures(self, k: int | None = None) -> RunMeasures:
        """The results as numbers with intervals; the cost by the price in the run, else by the current price file.

        ``k`` is the number of repeats for "right at least once" and "right every time"; None: all repeats.
        """
        from evalkit.analysis import costs, measures

        return measures.measure(self.path, costs.run_price(self.info), k)

    def costs(self) -> pd.DataFrame:
        """The cost of each finished turn (``conversation, repeat, turn, cost``); NaN where it is unknown."""
        from evalkit.analysis import costs, measures

        with measures.opened(self.path) as connection:
            return costs.by_turn(connection, costs.run_price(self.info))

    def conversations(self) -> pd.DataFrame:
        """One row per conversation and repeat: whether all turns and the last turn are right, and the mean score."""
        from evalkit.analysis import tables

        return tables.conversations(self.path)

    def score(self, scorer: Any = None) -> Rescored:
        """Re-score the stored answers without any call; the new scores are used from now on, and the old ones stay.

        Parameters
        ----------
        scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
            Scores every turn that has a target, whatever scorer it names. None: each turn's own scorer, else the
            run's, else the default for the target's type.

        Returns
        -------
        Rescored
            The old and the new scoring with their accuracies, and how many verdicts changed.

        Raises
        ------
        RunFileError
            The file cannot be used or written, or is being written by another process.
        SettingsError
            There is no such scorer.
        """
        from evalkit import rescoring

        return self._rescored(lambda: rescoring.rescore(self.path, scorer))

    def use_scoring(self, number: int) -> Rescored:
        """Use an earlier scoring again; 0 is the run's own. Raises and returns as ``score`` does."""
        from evalkit import rescoring

        return self._rescored(lambda: rescoring.use_scoring(self.path, number))

    def scorings(self) -> pd.DataFrame:
        """One row per scoring: its scorer, versions, accuracy with its 95 % interval, and which one is in use."""
        from evalkit.analysis import tables

        return tables.scorings(self.path)

    def _rescored(self, make: Callable[[], int]) -> Rescored:
        from evalkit.analysis import measures
        from evalkit.analysis.accuracy import by_scoring
        from evalkit.runfile import scorings

        with measures.opened(self.path) as connection:
            old = by_scoring.active_scoring(connection)
            if old not in scorings.complete(connection):
                raise invalid(self.path, f"the scoring in use, number {old}, is missing")
        new = make()
        with measures.opened(self.path) as connection:
            return by_scoring.rescored(connection, old, new)

    @property
    def planned(self) -> int | None:
        """Turns of the whole run; None: the dataset was not checked first."""
        turns: int | None = self.info["dataset"]["turns"]
        return None if turns is None else turns * int(self.info["settings"]["repeats"])

    def failures(self, most: int = 5) -> list[tuple[str, str, int]]:
        """Why turns failed: (kind, one of the messages, count), most frequent first."""
        return self._select(
            "SELECT error_kind, min(error_message), count(*) FROM turn WHERE status = 'error' "
            "GROUP BY error_kind, http_status ORDER BY 3 DESC LIMIT ?",
            most,
        )

    def cut_off(self) -> int:
        """How many answers were cut off (finish reason ``length``); ``summary_json`` says at which limit."""
        rows = self._select("SELECT count(*) FROM turn WHERE status = 'answered' AND finish_reason = 'length'")
        return int(rows[0][0])

    def browse(self, *others: Run) -> Any:
        """Browse the transcripts in JupyterLab: filter, search and read them, side by side with those of other runs.

        Where widgets cannot be shown: a line of text that says how many there are.
        """
        from evalkit.widgets import display

        return display.browse(self, *others)

    def _select(self, query: str, *values: Any) -> list[Any]:
        from evalkit.analysis import measures

        with measures.opened(self.path) as connection:
            return connection.execute(query, values).fetchall()

    def plot_latency(self, ax: Axes | None = None) -> Axes:
        """TTFT and end-to-end latency by turn, on a matplotlib Axes."""
        from evalkit.charts import catalogue

        return catalogue.plot_latency(self.path, ax=ax)

    def plot_accuracy(self, ax: Axes | None = None) -> Axes:
        """Accuracy by turn with 95 % intervals, on a matplotlib Axes."""
        from evalkit.charts import catalogue

        return catalogue.plot_accuracy(self.path, ax=ax)

    def plot_ecdf(self, ax: Axes | None = None) -> Axes:
        """The distribution of latency, turn 1 separately, on a matplotlib Axes."""
        from evalkit.charts import catalogue

        return catalogue.plot_ecdf(self.path, ax=ax)

    def plot_timeline(self, ax: Axes | None = None) -> Axes:
        """Turns ended per second over the time of the run, failed ones separately, on a matplotlib Axes."""
        from evalkit.charts import catalogue

        return catalogue.plot_timeline(self.path, ax=ax)
