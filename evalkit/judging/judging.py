"""A run judged: its answers put to a judge, and what it decided written as scores into the run file."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from evalkit import __version__
from evalkit.conversation import Conversation, Message
from evalkit.datasets.native_rows import parse_row
from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import SettingsError
from evalkit.judging import judge_run as judging_run
from evalkit.judging.judge_run import Case, Heard, Hearing
from evalkit.judging.rubric import Rubric, find
from evalkit.record import Score
from evalkit.run import Run
from evalkit.runfile import scorings, store
from evalkit.runfile.scorings import JudgedScoring
from evalkit.runfile.store import RunFile
from evalkit.scorers.reading.think_block import without_scratch
from evalkit.scorers.registry import cut
from evalkit.stats import agreement
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

NOTHING_BEFORE = "(nothing)"
_TURNS = """
    SELECT c.id, c.row, c.position, t.repeat, t.turn, t.status, t.answer, t.refusal, t.tool_calls, t.exchange
    FROM turn t JOIN conversation c ON c.position = t.conversation ORDER BY t.conversation, t.repeat, t.turn"""


class Agreement(NamedTuple):
    """How far several judgings of a run by one rubric agree: their scorings, and Krippendorff's alpha."""

    scorings: tuple[int, ...]
    models: tuple[str, ...]
    level: str
    alpha: Estimate


@dataclass(frozen=True, slots=True)
class Judging:
    """What a judge said of a run.

    Parameters
    ----------
    run, judge_run : Path
        The judged run file, and that of the judge.
    rubric : Rubric
    judge : mapping
        What the run file keeps of the judge: ``model``, ``base_url``, ``rubric`` (its name), ``rubric_hash``,
        ``form`` (of ``hearing.FORMS``), ``run``, the name of the judge's run file, and how much it ``answered``.
    scoring : int
        Number of the scoring in the run file.
    counts : bool
        Whether its scores are the run's now.
    judged : int
        Turns that were put to the judge.
    choices : mapping of str to int
        How often each choice was taken.
    unparsed, failed : int
        Answers without a choice that can be read, and calls that failed.
    mean : Estimate
        Of the scores, 0 to 1; clusters are conversations or their groups.
    agreement : Agreement or None
        With the judgings of this run by other judges and the same rubric; None: there is no other.
    stopped : bool
        It was stopped by hand before every turn was judged: its scores do not become the run's.
    """

    run: Path
    judge_run: Path
    rubric: Rubric
    judge: Mapping[str, Any]
    scoring: int
    counts: bool
    judged: int
    choices: Mapping[str, int]
    unparsed: int
    failed: int
    mean: Estimate
    agreement: Agreement | None
    stopped: bool = False

    @property
    def unsure(self) -> int:
        """Choices that are worth nothing known."""
        return sum(number for choice, number in self.choices.items() if self.rubric.choices[choice] is None)

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        others = self.agreement
        return {
            "run": str(self.run),
            "judge": dict(self.judge),
            "scoring": self.scoring,
            "counts": self.counts,
            "judged": self.judged,
            "choices": dict(self.choices),
            "unsure": self.unsure,
            "unparsed": self.unparsed,
            "failed": self.failed,
            "mean": asdict(self.mean),
            "agreement": None if others is None else {**others._asdict(), "alpha": asdict(others.alpha)},
            "stopped": self.stopped,
        }


