"""The turns of a run to be read by people: question, target and answer, with the verdict in a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from evalkit.analysis.measures import Source, opened
from evalkit.datasets.content_parts import shown
from evalkit.runfile.schema import JOIN_CORRECTED, JOIN_SCORE, ROW
from evalkit.runfile.turn_columns import json_value

if TYPE_CHECKING:
    import pandas as pd

_CUT_OFF = "(t.status = 'answered' AND coalesce(t.finish_reason, '') = 'length')"
_TURNS = f"""
    SELECT c.id, t.repeat, t.turn, {ROW}, t.answer, s.value, s.extracted, s.reason,
      CASE WHEN t.status = 'error' THEN 'failed' WHEN s.value >= 1 THEN 'right' WHEN {_CUT_OFF} THEN 'cut off'
        WHEN s.value < 1 THEN 'wrong' ELSE 'unscored' END,
      {_CUT_OFF},
      coalesce(max(s.value < 1) OVER (PARTITION BY t.conversation, t.repeat ORDER BY t.turn
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE} {JOIN_CORRECTED}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own
_NAMES = (
    *("conversation", "repeat", "turn", "user", "target", "answer", "score", "extracted", "reason"),
    *("verdict", "cut_off", "after_wrong"),
)


def verdicts(source: Source) -> pd.DataFrame:
    """Every finished turn of a run with its question, its target and its verdict, in the order of the dataset.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
        A run file, which may belong to a run in progress.

    Returns
    -------
    DataFrame
        ``conversation, repeat, turn, user, target, answer``; ``score``, ``extracted`` and ``reason`` of the scoring in
        use; ``verdict``, ``cut_off`` and ``after_wrong`` as ``Run.verdicts`` describes them. Missing values are None
        or NaN, never 0.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    with opened(source) as connection:
        rows = [_row(*row) for row in connection.execute(_TURNS)]
    columns: dict[str, Any] = {
        name: pd.Series(values, dtype=_dtype(name))
        for name, values in zip(_NAMES, zip(*rows, strict=True) if rows else [()] * len(_NAMES), strict=True)
    }
    return pd.DataFrame(columns)


def _row(
    conversation: str, repeat: int, turn: int, row: str, answer: str | None, value: float | None,
    extracted: str | None, reason: str | None, verdict: str, cut_off: int, after_wrong: int,
) -> tuple[Any, ...]:  # fmt: skip
    asked = orjson.loads(row)["turns"][turn - 1]
    return (
        conversation, repeat, turn, shown(asked["user"]), asked.get("target"), answer, value,
        json_value(extracted), reason, verdict, bool(cut_off), bool(after_wrong),
    )  # fmt: skip


def _dtype(name: str) -> Any:
    if name in ("repeat", "turn"):
        return "int64"
    if name == "score":
        return "float64"
    return bool if name in ("cut_off", "after_wrong") else object
