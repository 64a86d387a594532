"""A run as tables: its turns, its summary with intervals, its conversations, its scorings; and its exports."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis import turn_frame
from evalkit.analysis.accuracy import by_conversation as accuracy_by_conversation
from evalkit.analysis.accuracy import by_scoring
from evalkit.analysis.measures import RunMeasures, Source, measured, opened
from evalkit.analysis.times import one_answer
from evalkit.analysis.times.quantiles import NS_PER_MS
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import exports, output_files, store
from evalkit.runfile.conversation_clusters import conversation_clusters
from evalkit.runfile.transcripts import Transcript, TranscriptTurn, transcript_of
from evalkit.stats import proportions
from evalkit.stats.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd

# pandas is imported where a DataFrame is made, since other functions here do not need them
FORMATS = tuple(exports.WRITERS)


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
        extracted, tags, group, outcome, refusal, reasoning, reasoning_tokens, cached_tokens, cache_write_tokens,
        logprobs, question, target, reason, model``. ``prompt_tokens`` include the cached ones and ``output_tokens`` the
        reasoning. Times in ms, missing ones NaN; counts are nullable ``Int64``; missing texts are None or NaN.
        ``tool_calls`` is a list of calls or None, ``extracted`` and ``target`` any JSON value or None, ``tags`` a list,
        which turns with equal tags may share, ``group`` its label, ``model`` the requested one; ``outcome`` is
        ``answered``, ``refused``, ``tool_calls`` (without text), ``reasoning_only``, ``empty`` or ``failed``.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with opened(source) as connection:
        return turn_frame.read(connection)


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
        lost to them. Missing: NaN. It shows rounded numbers, and has exact ones.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    from evalkit.analysis.summary_frame import SummaryFrame

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
    return SummaryFrame(columns, index=pd.Index([*(row.turn for row in run.by_turn), "all"], dtype=object, name="turn"))


def arrivals(source: Source) -> pd.DataFrame:
    """Every read that brought tokens of a streamed answer, in the order of the dataset.

    Parameters
    ----------
    source : path-like or sqlite3.Connection

    Returns
    -------
    DataFrame
        ``conversation``, ``repeat``, ``turn``; ``at_ms``, when the read returned, in ms since the request of the
        answer's last round was sent; ``events``, the token-bearing events in it. Turns that failed, were not streamed
        or brought no token have no row.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    with opened(source) as connection:
        answers = list(one_answer.arrivals(connection))
    reads = [len(times) for *_, times, _ in answers]
    return pd.DataFrame(
        {
            "conversation": pd.Series(
                np.repeat(np.array([answer[0] for answer in answers], object), reads), dtype=object
            ),
            "repeat": np.repeat(np.array([answer[1] for answer in answers], np.int64), reads),
            "turn": np.repeat(np.array([answer[2] for answer in answers], np.int64), reads),
            "at_ms": np.concatenate([np.empty(0), *(answer[3] for answer in answers)]),
            "events": np.concatenate([np.empty(0, np.int64), *(answer[4] for answer in answers)]),
        }
    )


def _labels(frame: pd.DataFrame, labels: Any) -> pd.Series[Any]:
    """One label for each row of a table of turns: a column, a Series with the same index in any order, or a list."""
    import pandas as pd

    if isinstance(labels, str):
        if labels not in frame.columns:
            raise SettingsError(f"there is no column {labels!r}: the columns are {', '.join(frame.columns)}")
        labels = frame[labels]
    if isinstance(labels, pd.DataFrame):
        raise SettingsError("labels is a table: give one of its columns")
    if len(labels) != len(frame):
        raise SettingsError(f"{len(labels)} labels were given for {len(frame)} turns: give one for each row of turns()")
    if not isinstance(labels, pd.Series):
        labels = pd.Series(labels, frame.index, dtype=None if len(frame) else object)
    if not labels.index.sort_values().equals(frame.index):
        raise SettingsError("the labels have another index than turns(): it says which label belongs to which turn")
    if any(isinstance(label, (list, dict, set)) for label in labels):
        raise SettingsError("a label is a list: give each turn one label")
    ordered: pd.Series[Any] = labels.reindex(frame.index)
    return ordered


