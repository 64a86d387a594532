"""Labelling the answers of a run by hand: one answer after another, each label on disk before the next is shown."""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.datasets.field_checks import kind
from evalkit.datasets.file_lines import read_lines, why_not_text
from evalkit.errors import DatasetError, SettingsError
from evalkit.inputs.suggestions import nearest_name
from evalkit.judging import label_sample
from evalkit.judging.cases import NOTHING_BEFORE, AnsweredTurn, answered_turns, position_of
from evalkit.judging.label_sample import Transcript
from evalkit.runfile import store
from evalkit.runfile.file_names import SUFFIX, plain

CHOICES = {
    "right": "CORRECT",
    "wrong": "INCORRECT",
    "unsure": "UNSURE",
}  # in a file: the choices of the rubric ``correct``
_TAG = "labelled "
_HOW = (
    "To label by keyboard, use JupyterLab and the notebooks extra: pip install 'chat-evalkit[notebooks]'. Elsewhere: "
    ".label('right'), .label('wrong', 'a note'), .label('unsure') and .undo()."
)
_WORDS = {choice: word for word, choice in CHOICES.items()}


class _Item(NamedTuple):
    """An answer to label."""

    turn: AnsweredTurn
    transcript: Transcript


class _Stored(NamedTuple):
    """A label in the file: the word for it, its note, and where its line begins."""

    label: str
    note: str
    offset: int