def judge(
    run: Run | Path | str,
    endpoint: Endpoint,
    rubric: str | Path | Rubric = "correct",
    *,
    limit: int | None = None,
    concurrency: int = 4,
    stream: bool = True,
    watch: Watcher | None = None,
) -> Judging:
    """Let a model judge the answers of a run, and write what it decides into the run file as a new scoring.

    The judge's calls are a run of their own, ``NAME.judge-N.evalkit`` beside the judged one. A prompt that the same
    judge has answered in any of these runs is not sent again: a trial is paid for once, a judging that was broken off,
    or had calls that failed, is gone on with when it is asked for again, and one that is whole costs nothing. A choice
    without a value, an answer that cannot be read and a call that failed are scores without a value, each with its
    reason; the turns are never marked wrong for it.

    Parameters
    ----------
    run : Run or path-like
        Turns that failed are not judged, nor those without target and golden answer if the rubric names ``{target}``.
    endpoint : Endpoint
        The judge; at temperature 0, unless its parameters say another.
    rubric : str, path-like or Rubric
        A built-in one (``correct``, ``helpful``), a TOML file, or one made in code.
    limit : int, optional
        Judge the first so many turns: a trial, whose scores are kept but do not become those of the run.
    concurrency : int
        Turns judged at once.
    stream : bool
        Ask for streams.
    watch : callable, optional
        Called with the ``Progress`` about ten times a second; when it returns ``True`` judging ends there, and the
        scores so far are kept but do not become those of the run.

    Returns
    -------
    Judging

    Raises
    ------
    SettingsError
        A rubric that cannot be used, or nothing to judge.
    RunFileError
        A run file that cannot be used, or is being written.
    EndpointError
        The judge cannot be used.
    """
    path, chosen = path_of(run), rubric_for(rubric, pairwise=False)
    check_limit(limit)
    stem = judging_run.stem_of(path)
    lack = " with a target or a golden answer" if "target" in chosen.fields else ""
    held = judging_run.hold(
        stem, lambda: itertools.islice(cases(path, chosen), limit), chosen, endpoint,
        nothing=f"{path} holds no answered turn{lack}: there is nothing to judge by the rubric {chosen.name!r}",
        concurrency=concurrency, stream=stream, watch=watch,
    )  # fmt: skip
    told, counts = judge_json(chosen, held, endpoint), limit is None and not held.stopped
    with RunFile.open(path) as runfile:
        known = next((kept for kept in scorings.judgings(runfile.connection) if kept.judge == told), None)
        if known is not None:
            number = known.id
            if counts:
                scorings.make_current_if_read(runfile, number)
        else:
            number = scorings.add(
                runfile, scorer_name(chosen), [_scores(held, chosen, runfile.connection)],
                versions=lambda used: {"evalkit": __version__, **dict.fromkeys(used, chosen.hash)},
                scores_all="target" not in chosen.fields, judge=told, counts=counts,
            )  # fmt: skip
        return _judging(path, held, chosen, told, number, runfile.connection)


def rubric_for(name: str | Path | Rubric, *, pairwise: bool) -> Rubric:
    """The rubric, if it is about so many answers."""
    chosen = find(name)
    if chosen.pairwise != pairwise:
        about = (
            "two answers: name the other run with --against" if chosen.pairwise else "one answer: --against needs two"
        )
        raise SettingsError(f"the rubric {chosen.name!r} is about {about}")
    return chosen


def check_limit(limit: int | None) -> None:
    """Refuse a limit that leaves nothing."""
    if limit is not None and limit < 1:
        raise SettingsError(f"limit is {limit}: it must be a whole number, 1 or more")


def scorer_name(chosen: Rubric) -> str:
    """What the scores of a rubric are called."""
    return f"judge:{chosen.name}"


def judge_json(chosen: Rubric, held: Hearing, endpoint: Endpoint) -> dict[str, Any]:
    """What is kept of a judge."""
    return {
        "model": endpoint.model,
        "base_url": None if endpoint.source == "embedded" else endpoint.base_url,  # its port is another each time
        "rubric": chosen.name,
        "rubric_hash": chosen.hash,
        "form": held.form,
        "run": held.path.name,
        "answered": held.answered(),
    }


def path_of(run: Run | Path | str) -> Path:
    """The run file; one that cannot be read is told of."""
    return (run if isinstance(run, Run) else Run(run)).path


def cases(path: Path, chosen: Rubric) -> Iterator[Case]:
    """Every turn of a run that a rubric can judge."""
    for said in answers(path):
        if "target" in chosen.fields and said.target is None:
            continue
        material = {
            "question": said.question,
            "answer": said.answer,
            "target": said.target or "",
            "conversation": said.before,
        }
        yield Case(said.id, material, said.group)


class Said(NamedTuple):
    """One answered turn: its id ``CONVERSATION/REPEAT/TURN``, hash of its conversation's row, and the texts."""

    id: str
    row: str
    group: str
    question: str
    answer: str
    target: str | None
    before: str
    asked_before: str


def answers(path: Path) -> Iterator[Said]:
    """Every answered turn of a run, with what stood before it."""
    with store.reading(path) as connection:
        golden = store.run_info(connection)["settings"]["history"] == "golden"
        for (name, row, _, repeat), turns in itertools.groupby(connection.execute(_TURNS), lambda row: row[:4]):
            conversation = parse_row(orjson.loads(row))
            before, asked = _Transcript(conversation), _Transcript(conversation)
            for *_, number, status, text, refusal, calls, exchange in turns:
                turn = conversation.turns[number - 1]
                said = _answer(text, refusal, calls)
                if status == "answered":
                    yield Said(
                        f"{name}/{repeat}/{number}", row, conversation.group or name, turn.user, said,
                        _target(turn.target, turn.assistant), before.text, asked.text,
                    )  # fmt: skip
                before.add("user", turn.user)
                before.add_exchange(None if golden else exchange)
                before.add("assistant", (turn.assistant or "") if golden else said)
                asked.add("user", turn.user)


