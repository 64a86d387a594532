"""What a report tells of one run, whatever its form."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evalkit.analysis import costs, summary_json
from evalkit.analysis.measures import RunMeasures, measure, opened
from evalkit.client.request_as_code import KEY_VARIABLE
from evalkit.errors import EvalkitError
from evalkit.judging import scoring_command
from evalkit.report import transcript_data
from evalkit.report.transcript_data import Transcripts
from evalkit.runfile import store
from evalkit.runfile.schema import AIMED, JOIN_SCORE
from evalkit.wording import run_results

if TYPE_CHECKING:
    from evalkit.charts.style import Chart
    from evalkit.comparing.comparison import Comparison

MOST_REASONS = 10
AGAIN, _PRICES = Path("again.evalkit"), "prices.toml"  # files of the commands that repeat a run
_SCORES = """
    SELECT (SELECT scoring FROM run), (SELECT count(*) FROM scoring WHERE id > 0 AND ended_wall_ns NOT NULL),
      scorer, judge
    FROM run LEFT JOIN scoring ON id = scoring"""
_FAILED = """
    SELECT error_kind, min(error_message), count(*) FROM turn WHERE status = 'error'
    GROUP BY error_kind, http_status ORDER BY 3 DESC LIMIT ?"""
_WRONG = f"""
    SELECT CASE WHEN s.value NOT NULL THEN 'wrong: ' || s.scorer WHEN s.scorer NOT NULL THEN 'not scored: ' || s.scorer
      ELSE 'not scored' END, iif(s.scorer IS NULL, 'no scorer has seen it', s.reason), count(*)
    FROM turn t {JOIN_SCORE}
    WHERE s.value < 1 OR (s.scorer NOT NULL AND s.value IS NULL)
      OR (t.status = 'answered' AND {AIMED} AND s.scorer IS NULL)
    GROUP BY 1, 2 ORDER BY min(t.conversation), min(t.turn)"""  # noqa: S608 - SQL of our own
# what differs between reasons of one kind: what stands in quotes, and numbers
_OWN = re.compile(r"""'[^']*'|"[^"]*"|\[[^]]*\]|\{[^}]*\}|[-+]?\d[\d.,/%]*""")


@dataclass(frozen=True, slots=True)
class Scores:
    """Which scoring of a run counts.

    Parameters
    ----------
    number : int
        0 is the run's own.
    others : int
        Complete scorings that were made later, this one too.
    scorer : any JSON value
        What scored every turn; None: each turn's own.
    judge : mapping or None
        The judge that made it.
    again : str or None
        The command that makes such a one of the run file ``AGAIN``; None: it is the run's own.
    """

    number: int
    others: int
    scorer: Any
    judge: Mapping[str, Any] | None
    again: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One run, as the report shows it.

    Parameters
    ----------
    path : Path
    info : dict
        What ``store.run_info`` tells.
    measures : RunMeasures
    result : dict
        The object of ``--json``.
    charts : dict
        Name to chart; empty for a report without.
    transcripts : Transcripts
    failed, wrong : list
        (kind, a message, count), and (wrong or not scored, and by which scorer; the first of reasons of one kind;
        count), the most frequent first.
    versions : dict
        Of evalkit, Python and libraries, as the last session noted them.
    scores : Scores
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
    scores: Scores

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.info["endpoint"]["model"])


def read(path: Path, *, most_turns: int = transcript_data.MOST_TURNS, drawn: bool = True) -> Part:
    """Read what a report tells of a run; charts if it is to have any."""
    from evalkit.charts import catalogue

    with opened(path) as connection:
        info = store.run_info(connection)
        measures = measure(connection, costs.run_price(info))
        about = connection.execute("SELECT about FROM session ORDER BY id DESC LIMIT 1").fetchone()
        return Part(
            path=path,
            info=info,
            measures=measures,
            result=summary_json.summary_json(measures),
            charts=catalogue.charts(connection, measures) if drawn else {},
            transcripts=transcript_data.transcripts(connection, most_turns=most_turns),
            failed=connection.execute(_FAILED, (MOST_REASONS,)).fetchall(),
            wrong=_wrong(connection),
            versions=orjson.loads(about[0]).get("versions", {}) if about else {},
            scores=_scores(connection),
        )


