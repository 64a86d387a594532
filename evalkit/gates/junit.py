"""A run as JUnit XML, which build servers read: a test case for every turn, and one for every gate.

A build fails by its gates alone, so a wrong answer is a case that passed, with the conversation in its output. Failed
calls are errors, unless a gate says how many may fail and is met: the file is red where ``run`` exits with 1.

Turns are written as they are read, so that their number does not matter. What models and datasets say is escaped; what
XML 1.0 cannot hold at all, control characters and lone surrogates, becomes U+FFFD.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson

from evalkit.analysis.measures import RunMeasures, Source, opened
from evalkit.gates.gates import GateResult, parse
from evalkit.runfile import output_files, store
from evalkit.runfile.plain_transcripts import Transcript, TranscriptTurn, clipped, transcripts
from evalkit.runfile.schema import INTERRUPTED, JOIN_SCORE

MOST_MESSAGE = 300  # characters of a message, of which build servers make a heading

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = _ESCAPES | str.maketrans({"\n": "&#10;", "\t": "&#9;"})
# what a case is, by the outcome of its turn
_ELEMENTS = {
    "error": "errors",
    "missed": "failures",
    "unscored": "skipped",
    "allowed": "skipped",
    "interrupted": "skipped",
}
_COUNTS = f"""
    SELECT CASE WHEN {INTERRUPTED} THEN 'interrupted' WHEN t.error_kind NOT NULL THEN 'error'
      WHEN s.value IS NULL THEN 'unscored' WHEN s.value < 1 THEN 'wrong' ELSE 'right' END, count(*),
      sum(coalesce(t.latency_ns, t.end_ns - t.sent_ns, 0)) / 1e9
    FROM turn t {JOIN_SCORE} GROUP BY 1"""  # noqa: S608 - SQL of our own


def check_path(path: Path, taken: Iterable[Path] = ()) -> None:
    """See, before anything is asked, that the file can be written: ``outputs.check``.

    An earlier JUnit file of evalkit is written over, since a build makes one each time; any other file is refused.
    """
    output_files.check(path, output_files.JUNIT, taken)


def write(source: Source, path: Path, measures: RunMeasures, gates: Sequence[GateResult] = ()) -> int:
    """Write a run as JUnit XML.

    A missed gate is a ``failure``. A turn that is wrong (its score is below 1) has the conversation up to it in its
    ``system-out``; a failed call is an ``error``, or ``skipped`` where a gate limits errors and is met; a turn without
    a score is ``skipped``. The time of a case is the latency of its turn in s; of a failed one, how long its last
    attempt took; 0 when it was never asked. Long texts are cut, and say so.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
        The run file.
    path : Path
        An earlier JUnit file of evalkit is written over; any other file that is there is refused.
    measures : RunMeasures
        Of the same run.
    gates : sequence of GateResult
        Cases of a suite of their own.

    Returns
    -------
    int
        Turns written.

    Raises
    ------
    RunFileError
        The run file cannot be read.
    SettingsError
        The file cannot be written.
    """
    with opened(source) as connection:
        taken = output_files.input_files(
            () if isinstance(source, sqlite3.Connection) else (source,), [store.run_info(connection)]
        )
        with (
            output_files.writing(path, output_files.JUNIT, taken) as draft,
            draft.open("w", encoding="utf-8", newline="\n") as file,
        ):
            return _write(connection, file, measures, gates)


def _write(
    connection: sqlite3.Connection, file: TextIO, measures: RunMeasures, gates: Sequence[GateResult]
) -> int:  # fmt: skip
    info = store.run_info(connection)
    begun = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(info["created_ns"] / 1e9))
    counts, seconds = Counter[str](), 0.0
    for outcome, number, took_s in connection.execute(_COUNTS):
        counts[outcome] += number
        seconds += took_s
    turns = counts.total()
    allowed = any(result.met and parse(result.text).limits_errors for result in gates)
    if allowed:
        counts["allowed"] = counts.pop("error", 0)
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
    _begin_suite(file, 0, info["name"], begun, counts, seconds, _properties(connection, info, measures))
    for transcript in transcripts(connection):
        file.writelines(_turn_case(transcript, said, allowed=allowed) for said in transcript.turns)
    _end_suite(file)
    if gates:
        outcomes = Counter("met" if result.met else "missed" for result in gates)
        _begin_suite(file, 1, f"{info['name']} gates", begun, outcomes, 0.0, ())
        file.writelines(map(_gate_case, gates))
        _end_suite(file)
    file.write("</testsuites>\n")
    return turns


def _properties(
    connection: sqlite3.Connection, info: Mapping[str, Any], measures: RunMeasures
) -> Iterator[tuple[str, Any]]:
    """What the numbers stand on; what is not known is left out."""
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


def _begin_suite(
    file: TextIO, number: int, name: str, begun: str, outcomes: Counter[str], seconds: float,
    properties: Iterable[tuple[str, Any]],
) -> None:  # fmt: skip
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for outcome, element in _ELEMENTS.items():
        counts[element] += outcomes[outcome]
    attributes = {
        "id": number, "name": name, "package": "evalkit", "hostname": "localhost", "timestamp": begun,
        "tests": outcomes.total(), **counts, "time": f"{seconds:.6f}",
    }  # fmt: skip
    file.write(f"{_tag('testsuite', attributes)}>\n<properties>\n")
    for name, value in properties:
        if value is not None:
            file.write(f"{_tag('property', {'name': name, 'value': value})}/>\n")
    file.write("</properties>\n")


def _end_suite(file: TextIO) -> None:
    file.write("<system-out/>\n<system-err/>\n</testsuite>\n")


def _turn_case(transcript: Transcript, said: TranscriptTurn, *, allowed: bool) -> str:
    name = f"turn {said.turn}" if transcript.repeat == 1 else f"turn {said.turn}, repeat {transcript.repeat}"
    begin = _case(transcript.conversation, name, said.took_s or 0.0)
    talk = text(transcript.up_to(said.turn))
    match said.verdict:
        case "right":
            return f"{begin}/>\n"
        case "unscored":
            reason = "it has no target" if said.target is None else "it has not been scored"
            return f"{begin}>{_tag('skipped', {'message': _heading(said.reason or reason)})}/></testcase>\n"
        case "error":
            message = _heading(f"{said.error_kind}: {said.error_message}")
            cut = said.error_kind == "cancelled" and said.took_s is not None  # its session ended: nobody's failure
            if not (allowed or cut):
                tag = _tag("error", {"message": message, "type": said.error_kind})
                return f"{begin}>{tag}>{talk}</error></testcase>\n"
            skipped = f"{_tag('skipped', {'message': message})}/>"
            return f"{begin}>{skipped}<system-out>{talk}</system-out></testcase>\n"
        case _:
            heading = text(_heading(said.reason or f"the score is {said.score:g}"))
            return f"{begin}><system-out>wrong: {heading}\n\n{talk}</system-out></testcase>\n"


def _gate_case(result: GateResult) -> str:
    begin = _case("gates", result.text, 0.0)
    if result.met:
        return f"{begin}/>\n"
    kind = "missing" if result.met is None else "missed"
    tag = _tag("failure", {"message": _heading(result.words), "type": kind})
    return f"{begin}>{tag}>{text(result.words)}</failure></testcase>\n"


def _case(classname: str, name: str, seconds: float) -> str:
    return _tag("testcase", {"classname": clipped(classname, MOST_MESSAGE), "name": name, "time": f"{seconds:.6f}"})


def _tag(name: str, attributes: Mapping[str, Any]) -> str:
    """A start tag without its end."""
    return f"<{name}" + "".join(f' {key}="{attribute(str(value))}"' for key, value in attributes.items())


def _heading(message: str) -> str:
    return clipped(message, MOST_MESSAGE)


def text(anything: str) -> str:
    """Any text as character data: a reader gets it back, but for what XML cannot hold."""
    return _ILLEGAL.sub("\ufffd", anything).translate(_ESCAPES)


def attribute(anything: str) -> str:
    """Any text as the value of an attribute."""
    return _ILLEGAL.sub("\ufffd", anything).translate(_ATTRIBUTE_ESCAPES)
