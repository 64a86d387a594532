"""A run as JUnit XML, which build servers read: a test case per turn, and one per gate.

Only gates fail a build, so a wrong answer is a passed case with the conversation in its output, unless it is asked to
be a failure. Failed calls are errors, unless a gate that limits errors is met: the file reports a failure where ``run``
exits with 1.

Turns are streamed from the run file, so memory does not grow with their number. Text of models and datasets is escaped;
what XML 1.0 cannot hold, control characters and lone surrogates, becomes U+FFFD.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import orjson

from evalkit.analysis.measures import RunMeasures, Source, opened
from evalkit.analysis.summary_json import summary_json
from evalkit.gates.gate_expression import parse
from evalkit.gates.gates import GateResult
from evalkit.runfile import output_files, resume_command, store
from evalkit.runfile.plain_text import clipped
from evalkit.runfile.plain_transcripts import up_to
from evalkit.runfile.schema import INTERRUPTED, JOIN_SCORE
from evalkit.runfile.transcripts import Transcript, TranscriptTurn, transcripts
from evalkit.wording import run_results, run_sentences

MOST_MESSAGE = 300  # characters of a message, which build servers show as a heading

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = _ESCAPES | str.maketrans({"\n": "&#10;", "\t": "&#9;"})
# the count of a suite to which a case belongs, by the outcome of its turn
_ELEMENTS = {
    "error": "errors",
    "missed": "failures",
    "missing": "failures",
    "undecided": "skipped",
    "unscored": "skipped",
    "allowed": "skipped",
    "interrupted": "skipped",
}
_OUTCOMES = {True: "met", False: "missed", None: "missing"}
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
_COUNTS = f"""
    SELECT CASE WHEN {INTERRUPTED} THEN 'interrupted' WHEN t.error_kind NOT NULL THEN 'error'
      WHEN s.value IS NULL THEN 'unscored' WHEN s.value < 1 THEN 'wrong' ELSE 'right' END, count(*),
      sum(coalesce(t.latency_ns, t.end_ns - t.sent_ns, 0)) / 1e9
    FROM turn t {JOIN_SCORE} GROUP BY 1"""  # noqa: S608 - SQL of our own


def check_path(path: Path, used: Iterable[Path] = ()) -> None:
    """Check, before a request is sent, that the file can be written and is none of those in use.

    An earlier JUnit file of evalkit is replaced, since every build makes one; any other file is refused.
    """
    output_files.check(path, output_files.JUNIT, used)


class Limit(NamedTuple):
    """The result of a limit: ``outcome`` is ``met``, ``missed``, ``missing`` or, of a comparison, ``undecided``."""

    group: str
    text: str
    outcome: str
    words: str


def write(
    source: Source,
    path: Path,
    measures: RunMeasures,
    gates: Sequence[GateResult] = (),
    *,
    fail_turns: bool = False,
) -> int:
    """Write a run as JUnit XML.

    The suite's ``system-out`` has the sentences of a report. A missed gate is a ``failure``. A wrong turn (score below
    1) has the conversation up to it in its ``system-out``; a failed call is an ``error``, or ``skipped`` when a gate
    that limits errors is met; a turn without a score is ``skipped``. The time of a case is the latency of its turn in
    s; for a failed turn, how long its last attempt took; 0 if it was never sent. Long texts are cut, with a note.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
        The run file.
    path : Path
        An earlier JUnit file of evalkit is replaced; any other existing file is refused.
    measures : RunMeasures
        Measures of the same run.
    gates : sequence of GateResult
        They become cases of a second suite.
    fail_turns : bool
        A wrong turn is a ``failure`` too.

    Returns
    -------
    int
        Number of turns written.

    Raises
    ------
    RunFileError
        The run file cannot be read.
    SettingsError
        The file cannot be written.
    """
    with opened(source) as connection:
        used = output_files.input_files(
            () if isinstance(source, sqlite3.Connection) else (source,), [store.run_info(connection)]
        )
        with (
            output_files.writing(path, output_files.JUNIT, used) as draft,
            draft.open("w", encoding="utf-8", newline="\n") as file,
        ):
            resume = "evalkit resume FILE" if isinstance(source, sqlite3.Connection) else resume_command.command(source)
            return _write(connection, file, measures, gates, fail_turns=fail_turns, resume=resume)


def write_limits(
    path: Path, name: str, limits: Sequence[Limit], properties: Iterable[tuple[str, Any]], used: Iterable[Path] = ()
) -> None:
    """Write limits alone as JUnit XML, such as those of a comparison; an undecided one is ``skipped``.

    Parameters
    ----------
    path : Path
        As for ``write``.
    name : str
        Of the suite.
    limits : sequence of Limit
    properties : iterable of (str, value)
        None: left out.
    used : iterable of Path
        Files that must not be replaced.

    Raises
    ------
    SettingsError
        The file cannot be written.
    """
    started = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    with (
        output_files.writing(path, output_files.JUNIT, used) as draft,
        draft.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(_HEAD)
        _start_suite(file, 0, name, started, Counter(limit.outcome for limit in limits), 0.0, properties)
        file.writelines(map(_limit_case, limits))
        _end_suite(file)
        file.write("</testsuites>\n")


def _write(
    connection: sqlite3.Connection,
    file: TextIO,
    measures: RunMeasures,
    gates: Sequence[GateResult],
    *,
    fail_turns: bool,
    resume: str,
) -> int:
    info = store.run_info(connection)
    started = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(info["created_ns"] / 1e9))
    counts, seconds = Counter[str](), 0.0
    for outcome, number, took_s in connection.execute(_COUNTS):
        counts[outcome] += number
        seconds += took_s
    turns = counts.total()
    allowed = any(result.met and parse(result.text).limits_errors for result in gates)
    if allowed:
        counts["allowed"] = counts.pop("error", 0)
    if fail_turns:
        counts["missed"] = counts.pop("wrong", 0)
    file.write(_HEAD)
    _start_suite(file, 0, info["name"], started, counts, seconds, _properties(connection, info, measures))
    for transcript in transcripts(connection):
        file.writelines(_turn_case(transcript, turn, allowed=allowed, fail=fail_turns) for turn in transcript.turns)
    _end_suite(file, _sentences(info, measures, resume))
    if gates:
        limits = [Limit("gates", each.text, _OUTCOMES[each.met], each.words) for each in gates]
        outcomes = Counter(limit.outcome for limit in limits)
        _start_suite(file, 1, f"{info['name']} gates", started, outcomes, 0.0, ())
        file.writelines(map(_limit_case, limits))
        _end_suite(file)
    file.write("</testsuites>\n")
    return turns


def _properties(
    connection: sqlite3.Connection, info: Mapping[str, Any], measures: RunMeasures
) -> Iterator[tuple[str, Any]]:
    """Where the numbers come from: model, dataset, versions, scorers; unknown values are None or left out."""
    dataset, endpoint, accuracy = info["dataset"], info["endpoint"], measures.all.accuracy.mean
    yield "model", endpoint.get("model")
    yield "base_url", endpoint.get("base_url")
    yield "params", orjson.dumps(endpoint["params"]).decode() if endpoint.get("params") else None
    yield "dataset", dataset.get("path")
    yield "dataset_sha256", dataset.get("hash")
    yield "dataset_turns", None if dataset.get("turns") is None else dataset["turns"] * info["settings"]["repeats"]
    if measures.planned:
        yield "complete", measures.all.turns / measures.planned
    yield from (("accuracy", accuracy.value), ("accuracy_low", accuracy.low), ("accuracy_high", accuracy.high))
    yield "accuracy_n", accuracy.n
    yield "client_bound", measures.trust.client_bound
    about = connection.execute("SELECT about FROM session ORDER BY id DESC LIMIT 1").fetchone()
    versions = orjson.loads(about[0]).get("versions", {}) if about else {}
    for name, version in versions.items():
        yield f"version_{name}", version
    scoring = connection.execute("SELECT scorer, versions FROM scoring WHERE id = (SELECT scoring FROM run)").fetchone()
    if scoring is not None:
        yield from zip(("scorer", "scorer_versions"), scoring, strict=True)


def _start_suite(
    file: TextIO, number: int, name: str, started: str, outcomes: Counter[str], seconds: float,
    properties: Iterable[tuple[str, Any]],
) -> None:  # fmt: skip
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for outcome, element in _ELEMENTS.items():
        counts[element] += outcomes[outcome]
    attributes = {
        "id": number, "name": name, "package": "evalkit", "hostname": "localhost", "timestamp": started,
        "tests": outcomes.total(), **counts, "time": f"{seconds:.6f}",
    }  # fmt: skip
    file.write(f"{_tag('testsuite', attributes)}>\n<properties>\n")
    for name, value in properties:
        if value is not None:
            file.write(f"{_tag('property', {'name': name, 'value': value})}/>\n")
    file.write("</properties>\n")


def _end_suite(file: TextIO, sentences: Iterable[str] = ()) -> None:
    output = text("\n".join(sentences))
    file.write(f"<system-out>{output}</system-out>\n<system-err/>\n</testsuite>\n")


def _sentences(info: Mapping[str, Any], measures: RunMeasures, resume: str) -> Iterator[str]:
    """What a terminal and a report say of the run, too."""
    result = summary_json(measures)
    yield run_results.verdict(result, str(info["endpoint"].get("model")))
    yield from map(run_results.sentence, run_sentences.notes(result))
    for line, _ in run_sentences.reliability(result, info, resume=resume):
        yield run_results.sentence(line)


def _turn_case(transcript: Transcript, turn: TranscriptTurn, *, allowed: bool, fail: bool) -> str:
    name = f"turn {turn.turn}" if transcript.repeat == 1 else f"turn {turn.turn}, repeat {transcript.repeat}"
    start = _case(transcript.conversation, name, turn.took_s or 0.0)
    conversation = text(up_to(transcript, turn.turn))
    match turn.verdict:
        case "right":
            return f"{start}/>\n"
        case "unscored":
            reason = "it has no target" if turn.target is None else "it has not been scored"
            return f"{start}>{_tag('skipped', {'message': _heading(turn.reason or reason)})}/></testcase>\n"
        case "error":
            message = _heading(f"{turn.error_kind}: {turn.error_message}")
            # by the end of its session, which is no failure
            interrupted = turn.error_kind == "cancelled" and turn.took_s is not None
            if not (allowed or interrupted):
                tag = _tag("error", {"message": message, "type": turn.error_kind})
                return f"{start}>{tag}>{conversation}</error></testcase>\n"
            skipped = f"{_tag('skipped', {'message': message})}/>"
            return f"{start}>{skipped}<system-out>{conversation}</system-out></testcase>\n"
        case _:
            heading = _heading(turn.reason or f"the score is {turn.score:g}")
            if fail:
                tag = _tag("failure", {"message": heading, "type": "wrong"})
                return f"{start}>{tag}>{conversation}</failure></testcase>\n"
            return f"{start}><system-out>wrong: {text(heading)}\n\n{conversation}</system-out></testcase>\n"


def _limit_case(limit: Limit) -> str:
    start = _case(limit.group, limit.text, 0.0)
    if limit.outcome == "met":
        return f"{start}><system-out>{text(limit.words)}</system-out></testcase>\n"
    if limit.outcome == "undecided":
        return f"{start}>{_tag('skipped', {'message': _heading(limit.words)})}/></testcase>\n"
    tag = _tag("failure", {"message": _heading(limit.words), "type": limit.outcome})
    return f"{start}>{tag}>{text(limit.words)}</failure></testcase>\n"


def _case(classname: str, name: str, seconds: float) -> str:
    return _tag("testcase", {"classname": clipped(classname, MOST_MESSAGE), "name": name, "time": f"{seconds:.6f}"})


def _tag(name: str, attributes: Mapping[str, Any]) -> str:
    """A start tag without its end."""
    return f"<{name}" + "".join(f' {key}="{attribute(str(value))}"' for key, value in attributes.items())


def _heading(message: str) -> str:
    return clipped(message, MOST_MESSAGE)


def text(anything: str) -> str:
    """Any text as character data: a reader gets it back, except for what XML cannot hold."""
    return _ILLEGAL.sub("\ufffd", anything).translate(_ESCAPES)


def attribute(anything: str) -> str:
    """Any text as the value of an attribute."""
    return _ILLEGAL.sub("\ufffd", anything).translate(_ATTRIBUTE_ESCAPES)
