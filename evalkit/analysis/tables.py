"""A run as tables: its turns, its summary with intervals, its conversations, its scorings; and its exports."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from evalkit.analysis.accuracy import by_conversation as accuracy_by_conversation
from evalkit.analysis.accuracy import by_scoring
from evalkit.analysis.measures import RunMeasures, Source, measured, opened
from evalkit.analysis.times.quantiles import NS_PER_MS
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import exports, output_files, store, turn_columns
from evalkit.runfile.schema import JOIN_SCORE
from evalkit.runfile.turn_columns import json_value
from evalkit.stats.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd

# pandas and pyarrow are imported where a DataFrame is made, since other functions here do not need them
FORMATS = tuple(exports.WRITERS)

_TRANSCRIPT = f"""
    SELECT t.turn, t.answer, t.tool_calls, t.error_kind, t.error_message, t.ttft_ns, t.latency_ns, s.value, s.reason,
      s.extracted, {turn_columns.OUTCOME}, t.refusal, t.reasoning, c.row
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE}
    WHERE c.id = ? AND t.repeat = ? ORDER BY t.turn"""  # noqa: S608 - SQL of our own


def turns(source: Source) -> pd.DataFrame:
    """Every finished turn of a run, one row per turn, in the order of the dataset.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
        A run file, which may belong to a run in progress.

    Returns
    -------
    DataFrame
        Columns ``conversation, repeat, turn, status, answer, tool_calls, finish_reason, error_kind, error_message,
        http_status, attempts, ttft_ms, latency_ms, tpot_ms, prompt_tokens, output_tokens, token_source, score, scorer,
        extracted, tags, group, outcome, refusal, reasoning``. Times in ms, missing ones NaN; counts are nullable
        ``Int64``; missing texts are None or NaN. ``tool_calls`` is a list of calls or None, ``extracted`` any JSON
        value or None, ``tags`` a list, which turns with equal tags may share, ``group`` the dataset's label of a
        group of conversations. ``outcome`` is ``answered``, ``refused``, ``tool_calls`` (without text),
        ``reasoning_only``, ``empty`` or ``failed``.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    arrays: dict[str, list[Any]] = {name: [] for name in turn_columns.KINDS}
    with opened(source) as connection:
        for group in turn_columns.columns(connection):
            for name, kind in turn_columns.KINDS.items():
                arrays[name].append(_part(kind, group[name]))
    # each list is freed as soon as its column is made
    return pd.DataFrame({name: _column(kind, arrays.pop(name)) for name, kind in turn_columns.KINDS.items()})