class Labelling:
    """The answers of a run that a person labels, and the file with the labels.

    What is shown (``shown``, ``repr``) has neither the model nor a verdict of a scorer or a judge, and not the name of
    the run, in which the model often is. The file is JSON Lines, one for each person, as ``labels.read_labels`` reads
    it; each line also has the ``stratum`` it was drawn from, the number of answers in it, and the seed.

    Parameters
    ----------
    run : path-like
        The run file.
    person : str, optional
        Who labels; the file is ``NAME.labels-PERSON.jsonl`` next to the run, without a person ``NAME.labels.jsonl``.
    conversations, choose, seed
        As for ``label_sample.choose``.

    Raises
    ------
    DatasetError
        The labels file cannot be used, or has labels of other answers or of a sample that was chosen otherwise; with
        file, line and field.
    RunFileError
        The run file cannot be read.
    SettingsError
        As for ``label_sample.choose``, or the person's name is empty.
    """

    def __init__(
        self,
        run: Path | str,
        person: str | None = None,
        *,
        conversations: int = 50,
        choose: str = "random",
        seed: int = 0,
    ) -> None:
        run = Path(run)
        if person is not None and not (isinstance(person, str) and person.strip()):
            raise SettingsError(f"person is {person!r}: it must be a name, or left out")
        self.person = person
        self.seed = seed
        who = f"-{plain(person)}" if person else ""
        self.path = run.with_name(f"{run.name.removesuffix(SUFFIX)}.labels{who}.jsonl")
        with store.reading(run) as connection:
            transcripts = label_sample.choose(connection, conversations, choose, seed)
            all_turns = not label_sample.has_right_answers(connection)
        self._items = {item.turn.id: item for item in _items(run, transcripts, all_turns=all_turns)}
        self._strata = ("random",) if choose == "random" else ("differ", "other")
        self._size = 0
        self._labels: dict[str, _Stored] = {}
        self._read()

    def __repr__(self) -> str:
        shown = self.shown()
        lines = [f"{shown['labelled']} of {shown['total']} answers are labelled: {self._counted()}."]
        if shown["answer"] is None:
            return f"{lines[0]} Check a judge against them: evalkit judge-check FILE; .path is the file."
        lines += [f"{name}: {shown[name]}" for name in ("conversation", "question", "target", "answer") if shown[name]]
        return "\n".join([*lines, _HOW])

    def shown(self) -> dict[str, Any]:
        """The next answer with its question, and how many are labelled; ``answer`` is None if all are."""
        item = self._next()
        turn = None if item is None else item.turn
        before = None if turn is None or turn.before == NOTHING_BEFORE else turn.before
        return {
            "labelled": len(self._labelled()),
            "total": len(self._items),
            "counts": self.counts(),
            "conversation": before,
            "question": turn and turn.question,
            "target": turn and turn.target,
            "answer": turn and turn.answer,
        }

    def counts(self) -> dict[str, int]:
        """How often each label was given in this sample: ``right``, ``wrong``, ``unsure``."""
        counts = Counter(stored.label for stored in self._labelled().values())
        return {word: counts[word] for word in CHOICES}

    def label(self, label: str, note: str = "") -> None:
        """Label the answer that is shown; the label is on disk when this returns.

        Parameters
        ----------
        label : str
            ``right``, ``wrong`` or ``unsure``.
        note : str, optional
            For people; it is kept with the label.

        Raises
        ------
        SettingsError
            It is another label, or every answer has one.
        DatasetError
            The label cannot be saved, or another process has written to the file. It is not saved then.
        """
        item = self._next()
        if item is None:
            raise SettingsError("every answer of the sample is labelled: choose more conversations")
        if not isinstance(label, str) or label not in CHOICES:
            suggestion = nearest_name(str(label), CHOICES)
            hint = f"did you mean {suggestion!r}?" if suggestion else f"the labels are {', '.join(CHOICES)}"
            raise SettingsError(f"{label!r} is not a label: {hint}")
        note = note.encode(errors="replace").decode().strip()
        offset = self._size
        self._write(orjson.dumps(self._row(item, label, note), option=orjson.OPT_APPEND_NEWLINE))
        self._labels[item.turn.id] = _Stored(label, note, offset)

    def undo(self) -> str | None:
        """Remove the last label from the file, so that its answer is shown again; returns the note that it had.

        Returns
        -------
        str or None
            None: there is no label of this sample to remove.

        Raises
        ------
        DatasetError
            As for ``label``.
        """
        if not self._labels or next(reversed(self._labels)) not in self._items:
            return None
        name, stored = self._labels.popitem()
        try:
            self._write(b"", stored.offset)
        except DatasetError:
            self._labels[name] = stored
            raise
        return stored.note

    def to_dataset(self, out: Path | str) -> Path:
        """Write the labelled conversations as a dataset that can be run again.

        The rows are those of the run, with the system prompts that it sent. Tags ``labelled right``, ``labelled wrong``
        and ``labelled unsure`` name the labels of their answers, and ``meta.labels`` has each with its note. An answer
        labelled right becomes the golden answer of a turn that has none.

        Raises
        ------
        SettingsError
            The file exists already or cannot be written, or nothing is labelled.
        """
        out = Path(out)
        rows: dict[str, dict[str, Any]] = {}
        for name, stored in self._labelled().items():
            _add_label(rows, self._items[name].turn, stored)
        if not rows:
            raise SettingsError("nothing is labelled yet: there is no dataset to write")
        try:
            with out.open("xb") as file:
                file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows.values())
        except OSError as error:
            raise SettingsError(f"{out} cannot be written: {error.strerror}. Choose another name") from None
        return out

    def _next(self) -> _Item | None:
        return next((item for name, item in self._items.items() if name not in self._labels), None)

    def _labelled(self) -> dict[str, _Stored]:
        return {name: stored for name, stored in self._labels.items() if name in self._items}

    def _counted(self) -> str:
        return ", ".join(f"{count} {word}" for word, count in self.counts().items())

    def _row(self, item: _Item, label: str, note: str) -> dict[str, Any]:
        turn = item.turn
        row = {
            "id": turn.id,
            "question": turn.question,
            "answer": turn.answer,
            "target": turn.target,
            "conversation": None if turn.before == NOTHING_BEFORE else turn.before,
            "label": CHOICES[label],
            "note": note or None,
            "group": turn.group,
            "tags": orjson.loads(turn.row).get("tags") or None,
            "person": self.person,
            "stratum": item.transcript.stratum,
            "stratum_answers": item.transcript.stratum_answers,
            "seed": self.seed,
        }
        return {key: value for key, value in row.items() if value is not None}

    def _write(self, line: bytes, offset: int | None = None) -> None:
        """Append a line, or cut the file at an offset, and flush it to the disk; on an error the file is as before."""
        size = self._size if offset is None else offset
        try:
            with self.path.open("r+b" if self._size else "ab", buffering=0) as file:
                if file.seek(0, os.SEEK_END) != self._size:
                    raise DatasetError("the labels file was changed by something else: call label() again")
                file.truncate(size)
                try:
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise DatasetError(f"the labels file cannot be written, so nothing changed: {error.strerror}") from None
        self._size = size + len(line)

    def _read(self) -> None:
        if not self.path.exists():
            return
        try:
            with self.path.open("r+b") as file:
                _end_last_line(file)
                self._size = file.seek(0, os.SEEK_END)
                file.seek(0)
                for line in read_lines(file):
                    if isinstance(line, DatasetError):
                        raise line
                    if line.raw.strip():
                        try:
                            self._add_stored(line.raw, line.offset)
                        except DatasetError as error:
                            raise DatasetError(error.problem, line=line.number, field=error.field) from None
        except DatasetError as error:
            raise DatasetError(error.problem, path=self.path, line=error.line, field=error.field) from None
        except OSError as error:
            raise DatasetError(f"cannot be read and written: {error.strerror}", path=self.path) from None

    def _add_stored(self, raw: bytes, offset: int) -> None:
        try:
            row = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise DatasetError(why_not_text(raw) or f"not valid JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise DatasetError(f"a row must be an object, {{…}}, not {kind(row)}")
        name, label = row.get("id"), row.get("label")
        if not isinstance(name, str):
            raise DatasetError("must be the id of a turn, CONVERSATION/REPEAT/TURN", field="id")
        if not isinstance(label, str) or label not in _WORDS:
            raise DatasetError(f"must be one of {', '.join(_WORDS)}", field="label")
        if row.get("person") != self.person:
            raise DatasetError(
                f"the label is by {row.get('person')!r}, not {self.person!r}: give another name", field="person"
            )
        if row.get("stratum") not in self._strata or row.get("seed") != self.seed:
            raise DatasetError(
                f"the label is of another sample, {row.get('stratum')!r} with seed {row.get('seed')!r}: go on with "
                "that one, or give another person's name",
                field="stratum",
            )
        item = self._items.get(name)
        if item is not None and (row.get("question"), row.get("answer")) != (item.turn.question, item.turn.answer):
            raise DatasetError(
                f"the label of {name!r} is about another answer than that of this run: move the file away",
                field="answer",
            )
        if name in self._labels:
            raise DatasetError(f"{name!r} has a label already: remove one of the two lines", field="id")
        self._labels[name] = _Stored(_WORDS[label], str(row.get("note") or ""), offset)


def _items(run: Path, transcripts: list[Transcript], *, all_turns: bool) -> Iterator[_Item]:
    """The answers of these transcripts, in their order."""
    by_place = {(found.conversation, found.repeat): found for found in transcripts}
    turns: dict[Transcript, list[AnsweredTurn]] = {found: [] for found in transcripts}
    for turn in answered_turns(run, positions={found.position for found in transcripts}):
        conversation, repeat, _ = position_of(turn.id)
        found = by_place.get((conversation, repeat))
        if found is not None and (all_turns or turn.target is not None):
            turns[found].append(turn)
    return (_Item(turn, transcript) for transcript, answers in turns.items() for turn in answers)


def _end_last_line(file: Any) -> None:
    """Remove a last line that was cut off while it was written; end one that only lacks its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    last = b"".join(deque(file, maxlen=1))
    if not last or last.endswith(b"\n"):
        return
    try:
        orjson.loads(last)
        file.write(b"\n")
    except orjson.JSONDecodeError:
        file.truncate(size - len(last))


def _add_label(rows: dict[str, dict[str, Any]], turn: AnsweredTurn, stored: _Stored) -> None:
    conversation, repeat, number = position_of(turn.id)
    name = conversation if repeat == 1 else f"{conversation}/{repeat}"
    if name not in rows:
        rows[name] = _unlabelled(orjson.loads(turn.row), name)
    row = rows[name]
    if name != conversation:
        row.setdefault("group", turn.group)
    row["tags"] = list(dict.fromkeys([*row["tags"], _TAG + stored.label]))
    note = {"note": stored.note} if stored.note else {}
    row["meta"]["labels"].append({"turn": number, "label": stored.label, **note})
    if stored.label == "right" and turn.answer:
        row["turns"][number - 1].setdefault("assistant", turn.answer)


def _unlabelled(row: dict[str, Any], name: str) -> dict[str, Any]:
    """A row without the labels of an earlier run."""
    tags = [tag for tag in row.get("tags", ()) if not tag.startswith(_TAG)]
    return {**row, "id": name, "tags": tags, "meta": {**row.get("meta", {}), "labels": []}}
