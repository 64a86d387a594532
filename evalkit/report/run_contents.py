"""What a report shows of one run, in HTML and in Markdown."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evalkit.analysis import costs, summary_json
from evalkit.analysis.measures import RunMeasures, measure, opened
from evalkit.errors import EvalkitError
from evalkit.judging import rescore_command
from evalkit.report import repeat_commands, transcript_data
from evalkit.report.transcript_data import Transcripts
from evalkit.runfile import store
from evalkit.runfile.schema import JOIN_SCORE, SCORABLE
from evalkit.wording import run_results
from evalkit.wording.imported import imported
from evalkit.wording.numbers import counted

if TYPE_CHECKING:
    from evalkit.charts.chart import Chart
    from evalkit.comparing.comparison import Comparison

MOST_REASONS = 10
_SCORES = """
    SELECT (SELECT scoring FROM run), (SELECT count(*) FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL),
      scorer, judge
    FROM run LEFT JOIN scoring ON id = scoring"""
_FAILED = """
    SELECT error_kind, min(error_message), count(*) FROM turn WHERE status = 'error'
    GROUP BY error_kind, http_status ORDER BY 3 DESC LIMIT ?"""
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

    @property
    def model(self) -> str:
        """The requested model."""
        return str(self.info["endpoint"]["model"])


def read_run(path: Path, *, most_turns: int = transcript_data.MOST_TURNS, drawn: bool = True) -> RunContents:
    """Read what a report shows of a run; the charts only if ``drawn``."""
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
            failed=connection.execute(_FAILED, (MOST_REASONS,)).fetchall(),
            wrong=_wrong(connection),
            versions=orjson.loads(about[0]).get("versions", {}) if about else {},
            scores=_scores(connection),
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


def warnings(run: RunContents, quoted: Callable[[str], str] = str) -> Iterator[str]:
    """Yield what a reader must know before relying on the numbers; ``quoted`` makes an untrusted name safe."""
    trust, doubtful = run_results.trust(run.result["trust"], run.info["settings"]["concurrency"])
    if (imported_from := imported(run.result["imported"], quoted)) is not None:
        yield _sentence(imported_from)
    elif doubtful:
        yield trust
    if run.result["doubt"] is not None:
        yield f"The interval of the accuracy may be too short. {run.result['doubt']}"
    repeats = int(run.info["settings"].get("repeats", 1))
    yield from map(_sentence, run_results.answering_models(run.result["answering_models"], repeats, quoted))
    parameters = run.result["ignored_parameters"]
    yield from map(_sentence, (*run_results.ignored_parameters(parameters), *run_results.cut_off(parameters)))
    until = run.result["until"]
    if until is not None and not until["reached"]:
        yield run_results.accuracy_goal(until)[0]
    if (until is None or not until["reached"]) and (missing := _not_run(run)):
        verb = "has" if missing == 1 else "have"
        yield f"{counted(missing, 'turn')} {verb} not been run yet: these are the results so far."


def early_end(run: RunContents) -> str | None:
    """Say why a run ended before all turns of its dataset were run; None if it did not, or is not complete."""
    until, missing = run.result["until"], _not_run(run)
    if until is None or not until["reached"]:
        return None
    return run_results.accuracy_goal(until)[0] + (f"; {counted(missing, 'turn')} need not be run" if missing else "")


def _not_run(run: RunContents) -> int:
    planned = run.info["dataset"].get("turns")
    return 0 if planned is None else max(planned * run.info["settings"]["repeats"] - run.result["turns"], 0)


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


def _sentence(line: str) -> str:
    return f"{line[0].upper()}{line[1:]}."