def summary(data: Source | RunMeasures) -> pd.DataFrame:
    """Summarise a run, with one row per turn index and one for all turns.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures

    Returns
    -------
    DataFrame
        Index ``turn``: 1, 2, …, "all". Columns: ``turns``, ``answered``, ``errors``; ``accuracy`` over answered and
        scored turns with its 95 % limits ``low``, ``high`` and denominator ``n``; ``ttft_p50_ms``, ``ttft_p95_ms``,
        ``tpot_p50_ms``, ``latency_p50_ms``, ``latency_p95_ms``; ``client_bound``; ``turn_time_p50_ms``,
        ``turn_time_p95_ms``; ``retries``, the number of repeated requests, and ``retries_lost_s``, the time
        lost to them.
        Missing: NaN.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    run = measured(data)
    rows = [*run.by_turn, run.all]
    times = [("ttft", "p50"), ("ttft", "p95"), ("tpot", "p50"), ("latency", "p50"), ("latency", "p95")]
    columns: dict[str, Any] = {
        "turns": [row.turns for row in rows],
        "answered": [row.answered for row in rows],
        "errors": [row.turns - row.answered for row in rows],
        "accuracy": _floats([row.accuracy.mean.value for row in rows]),
        "low": _floats([row.accuracy.mean.low for row in rows]),
        "high": _floats([row.accuracy.mean.high for row in rows]),
        "n": [row.accuracy.mean.n for row in rows],
    }
    for metric, name in times:
        columns[f"{metric}_{name}_ms"] = _floats([getattr(row, f"{metric}_ms")[name].value for row in rows])
    columns["client_bound"] = pd.array([run.trust.client_bound] * len(rows), dtype="boolean")
    for name in ("p50", "p95"):
        columns[f"turn_time_{name}_ms"] = _floats([row.turn_time_ms[name].value for row in rows])
    columns["retries"] = [row.retries.requests for row in rows]
    columns["retries_lost_s"] = [row.retries.lost_s for row in rows]
    labels = [*(row.turn for row in run.by_turn), "all"]
    return pd.DataFrame(columns, index=pd.Index(labels, dtype=object, name="turn"))


def conversations(source: Source) -> pd.DataFrame:
    """Every conversation with a finished turn, one row per repeat, in the order of the dataset.

    Parameters
    ----------
    source : path-like or sqlite3.Connection

    Returns
    -------
    DataFrame
        ``conversation``, ``repeat``; ``turns``, the number of finished turns, and ``scored`` among them; ``complete``:
        every turn with a target is answered and scored, missing without a target; for complete conversations
        ``all_right``, ``last_right`` (of the turns with a target) and ``mean``, the mean score. Missing values are
        missing, never 0.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    with opened(source) as connection:
        names = dict(connection.execute("SELECT position, id FROM conversation"))
        groups = list(accuracy_by_conversation.conversations(connection))
    columns = {
        name: np.concatenate([group[index] for group in groups] or [np.zeros(0)])
        for index, name in enumerate(accuracy_by_conversation.Conversations._fields)
    }
    scores = {name: pd.array(columns[name], dtype="Float64") for name in ("all_right", "last_right")}
    complete = pd.array(columns["complete"].astype(bool), dtype="boolean")
    complete[~columns["counted"].astype(bool)] = pd.NA
    return pd.DataFrame(
        {
            "conversation": pd.Series([names[position] for position in columns["conversation"].tolist()], dtype=object),
            **{name: columns[name].astype(np.int64) for name in ("repeat", "turns", "scored")},
            "complete": complete,
            **{name: column.astype("boolean") for name, column in scores.items()},
            "mean": columns["mean"],
        }
    )


