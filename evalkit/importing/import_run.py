"""Makes a run file of answers that another tool has collected."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from evalkit.conversation import Conversation
from evalkit.datasets import reader
from evalkit.datasets.content_parts import shown
from evalkit.datasets.field_checks import within
from evalkit.datasets.native_rows import parse_row, refuse_deep
from evalkit.errors import DatasetError, SettingsError
from evalkit.exporting import request_ids
from evalkit.importing import forms
from evalkit.importing.imported_answer import ImportedAnswer, Source
from evalkit.process.gc_freeze import gc_frozen
from evalkit.record import Attempt, Score, Timing, TurnKey, TurnRecord
from evalkit.run import Run
from evalkit.runfile import file_names, record_rows, schema
from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation
from evalkit.runfile.schema import Row
from evalkit.runfile.store import RunFile
from evalkit.scorers import scoring
from evalkit.settings import Settings

FORMS = forms.FORMS
_WRITTEN = ("inspect", "openai-batch")  # forms that evalkit writes too
_AT_ONCE = 1_000  # answers in a transaction
_CONTENT_HASH = schema.columns("conversation", "key").index("hash")
_NO_TIMING = Timing(0, 0, 0)
_MEASURED = ("streamed", "queue_ns", "sent_ns", "end_ns", "latency_ns", "turn_time_ns")
_DIFFER = "answers whose messages or target are not those of the first answer with the same id, whose are stored"
_OTHER_QUESTION = "answers to another question than that of the dataset"
_OTHER_TARGET = "answers whose target in the file is another than that of the dataset, which counts"
_BY_EVALKIT = "answers without a score in the file, scored by evalkit"


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Parameters
    ----------
    run : Path
        The new run file.
    form : str
        One of ``FORMS``.
    answers, failed : int
        Answers, and requests that failed.
    scorer : str or None
        The scorer of the other tool whose scores the run has. None: evalkit has scored the answers that have a target.
    scored : int
        Answers with a score.
    other_scorers : tuple of str
        Scorers of the file that were not taken; ``score`` names one.
    notes : mapping of str to int
        What the run does not have of the file, and how often.
    """

    run: Path
    form: str
    answers: int
    failed: int
    scorer: str | None
    scored: int
    other_scorers: tuple[str, ...]
    notes: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "run": str(self.run),
            "form": self.form,
            "answers": self.answers,
            "failed": self.failed,
            "scorer": self.scorer,
            "scored": self.scored,
            "other_scorers": list(self.other_scorers),
            "notes": dict(self.notes),
        }


def import_run(
    path: Path | str,
    *,
    form: str | None = None,
    data: Path | str | None = None,
    score: str | None = None,
    model: str | None = None,
    name: str | None = None,
    out: Path | str | None = None,
) -> Run:
    """Make a run file, without any times, of answers that another tool has collected; see ``import_answers``."""
    return Run(import_answers(path, form=form, data=data, score=score, model=model, name=name, out=out).run)


def import_answers(
    path: Path | str,
    *,
    form: str | None = None,
    data: Path | str | None = None,
    score: str | None = None,
    model: str | None = None,
    name: str | None = None,
    out: Path | str | None = None,
) -> Imported:
    """Make a run file, without any times, of answers that another tool has collected.

    The run can be shown, reported, compared, scored and judged as any other. It holds the scores of the other tool.
    Plain answers and those of a batch that have a target and no score are scored by evalkit; ``Run.score`` scores any
    answers again by evalkit's scorers.

    Parameters
    ----------
    path : path-like
        The file of answers.
    form : str, optional
        One of ``FORMS``; None: what the file looks like.
    data : path-like, optional
        A dataset with the conversations of the answers, found by their id: for files that hold no questions, or to have
        targets, scorers, tags and groups. The input file of a batch is one.
    score : str, optional
        Which scorer's scores to take, as the other tool calls it; None: its first.
    model : str, optional
        The name of the model, if the file does not say it.
    name, out : str, path-like, optional
        As for ``evaluate``.

    Returns
    -------
    Imported

    Raises
    ------
    DatasetError
        A file that cannot be read, or a row that cannot be used, with file, line and field. No run file is left.
    SettingsError
        There is no such form or score.
    RunFileError
        The run file exists already, or cannot be written.
    """
    source_path = Path(path)
    if form is not None and form not in FORMS:
        raise SettingsError(f"form is {form!r}: it must be one of {', '.join(FORMS)}")
    settings = Settings(concurrency=1, stream=False)
    with gc_frozen():  # the conversations of a dataset stay, and looking through them again and again takes long
        conversations = _Conversations(None if data is None else Path(data))
    source = forms.read(source_path, form, score)
    model = model or source.model or "unknown"
    with file_names.new_run_file(source_path, model, name=name, out=out) as target, gc_frozen():
        runfile = RunFile.create(
            target.absolute(), name=name or target.stem,
            settings={**settings.to_json(), "imported": {"form": source.form, "file": str(source_path)}},
            dataset=_dataset(conversations, source_path), endpoint=_endpoint(source, model),
        )  # fmt: skip
        try:
            with runfile:
                tally = _write(runfile, source, conversations, source_path)
                if score is not None and score not in source.scorers:
                    known = ", ".join(sorted(source.scorers)) or "none"
                    raise SettingsError(f"no answer has a score called {score!r}; the scores are: {known}")
                if not tally.answers + tally.failed:
                    raise DatasetError("holds no answers", path=source_path)
                _finish(runfile, source, conversations, tally)
        except BaseException:
            for part in (target, Path(f"{target}-wal"), Path(f"{target}-shm")):
                part.unlink(missing_ok=True)
            raise
    others = tuple(name for name in sorted(source.scorers) if name != source.scorer)
    notes = {note: count for note, count in (source.notes + tally.notes).items() if count}
    taken = source.scorer if source.scorers else None
    return Imported(target, source.form, tally.answers, tally.failed, taken, tally.scored, others, notes)


