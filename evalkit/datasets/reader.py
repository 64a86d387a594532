"""Datasets: files to conversations, one row at a time; errors name file, line and field.

JSON Lines, JSON, CSV and Parquet, each also compressed. ``dataset_file`` recognises the form of a file, ``raw_rows``
names the file that reads it. ``row_formats`` lists the formats of JSON rows, ``csv_rows`` says how the columns of a CSV
file are read. A dataset is data: nothing in it can name code to run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit.conversation import HISTORY_POLICIES, INSTRUCTION_ROLES, Conversation, Turn
from evalkit.datasets.csv_rows import CsvRow
from evalkit.datasets.field_checks import kind
from evalkit.datasets.id_set import IdSet
from evalkit.datasets.native_rows import parse_row, refuse_deep
from evalkit.datasets.part_files import PartFiles
from evalkit.datasets.raw_row import RawRow
from evalkit.datasets.raw_rows import read_rows
from evalkit.datasets.row_formats import context_field, field_in_row, format_of, parse
from evalkit.errors import DatasetError, SettingsError

__all__ = ["DatasetSummary", "check", "parse_row", "read"]

MOST_PROBLEMS = 10
_LOG = logging.getLogger("evalkit")
CheckTurn = Callable[[Turn], None]


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """The contents of a checked dataset.

    Parameters
    ----------
    path : str
    shape : str
        Its row format: a name in ``row_formats.ROW_FORMATS``, or ``csv``.
    conversations : int
    turns : int
    hash : str
        SHA-256 (hex) over the content hashes of the conversations in their order.
    most_turns : int
        Of one conversation.
    grouped : bool
        Some conversations belong to a ``group``.
    files : mapping
        Name of each image or audio file that it names to what is known about it: see ``part_files.PartFiles``.
    """

    path: str
    shape: str
    conversations: int
    turns: int
    hash: str
    most_turns: int
    grouped: bool
    files: Mapping[str, Any]


def read(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    history: str = "own",
    own_system: bool = False,
    check_turn: CheckTurn | None = None,
    start: int = 0,
    unique: bool = True,
    files: Mapping[str, Any] | None = None,
    notes: list[str] | None = None,
) -> Iterator[Conversation]:
    """Read a dataset, one row at a time.

    Parameters
    ----------
    path : path-like
    columns : mapping, optional
        Field to column, or to the key or path of JSON rows, where they differ.
    limit : int, optional
        Read at most this many conversations.
    history : str
        With ``golden`` every turn but a conversation's last needs a golden answer.
    own_system : bool
        The run sets the system prompt: refuse a row with instructions that ``Conversation.with_system`` cannot replace.
    check_turn : callable, optional
        Raises ``DatasetError`` for a turn that cannot be scored: ``scoring.turn_checker()``.
    start : int
        Skip this many conversations, which count for ``limit``; in JSON Lines their rows are not parsed.
    unique : bool
        Refuse an id that occurs twice, which needs about 20 bytes a conversation; without it memory is constant.
    files : mapping, optional
        ``DatasetSummary.files`` of an earlier check: image and audio files in it are not read again.
    notes : list of str, optional
        Gets what a user should know about how the file was read: ``report_notes()``.

    Yields
    ------
    Conversation

    Raises
    ------
    DatasetError
        At the first problem, with file, line and field.
    SettingsError
        ``columns`` or ``history`` cannot be used.
    """
    ids = IdSet() if unique else None
    part_files = PartFiles(Path(path), files)
    checked = _checked(Path(path), columns, history, own_system, check_turn, ids, part_files, start, notes)
    for position, _, found in checked:
        if isinstance(found, DatasetError):
            raise _in_file(found, path)
        if limit is not None and position > limit:
            return
        if position > start:
            yield found
        if position == limit:
            return


def check(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    history: str = "own",
    own_system: bool = False,
    check_turn: CheckTurn | None = None,
    notes: list[str] | None = None,
) -> DatasetSummary:
    """Read a whole dataset and summarise it. A guess, such as that of a character set, is reported in the log.

    Parameters
    ----------
    path, columns, limit, history, own_system, check_turn
        As for ``read``.
    notes : list of str, optional
        Gets what would be reported in the log.

    Returns
    -------
    DatasetSummary

    Raises
    ------
    DatasetError
        Lists up to 10 problems, each with line and field.
    SettingsError
        ``columns`` or ``history`` cannot be used.
    """
    digest = hashlib.sha256()
    problems: list[DatasetError] = []
    conversations = turns = most_turns = 0
    grouped = False
    row_format = ""
    part_files = PartFiles(Path(path))
    found_notes: list[str] = [] if notes is None else notes
    checked = _checked(Path(path), columns, history, own_system, check_turn, IdSet(), part_files, notes=found_notes)
    for _, row_format, found in islice(checked, limit):  # noqa: B007
        if isinstance(found, DatasetError):
            problems.append(found)
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        conversations += 1
        turns += len(found.turns)
        most_turns = max(most_turns, len(found.turns))
        grouped = grouped or found.group is not None
        digest.update(bytes.fromhex(found.content_hash))
    if notes is None:
        report_notes(path, found_notes)
    if problems:
        raise _all_in_file(problems, path)
    return DatasetSummary(
        str(path), row_format, conversations, turns, digest.hexdigest(), most_turns, grouped, part_files.found
    )


def _in_file(error: DatasetError, path: Path | str) -> DatasetError:
    return DatasetError(error.problem, path=path, line=error.line, field=error.field)


def report_notes(path: Path | str, notes: Iterable[str]) -> None:
    """Report in the log how a file was read."""
    for note in notes:
        _LOG.warning("%s, %s", path, note)


def _all_in_file(problems: list[DatasetError], path: Path | str) -> DatasetError:
    if len(problems) == 1:
        return _in_file(problems[0], path)
    more = ", perhaps more" if len(problems) == MOST_PROBLEMS else ""
    listed = "".join(f"\n  {problem}" for problem in problems)
    return DatasetError(f"{len(problems)} problems{more}{listed}", path=path)


# from here on errors are passed on as values, so that one bad row does not hide the next


def _checked(
    path: Path,
    columns: Mapping[str, str] | None,
    history: str,
    own_system: bool,
    check_turn: CheckTurn | None,
    ids: IdSet | None,
    files: PartFiles,
    start: int = 0,
    notes: list[str] | None = None,
) -> Iterator[tuple[int, str, Conversation | DatasetError]]:
    """Conversations that passed every check, or errors, each with its position, from 1, and the row format."""
    if history not in HISTORY_POLICIES:
        raise SettingsError(f"no history policy is called {history!r}. Known: {' and '.join(HISTORY_POLICIES)}")
    row_format = None
    for position, row_format, row, found in _conversations(path, columns, start, notes):
        if isinstance(found, Conversation):
            try:
                if found.has_parts:
                    found = files.described(found)
                if check_turn is not None:
                    _check_turns(found, check_turn)
                if history == "golden":
                    check_golden(found)
                if own_system:
                    _refuse_later_instructions(found, row, row_format)
                if ids is not None and not ids.add(found.id):
                    _refuse_same_id(path, columns, found.id, row)
            except DatasetError as error:
                found = _located(error, row, row_format, columns)
        yield position, row_format, found
    if row_format is None:
        yield 0, "", DatasetError("holds no rows")


def _check_turns(conversation: Conversation, check_turn: CheckTurn) -> None:
    for number, turn in enumerate(conversation.turns):
        try:
            check_turn(turn)
        except DatasetError as error:
            raise DatasetError(error.problem, field=f"turns[{number}].{error.field}") from None


def check_golden(conversation: Conversation) -> None:
    """Raise ``DatasetError`` if a turn before the last has no golden answer, which later turns would see."""
    for number, turn in enumerate(conversation.turns[:-1]):
        if turn.assistant is None:
            text = "is missing: with the golden history, later turns see the golden answers of earlier ones"
            raise DatasetError(text, field=f"turns[{number}].assistant")


def _refuse_later_instructions(conversation: Conversation, row: RawRow, row_format: str) -> None:
    """Raise for an instruction of the context that ``Conversation.with_system`` would leave in force."""
    kept = conversation.with_system(None).context
    for number, message in enumerate(kept, len(conversation.context) - len(kept)):
        if message.role in INSTRUCTION_ROLES:
            raise DatasetError(
                f"is a {message.role} message after other messages: the system prompt of a run replaces only those at "
                "the start of a conversation. Remove this message, or run the dataset without a system prompt of the "
                "run (system in Python, --system)",
                field=context_field(row_format, row.value, number),
            )


def _refuse_same_id(path: Path, columns: Mapping[str, str] | None, conversation_id: str, second: RawRow) -> None:
    """Raise, with the line of the first row of this id, unless only the hashes are the same."""
    for _, _, row, found in _conversations(path, columns):
        if row.where == second.where:
            return
        if isinstance(found, Conversation) and found.id == conversation_id:
            raise DatasetError(
                f"{conversation_id!r} is the id in {row.where} already: every row needs its own", field="id"
            )


def _conversations(
    path: Path, columns: Mapping[str, str] | None, start: int = 0, notes: list[str] | None = None
) -> Iterator[tuple[int, str, RawRow, Conversation | DatasetError]]:
    row_format = ""
    position = 0
    for row in read_rows(path, columns, start, notes):
        value = row.value
        if isinstance(value, DatasetError):
            yield position, row_format, row, value
            continue
        position += 1 + row.skipped
        try:
            if row.nested:
                refuse_deep(value.row if isinstance(value, CsvRow) else value)
            if isinstance(value, CsvRow):
                row_format = "csv"
                conversation = parse_row(value.row, position=position)
            elif not isinstance(value, dict):
                raise DatasetError(f"a row must be an object, {{…}}, not {kind(value)}")
            else:
                row_format = row_format or format_of(value, columns)
                conversation = parse(value, row_format, position=position, columns=columns)
        except DatasetError as error:
            yield position, row_format, row, _located(error, row, "native")
            if not row_format:
                return
        else:
            yield position, row_format, row, conversation


def _located(
    error: DatasetError, row: RawRow, row_format: str, columns: Mapping[str, str] | None = None
) -> DatasetError:
    """The error with the line, and the field as the row names it."""
    if isinstance(row.value, CsvRow):
        return row.value.located(error)
    field = field_in_row(row_format, error.field, row.value if isinstance(row.value, dict) else None, columns)
    if row.number is not None:
        field = f"{row.inside}[{row.number - 1}]" + (f".{field}" if field else "")
    return DatasetError(error.problem, line=row.line, field=field)
