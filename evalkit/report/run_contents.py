"""What a report shows of one run, in HTML and in Markdown."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evalkit.analysis import costs, summary_json
from evalkit.analysis.measures import RunMeasures, measure, opened
from evalkit.errors import EvalkitError
from evalkit.judging import rescore_command
from evalkit.report import previous_run, repeat_commands, transcript_data
from evalkit.report.transcript_data import Transcripts
from evalkit.runfile import store
from evalkit.runfile.schema import CURRENT_SCORING, FAILURES, JOIN_SCORE, SCORABLE
from evalkit.wording.numbers import counted

if TYPE_CHECKING:
    from evalkit.charts.chart import Chart
    from evalkit.comparing.comparison import Comparison, Contrast

MOST_REASONS = 10
_SCORES = """
    SELECT (SELECT scoring FROM run), (SELECT count(*) FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL),
      scorer, judge
    FROM run LEFT JOIN scoring ON id = scoring"""
_SCORERS = f"SELECT scorer FROM score WHERE scoring = {CURRENT_SCORING} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT ?"  # noqa: S608
_WRONG = f"""
    SELECT CASE WHEN s.value NOT NULL THEN 'wrong: ' || s.scorer WHEN s.scorer NOT NULL THEN 'not scored: ' || s.scorer
      ELSE 'not scored' END, iif(s.scorer IS NULL, 'no scorer has scored it', s.reason), count(*)
    FROM turn t {JOIN_SCORE}
    WHERE s.value < 1 OR (s.scorer NOT NULL AND s.value IS NULL)
      OR (t.status = 'answered' AND {SCORABLE} AND s.scorer IS NULL)
    GROUP BY 1, 2 ORDER BY min(t.conversation), min(t.turn)"""  # noqa: S608 - SQL of our own
# reasons of one kind differ in these: text in quotes or brackets, and numbers
_VARIABLE_PARTS = re.compile(r"""'[^']*'|"[^"]*"|\[[^]]*\]|\{[^}]*\}|[-+]?\d[\d.,/%]*""")


@dataclass(frozen=True, slots=True)
class ShownScores:
    """The scoring whose scores a report shows.

    Parameters
    ----------
    number : int
        Its number; 0 is the run's own scoring.
    others : int
        Number of complete later scorings, including this one.
    scorer : any JSON value
        The scorer of all turns; None: each turn has its own.
    judge : mapping or None
        The judge that gave the scores.
    command : str or None
        The command that scores the run file ``repeat_commands.RUN_FILE`` like this; None for the run's own scoring.
    """

    number: int
    others: int
    scorer: Any
    judge: Mapping[str, Any] | None
    command: str | None


@dataclass(frozen=True, slots=True)
class RunContents:
    """One run, as a report shows it.

    Parameters
    ----------
    path : Path
    info : dict
        From ``store.run_info``.
    measures : RunMeasures
    result : dict
        The object of ``--json``.
    charts : dict
        Charts by name; empty for a report without charts.
    transcripts : Transcripts
    failed, wrong : list
        ``failed``: (error kind, a message, count). ``wrong``: (wrong or not scored, and by which scorer; the first of
        all reasons of one kind; count). The most frequent come first.
    versions : dict
        Versions of evalkit, Python and libraries in the last session.
    scores : ShownScores
    scorers : list of str
        The scorers of the shown scores, the most frequent first.
    machine : dict
        ``system``, ``architecture`` and ``cores`` of the client in the last session.
    previous : Contrast or None
        The run compared with the last one of the same dataset; None: there is none, or it was not looked for.
    """

    path: Path
    info: dict[str, Any]
    measures: RunMeasures
    result: dict[str, Any]
    charts: dict[str, Chart]
    transcripts: Transcripts
    failed: list[tuple[str, str, int]]
    wrong: list[tuple[str, str, int]]
    versions: dict[str, str]
    scores: ShownScores
    scorers: list[str]
    machine: dict[str, Any]
    previous: Contrast | None = None

    @property
    def model(self) -> str:
        """The requested model."""
        return str(self.info["endpoint"]["model"])