def accuracy_by(source: Source, labels: Any) -> pd.DataFrame:
    """Accuracy of groups of turns, with intervals in which the turns of a conversation are one cluster.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    labels : str or sequence
        A column of ``turns``, or one label for each of its rows, such as a Series made from them. Turns whose label is
        missing are left out.

    Returns
    -------
    DataFrame
        Index: the labels in order, those of a categorical in the order of its categories. Columns as in ``summary``:
        ``turns``, ``answered``; ``accuracy`` over answered and scored turns, its 95 % limits ``low`` and ``high``, and
        its denominator ``n``. Missing: NaN.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        There is no such column, or there is not one label for each turn.
    """
    import pandas as pd

    from evalkit.analysis.summary_frame import SummaryFrame

    with opened(source) as connection:
        frame = turn_frame.read(connection)
        order = "SELECT conversation FROM turn ORDER BY conversation, repeat, turn"
        positions = np.fromiter((row[0] for row in connection.execute(order)), dtype=np.int64)
        clusters = pd.Series(conversation_clusters(connection)[positions], dtype=np.int64)
    labels = _labels(frame, labels)
    rows = []
    for label, own in frame.groupby(labels, observed=True):
        answered = own[own["status"] == "answered"]
        scores = answered["score"].dropna()
        mean = proportions.proportion(scores, clusters[scores.index])
        rows.append((label, len(own), len(answered), *mean.value_and_limits().values(), mean.n))
    columns = ["label", "turns", "answered", "accuracy", "low", "high", "n"]
    table = SummaryFrame(rows, columns=columns).set_index("label").rename_axis(labels.name)
    return table.astype(dict.fromkeys(("accuracy", "low", "high"), np.float64))


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
        answered turns that it does not cover; ``targets``, the corrected dataset whose targets it used, and
        ``corrected``, the number of conversations that it corrected.

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
        "targets": pd.Series([row.targets for row in rows], dtype=object),
        "corrected": [row.corrected for row in rows],
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
        refusal, reasoning, prompt_tokens, output_tokens, reasoning_tokens, cached_tokens, cache_write_tokens``.
        ``error`` is "kind: message" of a failed turn, whose ``answer`` is the part that arrived.
        Missing: None.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or it has no such conversation or repeat.
    """
    return [transcript_row(turn) for turn in read_transcript(source, conversation, repeat).turns]


def read_transcript(source: Source, conversation: str, repeat: int = 1) -> Transcript:
    """``transcript`` as the object that is shown."""
    with opened(source) as connection:
        found = transcript_of(connection, conversation, repeat)
    if found is None:
        raise RunFileError(
            f"the run file has no finished turn of conversation {conversation!r} in repeat {repeat}{_names(source)}: "
            "turns() and 'evalkit export' list all turns"
        )
    return found


def _names(source: Source) -> str:
    """The first conversations, as examples of their names."""
    with opened(source) as connection:
        rows = connection.execute("SELECT id FROM conversation ORDER BY position LIMIT 3")
        names = ", ".join(repr(name) for (name,) in rows)
    return f"; its conversations begin with {names}" if names else ""


def transcript_row(turn: TranscriptTurn) -> dict[str, Any]:
    """One row of ``transcript``."""
    return {
        "turn": turn.turn,
        "user": turn.user,
        "answer": turn.answer,
        "tool_calls": turn.tool_calls,
        "target": turn.target,
        "score": turn.score,
        "reason": turn.reason,
        "extracted": turn.extracted,
        "error": turn.error,
        "ttft_ms": None if turn.ttft_ns is None else turn.ttft_ns / NS_PER_MS,
        "latency_ms": None if turn.latency_ns is None else turn.latency_ns / NS_PER_MS,
        "outcome": turn.outcome,
        "refusal": turn.refusal,
        "reasoning": turn.reasoning,
        **turn.tokens,
    }


def export(source: Source, form: str, path: Path | str, *, overwrite: bool = True, excel: bool = False) -> int:
    """Write the finished turns of a run to a file, with the columns of ``turns``.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    form : str
        ``jsonl``, ``csv`` or ``parquet``. Missing values are null, and empty in CSV. Tool calls, targets,
        what a scorer extracted and tags are JSON values in JSON Lines and JSON text elsewhere; only tags in Parquet are
        a list.
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
) -> exports.ExportCounts:
    """``export``, which also counts the cells of a CSV file that a spreadsheet would read as formulas."""
    if form not in FORMATS:
        raise SettingsError(f"there is no export format {form!r}: choose one of {', '.join(FORMATS)}")
    if excel and form != "csv":
        raise SettingsError(f"--excel is for CSV files, and the format is {form}: leave it out, or choose csv")
    options = {"excel": True} if excel else {}
    with opened(source) as connection:
        read_files = output_files.input_files(
            () if isinstance(source, sqlite3.Connection) else (source,), [store.run_info(connection)]
        )
        with output_files.writing(Path(path), output_files.EXPORT, read_files, overwrite=overwrite) as draft:
            return exports.WRITERS[form](connection, draft, **options)


def _floats(values: list[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)
