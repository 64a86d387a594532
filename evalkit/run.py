"""A run and its results, as tables, charts and text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.runfile import store
from evalkit.runfile.reader import invalid
from evalkit.runfile.schema import FAILURES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from evalkit.analysis.accuracy.by_scoring import Rescored
    from evalkit.analysis.measures import RunMeasures
    from evalkit.charts.chart import Chart


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

    def _repr_html_(self) -> str | None:
        """What a notebook shows of a run; None, which is the text, if it has more than 20,000 turns."""
        from evalkit.console import notebook_cell

        return notebook_cell.of_run(self)

    def turns(self) -> pd.DataFrame:
        """One row per turn, with the columns of an export; missing values stay missing, never 0."""
        from evalkit.analysis import tables

        return tables.turns(self.path)

    def arrivals(self) -> pd.DataFrame:
        """One row per read that brought tokens of a streamed answer: its time in ms since the request was sent.

        Columns: ``conversation``, ``repeat``, ``turn``, ``at_ms``, ``events`` (token-bearing events in the read).
        """
        from evalkit.analysis import tables

        return tables.arrivals(self.path)

    def verdicts(self) -> pd.DataFrame:
        """One row per turn to be read by people: its question, target and answer, and the verdict in a word.

        Returns
        -------
        DataFrame
            ``conversation, repeat, turn, user, target, answer``; ``score``, ``extracted`` and ``reason`` of the scoring
            in use; ``verdict``: ``right`` (a score of 1), ``wrong`` (below 1), ``cut off`` (not right, and ended at a
            limit: finish reason ``length``), ``unscored`` (answered, without a score) or ``failed`` (no answer);
            ``cut_off``: ended at a limit, whatever the score; ``after_wrong``: an earlier turn of the conversation has
            a score below 1. Endpoints that send no finish reason never have cut-off answers here.
        """
        from evalkit.analysis import turn_verdicts

        return turn_verdicts.verdicts(self.path)

    def summary(self, *, conversations: int | None = None, turn: int | None = None) -> pd.DataFrame:
        """One row per turn index and one for all: counts, accuracy with its 95 % interval, TTFT, TPOT, latency (ms).

        Parameters
        ----------
        conversations : int, optional
            As if only the first so many conversations of the dataset had been run. The charts have this too: so you
            see what a smaller run would have shown.
        turn : int, optional
            As if there were only turns with this index.
        """
        from evalkit.analysis import measures, tables

        with measures.part(self.path, conversations, turn) as part:
            return tables.summary(part)

    def accuracy_by(self, labels: Any) -> pd.DataFrame:
        """Accuracy of groups of turns, with 95 % intervals in which the turns of a conversation are one cluster.

        Parameters
        ----------
        labels : str or sequence
            A column of ``turns``, such as ``finish_reason``, or one label for each of its rows. Turns whose label is
            missing are left out.

        Returns
        -------
        DataFrame
            Index: the labels. Columns ``turns, answered, accuracy, low, high, n``, as in ``summary``.

        Raises
        ------
        SettingsError
            There is no such column, or there is not one label for each turn.
        """
        from evalkit.analysis import tables

        return tables.accuracy_by(self.path, labels)

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

    def score(self, scorer: Any = None, *, targets: Path | str | None = None) -> Rescored:
        """Re-score the stored answers without any call; the new scores are used from now on, and the old ones stay.

        Parameters
        ----------
        scorer : str, ScorerSpec, mapping, callable or a sequence of those, optional
            Scores every turn that has a target, whatever scorer it names. None: each turn's own scorer, else the
            run's, else the default for the target's type.
        targets : path-like, optional
            A corrected dataset: its targets and scorers are used where its questions are those of the run. Found by id,
            in any order; conversations that the run has not started are ignored.

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
        DatasetError
            The corrected dataset cannot be read, lacks a conversation of the run, or asks something else: the first
            conversation and turn that differ are named, and nothing is written.
        """
        from evalkit import rescoring

        return self._rescored(lambda: rescoring.rescore(self.path, scorer, targets))

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
        return self._select(FAILURES, most)

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

    def label(
        self, person: str | None = None, *, conversations: int = 50, choose: str = "random", seed: int = 0
    ) -> Any:
        """Label answers by hand in JupyterLab: right, wrong or unsure and a note, by keyboard, one after another.

        Neither the model nor the verdict of a scorer or a judge is shown. Each label is in the file ``.path`` before
        the next answer is shown: ``NAME.labels-PERSON.jsonl`` next to the run file, without a person
        ``NAME.labels.jsonl``. Call it again to go on, also after a killed kernel. ``evalkit judge-check`` checks a
        judge against the file, ``.to_dataset(out)`` makes a dataset of the labelled conversations.

        Parameters
        ----------
        person : str, optional
            Who labels; each person has a file, and with the same seed the same answers.
        conversations : int
            How many to label, each in one repeat, with all its answers that have a target or a golden answer. If no
            turn of the run has one, all answers are labelled.
        choose : str
            ``random``: a random sample. ``differ``: half of it from the conversations in which the newest scorings of a
            judge and of a scorer disagree whether an answer is right. Each label names the ``stratum`` it was drawn
            from and how many answers are in it.
        seed : int

        Returns
        -------
        widget
            Where widgets are not available: the next answer as text, with the methods ``label`` and ``undo``.

        Raises
        ------
        SettingsError
            An argument cannot be used, there is nothing to label, or judge and scorer never differ.
        DatasetError
            The labels file cannot be used, or its labels are of other answers or another sample.
        """
        from evalkit.widgets import display

        return display.label(self, person, conversations=conversations, choose=choose, seed=seed)

    def _select(self, query: str, *values: Any) -> list[Any]:
        from evalkit.analysis import measures

        with measures.opened(self.path) as connection:
            return connection.execute(query, values).fetchall()

    def charts(self, *, conversations: int | None = None, turn: int | None = None) -> dict[str, Chart]:
        """Every chart of the run by its name; ``conversations``, ``turn``: see ``summary``.

        ``run.charts()["prompt-length"].draw()`` draws one on a matplotlib Axes; ``.save(path)`` writes it as SVG or
        PNG. ``finding`` says what it shows, ``alt`` has its numbers in words, and ``missing`` says why there is nothing
        to draw. The methods ``plot_…`` draw one chart without making the others.
        """
        from evalkit.analysis import measures
        from evalkit.charts import catalogue

        with measures.part(self.path, conversations, turn) as part:
            return catalogue.charts(part)

    def plot_latency(
        self, ax: Axes | None = None, *, conversations: int | None = None, turn: int | None = None
    ) -> Axes:
        """TTFT and end-to-end latency by turn, on a matplotlib Axes; ``conversations``, ``turn``: see ``summary``."""
        return self._chart("latency", conversations, turn).draw(ax)

    def plot_accuracy(
        self, ax: Axes | None = None, *, conversations: int | None = None, turn: int | None = None
    ) -> Axes:
        """Accuracy by turn with 95 % intervals, on a matplotlib Axes; ``conversations``, ``turn``: see ``summary``."""
        return self._chart("accuracy", conversations, turn).draw(ax)

    def plot_ecdf(self, ax: Axes | None = None, *, conversations: int | None = None, turn: int | None = None) -> Axes:
        """The distribution of latency, turn 1 separately, on a matplotlib Axes; the others: see ``summary``."""
        return self._chart("latency-distribution", conversations, turn).draw(ax)

    def plot_ttft(self, ax: Axes | None = None, *, conversations: int | None = None, turn: int | None = None) -> Axes:
        """The distribution of TTFT, turn 1 separately, on a matplotlib Axes; the others: see ``summary``."""
        return self._chart("first-token-distribution", conversations, turn).draw(ax)

    def plot_timeline(self, ax: Axes | None = None) -> Axes:
        """Turns ended per second over the time of the run, failed ones separately, on a matplotlib Axes."""
        return self._chart("timeline").draw(ax)

    def plot_answer(
        self, conversation: str | None = None, turn: int = 1, repeat: int = 1, ax: Axes | None = None
    ) -> Axes:
        """One streamed answer, read by read, on a matplotlib Axes; None: the one with times closest to the medians."""
        from evalkit.charts import catalogue

        if conversation is None:
            return self._chart("answer").draw(ax)
        return catalogue.answer_chart(self.path, conversation, turn, repeat).draw(ax)

    def plot_context(self, ax: Axes | None = None) -> Axes:
        """TTFT and latency as the prompts of a conversation grow, on a matplotlib Axes."""
        return self._chart("context-growth").draw(ax)

    def plot_answer_length(self, ax: Axes | None = None) -> Axes:
        """Latency against output tokens, with right, wrong and cut-off answers apart, on a matplotlib Axes."""
        return self._chart("answer-length").draw(ax)

    def _chart(self, name: str, conversations: int | None = None, turn: int | None = None) -> Chart:
        from evalkit.analysis import measures
        from evalkit.charts import catalogue

        with measures.part(self.path, conversations, turn) as part:
            return catalogue.chart(part, name)
