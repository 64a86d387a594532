"""What a report tells of one run, whatever its form."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evalkit import costs, reportturns, store, tables, words
from evalkit.errors import EvalkitError
from evalkit.measures import RunMeasures, measure, opened
from evalkit.reportturns import Transcripts
from evalkit.schema import JOIN_SCORE
from evalkit.snippets import KEY_VARIABLE

if TYPE_CHECKING:
    from evalkit.comparison import Comparison
    from evalkit.style import Chart

MOST_REASONS = 10
_FAILED = """
    SELECT error_kind, min(error_message), count(*) FROM turn WHERE status = 'error'
    GROUP BY error_kind, http_status ORDER BY 3 DESC LIMIT ?"""
_WRONG = f"""
    SELECT iif(s.value IS NULL, 'not scored: ', 'wrong: ') || s.scorer, s.reason, count(*) FROM turn t {JOIN_SCORE}
    WHERE s.value < 1 OR (s.scorer NOT NULL AND s.value IS NULL)
    GROUP BY 1, 2 ORDER BY min(t.conversation), min(t.turn)"""  # noqa: S608 - SQL of our own
# what differs between reasons of one kind: what stands in quotes, and numbers
_OWN = re.compile(r"""'[^']*'|"[^"]*"|\[[^]]*\]|\{[^}]*\}|[-+]?\d[\d.,/%]*""")


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

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.info["endpoint"]["model"])


def read(path: Path, *, most_turns: int = reportturns.MOST_TURNS, drawn: bool = True) -> Part:
    """Read what a report tells of a run; charts if it is to have any."""
    from evalkit import plots

    with opened(path) as connection:
        info = store.run_info(connection)
        measures = measure(connection, costs.price(info))
        about = connection.execute("SELECT about FROM session ORDER BY id DESC LIMIT 1").fetchone()
        return Part(
            path=path,
            info=info,
            measures=measures,
            result=tables.summary_json(measures),
            charts=plots.charts(connection, measures) if drawn else {},
            transcripts=reportturns.transcripts(connection, most_turns=most_turns),
            failed=connection.execute(_FAILED, (MOST_REASONS,)).fetchall(),
            wrong=_wrong(connection),
            versions=orjson.loads(about[0]).get("versions", {}) if about else {},
        )


def compared_runs(parts: Sequence[Part]) -> Comparison | str | None:
    """The runs compared with the first, or why they cannot be; None: there is one."""
    from evalkit.comparison import compare

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


def warnings(part: Part) -> Iterator[str]:
    """What a reader has to know before believing the numbers."""
    trust, doubtful = words.trust(part.result["trust"], part.info["settings"]["concurrency"])
    if doubtful:
        yield trust
    if part.result["doubt"] is not None:
        yield f"The interval of the accuracy may be too short. {part.result['doubt']}"
    planned = part.info["dataset"].get("turns")
    if planned is not None:
        missing = planned * part.info["settings"]["repeats"] - part.result["turns"]
        if missing > 0:
            yield f"{missing:,} turns are still to be asked: this is how the run stands so far."


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
    usual = {"history": "own", "repeats": 1, "retries": 2, "arrivals": "constant"}
    for name in ("limit", "repeats", "history", "concurrency", "rate", "arrivals", "rpm", "tpm", "retries"):
        value = settings.get(name)
        if value is not None and value != usual.get(name):
            words_of += [f"--{name}", str(value)]
    if settings.get("arrivals_seed") is not None:
        words_of += ["--seed", str(settings["arrivals_seed"])]
    words_of += [f"--scorer={scorer}" for scorer in _scorers(settings.get("scorer"))]
    if settings.get("until_ci") is not None:
        words_of += ["--until", f"ci={settings['until_ci']}"]
    words_of += [f"--column={field}={heading}" for field, heading in (settings.get("columns") or {}).items()]
    if not settings.get("stream", True):
        words_of.append("--no-stream")
    return shlex.join(words_of)


def _scorers(named: Any) -> Iterator[str]:
    """As ``--scorer`` takes them; options can be given in code alone."""
    for each in named if isinstance(named, list) else [] if named is None else [named]:
        if isinstance(each, dict):
            yield str(each.get("name")) + (f"={each['weight']:g}" if "weight" in each else "")
        else:
            yield str(each)