def _scores(connection: sqlite3.Connection) -> Scores:
    number, others, scorer, judge = connection.execute(_SCORES).fetchone()
    again = scoring_command.command_of(connection, number, AGAIN) if number else None
    named, kept = (None if text is None else orjson.loads(text) for text in (scorer, judge))
    return Scores(number, others, named, kept, again)


def compared_runs(parts: Sequence[Part]) -> Comparison | str | None:
    """The runs compared with the first, or why they cannot be; None: there is one."""
    from evalkit.comparing.comparison import compare

    if len(parts) < 2:
        return None
    try:
        return compare(*(part.path for part in parts))
    except EvalkitError as error:
        return str(error)


def _wrong(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    counts, first = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for what, reason, count in connection.execute(_WRONG):
        reason = reason or "no reason given"
        kind = what, _OWN.sub("…", reason)
        counts[kind] += count
        first.setdefault(kind, reason)
    return [(kind[0], first[kind], count) for kind, count in counts.most_common(MOST_REASONS)]


def warnings(part: Part, quoted: Callable[[str], str] = str) -> Iterator[str]:
    """What a reader has to know before believing the numbers; ``quoted``: a name from a stranger in a text."""
    trust, doubtful = run_results.trust(part.result["trust"], part.info["settings"]["concurrency"])
    if doubtful:
        yield trust
    if part.result["doubt"] is not None:
        yield f"The interval of the accuracy may be too short. {part.result['doubt']}"
    repeats = int(part.info["settings"].get("repeats", 1))
    yield from map(_sentence, run_results.answering_models(part.result["answering_models"], repeats, quoted))
    heeded = part.result["ignored_parameters"]
    yield from map(_sentence, (*run_results.ignored(heeded), *run_results.cut_off(heeded)))
    until = part.result["until"]
    if until is not None and not until["reached"]:
        yield run_results.until(until)[0]
    if (until is None or not until["reached"]) and (missing := _not_asked(part)):
        yield f"{missing:,} turns are still to be asked: this is how the run stands so far."


def ended(part: Part) -> str | None:
    """Why a run is whole though turns of its dataset were not asked; None: it is not, or all were."""
    until, missing = part.result["until"], _not_asked(part)
    if until is None or not until["reached"]:
        return None
    return run_results.until(until)[0] + (f"; {missing:,} turns need not be asked" if missing else "")


def _not_asked(part: Part) -> int:
    planned = part.info["dataset"].get("turns")
    return 0 if planned is None else max(planned * part.info["settings"]["repeats"] - part.result["turns"], 0)


def all_well(part: Part) -> str:
    """What is told of a run in which no call failed and no scored answer was wrong."""
    if not part.result["accuracy"]["n"]:
        return "Nothing failed. No answer has a score: there is no target." if part.result["turns"] else "No turn yet."
    unscored = part.result["accuracy"]["unscored"]
    targets = f"{unscored:,} answered turns have no target" if unscored else "every target has a score"
    return f"Nothing failed, {targets}, and no scored answer was wrong."


def scores(part: Part, name: Callable[[str], str] = str) -> str | None:
    """Whose scores are shown, where they may be others than the run's own; ``name`` writes what a stranger wrote."""
    made = part.scores
    if not made.number:
        return "Scores: the run's own, made as it was asked; it was scored again later." if made.others else None
    if made.judge is not None:
        by = f"by the judge {name(str(made.judge['model']))} with the rubric {name(str(made.judge['rubric']))}"
    else:
        by = f"made again by {name(_named(made.scorer))}"
    return f"Scores: scoring {made.number}, {by}; they are not the run's own."


def _named(scorer: Any) -> str:
    return "the scorer of each turn" if scorer is None else ", ".join(map(str, _scorers(scorer)))


def commands(part: Part) -> list[str]:
    """Lines for a POSIX shell that ask the same again, with the same prices, and score it as it is scored here.

    What no flag can tell is a line that begins with ``#``.
    """
    settings, endpoint = part.info["settings"], part.info["endpoint"]
    lines = []
    if settings.get("price"):
        prompt, output = settings["price"]
        prices = [f"[{json.dumps(endpoint['model'], ensure_ascii=False)}]", f"prompt = {prompt}", f"output = {output}"]
        lines.append(shlex.join(["printf", r"%s\n", *prices]) + f" > {_PRICES}")
    lines.append(command(part))
    if part.scores.again is not None:
        in_python = part.scores.again.endswith(", in Python")
        lines.append(f"# {part.scores.again}" if in_python else part.scores.again)
    apart = [f"{name}={orjson.dumps(value).decode()}" for name, value in _without_a_flag(endpoint, settings)]
    return [*lines, f"# in Python alone: {', '.join(apart)}"] if apart else lines


def _without_a_flag(endpoint: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings that differ from the usual ones and that the command line cannot give."""
    for kept, usual in ((endpoint, {"connect_timeout_s": 10.0}), (settings, {"max_tool_rounds": 4})):
        yield from ((name, kept[name]) for name, value in usual.items() if kept.get(name, value) != value)
    named = settings.get("scorer")
    if any(isinstance(each, dict) and each.keys() - {"name", "weight"} for each in _listed(named)):
        yield "scorer", named
    if settings.get("functions"):
        yield "functions", settings["functions"]


def _sentence(line: str) -> str:
    return f"{line[0].upper()}{line[1:]}."


def command(part: Part) -> str:
    """The command that asks the same again, for a POSIX shell."""
    endpoint, settings, dataset = part.info["endpoint"], part.info["settings"], part.info["dataset"]
    words_of = ["evalkit", "run", dataset.get("path", "DATA")]
    if endpoint.get("source") != "embedded":
        words_of += ["--base-url", endpoint["base_url"], "--model", endpoint["model"]]
        if endpoint.get("key_env"):
            words_of += ["--api-key-env", KEY_VARIABLE]
    for name, value in endpoint.get("params", {}).items():
        words_of += ["--param", f"{name}={orjson.dumps(value).decode()}"]
    streamed = settings.get("stream", True)
    limits = {
        "timeout": endpoint.get("timeout_s"),
        "ttft-timeout": endpoint.get("ttft_timeout_s") if streamed else None,
    }
    words_of += _flags(limits, {"timeout": 300.0})
    usual = {"history": "own", "repeats": 1, "retries": 2, "arrivals": "constant"}
    names = ("limit", "repeats", "history", "concurrency", "rate", "arrivals", "rpm", "tpm", "retries")
    words_of += _flags({name: settings.get(name) for name in names}, usual)
    if settings.get("arrivals_seed") is not None:
        words_of += ["--seed", str(settings["arrivals_seed"])]
    words_of += [f"--scorer={scorer}" for scorer in _scorers(settings.get("scorer"))]
    if settings.get("until_ci") is not None:
        words_of += ["--until", f"ci={settings['until_ci']}"]
    budgets = {"max-time": "max_time_s", "max-tokens-total": "max_tokens_total", "max-cost": "max_cost"}
    words_of += _flags({flag: settings.get(name) for flag, name in budgets.items()}, {})
    if settings.get("price"):
        words_of += ["--prices", _PRICES]
    words_of += [f"--column={field}={heading}" for field, heading in (settings.get("columns") or {}).items()]
    if not streamed:
        words_of.append("--no-stream")
    if part.scores.again is not None:
        words_of += ["--out", str(AGAIN)]
    return shlex.join(words_of)


def _flags(values: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    told = {name: value for name, value in values.items() if value is not None and value != usual.get(name)}
    return [word for name, value in told.items() for word in (f"--{name}", str(value))]


def _scorers(named: Any) -> Iterator[str]:
    """As ``--scorer`` takes them; options can be given in code alone."""
    for each in _listed(named):
        if isinstance(each, dict):
            yield str(each.get("name")) + (f"={each['weight']}" if "weight" in each else "")
        else:
            yield str(each)


def _listed(named: Any) -> list[Any]:
    return named if isinstance(named, list) else [] if named is None else [named]