class _Conversations:
    """The conversations of a run with their positions, from the answers' own rows or from a dataset.

    Of a conversation only its position and a digest of its row stay in memory, and those of a dataset.

    Attributes
    ----------
    golden : bool
        The answers are those of a batch whose later turns saw the golden answers of earlier ones.
    """

    def __init__(self, data: Path | None) -> None:
        self.data = data
        self._of_data = None if data is None else {each.id: each for each in reader.read(data)}
        self._known: dict[str, tuple[int, bytes]] = {}
        self.golden = False
        self.turns = self.most_turns = 0
        self.notes = Counter[str]()

    def __len__(self) -> int:
        return len(self._known)

    def placed(self, answer: ImportedAnswer, form: str) -> ImportedAnswer:
        """An answer to a request that evalkit wrote, under its conversation, turn and repeat of the dataset."""
        if self._of_data is None or answer.id in self._of_data:
            return answer
        for name, turn, repeat in request_ids.places_of(answer.id):
            found = self._of_data.get(name)
            if found is not None and (turn is not None) == (len(found.turns) > 1):
                self.golden = self.golden or (form == "openai-batch" and turn is not None)
                return answer._replace(id=name, turn=turn or 1, repeat=max(answer.repeat, repeat))
        return answer

    def of(self, answer: ImportedAnswer, *, one_row: bool) -> tuple[LazyConversation, Conversation]:
        """The conversation of an answer; ``one_row``: answers with one id are of one row, apart from its ``meta``."""
        conversation = self._conversation(answer)
        turns = len(conversation.turns)
        if answer.turn > turns:
            raise DatasetError(f"is {answer.turn}, and the conversation {answer.id[:60]!r} has {turns}", field="turn")
        known = self._known.get(answer.id)
        position = len(self._known) if known is None else known[0]
        row, digest = None, b""
        if self._of_data is None:
            row, digest = _row_and_digest(position, conversation, one_row)
        else:
            self._note_other_turn(answer, conversation)
        if known is None:
            known = self._known[answer.id] = position, digest
            self.turns += turns
            self.most_turns = max(self.most_turns, turns)
        if known[1] != digest and one_row:
            raise DatasetError(
                f"question, target or tags are not those of the first answer of {answer.id[:60]!r}: give another "
                "question an id of its own", field="id",
            )  # fmt: skip
        if known[1] != digest:
            self.notes[_DIFFER] += 1
        return LazyConversation(position, conversation, row), conversation

    def _note_other_turn(self, answer: ImportedAnswer, conversation: Conversation) -> None:
        """Count an answer whose own question or target is not that of the dataset."""
        if answer.row is None:
            return
        given, turn = answer.row["turns"][0], conversation.turns[answer.turn - 1]
        question = shown(given["user"]) if isinstance(given["user"], str | list) else ""
        self.notes[_OTHER_QUESTION] += shown(turn.user) not in question  # a harness puts more around it
        self.notes[_OTHER_TARGET] += "target" in given and str(given["target"]) != str(turn.target)

    def _conversation(self, answer: ImportedAnswer) -> Conversation:
        if self._of_data is not None:
            found = self._of_data.get(answer.id)
            if found is None:
                raise DatasetError(f"no row of {self.data} has the id {answer.id[:60]!r}", field="id")
            return found
        if answer.row is None:
            raise DatasetError("the question is not in this file: name the dataset that holds it with --data")
        if _may_be_deep(answer.row):
            refuse_deep(answer.row)
        return parse_row(answer.row)


def _may_be_deep(row: Mapping[str, Any]) -> bool:
    """Whether a value of a row holds more than lists of texts: most do not, and looking takes a tenth of an import."""
    if "context" in row or "meta" in row:
        return True
    return not {dict, list}.isdisjoint(map(type, row["turns"][0].values()))


def _row_and_digest(position: int, conversation: Conversation, without_meta: bool) -> tuple[Row, bytes]:
    """The row to store, and a digest of the conversation, with or without its ``meta``."""
    try:
        row = record_rows.conversation_row(position, conversation.to_json())
        whole = row[1][_CONTENT_HASH]
        if without_meta and conversation.meta:
            whole = conversation._replace(meta={}).content_hash
        return row, bytes.fromhex(whole[:32])
    except (TypeError, RecursionError, orjson.JSONEncodeError):
        raise DatasetError("holds a value that cannot be stored: too deep, or half of a surrogate pair") from None