class _Transcript:
    """What was said so far, as a judge reads it."""

    def __init__(self, conversation: Conversation) -> None:
        self._lines = [_line(message) for message in conversation.opening()]

    @property
    def text(self) -> str:
        return "\n".join(self._lines) or NOTHING_BEFORE

    def add(self, role: str, text: str) -> None:
        self._lines.append(f"{role}: {text}")

    def add_exchange(self, exchange: str | None) -> None:
        """The results of tools; the calls stand with the answer."""
        for message in json.loads(exchange) if exchange else ():
            if message["role"] == "tool":
                self.add("tool", message["content"] or "")


def _line(message: Message) -> str:
    return f"{message.role}: {message.content or ''}"


def _answer(text: str | None, refusal: str | None, calls: str | None) -> str:
    """An answer as a judge reads it: without what the model only thought, and with the functions it called."""
    functions = [call["function"] for call in json.loads(calls)] if calls else []
    called = [f"(calls {function['name']} with {function['arguments']})" for function in functions]
    return "\n".join([part for part in (without_scratch(text or refusal or "").strip(), *called) if part])


def _target(target: Any, golden: str | None) -> str | None:
    if target is None:
        return golden
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)


def place(case: str) -> tuple[str, int, int]:
    """Conversation, repeat and turn of the id that ``answers`` made of them."""
    conversation, repeat, turn = case.rsplit("/", 2)
    return conversation, int(repeat), int(turn)


def _scores(held: Hearing, chosen: Rubric, connection: sqlite3.Connection) -> Iterator[scorings.Scored]:
    positions: dict[str, int] = dict(connection.execute("SELECT id, position FROM conversation"))
    for heard in held.heard(chosen):
        conversation, repeat, turn = place(heard.case)
        yield positions[conversation], repeat, turn, _score(heard, chosen)


def _score(heard: Heard, chosen: Rubric) -> Score:
    value = None if heard.choice is None else chosen.choices[heard.choice]
    reason = cut(heard.reason) if heard.reason else None
    if heard.choice is not None and value is None:
        reason = f"the judge chose {heard.choice}" + (f": {reason}" if reason else "")
    return Score(scorer_name(chosen), value, reason, heard.choice)


def _judging(
    path: Path, held: Hearing, chosen: Rubric, told: Mapping[str, Any], number: int, connection: sqlite3.Connection
) -> Judging:
    taken: Counter[str | None] = Counter()
    failed = 0
    for heard in held.heard(chosen):
        taken[heard.choice] += 1
        failed += heard.failed
    values = scorings.values(connection, number)
    known = {key: value for key, value in values.items() if value is not None}
    clusters = _clusters(connection)
    return Judging(
        run=path,
        judge_run=held.path,
        rubric=chosen,
        judge=told,
        scoring=number,
        counts=connection.execute("SELECT scoring FROM run").fetchone()[0] == number,
        judged=sum(taken.values()),
        choices={choice: taken[choice] for choice in chosen.choices},
        unparsed=taken[None] - failed,
        failed=failed,
        mean=proportion(list(known.values()), [clusters[key[0]] for key in known]),
        agreement=_agreement(path, connection, chosen, clusters),
        stopped=held.stopped,
    )


def _clusters(connection: sqlite3.Connection) -> dict[int, str]:
    """Position of every conversation to its group."""
    return dict(connection.execute("SELECT position, coalesce(cluster, id) FROM conversation"))


def _agreement(
    path: Path, connection: sqlite3.Connection, chosen: Rubric, clusters: Mapping[int, str]
) -> Agreement | None:
    """Of the judgings by this rubric, of each judge the one that answered most, and of equal ones the newest."""
    newest: dict[Any, JudgedScoring] = {}
    for kept in scorings.judgings(connection):
        if kept.judge.get("rubric_hash") != chosen.hash:
            continue
        run = path.parent / kept.judge["run"]
        judge = judging_run.who(run) if run.exists() else kept.judge["run"]
        if judge not in newest or kept.judge.get("answered", 0) >= newest[judge].judge.get("answered", 0):
            newest[judge] = kept
    judges = list(newest.values())
    if len(judges) < 2:
        return None
    said = [scorings.values(connection, kept.id) for kept in judges]
    keys = sorted(set().union(*said))
    ratings = np.array([[values.get(key) for key in keys] for values in said], dtype=np.float64)
    alpha = agreement.alpha(ratings, chosen.level, [clusters[position] for position, *_ in keys])
    return Agreement(
        tuple(kept.id for kept in judges), tuple(kept.judge["model"] for kept in judges), chosen.level, alpha
    )