def read_run(
    path: Path, *, most_turns: int = transcript_data.MOST_TURNS, drawn: bool = True, since_previous: bool = False
) -> RunContents:
    """Read what a report shows of a run; the charts only if ``drawn``.

    ``since_previous``: also compare it with the last run of the same dataset in its folder.
    """
    from evalkit.charts import catalogue

    with opened(path) as connection:
        info = store.run_info(connection)
        measures = measure(connection, costs.run_price(info))
        about = connection.execute("SELECT about FROM session ORDER BY id DESC LIMIT 1").fetchone()
        return RunContents(
            path=path,
            info=info,
            measures=measures,
            result=summary_json.summary_json(measures),
            charts=catalogue.charts(connection, measures, without=catalogue.NOT_IN_REPORT) if drawn else {},
            transcripts=transcript_data.transcripts(connection, most_turns=most_turns),
            failed=connection.execute(FAILURES, (MOST_REASONS,)).fetchall(),
            wrong=_wrong(connection),
            versions=orjson.loads(about[0]).get("versions", {}) if about else {},
            machine=orjson.loads(about[0]).get("machine", {}) if about else {},
            scores=_scores(connection),
            scorers=[name for (name,) in connection.execute(_SCORERS, (MOST_REASONS,))],
            previous=previous_run.since_previous_run(path, info) if since_previous else None,
        )


def _scores(connection: sqlite3.Connection) -> ShownScores:
    number, others, scorer, judge = connection.execute(_SCORES).fetchone()
    command = rescore_command.command_of(connection, number, repeat_commands.RUN_FILE) if number else None
    scorer, judge = (None if text is None else orjson.loads(text) for text in (scorer, judge))
    return ShownScores(number, others, scorer, judge, command)


def compared_runs(runs: Sequence[RunContents]) -> Comparison | str | None:
    """Compare the runs with the first, or return why they cannot be compared; None if there is only one."""
    from evalkit.comparing.comparison import compare

    if len(runs) < 2:
        return None
    try:
        return compare(*(run.path for run in runs))
    except EvalkitError as error:
        return str(error)


def _wrong(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    counts, first = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for verdict, reason, count in connection.execute(_WRONG):
        reason = reason or "no reason given"
        kind = verdict, _VARIABLE_PARTS.sub("…", reason)
        counts[kind] += count
        first.setdefault(kind, reason)
    return [(kind[0], first[kind], count) for kind, count in counts.most_common(MOST_REASONS)]


def nothing_failed(run: RunContents) -> str:
    """Describe a run in which no call failed and no scored answer was wrong."""
    if not run.result["turns"]:
        return "No turn yet."
    if not run.result["accuracy"]["n"]:
        return "Nothing failed. No answer has a score: there is no target."
    unscored = run.result["accuracy"]["unscored"]
    verb = "has" if unscored == 1 else "have"
    targets = f"{counted(unscored, 'answered turn')} {verb} no target" if unscored else "every target has a score"
    return f"Nothing failed, {targets}, and no scored answer was wrong."


def scores(run: RunContents, quoted: Callable[[str], str] = str) -> str | None:
    """Say which scoring is shown if there is more than the run's own; ``quoted`` makes an untrusted name safe."""
    shown = run.scores
    if not shown.number:
        return "Scores: those of the run itself; it was scored again later." if shown.others else None
    if shown.judge is not None:
        by = f"by the judge {quoted(str(shown.judge['model']))} with the rubric {quoted(str(shown.judge['rubric']))}"
    else:
        by = f"scored again by {quoted(_scorer_names(shown.scorer))}"
    return f"Scores: scoring {shown.number}, {by}; these are not the run's own scores."


def _scorer_names(scorer: Any) -> str:
    return "the scorer of each turn" if scorer is None else ", ".join(repeat_commands.scorer_names(scorer))
