"""The run file as tables: turns, the summary with intervals, one conversation."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from evalkit.analysis.accuracy import by_conversation as talks
from evalkit.analysis.accuracy import by_scoring
from evalkit.analysis.costs import Cost
from evalkit.analysis.measures import Measures, RunMeasures, Source, measure, opened
from evalkit.analysis.times.quantiles import NS_PER_MS
from evalkit.engine.stopping.accuracy_goal import Told
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import exports, output_files, store, turn_columns
from evalkit.runfile.schema import JOIN_SCORE
from evalkit.runfile.turn_columns import json_value
from evalkit.stats.arrays import Floats
from evalkit.stats.estimate import Estimate

if TYPE_CHECKING:
    import pandas as pd

# pandas and pyarrow are imported where a DataFrame is made: the object of --json does without
FORMATS = tuple(exports.WRITERS)

_TRANSCRIPT = f"""
    SELECT t.turn, t.answer, t.tool_calls, t.error_kind, t.error_message, t.ttft_ns, t.latency_ns, s.value, s.reason,
      s.extracted, {turn_columns.OUTCOME}, t.refusal, t.reasoning, c.row
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE}
    WHERE c.id = ? AND t.repeat = ? ORDER BY t.turn"""  # noqa: S608 - SQL of our own


def turns(source: Source) -> pd.DataFrame:
    """Every finished turn of a run, one row a turn, in the order of the dataset.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
        A run file; it may still be growing.

    Returns
    -------
    DataFrame
        Columns ``conversation, repeat, turn, status, answer, tool_calls, finish_reason, error_kind, error_message,
        http_status, attempts, ttft_ms, latency_ms, tpot_ms, prompt_tokens, output_tokens, token_source, score, scorer,
        extracted, tags, group, outcome, refusal, reasoning``. Times in ms, missing ones NaN; counts are nullable
        ``Int64``; missing texts are None or NaN. ``tool_calls`` is a list of calls or None, ``extracted`` any JSON
        value or None, ``tags`` a list, which turns of equal tags may share, ``group`` the dataset's own label of
        conversations that belong together. ``outcome`` is ``answered``, ``refused``, ``tool_calls`` (and no text),
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
    # each list is let go as soon as its column is made
    return pd.DataFrame({name: _column(kind, arrays.pop(name)) for name, kind in turn_columns.KINDS.items()})


