"""A run as its user holds it: what came of it, in tables, charts and words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.runfile import store
from evalkit.runfile.reader import unsound

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from evalkit.analysis.accuracy.by_scoring import Rescored
    from evalkit.analysis.measures import RunMeasures


class Run:
    """A run file, to look at.

    Parameters
    ----------
    path : path-like
        The run file; it may still be growing.
    outcome : str or None
        How the session that was just run ended: ``done``, ``stopped`` or the setting that ended it, such as
        ``max_time_s`` or ``until_ci``; None: the file was only opened.

    Raises
    ------
    RunFileError
        Not a run file, of a newer version, or cut short.
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
        """One row a turn, with the columns of an export; missing values are missing, never 0."""
        from evalkit.analysis import tables

        return tables.turns(self.path)

    def summary(self) -> pd.DataFrame:
        """One row a turn index and one for all: counts, accuracy with its 95 % interval, TTFT, TPOT, latency (ms)."""
        from evalkit.analysis import tables

        return tables.summary(self.path)

    def summary_json(self, k: int | None = None) -> dict[str, Any]:
        """The object that ``--json`` prints; missing values are None. ``k`` as for ``measures``."""
        from evalkit.analysis.summary_json import summary_json

        return summary_json(self.measures(k))

    def measures(self, k: int | None = None) -> RunMeasures:
        """The run in numbers, with their intervals; its cost by the price it keeps, else by the price file of now.

        ``k`` repeats are those over which turns are right at least once and each time; None: all.
        """
        from evalkit.analysis import costs, measures

        return measures.measure(self.path, costs.run_price(self.info), k)

    def costs(self) -> pd.DataFrame:
        """What each finished turn has cost (``conversation, repeat, turn, cost``); NaN where it cannot be told."""
        from evalkit.analysis import costs, measures

        with measures.opened(self.path) as connection:
            return costs.by_turn(connection, costs.run_price(self.info))

    def conversations(self) -> pd.DataFrame:
        """One row a conversation and repeat: whether all its turns and its last turn are right, and its mean score."""
        from evalkit.analysis import tables

        return tables.conversations(self.path)

    def score(self, scorer: Any = None) -> Rescored:
        """Score the stored answers anew, with no call; the new scores count from now on, and the old ones stay.

        Parameters
        ----------
        scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
            Scores every turn that has a target, whatever the turn names. None: each turn's own scorer, or else the
            run's, or that of the target's type.

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
        """Let an older scoring count again; 0 is the run's own. Raises and returns as ``score`` does."""
        from evalkit import rescoring

        return self._rescored(lambda: rescoring.use(self.path, number))

    def scorings(self) -> pd.DataFrame:
        """One row a scoring: its scorer, the versions, accuracy with its 95 % interval, and which one counts."""
        from evalkit.analysis import tables

        return tables.scorings(self.path)

    def _rescored(self, make: Callable[[], int]) -> Rescored:
        from evalkit.analysis import measures
        from evalkit.analysis.accuracy import by_scoring
        from evalkit.runfile import scorings

        with measures.opened(self.path) as connection:
            old = by_scoring.active_scoring(connection)
            if old not in scorings.complete(connection):
                raise unsound(self.path, f"the scoring that counts, number {old}, is not there")
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
        """How many answers were cut off (finish reason ``length``); ``summary_json`` tells at which limit."""
        cut = self._select("SELECT count(*) FROM turn WHERE status = 'answered' AND finish_reason = 'length'")
        return int(cut[0][0])

    def browse(self, *others: Run) -> Any:
        """The transcripts, to filter, search and read in JupyterLab; those of other runs side by side with them.

        Where nothing can be drawn: how many there are, in words.
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
        """The distribution of latency, turn 1 apart, on a matplotlib Axes."""
        from evalkit.charts import catalogue

        return catalogue.plot_ecdf(self.path, ax=ax)

    def plot_timeline(self, ax: Axes | None = None) -> Axes:
        """Turns ended a second over the time of the run, failed ones apart, on a matplotlib Axes."""
        from evalkit.charts import catalogue

        return catalogue.plot_timeline(self.path, ax=ax)
