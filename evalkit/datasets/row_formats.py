"""The formats of JSON rows: which one a row has, and how it becomes a conversation.

``ROW_FORMATS`` is the table: name, title, example and keys of each format. The first row of a file decides the format
of all. A native row may have no other keys than its own; ``other_keys`` says what other keys do in the other formats.

To add a format, write a function from its row to a native row in a file of its family, and add an entry to
``ROW_FORMATS`` and to the table in ``data/README.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.conversation import Conversation
from evalkit.datasets.answers import ANSWERS
from evalkit.datasets.batch_rows import ANTHROPIC_BATCH, OPENAI_BATCH
from evalkit.datasets.bfcl_rows import BFCL
from evalkit.datasets.chat_rows import ANTHROPIC, CHAT, PREFERENCE
from evalkit.datasets.column_map import JSON_FIELDS, check_fields, field_as_mapped, mapped
from evalkit.datasets.field_checks import kind, object_in, shortened, within
from evalkit.datasets.gsm8k_rows import GSM8K
from evalkit.datasets.ifeval_rows import IFEVAL
from evalkit.datasets.mt_bench_rows import MT_BENCH
from evalkit.datasets.native_rows import REQUEST_KEYS, parse_row
from evalkit.datasets.other_keys import SENT
from evalkit.datasets.question_rows import (
    ALPACA,
    FLAT,
    GOLDEN,
    INPUT_TARGET,
    PROMPT_COMPLETION,
    QUESTION_ANSWER,
    QUESTION_LIST,
)
from evalkit.datasets.row_format import RowFormat, texts_listed
from evalkit.datasets.sharegpt_rows import MT_BENCH_101, SHAREGPT, ULTRACHAT
from evalkit.datasets.unsent_keys import refuse_unsent
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name

_NATIVE = RowFormat(
    "native",
    "native",
    '{"id": "a", "turns": [{"user": "2+2?", "target": 4}, {"user": "And twice that?", "target": 8}]}',
    ("turns",),
    lambda row: "turns" in row and not texts_listed(row["turns"]) and not SHAREGPT.fits(row),
    lambda row: row,
)
# in the order in which they are tried: a row of one format may have the keys of a later one too
_ORDER = (
    OPENAI_BATCH, ANTHROPIC_BATCH, ANTHROPIC, CHAT, MT_BENCH, _NATIVE, BFCL, IFEVAL, SHAREGPT, MT_BENCH_101, ULTRACHAT,
    PREFERENCE, QUESTION_LIST, FLAT, ALPACA, GSM8K, QUESTION_ANSWER, PROMPT_COMPLETION, INPUT_TARGET,
)  # fmt: skip
# in the order in which people read them
ROW_FORMATS = {
    row_format.name: row_format
    for row_format in (
        _NATIVE, FLAT, CHAT, ANTHROPIC, OPENAI_BATCH, ANTHROPIC_BATCH, PREFERENCE, SHAREGPT, ULTRACHAT,
        PROMPT_COMPLETION, ALPACA, QUESTION_ANSWER, INPUT_TARGET, QUESTION_LIST, GSM8K, MT_BENCH, MT_BENCH_101, BFCL,
        IFEVAL,
    )
}  # fmt: skip


def format_of(row: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> str:
    """The name of a row's format, by its keys.

    Parameters
    ----------
    row : mapping
    columns : mapping, optional
        Field to the key, or the path, that holds it.

    Raises
    ------
    DatasetError
        No format has such keys; the message names the nearest and lists all.
    SettingsError
        ``columns`` names a field that cannot be mapped.
    """
    if columns:
        check_fields(columns, JSON_FIELDS, "key")
        row = mapped(row, columns, first=True)
    for row_format in _ORDER:
        if row_format.fits(row):
            return row_format.name
    keys = ", ".join(map(repr, row))[:200] or "none"
    raise DatasetError(f"no known row format has the keys {keys}. {_nearest(row)}{listed_formats()}")


def listed_formats() -> str:
    """All formats with an example each, for messages."""
    lines = (f"\n  {row_format.title}: {row_format.example}" for row_format in ROW_FORMATS.values())
    return (
        "Known row formats:"
        + "".join(lines)
        + "\nOr name the keys that hold the question and the answer: --column user=KEY --column target=KEY"
    )


def parse(row: Any, row_format: str, *, position: int = 1, columns: Mapping[str, str] | None = None) -> Conversation:
    """Read a row of any format.

    Parameters
    ----------
    row : mapping
    row_format : str
        From ``format_of`` the dataset's first row.
    position : int
        Counted from 1; makes the id of a row that has none.
    columns : mapping, optional
        As for ``format_of``.

    Returns
    -------
    Conversation

    Raises
    ------
    DatasetError
        As for ``native_rows.parse_row``; ``field`` is the name in the row as it came.
    """
    try:
        if row_format == "native" and not columns:
            return parse_row(row, position=position)
        return _parse(row, row_format, position, columns)
    except DatasetError as error:
        other = _other_format(row, row_format) if isinstance(row, Mapping) and not columns else ""
        raise DatasetError(error.problem + other, field=error.field) from None


def _parse(row: Any, row_format: str, position: int, columns: Mapping[str, str] | None) -> Conversation:
    row = object_in(row)
    try:
        if columns:
            row = mapped(row, columns, first=position == 1)
        native = ROW_FORMATS[row_format].to_native(dict(row))
    except DatasetError as error:
        raise DatasetError(error.problem, field=field_as_mapped(error.field, columns)) from None
    if columns:
        _refuse_beside(native, row, columns)
    try:
        return parse_row(native, position=position)
    except DatasetError as error:
        raise DatasetError(error.problem, field=field_in_row(row_format, error.field, row, columns)) from None


def _refuse_beside(native: Mapping[str, Any], row: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Raise for what stands beside a mapped question, inside of the same object, and would change what is asked."""
    for name in ("user", "messages", "turns"):
        *outer, _ = columns.get(name, "").split(".")
        for depth in range(1, len(outer) + 1):
            beside: Any = row
            for step in outer[:depth]:
                beside = beside.get(step) if isinstance(beside, Mapping) else None
            for key, value in beside.items() if isinstance(beside, Mapping) else ():
                try:
                    if value and key in (*SENT, *REQUEST_KEYS):
                        raise DatasetError("would not be sent: map it too, or write it into the row itself", field=key)
                    refuse_unsent(native, key, value)
                except DatasetError as error:
                    raise within(".".join(outer[:depth]), error) from None