def summary(data: Source | RunMeasures) -> pd.DataFrame:
    """Summarise a run, a row for every turn index and one for all turns.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures

    Returns
    -------
    DataFrame
        Index ``turn``: 1, 2, …, "all". Columns: ``turns``, ``answered``, ``errors``; ``accuracy`` over answered and
        scored turns with its 95 % limits ``low``, ``high`` and denominator ``n``; ``ttft_p50_ms``, ``ttft_p95_ms``,
        ``tpot_p50_ms``, ``latency_p50_ms``, ``latency_p95_ms``; ``client_bound``; ``turn_time_p50_ms``,
        ``turn_time_p95_ms``; ``retries``, requests that were made again, and ``retries_lost_s``, the time that took.
        Missing: NaN.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    run = _measured(data)
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
    """Every conversation that has a finished turn, one row for each of its repeats, in the order of the dataset.

    Parameters
    ----------
    source : path-like or sqlite3.Connection

    Returns
    -------
    DataFrame
        ``conversation``, ``repeat``; ``turns`` finished and ``scored`` among them; ``complete``: every turn with a
        target is answered and scored, missing when there is no target; of complete ones ``all_right``, ``last_right``
        (of the turns with a target) and ``mean``, the mean score. Missing values are missing, never 0.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    with opened(source) as connection:
        names = dict(connection.execute("SELECT position, id FROM conversation"))
        ended = list(talks.each(connection))
    whole = {
        name: np.concatenate([group[place] for group in ended] or [np.zeros(0)])
        for place, name in enumerate(talks.Ended._fields)
    }
    scores = {name: pd.array(whole[name], dtype="Float64") for name in ("all_right", "last_right")}
    complete = pd.array(whole["complete"].astype(bool), dtype="boolean")
    complete[~whole["counted"].astype(bool)] = pd.NA
    return pd.DataFrame(
        {
            "conversation": pd.Series([names[position] for position in whole["conversation"].tolist()], dtype=object),
            **{name: whole[name].astype(np.int64) for name in ("repeat", "turns", "scored")},
            "complete": complete,
            **{name: column.astype("boolean") for name, column in scores.items()},
            "mean": whole["mean"],
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
        Index ``scoring``: 0, the run's own, 1, … Columns: ``scorer``, which scored every turn (None: each turn's own);
        ``versions``, a dict; ``begun`` (UTC); ``counts``: its scores are those of all other tables; ``accuracy`` with
        its 95 % limits ``low``, ``high`` and denominator ``n``; ``wrong``, ``unscored``; ``missing``: answered turns
        that it has not seen.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    import pandas as pd

    with opened(source) as connection:
        known = by_scoring.scorings(connection)
    means = [row.accuracy.mean for row in known]
    columns: dict[str, Any] = {
        "scorer": pd.Series([row.scorer for row in known], dtype=object),
        "versions": [row.versions for row in known],
        "begun": pd.to_datetime(pd.Series([row.begun_ns for row in known], dtype="Int64"), unit="ns", utc=True),
        "counts": [row.counts for row in known],
        "accuracy": _floats([mean.value for mean in means]),
        "low": _floats([mean.low for mean in means]),
        "high": _floats([mean.high for mean in means]),
        "n": [mean.n for mean in means],
        "wrong": [row.accuracy.wrong for row in known],
        "unscored": [row.accuracy.unscored for row in known],
        "missing": [row.missing for row in known],
    }
    return pd.DataFrame(columns).set_index(pd.Index([row.number for row in known], name="scoring"))


def summary_json(data: Source | RunMeasures) -> dict[str, Any]:
    """Summarise a run as one JSON object, missing values as None.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures

    Returns
    -------
    dict
        ``run`` is the run's name. ``wrong`` counts answered turns whose score is below 1, in ``accuracy`` and in
        ``accuracy_all`` alike: a failed turn lowers ``accuracy_all`` but is not wrong. In ``accuracy`` ``n`` and
        ``unscored`` add up to ``answered``, in ``accuracy_all`` to ``turns``. ``schedule_latency_ms`` is None in closed
        loop. ``interrupted`` counts turns that were being asked when their session ended; they are among ``errors``, as
        ``cancelled``, and ``unscored`` in ``accuracy_all``. ``by_tag`` has the 50 tags with the most turns, and
        ``tags_left_out`` counts the others. ``conversations``
        has the fields of ``conversations.ConversationScores``, ``repeats`` those of ``conversations.RepeatScores``, or
        is None without repeats; ``doubt`` says why the interval of ``accuracy`` may be too short, or is None;
        ``scoring`` tells whose scores all these are: 0 is the run's own. ``tokens`` are sums of what the endpoint told;
        ``trust`` has the fields of ``sessions.Trust``. ``cost`` is None when no price is known; ``complete`` is false
        when its total is a lower bound, and ``price_from`` is ``run`` or ``file``: see ``costs.Price``. ``until`` is
        None for a run that was to ask all, and ``arrivals`` for one in closed loop. ``planned`` counts the turns that
        are to end in all; None: not known. ``retries`` has the fields of ``times.Retries``, ``answering_models``
        those of ``AnsweringModels``, and ``ignored_parameters`` is as ``IgnoredParameters.to_json`` makes it.
        ``caveats`` has the fields of ``caveats.Caveats``.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    run = _measured(data)
    return {
        "run": run.name,
        **_measures_json(run.all),
        "by_turn": [{"turn": row.turn, **_measures_json(row)} for row in run.by_turn],
        "by_tag": [row.to_json() for row in run.by_tag],
        "tags_left_out": run.tags_left_out,
        "conversations": run.conversations.to_json(),
        "repeats": None if run.repeats is None else run.repeats.to_json(),
        "doubt": run.all.accuracy.doubt,
        "scoring": run.scoring,
        "tokens": {"prompt": run.prompt_tokens, "output": run.output_tokens},
        "trust": asdict(run.trust),
        "wall_s": run.wall_s,
        "turns_per_s": run.turns_per_s,
        "cost": None if run.cost is None else _cost_json(run.cost),
        "until": None if run.until is None else _until_json(run.until),
        "arrivals": None if run.arrivals is None else dict(run.arrivals),
        "planned": run.planned,
        "ignored_parameters": None if run.ignored is None else run.ignored.to_json(),
        "answering_models": None if run.models is None else run.models.to_json(),
        "caveats": run.caveats._asdict(),
    }


def transcript(source: Source, conversation: str, repeat: int = 1) -> list[dict[str, Any]]:
    """One conversation as it went, a row for every finished turn.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    conversation : str
        Its id.
    repeat : int
        Counted from 1.

    Returns
    -------
    list of dict
        Keys ``turn, user, answer, tool_calls, target, score, reason, extracted, error, ttft_ms, latency_ms, outcome,
        refusal, reasoning``. ``error`` is "kind: message" of a failed turn, whose ``answer`` is the part that came.
        Missing: None.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or holds no such conversation or repeat.
    """
    with opened(source) as connection:
        rows = connection.execute(_TRANSCRIPT, (conversation, repeat)).fetchall()
    if not rows:
        raise RunFileError(
            f"the run file holds no finished turn of conversation {conversation!r} in repeat {repeat}: "
            "turns() and 'evalkit export' list what it holds"
        )
    asked = orjson.loads(rows[0][-1])["turns"]
    return [_turn(asked, *came) for *came, _ in rows]


def _turn(
    asked: Sequence[Mapping[str, Any]], turn: int, answer: str | None, tool_calls: str | None, kind: str | None,
    message: str | None, ttft: int | None, latency: int | None, value: float | None, reason: str | None,
    extracted: str | None, outcome: str, refusal: str | None, reasoning: str | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "turn": turn,
        "user": asked[turn - 1]["user"],
        "answer": answer,
        "tool_calls": json_value(tool_calls),
        "target": asked[turn - 1].get("target"),
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
    """Write every finished turn of a run to a file, with the columns of ``turns``.

    Parameters
    ----------
    source : path-like or sqlite3.Connection
    form : str
        ``jsonl``, ``csv`` or ``parquet``. Missing values are null, in CSV empty. Tool calls, what a scorer extracted
        and tags are JSON values in JSON Lines and JSON text elsewhere; only tags in Parquet are a list.
    path : path-like
    overwrite : bool
        An earlier output of evalkit is written over. Any other file that is there is refused.
    excel : bool
        For ``csv``: written for a spreadsheet, with a byte-order mark and an apostrophe before text that begins a
        formula. Else every cell holds what the run file holds.

    Returns
    -------
    int
        Number of turns written.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        No such format, ``excel`` with another than CSV, or the file cannot be written: see ``outputs.check``.
    """
    return written(source, form, path, overwrite=overwrite, excel=excel).rows


def written(
    source: Source, form: str, path: Path | str, *, overwrite: bool = True, excel: bool = False
) -> exports.ExportCounts:
    """``export``, which also tells how many cells of a CSV file a spreadsheet would take for formulas."""
    if form not in FORMATS:
        raise SettingsError(f"{form!r} is no export format: choose one of {', '.join(FORMATS)}")
    if excel and form != "csv":
        raise SettingsError(f"--excel is for CSV files, and the format is {form}: leave it out, or choose csv")
    options = {"excel": True} if excel else {}
    with opened(source) as connection:
        taken = output_files.input_files(
            () if isinstance(source, sqlite3.Connection) else (source,), [store.run_info(connection)]
        )
        with output_files.writing(Path(path), output_files.EXPORT, taken, overwrite=overwrite) as draft:
            return exports.WRITERS[form](connection, draft, **options)


def _measures_json(row: Measures) -> dict[str, Any]:
    def values(quantiles: dict[str, Estimate]) -> dict[str, float | None]:
        return {name: estimate.value for name, estimate in quantiles.items()}

    return {
        "turns": row.turns,
        "answered": row.answered,
        "errors": row.errors,
        "accuracy": row.accuracy.to_json(),
        "accuracy_all": row.accuracy_all.to_json(),
        "ttft_ms": values(row.ttft_ms),
        "latency_ms": values(row.latency_ms),
        "tpot_ms": values(row.tpot_ms),
        "schedule_latency_ms": values(row.schedule_latency_ms),
        "interrupted": row.interrupted,
        "turn_time_ms": values(row.turn_time_ms),
        "retries": row.retries._asdict(),
    }


def _cost_json(cost: Cost) -> dict[str, Any]:
    return {
        "total": cost.total,
        "complete": cost.complete,
        "untold": cost.untold,
        "per_turn": cost.per_turn,
        "per_right": cost.per_right,
        "prompt_price": cost.price.prompt,
        "output_price": cost.price.output,
        "price_from": cost.price.source,
    }


def _until_json(told: Told) -> dict[str, Any]:
    names = ("ci", "reached", "value", "low", "high", "conversations")
    return {name: getattr(told, name) for name in names}


def _measured(data: Source | RunMeasures) -> RunMeasures:
    return data if isinstance(data, RunMeasures) else measure(data)


def _floats(values: list[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)


def _part(kind: str, values: tuple[Any, ...]) -> Any:
    """Some values of a column, as small as can be: an Arrow array, or the list of what their JSON texts say."""
    import pyarrow as pa

    if kind == "json":
        return [text if text is None else json_value(text) for text in values]
    if kind == "tags":  # turns of equal tags share one list: a million lists would be as many objects to collect
        lists = {text: json_value(text) for text in set(values)}
        return [lists[text] for text in values]
    return pa.array(values, {"text": pa.large_string(), "number": pa.float64()}.get(kind, pa.int64()))


def _column(kind: str, parts: list[Any]) -> Any:
    import pandas as pd
    import pyarrow as pa

    if kind in ("json", "tags"):
        return pd.Series([value for part in parts for value in part], dtype=object)
    if kind == "text":
        whole = pa.chunked_array(parts, pa.large_string())
        parts.clear()
        text = pd.Series(["text"]).dtype  # as pandas itself takes texts: before its version 3 as objects
        return pa.chunked_array([whole.combine_chunks()]).to_pandas(
            types_mapper=lambda _: text if isinstance(text, pd.StringDtype) else None
        )
    numbers = pa.chunked_array(parts, pa.float64() if kind == "number" else pa.int64())
    return numbers.to_pandas(types_mapper=lambda _: pd.Int64Dtype() if kind == "count" else None)
