"""The turns of a run to be read by people: question, target and answer, with the verdict in a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evalkit.analysis.measures import Source, opened
from evalkit.runfile.transcripts import Transcript, TranscriptTurn, transcripts

if TYPE_CHECKING:
    import pandas as pd

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
        rows = [row for transcript in transcripts(connection) for row in _rows(transcript)]
    columns: dict[str, Any] = {
        name: pd.Series(values, dtype=_dtype(name))
        for name, values in zip(_NAMES, zip(*rows, strict=True) if rows else [()] * len(_NAMES), strict=True)
    }
    return pd.DataFrame(columns)


def _rows(transcript: Transcript) -> Iterator[tuple[Any, ...]]:
    after_wrong = False
    for turn in transcript.turns:
        yield (
            transcript.conversation, transcript.repeat, turn.turn, turn.user, turn.target, turn.answer, turn.score,
            turn.extracted, turn.reason, _verdict(turn), turn.cut_off, after_wrong,
        )  # fmt: skip
        after_wrong |= turn.score is not None and turn.score < 1


def _verdict(turn: TranscriptTurn) -> str:
    if turn.verdict == "error":
        return "failed"
    return "cut off" if turn.cut_off and turn.verdict != "right" else turn.verdict


def _dtype(name: str) -> Any:
    if name in ("repeat", "turn"):
        return "int64"
    if name == "score":
        return "float64"
    return bool if name in ("cut_off", "after_wrong") else object