def _other_format(row: Mapping[str, Any], row_format: str) -> str:
    """What to add to an error if the row is of another format than the first row of its file."""
    first = ROW_FORMATS[row_format]
    other = next((each for each in _ORDER if each.fits(row)), first)
    if other is first or all(key in row for key in first.keys):
        return ""
    return f" (the row looks like {other.title}, the first one like {first.title}: all must be of one format)"


def field_in_row(
    row_format: str,
    field: str | None,
    row: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
) -> str | None:
    """The name that a field of a native row has in a row of this format."""
    if field is not None and row_format in ROW_FORMATS:
        for pattern, name in ROW_FORMATS[row_format].fields:
            field = pattern.sub(name, field)
        if row_format != "native":
            field = _as_called(field, row or {})
    return field_as_mapped(field, columns)


def _as_called(field: str, row: Mapping[str, Any]) -> str:
    """A field by the key that has it in this row: a target may be called ``answer``, a question ``prompt``."""
    for name, keys in (("target", ANSWERS), ("assistant", GOLDEN)):
        if field == name and name not in row:
            return next((key for key in keys if row.get(key) is not None), field)
    return field


def context_field(row_format: str, row: Mapping[str, Any], number: int) -> str:
    """The name that a message of a conversation's context, counted from 0, has in a row of this format."""
    place = ROW_FORMATS[row_format].messages if row_format in ROW_FORMATS else ""
    messages: Any = row
    for name in place.split("."):
        messages = messages.get(name) if isinstance(messages, Mapping) else None
    if row.get("context") or not isinstance(messages, list):
        return f"context[{number}]"
    first = messages[0]
    is_system = "system" in (first.get("role"), first.get("from")) and not isinstance(first.get("content"), list)
    return f"{place}[{number + is_system}]"


def _nearest(row: Mapping[str, Any]) -> str:
    """The format that a row nearly has, and what differs; empty if none is near."""
    found = [(how, row_format) for row_format in ROW_FORMATS.values() if (how := _differs(row, row_format))]
    if not found:
        return ""
    (_, text), row_format = min(found, key=lambda each: each[0][0])
    return f"Nearest: {row_format.title}, {text} "


def _differs(row: Mapping[str, Any], row_format: RowFormat) -> tuple[int, str] | None:
    """How far a row is from a format that it does not have, with the reason; None: too far."""
    missing = [key for key in row_format.keys if key not in row]
    if not missing:
        return 0, _other_form(row, row_format.keys)
    for key in missing:
        mistyped = next((name for name in row if _is_mistyped(name, key)), None)
        if mistyped is not None:
            return 1, f"whose key is {key}, not {shortened(mistyped)}; did you mean {key!r}?"
    if len(missing) < len(row_format.keys):
        return 2, f"which has {' and '.join(missing)} too."
    return None


def _other_form(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    if len(keys) == 1:
        return f"whose {keys[0]} is of another form than {kind(row[keys[0]])}, as here."
    return f"whose {' and '.join(keys)} are of another form."


def _is_mistyped(name: str, key: str) -> bool:
    """Whether a key is another one with a slip; ``answerKey`` and ``inputs`` are keys of their own."""
    folded = name.casefold()
    return folded == key or (not folded.startswith(key) and nearest_name(name, [key], 0.8) is not None)