def scorings(source: Source) -> pd.DataFrame:
    """Every complete scoring of a run, the run's own first.

    Parameters
    ----------
    source : path-like or sqlite3.Connection

    Returns
    -------
    DataFrame
        Index ``scoring``: 0, the run's own, 1, … Columns: ``scorer``, which scored every turn (None: each turn has its
        own); ``versions``, a dict; ``begun``, its start (UTC); ``counts``: all other tables show its scores;
        ``accuracy`` with its 95 % limits ``low``, ``high`` and denominator ``n``; ``wrong``, ``unscored``; ``missing``:
        answered turns that it does not cover.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    with opened(source) as connection:
        rows = by_scoring.scorings(connection)
    means = [row.accuracy.mean for row in rows]
    columns: dict[str, Any] = {
        "scorer": pd.Series([row.scorer for row in rows], dtype=object),
        "versions": [row.versions for row in rows],
        "begun": pd.to_datetime(pd.Series([row.begun_ns for row in rows], dtype="Int64"), unit="ns", utc=True),
        "counts": [row.counts for row in rows],
        "accuracy": _floats([mean.value for mean in means]),
        "low": _floats([mean.low for mean in means]),
        "high": _floats([mean.high for mean in means]),
        "n": [mean.n for mean in means],
        "wrong": [row.accuracy.wrong for row in rows],
        "unscored": [row.accuracy.unscored for row in rows],
        "missing": [row.missing for row in rows],
    }
    return pd.DataFrame(columns).set_index(pd.Index([row.number for row in rows], name="scoring"))


def transcript(source: Source, conversation: str, repeat: int = 1) -> list[dict[str, Any]]:
    """The transcript of one conversation, one row per finished turn.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    conversation : str
        Id of the conversation.
    repeat : int
        Counted from 1.

    Returns
    -------
    list of dict
        Keys ``turn, user, answer, tool_calls, target, score, reason, extracted, error, ttft_ms, latency_ms, outcome,
        refusal, reasoning``. ``error`` is "kind: message" of a failed turn, whose ``answer`` is the part that arrived.
        Missing: None.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or it has no such conversation or repeat.
    """
    with opened(source) as connection:
        rows = connection.execute(_TRANSCRIPT, (conversation, repeat)).fetchall()
    if not rows:
        raise RunFileError(
            f"the run file has no finished turn of conversation {conversation!r} in repeat {repeat}: "
            "turns() and 'evalkit export' list its turns"
        )
    dataset_turns = orjson.loads(rows[0][-1])["turns"]
    return [_turn(dataset_turns, *row) for *row, _ in rows]


def _turn(
    dataset_turns: Sequence[Mapping[str, Any]], turn: int, answer: str | None, tool_calls: str | None, kind: str | None,
    message: str | None, ttft: int | None, latency: int | None, value: float | None, reason: str | None,
    extracted: str | None, outcome: str, refusal: str | None, reasoning: str | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "turn": turn,
        "user": dataset_turns[turn - 1]["user"],
        "answer": answer,
        "tool_calls": json_value(tool_calls),
        "target": dataset_turns[turn - 1].get("target"),
        "score": value,
        "reason": reason,
        "extracted": json_value(extracted),
        "error": None if kind is None else f"{kind}: {message}",
        "ttft_ms": None if ttft is None else ttft / NS_PER_MS,
        "latency_ms": None if latency is None else latency / NS_PER_MS,
        "outcome": outcome,
        "refusal": refusal,
        "reasoning": reasoning,
    }


def export(source: Source, form: str, path: Path | str, *, overwrite: bool = True, excel: bool = False) -> int:
    """Write the finished turns of a run to a file, with the columns of ``turns``.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    form : str
        ``jsonl``, ``csv`` or ``parquet``. Missing values are null, and empty in CSV. Tool calls, what a scorer
        extracted and tags are JSON values in JSON Lines and JSON text elsewhere; only tags in Parquet are a list.
    path : path-like
    overwrite : bool
        Overwrite an existing output of evalkit. Any other existing file is refused.
    excel : bool
        Only for ``csv``: write for a spreadsheet, with a byte-order mark and an apostrophe before text that starts a
        formula. Else every cell has the value of the run file.

    Returns
    -------
    int
        Number of turns written.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        The format is unknown, ``excel`` is used with another format than CSV, or the file cannot be written: see
        ``output_files.check``.
    """
    return write_export(source, form, path, overwrite=overwrite, excel=excel).rows


def write_export(
    source: Source, form: str, path: Path | str, *, overwrite: bool = True, excel: bool = False
) -> exports.Written:
    """``export``, which also counts the cells of a CSV file that a spreadsheet would read as formulas."""
    if form not in FORMATS:
        raise SettingsError(f"there is no export format {form!r}: choose one of {', '.join(FORMATS)}")
    if excel and form != "csv":
        raise SettingsError(f"--excel is for CSV files, and the format is {form}: leave it out, or choose csv")
    options = {"excel": True} if excel else {}
    with opened(source) as connection:
        read_files = output_files.read_for(
            () if isinstance(source, sqlite3.Connection) else (source,), [store.run_info(connection)]
        )
        with output_files.writing(Path(path), output_files.EXPORT, read_files, overwrite=overwrite) as draft:
            return exports.WRITERS[form](connection, draft, **options)


def _floats(values: list[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)


def _part(kind: str, values: tuple[Any, ...]) -> Any:
    """Some values of a column in little memory: an Arrow array, or a list of decoded JSON texts."""
    import pyarrow as pa

    if kind == "json":
        return [text if text is None else json_value(text) for text in values]
    if kind == "tags":  # turns with equal tags share one list, since a million lists would slow down garbage collection
        lists = {text: json_value(text) for text in set(values)}
        return [lists[text] for text in values]
    return pa.array(values, {"text": pa.large_string(), "number": pa.float64()}.get(kind, pa.int64()))


def _column(kind: str, parts: list[Any]) -> Any:
    import pandas as pd
    import pyarrow as pa

    if kind in ("json", "tags"):
        return pd.Series([value for part in parts for value in part], dtype=object)
    if kind == "text":
        joined = pa.chunked_array(parts, pa.large_string())
        parts.clear()
        text = pd.Series(["text"]).dtype  # the type that pandas gives to texts: objects before version 3
        return pa.chunked_array([joined.combine_chunks()]).to_pandas(
            types_mapper=lambda _: text if isinstance(text, pd.StringDtype) else None
        )
    numbers = pa.chunked_array(parts, pa.float64() if kind == "number" else pa.int64())
    return numbers.to_pandas(types_mapper=lambda _: pd.Int64Dtype() if kind == "count" else None)