@dataclass(slots=True)
class _Tally:
    """What has been written."""

    answers: int = 0
    failed: int = 0
    scored: int = 0
    repeats: int = 1
    notes: Counter[str] = field(default_factory=Counter)


def _write(runfile: RunFile, source: Source, conversations: _Conversations, path: Path) -> _Tally:
    tally, seen = _Tally(), dict[TurnKey, int | None]()
    answers = source.answers()
    while part := list(_located(islice(answers, _AT_ONCE), path)):
        turns, scores = [], []
        for answer in part:
            if source.form in _WRITTEN:
                answer = conversations.placed(answer, source.form)
            try:
                turn, score = _turn(answer, conversations, source)
                key = turn.key
                if key in seen:
                    first = "" if seen[key] is None else f" in line {seen[key]}"
                    raise DatasetError(
                        f"repeat {answer.repeat}, turn {answer.turn} of {answer.id[:60]!r} was there{first} already",
                        field="id",
                    )
            except DatasetError as error:
                found = error if answer.place is None else within(answer.place, error)
                raise DatasetError(found.problem, path=path, line=answer.line, field=found.field) from None
            seen[key] = answer.line
            turns.append(turn)
            tally.failed += answer.failure is not None
            if answer.repeat > tally.repeats:
                tally.repeats = answer.repeat
            if score is not None:
                scores.append((*key, score))
                tally.scored += score.value is not None
                if answer.score is None and score.value is not None:
                    tally.notes[_BY_EVALKIT] += 1
        tally.answers += len(part)
        runfile.add(turns, scores)
    tally.answers -= tally.failed
    if source.scores_itself or not source.scorers:
        del tally.notes[_BY_EVALKIT]
    tally.notes += conversations.notes
    return tally


def _located(answers: Iterator[ImportedAnswer], path: Path) -> Iterator[ImportedAnswer]:
    """The answers; errors name the file."""
    try:
        yield from answers
    except DatasetError as error:
        raise DatasetError(error.problem, path=path, line=error.line, field=error.field) from None


def _turn(answer: ImportedAnswer, conversations: _Conversations, source: Source) -> tuple[FinishedTurn, Score | None]:
    lazy, conversation = conversations.of(answer, one_row=not source.scores_itself)
    turn = conversation.turns[answer.turn - 1]
    attempts: tuple[Attempt, ...] = ()
    scored = source.scores_itself and source.scorer is not None
    if answer.answer is not None:
        attempts = (Attempt(_NO_TIMING, answer=answer.answer, usage=answer.usage, http_status=answer.http_status),)
    record = TurnRecord(conversation.id, answer.repeat, answer.turn, attempts, answer.exchange, answer.failure)
    row = _without_times(record_rows.turn_row(lazy.position, turn, record, scored=scored))
    score = answer.score
    if score is None and answer.failure is None:
        if not source.scores_itself:
            score = scoring.score(turn, record, tools=conversation.tools)
        elif source.scorer is not None:
            score = Score(source.scorer, None, "the log has no score for this answer")
    return FinishedTurn(lazy, row, []), score


def _without_times(row: Row) -> Row:
    groups, values = row
    attempts, measured = _places(groups)
    values[attempts] = 0
    for place in measured:
        values[place] = None
    return groups, values


@lru_cache(maxsize=64)
def _places(groups: str) -> tuple[int, list[int]]:
    columns = schema.columns("turn", groups)
    return columns.index("attempts"), [columns.index(name) for name in _MEASURED if name in columns]


def _dataset(conversations: _Conversations, path: Path) -> dict[str, Any]:
    """What the run file stores about its dataset; the counts are set at the end."""
    return {
        "path": str(conversations.data or path),
        "hash": None,
        "conversations": None,
        "turns": None,
        "most_turns": None,
        "files": {},
    }


def _endpoint(source: Source, model: str) -> dict[str, Any]:
    return {
        "base_url": source.base_url or "",
        "model": model,
        "key_env": None,
        "params": dict(source.params),
        "timeout_s": 1.0,
        "ttft_timeout_s": None,
        "connect_timeout_s": 1.0,
        "source": "imported",
    }


def _finish(runfile: RunFile, source: Source, conversations: _Conversations, tally: _Tally) -> None:
    """Store what is only known at the end."""
    info = runfile.info()
    about = {key: str(value) for key, value in source.about.items() if value is not None}
    imported = {**about, **info["settings"]["imported"], "scorer": source.scorer if source.scorers else None}
    stored = {**info["settings"], "repeats": tally.repeats, "imported": imported}
    if conversations.golden:
        stored["history"] = "golden"
    counts = {
        "conversations": len(conversations),
        "turns": conversations.turns,
        "most_turns": conversations.most_turns,
    }
    dataset = {**info["dataset"], **counts}
    with contextlib.closing(runfile.connection.cursor()) as cursor, runfile.connection:
        cursor.execute(
            "UPDATE run SET settings = ?, dataset = ?", (orjson.dumps(stored).decode(), orjson.dumps(dataset).decode())
        )
